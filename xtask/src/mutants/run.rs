//! A run: every mutant of a plan is made and tried, and what came out is told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use super::causes::{self, Cause};
use super::code::Subject;
use super::operators::{self, Change, Operator};
use super::plan::{self, Id, Object, Plan};
use super::table::{self, Counts};
use super::trial::{Bench, Run, Verdict};
use crate::progress;
use anyhow::{Context, Result};

/// What a run works with.
pub struct Setting<'a> {
    /// The objects of a kernel build.
    pub corpus: &'a [Object],
    /// C objtool.
    pub c: &'a Path,
    /// objtool-rs.
    pub ours: &'a Path,
    /// How many mutants are tried at a time.
    pub jobs: usize,
}

/// A mutant that was tried.
pub struct Outcome {
    /// What names it.
    pub id: Id,
    /// The operator, as an index in the plan.
    pub operator: usize,
    /// The place that was broken, as objtool writes it.
    pub place: String,
    /// Before and after, in words.
    pub what: String,
    /// Before and after, as bytes: the place in the file and both contents.
    pub bytes: Vec<(usize, Vec<u8>, Vec<u8>)>,
    /// What the tools made of it.
    pub verdict: Verdict,
    /// Where neither tool warned: the reason why C objtool has none to.
    pub cause: Option<Cause>,
}

/// Tries every mutant of a plan.
///
/// # Errors
/// An object cannot be read, a tool cannot be started, or a mutant of the plan cannot be made.
pub fn run(setting: &Setting<'_>, plan: &Plan) -> Result<Vec<Outcome>> {
    let whole: Vec<OnceLock<(Run, Run)>> = setting.corpus.iter().map(|_| OnceLock::new()).collect();
    let bar = progress::bar(plan.mutants.len() as u64, "mutants");
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    let work = || -> Result<()> {
        let bench = Bench::new()?;
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(planned) = plan.mutants.get(index) else {
                return Ok(());
            };
            let id = plan.id(setting.corpus, planned);
            let (outcome, _) = try_one(
                setting,
                (planned.operator, plan.operators[planned.operator]),
                &setting.corpus[planned.object],
                &id,
                &whole[planned.object],
                &bench,
            )
            .with_context(|| format!("mutant {id}"))?;
            let mut outcomes = outcomes.lock().unwrap_or_else(|broken| broken.into_inner());
            outcomes.insert(index, outcome);
            bar.inc(1);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..setting.jobs.max(1))
            .map(|_| scope.spawn(work))
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })?;
    bar.finish_and_clear();
    let outcomes = outcomes
        .into_inner()
        .unwrap_or_else(|broken| broken.into_inner());
    Ok(outcomes.into_values().collect())
}

/// A mutant that was made again.
pub struct Again {
    /// What the tools make of it.
    pub outcome: Outcome,
    /// The file.
    pub data: Vec<u8>,
    /// The options that the tools were given.
    pub args: Vec<String>,
}

/// Makes and tries the mutant of a name.
///
/// # Errors
/// There is no such operator, object or place, or a tool cannot be started.
pub fn again(setting: &Setting<'_>, id: &Id) -> Result<Again> {
    let operators = operators::with_actions();
    let operator = operators
        .iter()
        .find(|operator| operator.name == id.operator)
        .with_context(|| format!("there is no operator {}; --list shows them", id.operator))?;
    let object = setting
        .corpus
        .iter()
        .find(|object| object.name == id.object)
        .with_context(|| format!("the build has no object {}", id.object))?;
    let whole = OnceLock::new();
    let (outcome, data) = try_one(setting, (0, operator), object, id, &whole, &Bench::new()?)?;
    Ok(Again {
        outcome,
        data,
        args: object.args.clone(),
    })
}

