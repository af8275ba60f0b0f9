//! `./x debian modules`: the verdict on every module that a distribution ships.
//!
//! They are built for the ORC unwinder. Most have functions without a frame, so for them the answer
//! is no; the others hold little code. There must be an answer for every one of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{bail, Context, Result};
use rayon::prelude::*;

use super::package;
use crate::{cmd, judge, objtool, progress, setup};

/// The package that stands for the newest kernel's.
const PACKAGE: &str = "linux-image-6.12-amd64";

/// Where the modules are in it, for tar.
const PATTERN: &str = "./lib/modules/*";

/// How many are judged in one run.
const BATCH: usize = 200;

/// Fewer are no set of modules.
const FEWEST: usize = 1000;

/// Runs `./x debian modules`.
///
/// # Errors
/// The modules cannot be had, or one of them cannot be judged.
pub fn run() -> Result<()> {
    setup::run()?;
    let (_, modules) = all()?;
    let objtool = objtool::ours()?;
    let start = Instant::now();
    let bar = progress::bar(modules.len() as u64, "modules");
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    for batch in modules.chunks(BATCH) {
        for judged in judge::run(&objtool, batch)? {
            let verdict = match (judged.reliable, judged.reason.as_deref()) {
                (true, _) if judged.functions.keep_no_frame > 0 => "holds, with exceptions",
                (true, _) => "holds",
                (false, Some("orc")) => "no: built for ORC",
                (false, _) => bail!("{}: no, for another reason than ORC", judged.file),
            };
            *verdicts.entry(verdict).or_default() += 1;
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    for (verdict, count) in verdicts {
        println!("{count:>6}  {verdict}");
    }
    println!(
        "{} of Debian judged in {}",
        progress::counted(modules.len(), "module"),
        progress::since(start)
    );
    Ok(())
}

/// The folder with the package's files, and all modules in it.
///
/// # Errors
/// They cannot be had, or are too few to be all.
pub fn all() -> Result<(PathBuf, Vec<PathBuf>)> {
    let files = package::current_files(PACKAGE, PATTERN)?;
    let mut packed = Vec::new();
    collect(&files, "xz", &mut packed)?;
    packed.par_chunks(BATCH).try_for_each(|batch| {
        let mut xz = Command::new("xz");
        cmd::output(xz.arg("--decompress").args(batch)).map(drop)
    })?;
    let mut modules = Vec::new();
    collect(&files, "ko", &mut modules)?;
    modules.sort();
    if modules.len() < FEWEST {
        bail!("{} holds only {} modules", files.display(), modules.len());
    }
    Ok((files, modules))
}

/// All files below a folder whose names end so.
fn collect(folder: &Path, end: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, end, found)?;
        } else if path.extension().is_some_and(|extension| extension == end) {
            found.push(path);
        }
    }
    Ok(())
}
