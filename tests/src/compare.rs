//! Comparing a run with a fixture, both ways, and saying in words where they part.

use std::path::Path;

use anyhow::Result;

use crate::compile;
use crate::fixture::{Fixture, Kind, Note};
use crate::lines::LineMap;
use crate::observe;
use crate::oracle;
use crate::tool::{Outcome, Tool, OBJECT_MODE};

/// The warning lines of a tool's standard error: the whole line, and what stands behind
/// `objtool: `.
pub fn warnings(stderr: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = stderr.lines();
    lines.filter_map(|line| Some((line, line.split_once(": warning: objtool: ")?.1)))
}

/// Runs `tool` on the fixture at `path` and compares; with an oracle, compares with its run too.
///
/// With `FIXTURES_BLESS` set, a fixture whose notes don't hold gets the notes that do; whatever
/// else does not hold stays an error.
///
/// # Errors
/// Everything that does not hold, in words; a fixture that can't be read or built.
pub fn check(path: &Path, tool: &Tool, oracle: Option<&Tool>) -> Result<()> {
    let mut fixture = Fixture::read(path)?;
    let dir = tempfile::tempdir()?;
    let built = compile::build(&fixture, dir.path())?;
    let lines = LineMap::read(&std::fs::read(&built.with_lines)?, path)?;
    let ours = tool.run(&built.object, &fixture.args, &fixture.env)?;
    let notes = observe::notes(&ours, &lines)?;

    if notes != fixture.expected && std::env::var_os("FIXTURES_BLESS").is_some() {
        std::fs::write(path, fixture.blessed(&notes))?;
        fixture.expected = notes.clone();
    }
    let mut problems = unlike(&fixture, &ours, &notes);
    if let Some(oracle) = oracle.filter(|o| *o != tool && fixture.differs.is_none()) {
        let theirs = oracle.run(&built.object, &fixture.args, &fixture.env)?;
        problems.extend(oracle::differences(&fixture, &ours, &theirs));
    }
    if problems.is_empty() {
        return Ok(());
    }
    let shown = path.strip_prefix(crate::root()).unwrap_or(path).display();
    anyhow::bail!(
        "{shown}: {} with {} {}\n{}",
        match problems.len() {
            1 => "1 difference".to_owned(),
            n => format!("{n} differences"),
        },
        tool.path.display(),
        fixture.args.join(" "),
        problems
            .iter()
            .map(|p| format!("  {p}\n"))
            .collect::<String>()
    )
}

/// Options as builds give them, all that one of them may give at once, with a name for the test.
///
/// None has `--verbose`, whose disassembly each tool words in its own way, and all have `--module`:
/// without it a static call whose key is not there stops C objtool half way.
pub const BUILDS: [(&str, &[&str]); 4] = [
    (
        "frame pointers",
        &[
            "--hacks=jump_label,noinstr,skylake",
            "--retpoline",
            "--rethunk",
            "--stackval",
            "--static-call",
            "--uaccess",
            "--prefix=16",
            "--backtrace",
            "--module",
        ],
    ),
    (
        "orc",
        &[
            "--hacks=jump_label,noinstr,skylake",
            "--cfi",
            "--mcount",
            "--mnop",
            "--orc",
            "--retpoline",
            "--rethunk",
            "--sls",
            "--static-call",
            "--uaccess",
            "--prefix=16",
            "--backtrace",
            "--module",
        ],
    ),
    (
        "linked",
        &[
            "--hacks=jump_label,noinstr,skylake",
            "--cfi",
            "--ibt",
            "--mcount",
            "--noinstr",
            "--orc",
            "--retpoline",
            "--rethunk",
            "--sls",
            "--static-call",
            "--uaccess",
            "--unret",
            "--prefix=16",
            "--backtrace",
            "--link",
            "--module",
        ],
    ),
    // What is left for the linked kernel when its parts were validated one by one.
    (
        "linked from validated parts",
        &[
            "--cfi",
            "--ibt",
            "--noinstr",
            "--rethunk",
            "--unret",
            "--backtrace",
            "--link",
            "--module",
        ],
    ),
];

