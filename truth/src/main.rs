//! Runs functions of kernels and walks their stacks at every instruction.
#![allow(clippy::print_stdout)]
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use rayon::prelude::*;
use truth::compare::Way;
use truth::emulator::Machine;
use truth::image::Image;
use truth::run::Plan;
use truth::tally::Tally;

#[derive(Parser)]
struct Args {
    file: PathBuf,
    #[arg(long, default_value_t = 100)]
    functions: usize,
    #[arg(long, default_value_t = 4)]
    seeds: u64,
    #[arg(long, default_value_t = 2000)]
    most: u64,
    #[arg(long)]
    only: Option<String>,
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let start = Instant::now();
    let data = std::fs::read(&args.file)?;
    let image =
        Image::read(&data).with_context(|| format!("cannot read {}", args.file.display()))?;
    println!(
        "{} functions, {} warnings, {} ranges, {:?}",
        image.functions.len(),
        image.warnings.len(),
        image.unreliable_ranges(),
        start.elapsed()
    );
    let way = if image.orc.is_some() {
        Way::Orc
    } else {
        Way::FramePointers
    };
    let all = &image.functions;
    let step = (all.len() / args.functions.min(all.len())).max(1);
    let chosen: Vec<_> = match &args.only {
        Some(name) => all.iter().filter(|f| f.name == *name).collect(),
        None => all.iter().step_by(step).collect(),
    };
    let plan = Plan {
        most: args.most,
        way,
    };
    let start = Instant::now();
    let tallies: Vec<Result<Tally>> = chosen
        .par_chunks(chosen.len().div_ceil(8).clamp(1, 256))
        .map(|chunk| {
            let mut machine = Machine::new(&image, plan)?;
            for function in chunk {
                for seed in 0..args.seeds {
                    if args.seed.is_none_or(|only| only == seed) {
                        machine.run(function, seed)?;
                    }
                }
            }
            Ok(machine.tally())
        })
        .collect();
    let mut tally = Tally::default();
    for part in tallies {
        tally.add(part?);
    }
    println!(
        "{} runs, {} stops, {} places, {} functions, depth {}, {:?}",
        tally.runs,
        tally.stops,
        tally.places.len(),
        tally.functions.len(),
        tally.deepest,
        start.elapsed()
    );
    for (end, count) in &tally.ends {
        println!("{count:10} {end}");
    }
    for ((question, sentence), count) in &tally.walks {
        println!("{count:12} {}: {}", question.text(), sentence.text());
    }
    for (sentence, names) in &tally.refused_in {
        println!(
            "{}: {} {:?}",
            sentence.text(),
            names.len(),
            names.iter().take(60).collect::<Vec<_>>()
        );
    }
    for failure in tally.failures.values().take(5) {
        println!("{failure}");
    }
    Ok(())
}
