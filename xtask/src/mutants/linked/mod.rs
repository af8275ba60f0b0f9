//! `./x mutants --image`: the linked kernel with functions broken in one place each. The verdict must
//! move exactly these from the functions that are right to those that keep no frame, and their text
//! into the table of what must not be trusted.
//!
//! - `program` is the kernel as code, `returns` which of its functions do;
//! - `operators` are the ways to break a function, `oracle` shows that one is broken;
//! - `plan` chooses the places and puts many mutants into one image, `trial` has that judged.
//!
//! Four kinds of functions may leave the right ones without being broken themselves, because a
//! broken one says something about them: other names of the same code; the other part of a function
//! that the compiler split in two (`.cold`); a function into whose midst a broken one jumps, since it
//! runs on a frame that is not its own then; and one that calls a broken one without a frame in code
//! that next to no machine runs (an alternative of `popcnt`), which is only right while the callee
//! makes no call itself. Any other change of the verdict fails the run.
//! Only functions that return are broken: one that starts to return changes what its callers do.

mod operators;
mod oracle;
mod plan;
mod program;
mod returns;
mod trial;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use rayon::prelude::*;

use self::operators::{Edit, Operator};
use self::oracle::Oracle;
use self::plan::{Mutant, Plan};
use self::program::Program;
use self::trial::{Bench, Broken, Missed, Outcome};
use super::code::show_bytes;
use super::rng::Rng;
use super::table::align;
use crate::paths::{Kernel, Tool};
use crate::{objtool, progress};

/// How many mutants a run makes when not told.
const COUNT: usize = 3000;

/// How many unexpected changes of the verdict are spelled out.
const SHOWN: usize = 50;

/// Arguments of `./x mutants` about linked kernels.
#[derive(clap::Args)]
#[group(id = "linked")]
pub struct Args {
    /// Break functions of the linked kernel: the verdict on it must tell which
    #[arg(long)]
    image: bool,
    /// Break this image in place of the build's
    #[arg(long, value_name = "FILE", requires = "image")]
    vmlinux: Option<PathBuf>,
}

impl Args {
    /// Whether this is about linked kernels at all.
    pub fn is_wanted(&self) -> bool {
        self.image
    }
}

/// What the options that all kinds of mutants have say.
pub struct Options<'a> {
    /// Chooses the places.
    pub seed: u64,
    /// How many mutants.
    pub count: Option<usize>,
    /// Only operators whose name contains this.
    pub filter: Option<&'a str>,
    /// Where a line per mutant goes.
    pub log: Option<&'a Path>,
    /// The program in place of objtool-rs.
    pub ours: Option<&'a Path>,
}

/// The operators by name, with what they do and why that is wrong.
pub fn list() -> Vec<[&'static str; 3]> {
    let operators = operators::all().into_iter();
    operators
        .map(|operator| [operator.name, operator.about, operator.why])
        .collect()
}

