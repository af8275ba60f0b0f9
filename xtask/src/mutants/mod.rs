//! Mutation testing: objects of a real kernel build, each broken in one place, shown to C objtool
//! and to objtool-rs. The bar: objtool-rs warns on every mutant on which C objtool warns.
//!
//! - `operators` are the ways to break an object, `plan` chooses the places, `trial` runs the
//!   tools, `run` drives and tells;
//! - `causes` sorts what neither tool warns about, `KINDS.md` explains it;
//! - `joined` makes linked objects of a build that validates no others;
//! - `linked` breaks the linked kernel, on which `objtool-rs verify` must tell what is broken;
//! - `havoc` is another matter: random damage to whole objects, which nothing may crash on.

mod causes;
mod code;
mod havoc;
mod image;
mod joined;
mod lines;
mod linked;
mod operators;
mod plan;
mod rng;
mod run;
mod table;
mod trial;

pub use lines::Line;
pub use table::align;
pub use trial::memory;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use crate::paths::{Kernel, Tool};
use crate::{objtool, progress};
use joined::Parts;
use plan::{Id, Object, Plan};
use run::Setting;

/// The configuration whose objects are broken.
const CONFIG: &str = "x86_64-fp";

/// The configuration whose linked objects are broken with `--actions`.
const LINKED_CONFIG: &str = "x86_64-orc";

/// Arguments of `./x mutants`.
#[derive(clap::Args)]
pub struct Args {
    /// Chooses the places that are broken; the same seed gives the same mutants
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many mutants [default: 5000, with --image 3000, with --havoc 1000000]
    #[arg(long)]
    count: Option<usize>,
    /// How many are tried at a time [default: the number of processors]
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Break linked objects, which are asked for all that a kernel with ORC data and landing pads
    /// asks for
    #[arg(long, conflicts_with = "image")]
    actions: bool,
    /// Only operators whose name contains this
    #[arg(long, value_name = "OPERATOR")]
    filter: Option<String>,
    /// List the operators
    #[arg(long)]
    list: bool,
    /// Write a line per mutant to this file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Write the mutant of this name to a file and show what both tools say
    #[arg(long, value_name = "NAME", requires = "output")]
    reproduce: Option<String>,
    /// The file that --reproduce writes
    #[arg(short, long, value_name = "FILE", requires = "reproduce")]
    output: Option<PathBuf>,
    /// Use this program in place of C objtool
    #[arg(long, value_name = "FILE")]
    c: Option<PathBuf>,
    /// Use this program in place of objtool-rs
    #[arg(long, value_name = "FILE")]
    ours: Option<PathBuf>,
    #[command(flatten)]
    havoc: havoc::Args,
    #[command(flatten)]
    linked: linked::Args,
}