fn try_one(
    setting: &Setting<'_>,
    (number, operator): (usize, &Operator),
    object: &Object,
    id: &Id,
    whole: &OnceLock<(Run, Run)>,
    bench: &Bench,
) -> Result<(Outcome, Vec<u8>)> {
    let subject = Subject::read(&object.input)?;
    let change = plan::make(operator, &subject, id)
        .with_context(|| format!("the operator has no place {} in {}", id.place, object.name))?;

    let both = |data: &[u8]| -> Result<(Run, Run)> {
        Ok((
            bench.run(setting.c, object, data)?,
            bench.run(setting.ours, object, data)?,
        ))
    };
    let whole = match whole.get() {
        Some(runs) => runs,
        None => {
            let runs = both(&subject.image.data)?;
            whole.get_or_init(|| runs)
        }
    };
    let data = subject.image.edited(&change.edits);
    let (c, ours) = both(&data)?;
    let verdict = Verdict::new(&c, &ours, &whole.0, &whole.1);
    let cause = if verdict.neither() {
        let probe = |data: &[u8]| bench.run(setting.c, object, data);
        Some(causes::of(
            operator,
            &subject,
            &change,
            &object.args,
            probe,
        )?)
    } else {
        None
    };
    let outcome = Outcome {
        id: id.clone(),
        operator: number,
        place: subject.place(change.section, change.offset),
        bytes: bytes(&subject, &change),
        what: change.what,
        verdict,
        cause,
    };
    Ok((outcome, data))
}

/// The bytes that a change replaces, and by what. Long runs, as where a table moves up, are cut.
fn bytes(subject: &Subject, change: &Change) -> Vec<(usize, Vec<u8>, Vec<u8>)> {
    const SHOWN: usize = 32;
    let edits = change.edits.iter();
    edits
        .map(|edit| {
            let len = edit.bytes.len().min(SHOWN);
            let before = subject.image.data[edit.at..edit.at + len].to_vec();
            (edit.at, before, edit.bytes[..len].to_vec())
        })
        .collect()
}

/// Prints the table, every mutant that decides against objtool-rs, and what neither tool warns
/// about. Returns whether objtool-rs stood the test.
pub fn report(plan: &Plan, outcomes: &[Outcome]) -> bool {
    let mut rows: Vec<(&str, Counts)> = plan
        .operators
        .iter()
        .map(|operator| (operator.name, Counts::default()))
        .collect();
    let mut sum = Counts::default();
    for outcome in outcomes {
        rows[outcome.operator].1.add(&outcome.verdict);
        sum.add(&outcome.verdict);
    }
    println!("{}", table::counts(&rows, &sum));

    let unused: Vec<_> = plan
        .operators
        .iter()
        .zip(&plan.places)
        .filter(|(_, &places)| places == 0)
        .map(|(operator, _)| operator.name)
        .collect();
    if !unused.is_empty() {
        println!("No place in these objects for: {}\n", unused.join(", "));
    }

    for outcome in outcomes {
        let verdict = &outcome.verdict;
        if verdict.ours_end.is_crash() {
            println!("objtool-rs: {}", verdict.ours_end);
            print!("{}", describe(outcome));
        } else if verdict.only_c() {
            println!("only C objtool warns");
            print!("{}", describe(outcome));
        }
    }
    only_ours(plan, outcomes);
    output_differs(outcomes);
    neither(plan, outcomes);

    println!(
        "{} mutants: C objtool warns on {}, objtool-rs on {}, on {} of them alone; only C objtool \
         on {}; objtool-rs crashed on {}",
        sum.mutants, sum.c, sum.ours, sum.only_ours, sum.only_c, sum.ours_crashed
    );
    sum.pass()
}

/// A mutant in full: what is needed to make it again and to see what is wrong.
pub fn describe(outcome: &Outcome) -> String {
    let mut text = format!(
        "  {}\n    at {}: {}\n",
        outcome.id, outcome.place, outcome.what
    );
    for (at, before, after) in &outcome.bytes {
        let _ = writeln!(text, "    file+{at:#x}: {before:02x?} -> {after:02x?}");
    }
    let sides = [
        ("C objtool", outcome.verdict.c_end, &outcome.verdict.c_new),
        (
            "objtool-rs",
            outcome.verdict.ours_end,
            &outcome.verdict.ours_new,
        ),
    ];
    for (tool, end, lines) in sides {
        let _ = writeln!(text, "    {tool} ({end})");
        for line in lines {
            let _ = match line.place.as_str() {
                "" => writeln!(text, "      {}", line.message),
                place => writeln!(text, "      {place}: {}", line.message),
            };
        }
    }
    text
}