/// Runs `./x mutants --image`.
///
/// # Errors
/// There is no linked kernel, or its verdict misses a mutant or tells more than the mutants.
pub fn run(args: &Args, options: &Options<'_>) -> Result<()> {
    let image = match &args.vmlinux {
        Some(path) => path.clone(),
        None => Kernel::installed()?
            .build(super::CONFIG, Tool::C)
            .join("vmlinux"),
    };
    let data = fs::read(&image).with_context(|| {
        format!(
            "there is no linked kernel {}; run ./x kernel build {} --objtool c",
            image.display(),
            super::CONFIG
        )
    })?;
    let program = Program::new(data).with_context(|| format!("cannot read {}", image.display()))?;
    let objtool = match options.ours {
        Some(path) => path.to_owned(),
        None => objtool::ours()?,
    };
    let bench = Bench::new(&objtool, &image, &program)?;
    let right = bench.right();
    println!(
        "{}: {} of {} places with functions are right",
        image.display(),
        right.len(),
        program.functions.len()
    );

    let operators: Vec<&Operator> = operators::all()
        .into_iter()
        .filter(|o| options.filter.is_none_or(|text| o.name.contains(text)))
        .collect();
    if operators.is_empty() {
        bail!("no operator is called so; --image --list shows them");
    }
    let count = options.count.unwrap_or(COUNT);
    let oracle = Oracle::new(&program);
    let candidates: Vec<usize> = right
        .iter()
        .copied()
        .filter(|&function| oracle.returns(function))
        .collect();
    let bar = progress::bar(count as u64, "mutants made");
    let plan = Plan::new(
        &program,
        &oracle,
        operators,
        &candidates,
        options.seed,
        count,
        || bar.inc(1),
    );
    bar.finish_and_clear();
    let plan = plan?;
    if plan.mutants.len() < count {
        println!(
            "This image yields {} mutants, not {count}.",
            plan.mutants.len()
        );
    }
    let mut outcomes = try_all(&bench, &program, &plan)?;
    if let (Some(batch), Some(outcome)) = (plan.batches.first(), outcomes.first_mut()) {
        let edits: Vec<&Edit> = batch.iter().map(|&m| &plan.mutants[m].edit).collect();
        outcome.otherwise.extend(bench.table_differs(&edits)?);
    }
    if let Some(log) = options.log {
        write_log(&program, &plan, &outcomes, log)?;
    }
    let mut wrong = report(&program, &plan, &outcomes);
    if options.filter.is_none() {
        wrong |= !flips(&bench, &program, &right)?;
    }
    if wrong {
        bail!("the verdict does not tell what is broken and nothing else; see above");
    }
    Ok(())
}

/// Tries every batch; the outcomes keep the batches' order.
fn try_all(bench: &Bench<'_>, program: &Program, plan: &Plan) -> Result<Vec<Outcome>> {
    let bar = progress::bar(plan.mutants.len() as u64, "mutants");
    let outcomes = plan
        .batches
        .par_iter()
        .enumerate()
        .map(|(number, batch)| {
            let batch: Vec<_> = batch
                .iter()
                .map(|&mutant| {
                    let mutant = &plan.mutants[mutant];
                    Broken {
                        function: &program.functions[mutant.function],
                        edit: &mutant.edit,
                        entered: plan::entered(program, mutant),
                    }
                })
                .collect();
            let outcome = bench.try_batch(&format!("vmlinux-{number}"), &batch);
            bar.inc(batch.len() as u64);
            outcome
        })
        .collect();
    bar.finish_and_clear();
    outcomes
}

/// Each mutant of the batches with what came of it.
fn results<'p>(
    plan: &'p Plan,
    outcomes: &'p [Outcome],
) -> impl Iterator<Item = (&'p Mutant, Option<&'p Missed>)> {
    let batches = plan.batches.iter().zip(outcomes);
    batches.flat_map(|(batch, outcome)| {
        let mutants = batch.iter().map(|&number| &plan.mutants[number]);
        mutants.zip(outcome.missed.iter().map(Option::as_ref))
    })
}

