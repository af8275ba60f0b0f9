//! The first half of parity: objtool-rs on every object that the C build recorded, each outcome
//! compared to that of C objtool.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::elf;
use crate::paths::CorpusObject;
use crate::progress;

/// No object takes C objtool a second; one that takes this long hangs.
const LIMIT_SECONDS: &str = "60";

/// How one object compares.
pub struct Outcome {
    /// The object.
    pub name: String,
    /// What came of its contents.
    pub contents: Contents,
    /// Lines of C objtool that ours did not print.
    pub missing: Vec<String>,
    /// Lines that only ours printed.
    pub extra: Vec<String>,
}

/// What came of an object's contents.
#[derive(Debug, PartialEq, Eq)]
pub enum Contents {
    /// Byte for byte the same file.
    Identical,
    /// The same sections, relocations and symbols, at other places in the file.
    OtherLayout,
    /// Different; how, in words.
    Differ(Vec<String>),
    /// objtool-rs did not end as it must; how, in words.
    Failed(String),
}

impl Outcome {
    /// Whether objtool-rs did what C objtool did.
    pub fn agrees(&self) -> bool {
        matches!(self.contents, Contents::Identical | Contents::OtherLayout)
            && self.missing.is_empty()
            && self.extra.is_empty()
    }
}

/// Runs objtool-rs on every object and compares; the outcomes keep the objects' order.
///
/// # Errors
/// A recorded file cannot be read, or there is no room for the copies.
pub fn run(objtool: &Path, objects: &[CorpusObject]) -> Result<Vec<Outcome>> {
    let bar = progress::bar(objects.len() as u64, "comparing objects");
    let outcomes = objects
        .par_iter()
        .map(|object| {
            let outcome =
                compare(objtool, object).with_context(|| format!("cannot compare {}", object.name));
            bar.inc(1);
            outcome
        })
        .collect();
    bar.finish_and_clear();
    outcomes
}

fn compare(objtool: &Path, object: &CorpusObject) -> Result<Outcome> {
    let dir = tempfile::Builder::new()
        .prefix("objtool-rs-parity-")
        .tempdir()?;
    let file = dir.path().join(&object.name);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(&object.input, &file)?;

    // The same working directory and name as in the build: findings carry them.
    let mut command = Command::new("timeout");
    command
        .arg(LIMIT_SECONDS)
        .arg(objtool)
        .args(&object.args)
        .arg(&object.name);
    let output = command
        .current_dir(dir.path())
        .env_remove("OBJTOOL_ARGS")
        .env_remove("OBJTOOL_VERBOSE")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", objtool.display()))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();

    let contents = if output.status.success() {
        compare_contents(&fs::read(&object.output)?, &fs::read(&file)?)?
    } else {
        let how = match output.status.code() {
            Some(124) => format!("did not end within {LIMIT_SECONDS} s"),
            _ => format!(
                "{}: {}",
                output.status,
                said.lines().last().unwrap_or("no message")
            ),
        };
        Contents::Failed(how)
    };
    let (missing, extra) = match contents {
        // What a failed run says is told already.
        Contents::Failed(_) => (Vec::new(), Vec::new()),
        _ => compare_lines(&fs::read_to_string(&object.stderr)?, &said),
    };
    Ok(Outcome {
        name: object.name.clone(),
        contents,
        missing,
        extra,
    })
}

fn compare_contents(theirs: &[u8], ours: &[u8]) -> Result<Contents> {
    if theirs == ours {
        return Ok(Contents::Identical);
    }
    // C objtool's output is known to be readable; ours is not.
    Ok(match elf::differences(theirs, ours) {
        Ok(found) if found.is_empty() => Contents::OtherLayout,
        Ok(found) => Contents::Differ(found),
        Err(error) => Contents::Differ(vec![format!("cannot be read: {error:#}")]),
    })
}

/// The lines that only the first has, and those that only the second has. Lines of the same words
/// in another order count as both.
fn compare_lines(theirs: &str, ours: &str) -> (Vec<String>, Vec<String>) {
    let only = |a: &str, b: &str| -> Vec<String> {
        let mut spare: Vec<&str> = b.lines().collect();
        let mut left = Vec::new();
        for line in a.lines() {
            match spare.iter().position(|candidate| *candidate == line) {
                Some(at) => drop(spare.swap_remove(at)),
                None => left.push(line.to_owned()),
            }
        }
        left
    };
    let (missing, extra) = (only(theirs, ours), only(ours, theirs));
    if missing.is_empty() && extra.is_empty() {
        let moved = theirs
            .lines()
            .zip(ours.lines())
            .find(|(theirs, ours)| theirs != ours);
        if let Some((theirs, ours)) = moved {
            return (
                vec![format!("{theirs} (here)")],
                vec![format!("{ours} (here)")],
            );
        }
    }
    (missing, extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_extra_and_moved_lines_are_told_apart() {
        let none: Vec<String> = Vec::new();
        assert_eq!(
            compare_lines("a\nb\n", "a\nb\n"),
            (none.clone(), none.clone())
        );
        assert_eq!(
            compare_lines("a\nb\nb\n", "a\nb\n"),
            (vec!["b".to_owned()], none.clone())
        );
        assert_eq!(compare_lines("a\n", "a\nc\n"), (none, vec!["c".to_owned()]));
        let (missing, extra) = compare_lines("a\nb\n", "b\na\n");
        assert_eq!((missing.len(), extra.len()), (1, 1));
    }

    /// Compares a tool given as a shell script, on an object whose C output is `sh` itself.
    fn outcome_of(script: &str, said_by_c: &str) -> Outcome {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let tool = crate::cmd::script(dir.path(), "tool", script);
        for file in ["in.o", "out.o"] {
            fs::copy("/bin/sh", path(file)).unwrap();
        }
        fs::write(path("stderr"), said_by_c).unwrap();
        let object = CorpusObject {
            name: "kernel/fork.o".to_owned(),
            input: path("in.o"),
            args: vec!["--stackval".to_owned()],
            output: path("out.o"),
            stderr: path("stderr"),
        };
        run(&tool, &[object]).unwrap().remove(0)
    }

    #[test]
    fn a_tool_that_does_the_same_agrees() {
        let outcome = outcome_of("echo \"$2: $1\" >&2", "kernel/fork.o: --stackval\n");
        assert_eq!(outcome.contents, Contents::Identical);
        assert!(
            outcome.agrees(),
            "{:?} {:?}",
            outcome.missing,
            outcome.extra
        );
    }

    #[test]
    fn a_tool_that_says_something_else_does_not_agree() {
        let outcome = outcome_of("echo more >&2", "less\n");
        assert_eq!(
            (&outcome.missing[..], &outcome.extra[..]),
            (&["less".to_owned()][..], &["more".to_owned()][..])
        );
        assert!(!outcome.agrees());
    }

    #[test]
    fn a_tool_that_fails_or_spoils_the_file_does_not_agree() {
        let outcome = outcome_of("echo no such thing >&2; exit 1", "");
        assert_eq!(
            outcome.contents,
            Contents::Failed("exit status: 1: no such thing".to_owned())
        );
        assert!(!outcome.agrees());
        let outcome = outcome_of("echo spoilt >\"$2\"", "");
        assert!(matches!(&outcome.contents, Contents::Differ(how)
            if how[0].starts_with("cannot be read: the second file")));
        assert!(!outcome.agrees());
    }
}
