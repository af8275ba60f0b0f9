//! `./x parity`: objtool-rs against C objtool, on every object of a kernel build and on the kernel
//! that comes out; and its verdict on linked code against its objects (`verify`).

mod elf;
mod flags;
mod images;
pub mod objects;
mod verify;

use std::fs;
use std::time::Instant;

use anyhow::{bail, Context, Result};

use self::objects::{Contents, Outcome};
use crate::configs::Config;
use crate::kernel::build;
use crate::paths::{Kernel, Tool};
use crate::{objtool, progress, setup};

/// How many objects that disagree are spelled out on the terminal; the report has them all.
const SHOWN: usize = 10;

/// `./x parity …`
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// The configuration, with or without x86_64-, such as fp
    #[arg(required = true)]
    config: Option<String>,
    /// Compare the objects only, not the kernel that comes out
    #[arg(long)]
    objects: bool,
    /// Only objects whose path contains this; implies --objects
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

#[derive(clap::Subcommand)]
enum What {
    /// Compare the verdict on vmlinux and the modules with their objects, function by function
    Verify(verify::Args),
    /// Show which of objtool's flags the recorded builds exercised; all must be among them
    Flags,
}

/// Runs the command.
///
/// # Errors
/// Anything differs, or cannot be compared.
pub fn run(args: Args) -> Result<()> {
    match args.what {
        Some(What::Verify(args)) => {
            println!("{}", verify::run(&args)?);
            return Ok(());
        }
        Some(What::Flags) => return flags::run(),
        None => {}
    }
    let config = Config::named(args.config.as_deref().unwrap_or_default())?;
    setup::run()?;
    let filter = args.filter.as_deref();
    println!(
        "{}",
        compare(config, filter, args.objects || filter.is_some())?
    );
    Ok(())
}

/// Compares all of a configuration: the objects, then the kernel. Prints the tables; returns the
/// verdict in a line. [`setup::run`] must have passed.
///
/// # Errors
/// Anything differs, or cannot be compared.
pub fn compare(
    config: &'static Config,
    filter: Option<&str>,
    objects_only: bool,
) -> Result<String> {
    let theirs = build::run(config, Tool::C)?;
    println!("{}", theirs.summary());
    let (objects, mut differences) = compare_objects(config, filter)?;
    let mut verdict = format!("{} agree", progress::counted(objects, "object"));
    if !objects_only {
        let ours = build::run(config, Tool::Rs)?;
        println!("{}", ours.summary());
        println!("\nthe kernel with C objtool and with objtool-rs");
        for row in images::compare(&theirs, &ours)? {
            let word = if row.differences.is_empty() {
                "identical"
            } else {
                "DIFFERENT"
            };
            println!("  {:<44} {word}", row.what);
            for difference in row.differences.iter().take(SHOWN) {
                println!("      {difference}");
            }
            differences += usize::from(!row.differences.is_empty());
        }
        verdict.push_str(", and the kernel is bit-identical");
    }
    if differences > 0 {
        bail!(
            "{}: {} from C objtool",
            config.name,
            progress::counted(differences, "difference")
        );
    }
    Ok(format!("{}: {verdict}", config.name))
}

/// Compares the objects and prints their table; returns how many there were and how many disagree.
fn compare_objects(config: &Config, filter: Option<&str>) -> Result<(usize, usize)> {
    let kernel = Kernel::installed()?;
    let mut corpus = kernel.corpus(config.name)?;
    if let Some(text) = filter {
        corpus.retain(|object| object.name.contains(text));
    }
    if corpus.is_empty() {
        bail!("no recorded object of {} to compare", config.name);
    }
    let objtool = objtool::ours()?;
    let start = Instant::now();
    let outcomes = objects::run(&objtool, &corpus)?;

    let count = |wanted: fn(&Contents) -> bool| {
        outcomes
            .iter()
            .filter(|outcome| wanted(&outcome.contents))
            .count()
    };
    let lines = |lines: fn(&Outcome) -> usize| outcomes.iter().map(lines).sum::<usize>();
    println!(
        "\nthe objects of {}, {}",
        config.name,
        progress::since(start)
    );
    let row = |what: &str, count: usize| println!("  {what:<44} {count:>6}");
    row("compared", outcomes.len());
    row(
        "identical bytes",
        count(|contents| *contents == Contents::Identical),
    );
    row(
        "same contents, other layout",
        count(|contents| *contents == Contents::OtherLayout),
    );
    row(
        "different contents",
        count(|contents| matches!(contents, Contents::Differ(_))),
    );
    row(
        "objtool-rs failed",
        count(|contents| matches!(contents, Contents::Failed(_))),
    );
    row(
        "lines that only C objtool printed",
        lines(|outcome| outcome.missing.len()),
    );
    row(
        "lines that only objtool-rs printed",
        lines(|outcome| outcome.extra.len()),
    );

    let told: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !outcome.agrees())
        .map(describe)
        .collect();
    for text in told.iter().take(SHOWN) {
        println!("{text}");
    }
    if !told.is_empty() {
        let report = kernel.corpus_dir(config.name).with_extension("parity.txt");
        fs::write(&report, told.join("\n") + "\n")
            .with_context(|| format!("cannot write the report {}", report.display()))?;
        println!("  all {} are in {}", told.len(), report.display());
    }
    Ok((outcomes.len(), told.len()))
}

/// An object that disagrees, over several lines.
fn describe(outcome: &Outcome) -> String {
    let mut lines = vec![format!("  {}", outcome.name)];
    match &outcome.contents {
        Contents::Identical | Contents::OtherLayout => {}
        Contents::Differ(how) => lines.extend(how.iter().map(|how| format!("      {how}"))),
        Contents::Failed(how) => lines.push(format!("      objtool-rs failed, {how}")),
    }
    lines.extend(
        outcome
            .missing
            .iter()
            .map(|line| format!("      only C objtool:  {line}")),
    );
    lines.extend(
        outcome
            .extra
            .iter()
            .map(|line| format!("      only objtool-rs: {line}")),
    );
    lines.join("\n")
}
