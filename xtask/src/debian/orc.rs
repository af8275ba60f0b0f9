//! `./x debian orc`: the ORC data of the modules that a distribution ships, thrown away and made anew.
//!
//! Each module, without its ORC data, is given to both objtools, which must make the same file of it
//! and say the same. What they make is then set against the data that the module came with. That is
//! of an earlier stage of the build, with annotations that a finished module has no more, so it may
//! differ; how often it does is told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};
use object::read::elf::{ElfFile64, FileHeader as _, Rela as _, SectionHeader as _, Sym as _};
use object::LittleEndian;
use rayon::prelude::*;

use super::modules;
use crate::parity::objects::{self, Contents};
use crate::paths::{CorpusObject, Kernel};
use crate::{cmd, objtool, progress, setup};

/// What both tools are asked for: the data, and checks that a finished module can be put to.
const ARGS: [&str; 5] = ["--orc", "--module", "--retpoline", "--rethunk", "--uaccess"];

/// The sections that are thrown away.
const SECTIONS: [&str; 2] = [".orc_unwind", ".orc_unwind_ip"];

/// The configuration whose build has made C objtool.
const CONFIG: &str = "x86_64-fp";

/// Bytes of an entry and of an address.
const ENTRY: usize = 6;
const ADDRESS: usize = 4;

/// How many modules that disagree are named.
const SHOWN: usize = 10;

/// Arguments of `./x debian orc`.
#[derive(clap::Args)]
pub struct Args {
    /// Only so many modules, evenly from all
    #[arg(long, value_name = "COUNT")]
    sample: Option<std::num::NonZeroUsize>,
}

/// Runs `./x debian orc`.
///
/// # Errors
/// The modules cannot be had, or the tools make different files of one.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    let kernel = Kernel::installed()?;
    let theirs = objtool::c(&kernel, CONFIG)?;
    let ours = objtool::ours()?;
    let (root, mut modules) = modules::all()?;
    if let Some(count) = args.sample {
        let step = modules.len().div_ceil(count.get());
        modules = modules.into_iter().step_by(step).collect();
    }
    let work = tempfile::Builder::new()
        .prefix("objtool-rs-debian-")
        .tempdir()?;
    let bar = progress::bar(modules.len() as u64, "C objtool");
    let corpus = modules
        .par_iter()
        .map(|module| {
            let object = record(&theirs, &root, module, work.path())
                .with_context(|| format!("cannot prepare {}", module.display()));
            bar.inc(1);
            object
        })
        .collect::<Result<Vec<_>>>();
    bar.finish_and_clear();
    let corpus = corpus?;
    let outcomes = objects::run(&ours, &corpus)?;

    let same = outcomes.iter().filter(|outcome| outcome.agrees()).count();
    println!(
        "{same:>7} of {} modules of Debian: the same from both objtools",
        outcomes.len()
    );
    for outcome in outcomes
        .iter()
        .filter(|outcome| !outcome.agrees())
        .take(SHOWN)
    {
        let lines = outcome.missing.len() + outcome.extra.len();
        let what = match &outcome.contents {
            Contents::Identical | Contents::OtherLayout => format!("{lines} lines differ"),
            Contents::Differ(how) => how.join("; "),
            Contents::Failed(how) => how.clone(),
        };
        println!("  {}: {what}", outcome.name);
    }
    genuine(&modules, &corpus)?;
    if same < outcomes.len() {
        bail!(
            "{} differ from what C objtool makes",
            progress::counted(outcomes.len() - same, "module")
        );
    }
    Ok(())
}

