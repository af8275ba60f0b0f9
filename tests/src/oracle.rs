//! C objtool as a second opinion: finding it, and comparing its run with ours.
//!
//! A run with the oracle is stricter than the fixture's notes: the same lines in the same order, and
//! the same output file byte for byte.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::compare::{bytes_differ, warnings};
use crate::fixture::Fixture;
use crate::tool::{Outcome, Tool};

/// The C objtool to compare with: `$OBJTOOL_C`, else the one a cached kernel build left, newest
/// package version first; `None` where there is neither.
///
/// # Errors
/// The variable names no file.
pub fn find() -> Result<Option<Tool>> {
    if let Some(path) = std::env::var_os("OBJTOOL_C") {
        return Tool::at(PathBuf::from(path), "OBJTOOL_C").map(Some);
    }
    Ok(cache()
        .and_then(|cache| newest(&cache.join("build")))
        .map(|path| Tool { path }))
}

/// The project's cache folder outside the checkout.
fn cache() -> Option<PathBuf> {
    let var = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    var("OBJTOOL_RS_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|dir| dir.join("objtool-rs")))
        .or_else(|| var("HOME").map(|dir| dir.join(".cache/objtool-rs")))
}

/// The objtool of a build named `<config>-c` below `build/<package version>/`.
fn newest(build: &Path) -> Option<PathBuf> {
    let list = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|e| e.path()).collect();
        paths.sort();
        paths
    };
    let builds = list(build)
        .into_iter()
        .rev()
        .flat_map(|version| list(&version));
    builds
        .filter(|dir| {
            dir.file_name()
                .is_some_and(|n| n.to_string_lossy().ends_with("-c"))
        })
        .map(|dir| dir.join("tools/objtool/objtool"))
        .find(|path| path.is_file())
}

/// Where `ours` differs from the oracle's run on the same object, in words.
pub fn differences(fixture: &Fixture, ours: &Outcome, theirs: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    if ours.status != theirs.status {
        found.push(format!(
            "exit status {:?}, C's is {:?}",
            ours.status, theirs.status
        ));
    }
    // `stderr:` speaks of text that a tool may word in its own way.
    let lines = |o: &Outcome| -> Vec<String> {
        if fixture.stderr.is_empty() {
            o.stderr.lines().map(str::to_owned).collect()
        } else {
            warnings(&o.stderr)
                .map(|(line, _)| line.to_owned())
                .collect()
        }
    };
    let (our_lines, their_lines) = (lines(ours), lines(theirs));
    if our_lines != their_lines {
        found.push(format!(
            "standard error differs\n    ours:\n{}    C's:\n{}",
            indented(&our_lines),
            indented(&their_lines)
        ));
    }
    // What `--stats` counts is each tool's own; anything else on standard output is a dump.
    let counts = fixture.args.iter().any(|arg| arg == "--stats");
    if !counts && ours.stdout != theirs.stdout {
        found.push(format!(
            "standard output differs\n    ours:\n{}    C's:\n{}",
            indented(&ours.stdout.lines().map(str::to_owned).collect::<Vec<_>>()),
            indented(&theirs.stdout.lines().map(str::to_owned).collect::<Vec<_>>())
        ));
    }
    if let Some(words) = bytes_differ(&ours.after, &theirs.after) {
        found.push(format!("the output file differs from C's: {words}"));
    }
    if ours.created != theirs.created {
        found.push(format!(
            "files created: {:?}, C's {:?}",
            ours.created, theirs.created
        ));
    }
    found
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("      {line}\n")).collect()
}