/// Runs `./x mutants`.
///
/// # Errors
/// There are no recorded objects, a tool cannot be run, or objtool-rs does not stand the test.
pub fn run(args: &Args) -> Result<()> {
    if args.linked.is_wanted() {
        return run_linked(args);
    }
    let operators = match args.actions {
        true => operators::with_actions(),
        false => operators::all(),
    };
    if args.list {
        for operator in operators {
            println!("{:<32} {}", operator.name, operator.about);
        }
        return Ok(());
    }
    let jobs = match args.jobs {
        Some(jobs) => jobs.get(),
        None => std::thread::available_parallelism()?.get(),
    };
    if args.havoc.is_wanted() {
        return havoc::run(&args.havoc, args.actions, args.seed, args.count, jobs);
    }

    let kernel = Kernel::installed()?;
    let config = match args.actions {
        true => LINKED_CONFIG,
        false => CONFIG,
    };
    let folder = folder()?;
    let corpus = match args.actions {
        true => linked_corpus(&kernel, folder.path(), Parts::Few)?,
        false => corpus(&kernel)?,
    };
    let c = match &args.c {
        Some(path) => fs::canonicalize(path).with_context(|| missing(path))?,
        None => objtool::c(&kernel, config)?,
    };
    let ours = match &args.ours {
        Some(path) => fs::canonicalize(path).with_context(|| missing(path))?,
        None => objtool::ours()?,
    };
    let setting = Setting {
        corpus: &corpus,
        c: &c,
        ours: &ours,
        jobs,
    };
    if let (Some(name), Some(output)) = (&args.reproduce, &args.output) {
        return reproduce(&setting, name, output);
    }

    let count = args.count.unwrap_or(5000);
    let bar = progress::bar(corpus.len() as u64, "places");
    let scanned = || bar.inc(1);
    let operators = plan::named(operators, args.filter.as_deref())?;
    let plan = Plan::new(&corpus, operators, args.seed, count, scanned)?;
    bar.finish_and_clear();
    if plan.mutants.len() < count {
        println!(
            "These objects yield {} mutants, not {count}.",
            plan.mutants.len()
        );
    }
    let outcomes = run::run(&setting, &plan)?;
    if let Some(log) = &args.log {
        run::log(&outcomes, log)?;
    }
    if !run::report(&plan, &outcomes) {
        bail!("objtool-rs misses what C objtool sees, or crashes; the mutants stand above");
    }
    Ok(())
}

fn run_linked(args: &Args) -> Result<()> {
    if args.list {
        for [name, about, why] in linked::list() {
            println!("{name}\n    {about}\n    {why}");
        }
        return Ok(());
    }
    let options = linked::Options {
        seed: args.seed,
        count: args.count,
        filter: args.filter.as_deref(),
        log: args.log.as_deref(),
        ours: args.ours.as_deref(),
    };
    linked::run(&args.linked, &options)
}

fn missing(path: &Path) -> String {
    format!("there is no program {}", path.display())
}

/// A folder for objects that are made, in memory where the system has such a place.
fn folder() -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("objtool-rs-mutants-")
        .tempdir_in(memory())
        .context("cannot make a temporary folder")
}

/// The objects of the build, as they were before objtool.
fn corpus(kernel: &Kernel) -> Result<Vec<Object>> {
    let recorded = kernel.corpus(CONFIG)?.into_iter();
    Ok(recorded
        .map(|object| Object {
            name: object.name,
            input: object.input,
            args: object.args,
        })
        .collect())
}

/// The objects of the linked kernel, joined in `folder`, and the build's modules.
fn linked_corpus(kernel: &Kernel, folder: &Path, parts: Parts) -> Result<Vec<Object>> {
    let (whole, modules): (Vec<_>, Vec<_>) = kernel
        .corpus(LINKED_CONFIG)?
        .into_iter()
        .partition(|object| object.name == "vmlinux.o");
    let whole = whole
        .first()
        .context("the build recorded no linked kernel")?;
    let build = kernel.build(LINKED_CONFIG, Tool::C);
    let mut objects = joined::join(&build, folder, &whole.args, parts)?;
    objects.extend(modules.into_iter().map(|object| Object {
        name: object.name,
        input: object.input,
        args: object.args,
    }));
    Ok(objects)
}

/// Writes one mutant to a file and shows what both tools say of it.
fn reproduce(setting: &Setting<'_>, name: &str, output: &Path) -> Result<()> {
    let id: Id = name.parse()?;
    let outcome = run::again(setting, &id)?;
    fs::write(output, &outcome.data)
        .with_context(|| format!("cannot write {}", output.display()))?;
    print!("{}", run::describe(&outcome.outcome));
    if let Some(cause) = outcome.outcome.cause {
        println!("    neither warns: {}", cause.name());
    }
    println!(
        "\nThe mutant is in {}. Arguments of the build:\n  {} {}",
        output.display(),
        outcome.args.join(" "),
        id.object
    );
    Ok(())
}

#[cfg(test)]
mod tests;