/// Runs `tool` and `oracle` on the fixture at `path` with the options of a build, and compares the
/// two runs; the fixture's notes hold for its own options only.
///
/// # Errors
/// Everything in which the runs differ, in words; a fixture that can't be read or built.
pub fn check_build(path: &Path, options: &[&str], tool: &Tool, oracle: &Tool) -> Result<()> {
    let fixture = Fixture::read(path)?;
    let dir = tempfile::tempdir()?;
    let built = compile::build(&fixture, dir.path())?;
    let args: Vec<String> = options.iter().copied().map(String::from).collect();
    let ours = tool.run(&built.object, &args, &[])?;
    let theirs = oracle.run(&built.object, &args, &[])?;
    let problems = oracle::differences(&fixture, &ours, &theirs);
    if problems.is_empty() {
        return Ok(());
    }
    let shown = path.strip_prefix(crate::root()).unwrap_or(path).display();
    let text = problems
        .iter()
        .map(|p| format!("  {p}\n"))
        .collect::<String>();
    anyhow::bail!("{shown} with {}\n{text}", args.join(" "))
}

/// Where a run and its notes are unlike what the fixture says.
pub fn unlike(fixture: &Fixture, outcome: &Outcome, notes: &[Note]) -> Vec<String> {
    let mut problems = Vec::new();
    if fixture.is_vacuous() {
        problems.push("the fixture expects nothing; say `expect: nothing` if that is meant".into());
    }
    for note in without(&fixture.expected, notes) {
        problems.push(format!("missing     {note}{}", quoted(fixture, &note)));
    }
    for note in without(notes, &fixture.expected) {
        problems.push(format!("unexpected  {note}{}", quoted(fixture, &note)));
    }
    if outcome.status != Some(fixture.exit) {
        let status = match outcome.status {
            Some(status) => status.to_string(),
            None => "ended by a signal".into(),
        };
        problems.push(format!("exit status {status}, expected {}", fixture.exit));
    }
    let other: Vec<&str> = outcome
        .stderr
        .lines()
        .filter(|l| !l.contains(": warning: objtool: "))
        .collect();
    texts(
        "standard output",
        &fixture.stdout,
        &outcome.stdout,
        &mut problems,
    );
    texts(
        "standard error",
        &fixture.stderr,
        &other.join("\n"),
        &mut problems,
    );
    if outcome.created != fixture.creates {
        problems.push(format!(
            "files left: {:?}, expected {:?}",
            outcome.created, fixture.creates
        ));
    }
    if outcome.mode != OBJECT_MODE {
        problems.push(format!(
            "the object's mode became {:o}, was {OBJECT_MODE:o}",
            outcome.mode
        ));
    }
    let writes = notes
        .iter()
        .any(|n| !matches!(n.kind, Kind::Finding | Kind::Backtrace));
    if !writes && !outcome.untouched {
        problems.push("the object was written though nothing in it changed".into());
    }
    problems
}

/// `texts` must all appear in `output`; without any, it must be empty.
fn texts(what: &str, texts: &[String], output: &str, problems: &mut Vec<String>) {
    if texts.is_empty() && !output.trim().is_empty() {
        problems.push(format!("{what} is not empty:\n{output}"));
    }
    for text in texts.iter().filter(|text| !output.contains(*text)) {
        problems.push(format!("{what} lacks `{text}`:\n{output}"));
    }
}

/// `notes` without those in `others`, counting repetitions.
fn without(notes: &[Note], others: &[Note]) -> Vec<Note> {
    let mut others = others.to_vec();
    let mut left = Vec::new();
    for note in notes {
        match others.iter().position(|other| other == note) {
            Some(at) => drop(others.swap_remove(at)),
            None => left.push(note.clone()),
        }
    }
    left
}

fn quoted(fixture: &Fixture, note: &Note) -> String {
    note.line.map_or(String::new(), |n| {
        format!("\n              {n} | {}", fixture.line(n))
    })
}

/// The first difference of two files, or `None` where there is none.
pub fn bytes_differ(ours: &[u8], theirs: &[u8]) -> Option<String> {
    if ours == theirs {
        return None;
    }
    let at = ours.iter().zip(theirs).position(|(a, b)| a != b);
    let at = at.unwrap_or(ours.len().min(theirs.len()));
    Some(format!(
        "{} and {} bytes, first difference at {at:#x}: {:02x?} and {:02x?}",
        ours.len(),
        theirs.len(),
        &ours[at..ours.len().min(at + 8)],
        &theirs[at..theirs.len().min(at + 8)]
    ))
}
