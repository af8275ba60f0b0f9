//! One fixture: linked, judged, and compared with its notes, both ways.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use objtool_rs::verify::{self, Class as Found, Report};

use super::judge::{self, Exception, Range};
use super::lines::{self, Lines};
use super::link::{self, Objects};
use super::source::{Class, Kind, Note, Source, Verdict};
use super::{table, text};
use crate::tool::Tool;

/// Functions of the part that makes exceptions exceptions; nothing is said about them.
const BULK: &str = "bulk_";

/// Builds a fixture and compares what the tool says with the notes.
///
/// # Errors
/// Every difference, and everything that keeps the comparison from being made.
pub fn check(path: &Path, tool: &Tool) -> Result<()> {
    let source = Source::read(path)?;
    let mut sources = vec![source.clone()];
    for part in &source.with {
        sources.push(Source::read(part)?);
    }
    let dir = tempfile::tempdir()?;
    let objects = link::compile(&source, dir.path())?;
    let name = match source.kind {
        Kind::Module => "module.ko",
        Kind::Kernel | Kind::Sections => "vmlinux",
    };
    let image = objects.link(name)?;
    if let Verdict::Error(text) = &source.verdict {
        return refused(tool, &image, name, text);
    }

    let found = judge::verdict(tool, &[], &image)?;
    let data = fs::read(&image)?;
    let file = verify::read(&data).map_err(|e| anyhow::anyhow!("{e}"))?;
    let report = verify::verify(&file, verify::Request::default(), &|_| {})
        .map_err(|e| anyhow::anyhow!("{e}"))?;

    let mut wrong = Vec::new();
    let reason = match &source.verdict {
        Verdict::No(reason) => Some(reason.clone()),
        _ => None,
    };
    if found.reason != reason || found.reliable != reason.is_none() {
        wrong.push(format!(
            "reliable is {}, for the reason {:?}; expected the reason {reason:?}",
            found.reliable, found.reason
        ));
    }
    let kind = if source.kind == Kind::Module {
        "module"
    } else {
        "image"
    };
    if found.kind != kind || found.file != image.display().to_string() {
        wrong.push(format!("told of {} {}", found.kind, found.file));
    }
    if source
        .ranges
        .is_some_and(|count| count != found.ranges.len())
    {
        wrong.push(format!("{} ranges", found.ranges.len()));
    }
    let counted = count(&report);
    if counted != found.counts {
        wrong.push(format!(
            "counts {:?}, but there are {counted:?}",
            found.counts
        ));
    }

    let all: Vec<&Path> = sources.iter().map(|source| source.path.as_path()).collect();
    let lines = Lines::read(&data, &all)?;
    let expected = expected(&sources);
    let exceptions = exceptions(&report, &file);
    // Where nothing holds, everything is an exception, and none is told.
    let told = if found.reliable { &exceptions[..] } else { &[] };
    let actual = actual(&report, told, &lines);
    wrong.extend(
        expected
            .difference(&actual)
            .map(|e| format!("missing     {e}")),
    );
    wrong.extend(
        actual
            .difference(&expected)
            .map(|a| format!("unexpected  {a}")),
    );

    if found.reliable {
        let listed: Vec<String> = found.exceptions.iter().map(|e| format!("{e:?}")).collect();
        let known: Vec<String> = exceptions.iter().map(|e| format!("{e:?}")).collect();
        if listed != known {
            wrong.push(format!("listed {listed:#?}\nbut there are {known:#?}"));
        }
        let functions = functions(&report, &file);
        wrong.extend(text::complaints(&data, &functions, &found.ranges)?);
        let size: u64 = found.ranges.iter().map(|range| range.size).sum();
        if size != found.unreliable_size {
            wrong.push(format!(
                "unreliable_size {}, not {size}",
                found.unreliable_size
            ));
        }
        if let Err(error) = linked_in(tool, &objects, &image, &found.ranges) {
            wrong.push(format!("{error:#}"));
        }
    } else if !found.exceptions.is_empty() || !found.ranges.is_empty() {
        wrong.push("exceptions where nothing holds".into());
    }
    human(tool, &image, &found)?;

    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{}:\n  {}", path.display(), wrong.join("\n  "))
}

/// The file must be refused with one error that holds `text`.
fn refused(tool: &Tool, image: &Path, name: &str, text: &str) -> Result<()> {
    let run = judge::run(tool, &[], image)?;
    let lead = format!("{}: error: objtool: ", image.display());
    ensure!(
        run.status == Some(1)
            && run.stdout.is_empty()
            && run.stderr.lines().count() == 1
            && run.stderr.starts_with(&lead)
            && run.stderr.contains(text),
        "{name} is not refused with one line and `{text}`: exit status {:?}\n{}{}",
        run.status,
        run.stdout,
        run.stderr
    );
    Ok(())
}

