//! Runs the functions of kernels in an emulator and holds every walk against what really happened;
//! `./x truth` starts it. The library's documentation says what is done, and what it cannot show.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{bail, Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use truth::compare::Way;
use truth::image::{Function, Image};
use truth::run::Plan;
use truth::summary::{grouped, Summary};
use truth::{emulator, proof};

/// Holds walks over stacks against what really happened
#[derive(Parser)]
#[command(name = "truth")]
struct Args {
    /// Kernels with their symbols: vmlinux of a build
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// About how many functions, spread over the text; all, if not given
    #[arg(long, value_name = "COUNT")]
    functions: Option<usize>,
    /// Only the function of this name
    #[arg(long, value_name = "NAME", conflicts_with = "functions")]
    only: Option<String>,
    /// How often each function runs
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Only the run of this number, from 0
    #[arg(long, value_name = "NUMBER", conflicts_with = "runs")]
    run: Option<u64>,
    /// The most instructions of a run
    #[arg(long, value_name = "COUNT", default_value_t = 2000)]
    most: u64,
    /// How many damaged copies of a stack are walked for each call
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    damaged: u32,
    /// Fail if fewer functions than this were stopped in
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    least: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut failed = false;
    for file in &args.files {
        if let Err(error) = one(file, &args) {
            anstream::eprintln!("error: {}: {error:#}", file.display());
            failed = true;
        }
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Everything about one kernel.
fn one(file: &Path, args: &Args) -> Result<()> {
    let start = Instant::now();
    let data = fs::read(file).context("it cannot be read")?;
    let image = Image::read(&data)?;
    let way = match image.orc {
        Some(_) => Way::Orc,
        None => Way::FramePointers,
    };
    anstream::println!("{}", file.display());
    match way {
        Way::Orc => anstream::println!("  by ORC"),
        Way::FramePointers | Way::Trusting => anstream::println!(
            "  by frame pointers, with a table of {} ranges of text that keeps no frame",
            image.unreliable_ranges()
        ),
    }
    for line in proof::prove(&image, args.most)? {
        anstream::println!("  on purpose: {line}");
    }

    anstream::println!("  as it was linked");
    walk(&image, way, args)?;
    let (booted, changed) = image.booted()?;
    anstream::println!(
        "  as it is once it has booted: {} places of its text are others",
        grouped(changed as u64)
    );
    walk(&booted, way, args)?;
    anstream::println!("  {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Runs the functions of a kernel and prints what came of it.
fn walk(image: &Image, way: Way, args: &Args) -> Result<()> {
    let functions = chosen(image, args)?;
    let numbers: Range<u64> = match args.run {
        Some(number) => number..number + 1,
        None => 0..args.runs,
    };
    let bar = bar(functions.len() as u64);
    let plan = Plan {
        most: args.most,
        way,
        damaged: args.damaged,
        forget: false,
    };
    let tally = emulator::run_all(image, plan, &functions, numbers, &|| bar.inc(1))?;
    bar.finish_and_clear();
    anstream::print!("{}", Summary(&tally));

    let failed = tally.failed();
    if failed > 0 {
        bail!(
            "{} of {} walks must not be as they are",
            grouped(failed),
            grouped(tally.count())
        );
    }
    if tally.functions.len() < args.least {
        bail!(
            "only {} functions were stopped in, not {}",
            tally.functions.len(),
            args.least
        );
    }
    Ok(())
}

/// The functions to run.
fn chosen<'i>(image: &'i Image, args: &Args) -> Result<Vec<&'i Function>> {
    if let Some(name) = &args.only {
        let named = image.functions.iter().find(|f| f.name == *name);
        let named = named.with_context(|| format!("it has no function {name} that is called"))?;
        return Ok(vec![named]);
    }
    let count = args.functions.unwrap_or(image.functions.len());
    Ok(emulator::spread(&image.functions, count))
}

/// A bar at a terminal, and nothing in a pipe.
fn bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let style = "  functions [{bar:30}] {pos}/{len} {elapsed}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}
