//! That the comparison can fail: the same runs with something wrong on purpose must be found out.

use anyhow::{bail, Result};

use crate::compare::Way;
use crate::emulator;
use crate::image::{Function, Image};
use crate::judge::Sentence;
use crate::run::Plan;
use crate::summary::grouped;
use crate::tally::Tally;

/// How often each function runs.
const RUNS: u64 = 2;

/// How many functions run.
const FUNCTIONS: usize = 200;

/// Does what must fail; what was found out, in a line each.
///
/// # Errors
/// Something wrong was not found out, or the emulator does not do what it is told.
pub fn prove(image: &Image, most: u64) -> Result<Vec<String>> {
    let sample = emulator::spread(&image.functions, FUNCTIONS);
    let plan = Plan {
        most,
        way: match image.orc {
            Some(_) => Way::Orc,
            None => Way::FramePointers,
        },
        damaged: 0,
        forget: false,
    };
    let forgetful = Plan {
        forget: true,
        ..plan
    };
    let damaging = Plan { damaged: 2, ..plan };
    let mut lines = vec![
        found(
            "a record without the last call",
            &run(image, &sample, forgetful)?,
            wrong,
        )?,
        damaged(&run(&image.credulous(), &sample, damaging)?)?,
    ];
    if image.orc.is_some() {
        let shifted = image.with_shifted_orc();
        lines.push(found(
            "each ORC entry at its neighbour's address",
            &run(&shifted, &sample, plan)?,
            Sentence::is_failure,
        )?);
        return Ok(lines);
    }
    let trusting = Plan {
        way: Way::Trusting,
        ..plan
    };
    lines.push(found(
        "interrupted functions trusted to have a frame",
        &run(image, &sample, trusting)?,
        wrong,
    )?);
    let (linked, functions) = image.with_calls_without_frame();
    lines.push(found(
        "bits counted by calls without a frame",
        &run(&linked, &functions, plan)?,
        Sentence::is_failure,
    )?);
    Ok(lines)
}

fn wrong(sentence: Sentence) -> bool {
    sentence == Sentence::Wrong
}

fn run(image: &Image, functions: &[&Function], plan: Plan) -> Result<Tally> {
    emulator::run_all(image, plan, functions, 0..RUNS, &|| ())
}

/// The same for walks over damaged stacks, by an unwinder that takes any text for a caller.
fn damaged(tally: &Tally) -> Result<String> {
    let what = "damaged stacks, when any text is taken for a caller";
    let bad = tally
        .damaged
        .iter()
        .filter(|(outcome, _)| outcome.is_failure());
    let count: u64 = bad.map(|(_, count)| count).sum();
    let all: u64 = tally.damaged.values().sum();
    if count == 0 {
        bail!("{what}: of {} walks none was found out", grouped(all));
    }
    Ok(format!(
        "{what}: {} of {} walks are found out",
        grouped(count),
        grouped(all)
    ))
}

fn found(what: &str, tally: &Tally, bad: impl Fn(Sentence) -> bool) -> Result<String> {
    let count = tally.count_of(|_, sentence| bad(sentence));
    if count == 0 {
        bail!(
            "{what}: of {} walks none was found out",
            grouped(tally.count())
        );
    }
    Ok(format!(
        "{what}: {} of {} walks are found out",
        grouped(count),
        grouped(tally.count())
    ))
}