/// Prints the table and everything that is wrong; returns whether anything is.
fn report(program: &Program, plan: &Plan, outcomes: &[Outcome]) -> bool {
    let mut counts = vec![[0_usize; 2]; plan.operators.len()];
    let mut missed = Vec::new();
    for (mutant, how) in results(plan, outcomes) {
        counts[mutant.operator][0] += 1;
        if let Some(how) = how {
            counts[mutant.operator][1] += 1;
            missed.push((mutant, how));
        }
    }
    let heads = ["operator", "tried", "no path", "mutants", "found", "missed"];
    let mut table = vec![heads.map(str::to_owned).to_vec()];
    let mut row = |name: &str, numbers: [usize; 5]| {
        let numbers = numbers.iter().map(usize::to_string);
        table.push(std::iter::once(name.to_owned()).chain(numbers).collect());
    };
    let mut sum = [0; 5];
    for ((operator, tally), [mutants, missed]) in
        plan.operators.iter().zip(&plan.tallies).zip(counts)
    {
        let numbers = [
            tally.proposed,
            tally.without_path,
            mutants,
            mutants - missed,
            missed,
        ];
        row(operator.name, numbers);
        for (sum, number) in sum.iter_mut().zip(numbers) {
            *sum += number;
        }
    }
    row("all", sum);
    println!("{}", align(&table));
    println!(
        "(tried: changes looked at; no path: those that could not be shown to break a rule)\n"
    );

    for (mutant, how) in &missed {
        println!("missed: {}", how.words());
        print!("{}", describe(program, plan, mutant));
    }
    let otherwise: Vec<&String> = outcomes.iter().flat_map(|o| &o.otherwise).collect();
    for text in otherwise.iter().take(SHOWN) {
        println!("changed without being broken: {text}");
    }
    println!(
        "{} in {}: {} found, {} missed; {} of others",
        progress::counted(sum[2], "mutant"),
        progress::counted(plan.batches.len(), "image"),
        sum[3],
        sum[4],
        progress::counted(otherwise.len(), "change"),
    );
    !missed.is_empty() || !otherwise.is_empty()
}

/// A mutant in full: what is needed to make it again and to see what is wrong.
fn describe(program: &Program, plan: &Plan, mutant: &Mutant) -> String {
    let function = &program.functions[mutant.function];
    let address = mutant.edit.address;
    let mut text = String::new();
    let place = program.at(address).unwrap_or_default();
    let _ = writeln!(
        text,
        "  {} {}+{:#x}: {}\n    {:#x}, file+{place:#x}: {:02x?} -> {:02x?}\n    \
         wrong because of {} at {}+{:#x}, step {} of its path",
        plan.operators[mutant.operator].name,
        function.name(),
        address.wrapping_sub(function.address),
        change(mutant),
        address,
        mutant.before,
        mutant.edit.bytes,
        mutant.witness.broken.words(),
        function.name(),
        mutant.witness.at.wrapping_sub(function.address),
        mutant.witness.steps,
    );
    text
}

/// The first instruction before and behind a change.
fn change(mutant: &Mutant) -> String {
    let address = mutant.edit.address;
    format!(
        "{} -> {}",
        show_bytes(&mutant.before, address),
        show_bytes(&mutant.edit.bytes, address)
    )
}

/// Breaks so many functions at once that there is no discipline left: the promise must fall.
fn flips(bench: &Bench<'_>, program: &Program, right: &[usize]) -> Result<bool> {
    let operator = operators::all().remove(0);
    let mut edits: Vec<Edit> = Vec::new();
    for &number in right {
        let function = &program.functions[number];
        let insns = program.insns(function)?;
        let edit = operator.propose(program, function, &insns, &mut Rng::new(1));
        edits.extend(edit);
    }
    let judged = bench.judge("vmlinux-all", &edits.iter().collect::<Vec<_>>())?;
    let holds = judged.reliable || judged.reason.as_deref() != Some("no-frame-pointers");
    println!(
        "{} in {} of {} functions at once: {}",
        operator.about,
        edits.len(),
        bench.whole().functions.keep_frame,
        if holds {
            "THE PROMISE STILL HOLDS"
        } else {
            "the promise falls"
        }
    );
    Ok(!holds)
}

/// Writes a line per mutant.
fn write_log(program: &Program, plan: &Plan, outcomes: &[Outcome], path: &Path) -> Result<()> {
    let mut text = String::from("operator\tfunction\toffset\tchange\twrong because of\toutcome\n");
    for (mutant, missed) in results(plan, outcomes) {
        let function = &program.functions[mutant.function];
        let _ = writeln!(
            text,
            "{}\t{}\t{:#x}\t{}\t{}\t{}",
            plan.operators[mutant.operator].name,
            function.name(),
            mutant.edit.address - function.address,
            change(mutant),
            mutant.witness.broken.words(),
            missed.map_or_else(|| "found".to_owned(), Missed::words),
        );
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