/// Prints what objtool-rs alone warns about, by operator, how C objtool ended and what objtool-rs
/// says.
fn only_ours(plan: &Plan, outcomes: &[Outcome]) {
    let mut kinds: BTreeMap<(usize, String, String), (usize, String)> = BTreeMap::new();
    for outcome in outcomes {
        let verdict = &outcome.verdict;
        if !verdict.ours_warned() || verdict.c_warned() {
            continue;
        }
        let said = verdict.ours_new.first().map(|line| shape(&line.message));
        let key = (
            outcome.operator,
            verdict.c_end.to_string(),
            said.unwrap_or_default(),
        );
        let kind = kinds
            .entry(key)
            .or_insert_with(|| (0, outcome.id.to_string()));
        kind.0 += 1;
    }
    if kinds.is_empty() {
        return;
    }
    println!("Only objtool-rs warns:");
    let mut rows = vec![[
        "operator",
        "mutants",
        "C objtool",
        "objtool-rs",
        "for example",
    ]
    .map(str::to_owned)
    .to_vec()];
    for ((operator, c, ours), (count, example)) in kinds {
        rows.push(vec![
            plan.operators[operator].name.to_owned(),
            count.to_string(),
            c,
            ours,
            example,
        ]);
    }
    println!("{}", table::align(&rows));
}

/// Prints some of the mutants of which both tools say the same, but which they leave unlike.
fn output_differs(outcomes: &[Outcome]) {
    const SHOWN: usize = 20;
    let differ: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.verdict.only_output_differs())
        .collect();
    if differ.is_empty() {
        return;
    }
    println!(
        "Both tools say the same of {}, but write another file:",
        progress::counted(differ.len(), "mutant")
    );
    for outcome in differ.into_iter().take(SHOWN) {
        print!("{}", describe(outcome));
    }
    println!();
}

/// The beginning of a message without its numbers, so that those of one kind are the same.
fn shape(message: &str) -> String {
    const SHOWN: usize = 40;
    let words = message.split(' ').map(|word| {
        word.find(|c: char| c.is_ascii_digit())
            .map_or_else(|| word.to_owned(), |at| format!("{}N", &word[..at]))
    });
    let text = words.collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Prints what neither tool warns about, by operator and cause.
fn neither(plan: &Plan, outcomes: &[Outcome]) {
    let mut kinds: BTreeMap<(usize, Cause), (usize, String)> = BTreeMap::new();
    for outcome in outcomes {
        if let Some(cause) = outcome.cause {
            let example = || outcome.id.to_string();
            let kind = kinds
                .entry((outcome.operator, cause))
                .or_insert_with(|| (0, example()));
            kind.0 += 1;
        }
    }
    if kinds.is_empty() {
        return;
    }
    println!("Neither tool warns (KINDS.md beside the operators explains each cause):");
    let mut rows = vec![["operator", "mutants", "violation", "cause", "for example"]
        .map(str::to_owned)
        .to_vec()];
    for ((operator, cause), (count, example)) in kinds {
        rows.push(vec![
            plan.operators[operator].name.to_owned(),
            count.to_string(),
            cause.violation().to_string(),
            cause.name().to_owned(),
            example,
        ]);
    }
    println!("{}", table::align(&rows));
}

/// Writes a line per mutant: name, place, what was done, how the tools ended, what they said.
///
/// # Errors
/// The file cannot be written.
pub fn log(outcomes: &[Outcome], path: &Path) -> Result<()> {
    let mut text = String::from(
        "mutant\tplace\tchange\tC ended\tours ended\tsame stderr\tsame output\tcause\tC said\tours \
         said\n",
    );
    let lines = |lines: &[super::lines::Line]| {
        let lines = lines
            .iter()
            .map(|line| format!("{}: {}", line.place, line.message));
        lines.collect::<Vec<_>>().join(" | ")
    };
    for outcome in outcomes {
        let verdict = &outcome.verdict;
        let _ = writeln!(
            text,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
            outcome.id,
            outcome.place,
            outcome.what.replace('\t', " "),
            verdict.c_end,
            verdict.ours_end,
            verdict.same_stderr,
            verdict.same_output,
            outcome.cause.map_or("", Cause::name),
            lines(&verdict.c_new),
            lines(&verdict.ours_new),
        );
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_one_kind_have_one_shape() {
        assert_eq!(shape("unreachable instruction"), "unreachable instruction");
        assert_eq!(
            shape("symbol 12: it leaves .text [3]"),
            "symbol N it leaves .text [N"
        );
        let long = "can't find jump dest instruction at .text+0x";
        assert_eq!(shape(&format!("{long}1f")), shape(&format!("{long}200")));
        assert!(shape(long).ends_with("..."));
    }
}