/// The verdict for people names the same numbers, and every exception of a short list.
fn human(tool: &Tool, image: &Path, found: &judge::Verdict) -> Result<()> {
    let run = judge::run(tool, &[], image)?;
    let path = image.display();
    let first = run.stdout.lines().next().unwrap_or_default();
    let holds = first.starts_with(&format!("{path}: HAVE_RELIABLE_STACKTRACE holds"));
    let fails = first.starts_with(&format!("{path}: no, "));
    ensure!(
        holds == found.reliable && fails != found.reliable && run.stderr.is_empty(),
        "the verdict for people begins with: {first}"
    );
    let [keep, none, not] = found.counts;
    for (count, what) in [
        (keep + none + not, "functions\n"),
        (keep, "keep their frame"),
        (none, "make no call"),
        (not, "keep no frame"),
    ] {
        let line = format!("{count:>8} {what}");
        ensure!(
            run.stdout.contains(&line),
            "no `{line}` in:\n{}",
            run.stdout
        );
    }
    if found.exceptions.len() <= 12 {
        for exception in &found.exceptions {
            ensure!(
                run.stdout.contains(&exception.name) && run.stdout.contains(&exception.reason),
                "{} is not named in:\n{}",
                exception.name,
                run.stdout
            );
        }
    }
    Ok(())
}

/// The table, linked in by a second pass, must say of the new image what the verdict says of it.
fn linked_in(tool: &Tool, objects: &Objects, image: &Path, ranges: &[Range]) -> Result<()> {
    let assembly = image.with_file_name("unreliable.S");
    let named = assembly.to_str().context("a path that is no UTF-8")?;
    let with_table = ["--unreliable-text", named];
    judge::verdict(tool, &with_table, image)?;
    let second = objects.link_with("second", &[&assembly])?;
    let again = judge::verdict(tool, &with_table, &second)?;
    ensure!(
        again.ranges == ranges,
        "the image with the table has other ranges: {:x?}, not {ranges:x?}",
        again.ranges
    );
    let third = objects.link_with("third", &[&assembly])?;
    ensure!(
        fs::read(&second)? == fs::read(&third)?,
        "the table of an image that has one is another table"
    );
    let data = fs::read(&second)?;
    if again.kind == "module" {
        let table = table::read_module(&data)?;
        let expected: Vec<_> = ranges
            .iter()
            .map(|r| (r.section.clone(), r.offset, r.size))
            .collect();
        ensure!(table == expected, "the table is {table:x?}");
        return Ok(());
    }
    let table = table::read(&data)?;
    let expected: Vec<(u64, u64)> = ranges.iter().map(|r| (r.address, r.size)).collect();
    ensure!(table == expected, "the table is {table:x?}");
    Ok(())
}

fn count(report: &Report) -> [u64; 3] {
    let mut counts = [0; 3];
    for function in &report.functions {
        counts[match function.class {
            Found::KeepsFrame => 0,
            Found::MakesNoCall => 1,
            Found::KeepsNoFrame(_) => 2,
        }] += 1;
    }
    counts
}

fn exceptions(report: &Report, file: &objtool_rs::read::ElfFile<'_>) -> Vec<Exception> {
    let mut exceptions = Vec::new();
    for function in &report.functions {
        if let Found::KeepsNoFrame(why) = &function.class {
            exceptions.push(Exception {
                name: function.name.clone(),
                address: function.address,
                size: function.size,
                section: file.section(function.section).display_name().into_owned(),
                code: why.code.to_owned(),
                reason: why.text.clone(),
                offset: why.offset,
            });
        }
    }
    exceptions
}

fn functions(report: &Report, file: &objtool_rs::read::ElfFile<'_>) -> Vec<text::Function> {
    let functions = report.functions.iter();
    functions
        .map(|function| text::Function {
            section: file.section(function.section).display_name().into_owned(),
            offset: file.symbol(function.symbol).value,
            size: function.size,
            trusted: !matches!(function.class, Found::KeepsNoFrame(_)),
        })
        .collect()
}

/// Notes as they are compared: classes by name wherever they stand, findings by their line.
fn expected(sources: &[Source]) -> BTreeSet<String> {
    let mut notes = BTreeSet::new();
    for source in sources {
        let file = lines::name(&source.path);
        for (line, note) in &source.notes {
            let is_new = notes.insert(match note {
                Note::Class(..) => note.to_string(),
                Note::Finding(_) => format!("{file}:{line}: {note}"),
            });
            assert!(is_new, "{file}:{line}: {note}: twice");
        }
    }
    notes
}

fn actual(report: &Report, exceptions: &[Exception], lines: &Lines) -> BTreeSet<String> {
    let mut notes = BTreeSet::new();
    for function in &report.functions {
        if function.name.starts_with(BULK) {
            continue;
        }
        let class = match function.class {
            Found::KeepsFrame => Class::KeepsFrame,
            Found::MakesNoCall => Class::MakesNoCall,
            Found::KeepsNoFrame(_) => Class::KeepsNoFrame,
        };
        notes.insert(Note::Class(function.name.clone(), class).to_string());
    }
    for exception in exceptions {
        let place = exception
            .address
            .wrapping_add_signed(exception.offset.unwrap_or(0));
        let at = match lines.line(&exception.section, place) {
            Some((file, line)) => format!("{file}:{line}"),
            None => format!("{}+{:#x}", exception.name, exception.offset.unwrap_or(0)),
        };
        let note = Note::Finding(exception.reason.clone());
        notes.insert(format!("{at}: {note}"));
    }
    notes
}
