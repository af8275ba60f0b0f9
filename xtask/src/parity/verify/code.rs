//! The code of an object or of a linked file, as far as the two have to be told to be the same:
//! executable sections with their bytes and symbols, what the linker changes in them, and what the
//! tree's annotations say about them.

use std::ops::Range;

use anyhow::{Context, Result};
use object::read::elf::{ElfFile64, ElfSection64, ElfSymbol64};
use object::{
    LittleEndian, Object as _, ObjectKind, ObjectSection as _, ObjectSymbol as _, RelocationFlags,
    RelocationTarget, SectionFlags, SymbolIndex, SymbolKind,
};

type File<'d> = ElfFile64<'d, LittleEndian>;

/// Names functions that keep no frame on purpose (`STACK_FRAME_NON_STANDARD`,
/// `include/linux/objtool.h`).
const NON_STANDARD: &str = ".discard.func_stack_frame_non_standard";

/// Describes the stack of assembly (`UNWIND_HINT`).
const HINTS: &str = ".discard.unwind_hints";

/// Code that is copied over other code before it runs.
pub const REPLACEMENTS: &str = ".altinstr_replacement";

/// Bytes in front of a field that the linker may change with it, and the field's own: an
/// instruction that loads an address from the GOT becomes one that computes it (psABI, B.2).
const FIELD: (u64, u64) = (3, 4);

/// The bytes that the widest relocation of code changes.
const WIDE_FIELD: u64 = 8;

/// `R_X86_64_64` and its like among the types that code has: a whole address.
const WIDE: &[u32] = &[
    object::elf::R_X86_64_64.0,
    object::elf::R_X86_64_PC64.0,
    object::elf::R_X86_64_GOTOFF64.0,
];

/// An executable section.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The address of the first one; 0 unless linked for good.
    pub address: u64,
    /// Its named symbols.
    pub symbols: Vec<Symbol>,
    /// Bytes that are the linker's to fill in, by offset.
    pub open: Vec<Range<u64>>,
    /// Offsets that annotations name as functions without a standard frame.
    pub non_standard: Vec<u64>,
    /// Offsets of unwind hints.
    pub hints: Vec<u64>,
}

/// A symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its name.
    pub name: String,
    /// Whether it is a function.
    pub function: bool,
    /// Whether another file's symbol of this name goes before.
    pub weak: bool,
    /// Offset in its section.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

impl Symbol {
    /// Whether it names the filling that function tracing takes in front of a function. There is
    /// no code of its own there.
    pub fn is_prefix(&self) -> bool {
        self.name.starts_with("__pfx_") || self.name.starts_with("__cfi_")
    }
}

/// The executable sections of a file.
///
/// # Errors
/// It is no ELF file for x86-64 that can be read.
pub fn read(data: &[u8]) -> Result<Vec<Section>> {
    let file = File::parse(data)?;
    let mut sections = Vec::new();
    // By section index, the place in `sections`.
    let mut numbers = vec![None; file.sections().map(|s| s.index().0 + 1).max().unwrap_or(0)];
    for section in file.sections().filter(is_code) {
        let bytes = section.data()?.to_vec();
        if bytes.is_empty() {
            continue;
        }
        numbers[section.index().0] = Some(sections.len());
        // A module keeps its relocations, too.
        let mut open: Vec<Range<u64>> = match file.kind() {
            ObjectKind::Relocatable => section.relocations().map(open_bytes).collect(),
            _ => Vec::new(),
        };
        open.sort_unstable_by_key(|range| (range.start, range.end));
        sections.push(Section {
            name: section.name()?.to_owned(),
            bytes,
            address: section.address(),
            open,
            ..Section::default()
        });
    }
    for symbol in file.symbols() {
        let number = symbol.section_index().and_then(|index| numbers[index.0]);
        let Some(section) = number.map(|number| &mut sections[number]) else {
            continue;
        };
        let name = symbol.name()?;
        if name.is_empty() || matches!(symbol.kind(), SymbolKind::Section | SymbolKind::File) {
            continue;
        }
        section.symbols.push(Symbol {
            name: name.to_owned(),
            function: symbol.kind() == SymbolKind::Text,
            weak: symbol.is_weak(),
            offset: symbol.address().wrapping_sub(section.address),
            size: symbol.size(),
        });
    }
    for (name, list) in [
        (NON_STANDARD, (|s| &mut s.non_standard) as ListOf),
        (HINTS, |s| &mut s.hints),
    ] {
        for (index, offset) in named(&file, name).with_context(|| format!("section {name}"))? {
            if let Some(number) = numbers.get(index).copied().flatten() {
                list(&mut sections[number]).push(offset);
            }
        }
    }
    Ok(sections)
}

type ListOf = fn(&mut Section) -> &mut Vec<u64>;

fn is_code(section: &ElfSection64<'_, '_, LittleEndian>) -> bool {
    let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
        return false;
    };
    sh_flags.0 & object::elf::SHF_EXECINSTR.0 != 0 && sh_flags.0 & object::elf::SHF_ALLOC.0 != 0
}

fn open_bytes((offset, relocation): (u64, object::Relocation)) -> Range<u64> {
    let wide = matches!(relocation.flags(),
        RelocationFlags::Elf { r_type } if WIDE.contains(&r_type.0));
    let (before, behind) = if wide { (0, WIDE_FIELD) } else { FIELD };
    offset.saturating_sub(before)..offset + behind
}

/// The places that the relocations of an annotation's section mean: section index and offset.
fn named(file: &File<'_>, name: &str) -> Result<Vec<(usize, u64)>> {
    let mut places = Vec::new();
    for section in file.sections() {
        if section.name() != Ok(name) {
            continue;
        }
        for (at, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else {
                continue;
            };
            let symbol = symbol(file, index)?;
            let of = symbol
                .section_index()
                .with_context(|| format!("+{at:#x} refers to another file"))?;
            let offset = symbol.address().wrapping_add_signed(relocation.addend());
            places.push((of.0, offset));
        }
    }
    Ok(places)
}

fn symbol<'f, 'd>(
    file: &'f File<'d>,
    index: SymbolIndex,
) -> Result<ElfSymbol64<'d, 'f, LittleEndian>> {
    Ok(file.symbol_by_index(index)?)
}
