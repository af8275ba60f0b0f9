//! The fuzzer's kept inputs, replayed: what it once found stays found, on any toolchain.
//!
//! The inputs are in `objtool-rs/fuzz/corpus/`, a folder a target; what is done with them, and what
//! must hold, is the same as in the fuzzer.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use tests::fuzz::{Target, TARGETS};

fn folder(name: &str) -> PathBuf {
    tests::root().join("objtool-rs/fuzz").join(name)
}

/// The entries of a folder, sorted.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let list = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = list.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Runs all inputs of a target, and names those that fail.
fn replay(target: &str) {
    let found = TARGETS.iter().find(|t| t.name == target);
    let &Target { run, .. } = found.expect("a target of this name");
    let inputs = entries(&folder("corpus").join(target));
    assert!(inputs.len() > 20, "{} inputs are no corpus", inputs.len());
    let failed: Vec<&PathBuf> = inputs
        .iter()
        .filter(|path| {
            let input = fs::read(path).unwrap();
            catch_unwind(|| run(&input)).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "the panics above come from {failed:?}");
}

#[test]
fn elf() {
    replay("elf");
}

#[test]
fn decode() {
    replay("decode");
}

#[test]
fn annotations() {
    replay("annotations");
}

#[test]
fn object() {
    replay("object");
}

#[test]
fn orc_dump() {
    replay("orc_dump");
}

#[test]
fn verify() {
    replay("verify");
}

/// A target without a corpus, or a corpus without a target, would be forgotten silently.
#[test]
fn every_target_has_its_program_and_its_corpus() {
    let mut names: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
    names.sort();
    for (where_, extension) in [("fuzz_targets", ".rs"), ("corpus", "")] {
        let found: Vec<String> = entries(&folder(where_))
            .iter()
            .map(|path| {
                let name = path.file_name().unwrap().to_string_lossy();
                name.strip_suffix(extension).unwrap_or(&name).to_owned()
            })
            .collect();
        assert_eq!(found, names, "{where_}");
    }
}
