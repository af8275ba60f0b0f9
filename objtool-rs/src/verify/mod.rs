//! The verdict on linked code: does it keep the frame-pointer discipline, and where not.
//!
//! `HAVE_RELIABLE_STACKTRACE` is a promise about every function of an image
//! (`Documentation/livepatch/reliable-stacktrace.rst`). Objects are checked with the help of
//! annotations; here only what is linked counts, so that what the linker, later tools and
//! assembly without annotations did is in it. Everything that can't be shown to keep the rules is
//! text that an unwinder must not trust.
//!
//! - [`classify`]: one class for each function.
//! - [`entries`]: functions that other code enters in their midst.
//! - [`ranges`]: the text that must not be trusted.
//! - [`verdict`]: what follows for the whole.
//! - [`subsystem`]: which source file a function comes from, for people.
//! - [`exhibits`]: what is shown of the functions that keep no frame.
//! - [`human`], [`json`], [`assembly`]: the verdict as text, for machines, and for the kernel.

pub mod assembly;
pub mod classify;
pub mod entries;
pub mod exhibits;
pub mod human;
pub mod json;
pub mod ranges;
pub mod subsystem;
pub mod verdict;

use std::time::{Duration, Instant};

use arch::insn::Wanted;
use arch::object::Architecture;

use crate::check::stack::walk;
use crate::decode::Insns;
use crate::model::{check_tables, Model, Purpose, Symbols};
use crate::options::Options;
use crate::read::{elf, ElfFile, FileKind, ReadError, Section, SymbolKind};
use crate::report::rich::Exhibit;
use crate::report::{Findings, Names};
use crate::run::Target;

pub use classify::{Class, Function, Reason};
pub use ranges::Range;
pub use verdict::Verdict;

/// What was found out about an image or a module.
#[derive(Clone, Debug)]
pub struct Report {
    /// An image or a module.
    pub kind: FileKind,
    /// What follows for the whole.
    pub verdict: Verdict,
    /// All functions, by address.
    pub functions: Vec<Function>,
    /// The text that must not be trusted, by address, merged.
    pub unreliable: Vec<Range>,
    /// Bytes of text in all.
    pub text_size: u64,
    /// Time of each phase, in order.
    pub phases: Vec<(&'static str, Duration)>,
    /// What can be shown of the functions that keep no frame, by address; empty unless it was asked
    /// for, and where the promise does not hold: nearly all functions would be in it.
    pub exhibits: Vec<Exhibit>,
}

/// Reads an image or a module.
///
/// # Errors
///
/// The first thing that makes the file none that can be judged.
pub fn read(data: &[u8]) -> Result<ElfFile<'_>, ReadError> {
    let file = ElfFile::parse_any(data, Target::MACHINE)?;
    check_symbols(&file)?;
    check_addresses(&file)?;
    check_tables(&file)?;
    Ok(file)
}

/// Judges an image or a module; `explain` asks for exhibits. `progress` is told how far it is,
/// between 0 and 1.
///
/// # Errors
///
/// A table of it that contradicts its code.
pub fn verify(
    file: &ElfFile<'_>,
    explain: bool,
    progress: &dyn Fn(f32),
) -> Result<Report, ReadError> {
    let mut phases = Vec::new();
    let mut clock = Instant::now();
    let mut lap = |phases: &mut Vec<_>, phase, done| {
        let now = Instant::now();
        phases.push((phase, now - clock));
        clock = now;
        progress(done);
    };

    let options = Options {
        stackval: true,
        explain,
        ..Options::default()
    };
    let (symbols, _) = Symbols::new(file);
    lap(&mut phases, "order symbols", 0.1);
    let arch = Target::default();
    let insns = Insns::decode(&arch, file, Wanted::All)?;
    let mut model = Model::new(Purpose::Verify, arch, &options, file, symbols, insns);
    lap(&mut phases, "decode", 0.5);

    let mut findings = Findings::default();
    let recovered = model.recover(&mut findings);
    model.effort.check(file)?;
    if recovered.is_err() {
        let names = Names {
            file,
            symbols: &model.symbols,
            sec_address: true,
        };
        let what = findings.lines().last().map(|line| names.line(line));
        return Err(ReadError::malformed("tables", what.unwrap_or_default()));
    }
    lap(&mut phases, "recover control flow", 0.7);
    let walked = walk::walk(&model, &mut findings);
    lap(&mut phases, "walk", 0.9);

    let functions = classify::classify(&model, &walked);
    let unreliable = ranges::unreliable(&model, &functions);
    let text_size = ranges::text_size(&model);
    let verdict = verdict::conclude(file, &functions);
    model.effort.check(file)?;
    let mut exhibits = Vec::new();
    if explain && verdict.holds() {
        lap(&mut phases, "classify", 0.95);
        let names = Names {
            file,
            symbols: &model.symbols,
            sec_address: false,
        };
        exhibits = exhibits::exhibits(&model, &names, &findings, &functions);
        lap(&mut phases, "explain", 1.0);
    } else {
        lap(&mut phases, "classify", 1.0);
    }
    Ok(Report {
        kind: file.kind,
        verdict,
        functions,
        unreliable,
        text_size,
        phases,
        exhibits,
    })
}

