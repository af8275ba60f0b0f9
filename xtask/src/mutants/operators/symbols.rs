//! Operators on the symbol table: sizes, types and starts of functions, and the names that give
//! symbols a meaning.

use object::elf;

use super::{Change, Effect, Operator, Site};
use crate::mutants::code::Subject;
use crate::mutants::image::Edit;
use crate::mutants::rng::Rng;

/// Operators of this file.
pub const OPERATORS: &[Operator] = &[
    Operator {
        name: "function-size-zero",
        about: "a function's size becomes 0",
        effect: Effect::Extent,
        varied: false,
        partial: true,
        sites: functions,
        apply: |subject, site, _| {
            let size = subject.image.symbols[site.0 as usize].size;
            (size != 0).then(|| resize(subject, site, 0))
        },
    },
    Operator {
        name: "function-too-short",
        about: "a function's size ends before the function does",
        effect: Effect::Extent,
        varied: true,
        partial: true,
        sites: functions,
        apply: |subject, site, rng| {
            let size = subject.image.symbols[site.0 as usize].size;
            let less = 1 + rng.below(size.checked_sub(1)? as usize) as u64;
            (less < size).then(|| resize(subject, site, less))
        },
    },
    Operator {
        name: "function-too-long",
        about: "a function's size reaches into what follows it",
        effect: Effect::Extent,
        varied: true,
        partial: true,
        sites: functions,
        apply: |subject, site, rng| {
            let size = subject.image.symbols[site.0 as usize].size;
            let more = *rng.choose(&[1_u64, 0x10, 0x11, 0x15, 0x40, 0x1000])?;
            Some(resize(subject, site, size + more))
        },
    },
    Operator {
        name: "function-untyped",
        about: "a function's type becomes STT_NOTYPE",
        effect: Effect::Extent,
        varied: false,
        partial: true,
        sites: functions,
        apply: |subject, site, _| {
            let at = subject.image.symbols[site.0 as usize].at + 4;
            let info = (subject.image.data[at] & 0xf0) | elf::STT_NOTYPE.0;
            change(
                subject,
                site,
                Edit::new(at, &[info]),
                "STT_FUNC -> STT_NOTYPE",
            )
        },
    },
    Operator {
        name: "function-start",
        about: "a function's start moves by a few bytes",
        effect: Effect::Extent,
        varied: true,
        partial: true,
        sites: functions,
        apply: |subject, site, rng| {
            let symbol = &subject.image.symbols[site.0 as usize];
            let delta = *rng.choose(&[1_i64, 2, -1, -4, 5])?;
            let value = symbol.value.checked_add_signed(delta)?;
            let edit = Edit::new(symbol.at + 8, &value.to_le_bytes());
            let what = format!("value {:#x} -> {value:#x}", symbol.value);
            change(subject, site, edit, &what)
        },
    },
    Operator {
        name: "rename-key",
        about: "a static call's key or trampoline loses the first letter of its name",
        effect: Effect::Name,
        varied: false,
        partial: true,
        sites: |subject| {
            symbols(subject, |s, i| {
                let name = &s.image.symbols[i].name;
                name.starts_with("__SCK__") || name.starts_with("__SCT__")
            })
        },
        apply: |subject, site, _: &mut Rng| {
            let at = subject.image.symbols[site.0 as usize].at;
            let bytes = subject.image.data.get(at..at + 4)?;
            let name = u32::from_le_bytes(bytes.try_into().ok()?) + 1;
            let edit = Edit::new(at, &name.to_le_bytes());
            change(subject, site, edit, "name without its first letter")
        },
    },
];

fn symbols(subject: &Subject, wanted: impl Fn(&Subject, usize) -> bool) -> Vec<Site> {
    (0..subject.image.symbols.len())
        .filter(|&index| wanted(subject, index))
        .map(|index| Site(index as u32, 0))
        .collect()
}

fn functions(subject: &Subject) -> Vec<Site> {
    symbols(subject, |s, i| {
        let symbol = &s.image.symbols[i];
        symbol.is_function() && symbol.section.is_some_and(|section| s.is_text(section))
    })
}

fn resize(subject: &Subject, site: Site, size: u64) -> Change {
    let symbol = &subject.image.symbols[site.0 as usize];
    Change {
        section: symbol.section.unwrap_or(0),
        offset: symbol.value,
        edits: vec![Edit::new(symbol.at + 16, &size.to_le_bytes())],
        what: format!("symbol {}: size {} -> {size}", symbol.name, symbol.size),
        insn: None,
        register: None,
    }
}

fn change(subject: &Subject, site: Site, edit: Edit, what: &str) -> Option<Change> {
    let symbol = &subject.image.symbols[site.0 as usize];
    Some(Change::at(
        symbol.section.unwrap_or(0),
        symbol.value,
        vec![edit],
        format!("symbol {}: {what}", symbol.name),
    ))
}
