//! `./x parity verify`: the verdict on linked code against the verdicts on its objects, of the same
//! build. What the linker made is judged without any annotation, and still must say what the
//! objects say with all of theirs.
//!
//! - `code`: the code of a file, and what annotations say about it;
//! - `placing`: where the code of objects lies in a linked file;
//! - `compare`: the claims of the objects, and the verdict on each;
//! - `explained`: the differences that have a reason, listed in `DIFFERENCES.md`.

mod code;
mod compare;
mod explained;
mod placing;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};
use rayon::prelude::*;

use self::compare::{Object, Outcome};
use self::placing::Linked;
use super::images;
use crate::configs::Config;
use crate::judge::{self, Judged};
use crate::kernel::build;
use crate::mutants::Line;
use crate::paths::{CorpusObject, Kernel, Tool};
use crate::{cmd, objtool, progress, setup};

/// The configuration whose differences are explained.
const CONFIG: &str = "x86_64-fp";

/// The explained differences.
const DIFFERENCES: &str = include_str!("DIFFERENCES.md");

/// What the build links first.
const IMAGE: &str = "vmlinux";

/// Arguments of `./x parity verify`.
#[derive(clap::Args)]
pub struct Args {
    /// Use this program in place of objtool-rs
    #[arg(long, value_name = "FILE")]
    ours: Option<PathBuf>,
}

/// Runs the command: the table, the differences with their reasons, and the result in a line.
///
/// # Errors
/// A difference is not explained, or an explanation outdated; or there is nothing to compare.
pub fn run(args: &Args) -> Result<String> {
    setup::run()?;
    let config = Config::named(CONFIG)?;
    let built = build::run(config, Tool::C)?;
    println!("{}", built.summary());
    let corpus = Kernel::installed()?.corpus(config.name)?;
    let mut objects = BTreeMap::new();
    for object in read_objects(&corpus)? {
        objects.insert(object.name.clone(), object);
    }

    let mut files = vec![IMAGE.to_owned()];
    for module in images::modules(&built.dir)? {
        let name = module.to_str().context("a module's path is no text")?;
        files.push(name.to_owned());
    }
    let paths: Vec<_> = files.iter().map(|file| built.dir.join(file)).collect();
    let objtool = match &args.ours {
        Some(path) => path.clone(),
        None => objtool::ours()?,
    };
    let verdicts = judge::run(&objtool, &paths)?;

    let mut all = Outcome::default();
    let mut linked_objects = BTreeSet::new();
    for (file, judged) in files.iter().zip(&verdicts) {
        if !judged.reliable {
            bail!("{file}: the verdict is `no`, so there is no list to compare");
        }
        let members = members(&built.dir, file)?;
        let outcome = one(&built.dir, file, &members, &objects, judged)
            .with_context(|| format!("cannot compare {file}"))?;
        linked_objects.extend(members);
        all.add(outcome);
    }
    table(files.len(), linked_objects.len(), &all);

    let list = explained::read(DIFFERENCES)?;
    let open = explained::open(&all.differences, &list);
    for (difference, about) in &all.differences {
        let reason = list.get(difference).map_or("NOT EXPLAINED", String::as_str);
        println!("  {difference} ({about})\n      {reason}");
    }
    for difference in &open.outdated {
        println!("  {difference}\n      EXPLAINED, BUT NOT THE CASE");
    }
    if !open.is_empty() {
        bail!(
            "{} not explained, {} explained in vain; the list is \
             xtask/src/parity/verify/DIFFERENCES.md",
            progress::counted(open.unexplained.len(), "difference"),
            open.outdated.len(),
        );
    }
    Ok(format!(
        "{CONFIG}: {} agree with their objects, but for {}, all explained",
        progress::counted(all.clean + all.exempt, "function"),
        progress::counted(all.differences.len(), "difference"),
    ))
}

fn table(files: usize, objects: usize, all: &Outcome) {
    println!(
        "\nverdicts on {} against {}",
        progress::counted(files, "linked file"),
        progress::counted(objects, "object")
    );
    for (what, count) in [
        ("functions of the objects", all.functions),
        ("right in the object, trusted when linked", all.clean),
        ("exempt in the object, not trusted", all.exempt),
        ("no claim: with findings, or not validated", all.open),
        ("weak, replaced by another file's", all.replaced),
        ("instructions of entry code, not trusted", all.entry_code),
        ("differences", all.differences.len()),
    ] {
        println!("  {what:<44} {count:>6}");
    }
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.functions += other.functions;
        self.replaced += other.replaced;
        self.clean += other.clean;
        self.exempt += other.exempt;
        self.entry_code += other.entry_code;
        self.open += other.open;
        self.differences.extend(other.differences);
    }
}

/// Compares one linked file to its objects.
fn one(
    dir: &Path,
    file: &str,
    members: &[String],
    objects: &BTreeMap<String, Object>,
    judged: &Judged,
) -> Result<Outcome> {
    let members: Vec<&Object> = members
        .iter()
        .map(|name| {
            objects
                .get(name)
                .with_context(|| format!("{name} is linked, but was not recorded"))
        })
        .collect::<Result<_>>()?;
    let data = fs::read(dir.join(file))?;
    let linked = Linked::new(code::read(&data)?);
    let outcome = compare::compare(file, &members, &linked, judged)?;
    if outcome.clean == 0 {
        bail!("not one function of its objects is found in it");
    }
    Ok(outcome)
}

/// The objects that a file is linked from, in the linker's order.
fn members(dir: &Path, file: &str) -> Result<Vec<String>> {
    let list = if file == IMAGE {
        cmd::stdout(Command::new("ar").args(["t", "vmlinux.a"]).current_dir(dir))?
    } else {
        let list = dir.join(file).with_extension("mod");
        fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?
    };
    Ok(list.split_whitespace().map(str::to_owned).collect())
}

fn read_objects(corpus: &[CorpusObject]) -> Result<Vec<Object>> {
    let bar = progress::bar(corpus.len() as u64, "reading objects");
    let objects = corpus
        .par_iter()
        .map(|object| {
            let read = read_object(object).with_context(|| format!("cannot read {}", object.name));
            bar.inc(1);
            read
        })
        .collect();
    bar.finish_and_clear();
    objects
}

/// Reads an object as it was linked, and what C objtool said of it.
fn read_object(object: &CorpusObject) -> Result<Object> {
    let said = fs::read_to_string(&object.stderr)?;
    let mut unclean = HashSet::new();
    for line in Line::set(&said, &object.name) {
        let function = finding_function(&line)
            .with_context(|| format!("which function is this about: {}", line.message))?;
        unclean.insert(function.to_owned());
    }
    Ok(Object {
        name: object.name.clone(),
        sections: code::read(&fs::read(&object.output)?)?,
        validated: object.args.iter().any(|arg| arg == "--stackval"),
        unclean,
    })
}

/// The function that a finding is about: that of its place, or the one that it names.
fn finding_function(line: &Line) -> Option<&str> {
    if let Some((function, _)) = line.place.split_once('+') {
        return Some(function);
    }
    let (function, _) = line.message.split_once("()")?;
    Some(function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_about_a_function() {
        let function = |line: &str| {
            let line = Line::parse(line, "a.o");
            finding_function(&line).map(str::to_owned)
        };
        assert_eq!(
            function("a.o: warning: objtool: f+0x1a: return with modified stack frame").unwrap(),
            "f"
        );
        assert_eq!(
            function("a.o: warning: objtool: f() falls through to next function g()").unwrap(),
            "f"
        );
        assert_eq!(function("out of memory"), None);
    }
}