/// Throws the data of a module away, and has C objtool make it anew.
fn record(objtool: &Path, root: &Path, module: &Path, work: &Path) -> Result<CorpusObject> {
    let name = module.strip_prefix(root)?;
    let put = |folder: &str| -> Result<PathBuf> {
        let path = work.join(folder).join(name);
        fs::create_dir_all(path.parent().context("a file without a folder")?)?;
        Ok(path)
    };
    let (input, output) = (put("in")?, put("out")?);
    let mut strip = Command::new("objcopy");
    for section in SECTIONS {
        strip.arg(format!("--remove-section={section}"));
        strip.arg(format!("--remove-section=.rela{section}"));
    }
    cmd::output(strip.arg(module).arg(&input))?;
    fs::copy(&input, &output)?;
    let done = Command::new(objtool)
        .args(ARGS)
        .arg(name)
        .current_dir(work.join("out"))
        .env_remove("OBJTOOL_ARGS")
        .env_remove("OBJTOOL_VERBOSE")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", objtool.display()))?;
    if !done.status.success() {
        bail!(
            "C objtool: {}: {}",
            done.status,
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    let stderr = output.with_extension("stderr");
    fs::write(&stderr, &done.stderr)?;
    Ok(CorpusObject {
        name: name.display().to_string(),
        input,
        args: ARGS.map(str::to_owned).to_vec(),
        output,
        stderr,
    })
}

/// By section and offset: what holds from there on.
type Data = BTreeMap<(String, i64), [u8; ENTRY]>;

/// Sets what the tools make against what the modules came with.
fn genuine(modules: &[PathBuf], corpus: &[CorpusObject]) -> Result<()> {
    let compared = modules
        .par_iter()
        .zip(corpus)
        .map(|(module, object)| -> Result<_> {
            let theirs = data(&fs::read(module)?)
                .with_context(|| format!("cannot read the ORC data of {}", module.display()))?;
            let ours = data(&fs::read(&object.output)?)?;
            let same = theirs
                .iter()
                .filter(|(at, entry)| ours.get(*at) == Some(*entry));
            Ok((theirs == ours, same.count(), theirs.len()))
        })
        .collect::<Result<Vec<_>>>()?;
    let whole = compared.iter().filter(|(same, ..)| *same).count();
    let (same, all) = compared
        .iter()
        .fold((0, 0), |(a, b), (_, same, all)| (a + same, b + all));
    println!(
        "{whole:>7} of {} have the very data again that they came with; {same} of {all} entries \
         ({:.3} %)",
        compared.len(),
        100.0 * same as f64 / all.max(1) as f64
    );
    // A comparison that finds nothing to compare, or nothing equal, is none.
    if all == 0 || same * 2 < all {
        bail!("most of the data that the modules came with is not made again");
    }
    Ok(())
}

/// The ORC data of a module.
fn data(file: &[u8]) -> Result<Data> {
    let file = ElfFile64::<LittleEndian>::parse(file)?;
    let endian = LittleEndian;
    let header = file.elf_header();
    let sections = header.sections(endian, file.data())?;
    let symbols = sections.symbols(endian, file.data(), object::elf::SHT_SYMTAB)?;
    let find = |name: &str| sections.section_by_name(endian, name.as_bytes());
    let (Some((_, entries)), Some((_, relocations))) =
        (find(".orc_unwind"), find(".rela.orc_unwind_ip"))
    else {
        return Ok(Data::new());
    };
    let entries = entries.data(endian, file.data())?;
    let (relocations, _) = relocations
        .rela(endian, file.data())?
        .context(".rela.orc_unwind_ip is no relocation section")?;
    let mut data = Data::new();
    for relocation in relocations {
        let index = relocation.r_offset(endian) as usize / ADDRESS;
        let entry = entries
            .get(index * ENTRY..(index + 1) * ENTRY)
            .context("an address without an entry")?;
        let symbol = relocation
            .symbol(endian, false)
            .context("an address of nothing")?;
        let section = symbols
            .symbol_section(endian, symbols.symbol(symbol)?, symbol)?
            .context("an address in no section")?;
        let section = sections.section(section)?;
        let name = String::from_utf8_lossy(sections.section_name(endian, section)?).into_owned();
        let offset = symbols.symbol(symbol)?.st_value(endian) as i64 + relocation.r_addend(endian);
        let mut bytes = [0; ENTRY];
        bytes.copy_from_slice(entry);
        data.insert((name, offset), bytes);
    }
    Ok(data)
}