/// An address of text must mean one place.
fn check_addresses(file: &ElfFile<'_>) -> Result<(), ReadError> {
    if file.kind == FileKind::Object {
        return Ok(());
    }
    let mut sections: Vec<&Section<'_>> = file
        .sections
        .iter()
        .filter(|s| s.header.flags & elf::SHF_ALLOC != 0 && s.header.size != 0)
        .collect();
    sections.sort_by_key(|section| section.header.addr);
    let mut before: Option<&Section<'_>> = None;
    for section in sections {
        let header = &section.header;
        let Some(end) = header.addr.checked_add(header.size) else {
            return Err(ReadError::malformed(
                format!("section {}", section.display_name()),
                format!(
                    "{:#x} bytes at {:#x} are too many",
                    header.size, header.addr
                ),
            ));
        };
        if let Some(before) = before {
            let text = section.is_executable() || before.is_executable();
            let before_end = before.header.addr + before.header.size;
            if text && before_end > header.addr {
                return Err(ReadError::malformed(
                    format!("section {}", section.display_name()),
                    format!(
                        "its addresses {:#x} to {end:#x} are also those of section {}, which ends \
                         at {before_end:#x}",
                        header.addr,
                        before.display_name()
                    ),
                ));
            }
        }
        let reaches = |s: &Section<'_>| s.header.addr + s.header.size;
        before = match before {
            Some(before) if reaches(before) > end => Some(before),
            _ => Some(section),
        };
    }
    Ok(())
}

/// Functions are told by their symbols, so there must be some, and they must make sense.
fn check_symbols(file: &ElfFile<'_>) -> Result<(), ReadError> {
    if file.symtab.is_none() || file.symbols.len() < 2 {
        return Err(ReadError::Unsupported(
            "it has no symbol table; functions are told by their symbols, so take the file from \
             before it was stripped (for a distribution's kernel: its debug package)"
                .into(),
        ));
    }
    let mut text = file.sections.iter().filter(|s| s.is_executable());
    // Some modules are data for others.
    if file.kind == FileKind::Object && text.clone().all(|s| s.header.size == 0) {
        return Ok(());
    }
    if text.all(|s| s.data.is_empty()) {
        return Err(ReadError::Unsupported(
            "no executable section holds any bytes (a file of debug information alone has none)"
                .into(),
        ));
    }
    let mut functions = 0;
    for (index, symbol) in file.symbols.iter().enumerate() {
        if symbol.kind != SymbolKind::Function || symbol.section.0 == 0 {
            continue;
        }
        functions += 1;
        let section = file.section(symbol.section);
        if symbol.value > section.header.size || symbol.end() > section.header.size {
            return Err(ReadError::malformed(
                format!("symbol {} [{index}]", symbol.display_name()),
                format!(
                    "its {:#x} bytes at {:#x} leave section {} ({:#x} bytes)",
                    symbol.size,
                    symbol.value,
                    section.display_name(),
                    section.header.size
                ),
            ));
        }
    }
    if functions == 0 {
        return Err(ReadError::Unsupported(
            "its symbol table names no function, so there is nothing to judge".into(),
        ));
    }
    Ok(())
}
