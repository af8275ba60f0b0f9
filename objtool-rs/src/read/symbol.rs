//! The symbol table.
//!
//! Source of the rules: the ELF gABI, chapter "Symbol Table". Not here: order, nesting and
//! aliases of functions (`model::functions`).

use std::sync::atomic::{AtomicBool, Ordering};

use object::elf::{
    Sym64, SymbolBind, SymbolType, STB_GLOBAL, STB_LOCAL, STB_WEAK, STT_FILE, STT_FUNC, STT_NOTYPE,
    STT_OBJECT, STT_SECTION,
};
use object::read::elf::Sym as _;
use object::LittleEndian as LE;

use super::header::place;
use super::name::{printable, string};
use super::{elf, FileKind, ReadError, Section, SectionId, SymbolId};
use crate::parallel;

/// What a symbol is (`STT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SymbolKind {
    /// Not said: assembly labels without a type.
    NoType,
    /// Data.
    Object,
    /// A function.
    Function,
    /// A section.
    Section,
    /// The name of a source file.
    File,
    /// Something else, by its number.
    Other(u8),
}

impl SymbolKind {
    const fn new(raw: SymbolType) -> Self {
        match raw {
            STT_NOTYPE => Self::NoType,
            STT_OBJECT => Self::Object,
            STT_FUNC => Self::Function,
            STT_SECTION => Self::Section,
            STT_FILE => Self::File,
            other => Self::Other(other.0),
        }
    }

    /// Its number in the gABI.
    pub const fn number(self) -> u8 {
        match self {
            Self::NoType => STT_NOTYPE.0,
            Self::Object => STT_OBJECT.0,
            Self::Function => STT_FUNC.0,
            Self::Section => STT_SECTION.0,
            Self::File => STT_FILE.0,
            Self::Other(raw) => raw,
        }
    }
}

/// Who sees a symbol (`STB_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    /// This file only.
    Local,
    /// Every file.
    Global,
    /// Every file, unless another one defines it too.
    Weak,
    /// Something else, by its number.
    Other(u8),
}

impl Binding {
    const fn new(raw: SymbolBind) -> Self {
        match raw {
            STB_LOCAL => Self::Local,
            STB_GLOBAL => Self::Global,
            STB_WEAK => Self::Weak,
            other => Self::Other(other.0),
        }
    }
}

/// A symbol.
#[derive(Clone, Copy, Debug)]
pub struct Symbol<'d> {
    /// Its name; for a section's symbol, the section's.
    pub name: &'d [u8],
    /// What it is.
    pub kind: SymbolKind,
    /// Who sees it.
    pub binding: Binding,
    /// The section it lies in; [`SectionId::UNDEFINED`] for undefined, absolute and common ones.
    pub section: SectionId,
    /// Offset in its section, in bytes.
    pub value: u64,
    /// Size in bytes.
    pub size: u64,
    /// The entry as it stands in the file.
    pub raw: &'d Sym64<LE>,
}

impl Symbol<'_> {
    /// Its name for a message.
    pub fn display_name(&self) -> std::borrow::Cow<'_, str> {
        printable(self.name)
    }

    /// Whether it is a function.
    pub fn is_function(&self) -> bool {
        self.kind == SymbolKind::Function
    }

    /// Whether it stands for a section.
    pub fn is_section(&self) -> bool {
        self.kind == SymbolKind::Section
    }

    /// First offset after it; saturates.
    pub fn end(&self) -> u64 {
        self.value.saturating_add(self.size)
    }
}

/// The symbol table and where it came from.
pub(super) struct SymbolTable<'d> {
    pub symbols: Vec<Symbol<'d>>,
    pub section: Option<SectionId>,
    pub extension: Option<SectionId>,
}

/// What stands in a symbol's place that can't be read.
fn blank(raw: &Sym64<LE>) -> Symbol<'_> {
    Symbol {
        name: b"",
        kind: SymbolKind::NoType,
        binding: Binding::Local,
        section: SectionId::UNDEFINED,
        value: 0,
        size: 0,
        raw,
    }
}

/// Reads the symbol table, and sets each section's own symbol.
pub(super) fn read<'d>(
    kind: FileKind,
    sections: &mut [Section<'d>],
) -> Result<SymbolTable<'d>, ReadError> {
    let of_kind = |kind| {
        let mut found = (0..sections.len()).filter(|&i| sections[i].header.kind == kind);
        (found.next(), found.next())
    };
    let (table, second) = of_kind(elf::SHT_SYMTAB);
    if let Some(second) = second {
        return Err(ReadError::malformed(
            place(sections[second].name, second),
            "a second symbol table",
        ));
    }
    let Some(table) = table else {
        // An object without any code or data may have none.
        return Ok(SymbolTable {
            symbols: Vec::new(),
            section: None,
            extension: None,
        });
    };
    let (extension, _) = of_kind(elf::SHT_SYMTAB_SHNDX);

    let header = sections[table].header;
    let here = place(sections[table].name, table);
    let bad_link = || {
        ReadError::malformed(
            here.as_str(),
            format!("its link is {}, which is no string table", header.link),
        )
    };
    let strings = sections.get(header.link as usize).ok_or_else(bad_link)?;
    if strings.header.kind != elf::SHT_STRTAB {
        return Err(bad_link());
    }
    let strings = strings.data;
    let count = sections[table].data.len() / size_of::<Sym64<LE>>();
    let (raw, _) = object::pod::slice_from_bytes::<Sym64<LE>>(sections[table].data, count)
        .map_err(|()| ReadError::malformed(here.as_str(), "its bytes can't be read as symbols"))?;
    // The null symbol is a local one.
    if header.info as usize > count || header.info == 0 {
        return Err(ReadError::malformed(
            here.as_str(),
            format!(
                "its info, the first global symbol, is {}, of {count} symbols",
                header.info
            ),
        ));
    }
    let extended = extension.map(|i| sections[i].data);
    if let (Some(bytes), Some(i)) = (extended, extension) {
        if bytes.len() / 4 < count {
            return Err(ReadError::malformed(
                place(sections[i].name, i),
                format!(
                    "holds {} section indices for {count} symbols",
                    bytes.len() / 4
                ),
            ));
        }
    }
    let read_one = |index: usize| {
        let raw = &raw[index];
        let at = |what: String| ReadError::malformed(format!("{here}, symbol {index}"), what);
        let mut name = string(strings, raw.st_name(LE)).map_err(at)?;
        let section = match raw.st_shndx(LE).0 {
            elf::SHN_XINDEX => {
                let word = extended.and_then(|bytes| bytes.get(index * 4..index * 4 + 4));
                let word = word.ok_or_else(|| at("no extended section index".into()))?;
                u32::from_le_bytes([word[0], word[1], word[2], word[3]])
            }
            reserved if reserved >= elf::SHN_LORESERVE => 0,
            plain => u32::from(plain),
        };
        if section as usize >= sections.len() {
            return Err(at(format!(
                "its section is {section}, of {} sections",
                sections.len()
            )));
        }
        let symbol_kind = SymbolKind::new(raw.st_type());
        if symbol_kind == SymbolKind::Section && section != 0 {
            name = sections[section as usize].name;
        }
        let in_section = kind == FileKind::Object && section != 0;
        let len = sections[section as usize].header.size;
        let (value, size) = (raw.st_value(LE), raw.st_size(LE));
        if in_section && (value > len || size > len - value) {
            return Err(at(format!(
                "{} at {value:#x}, {size:#x} bytes long, leaves {} ({len:#x} bytes)",
                printable(name),
                place(sections[section as usize].name, section as usize),
            )));
        }
        Ok(Symbol {
            name,
            kind: symbol_kind,
            binding: Binding::new(raw.st_bind()),
            section: SectionId(section),
            value: match kind {
                FileKind::Object => raw.st_value(LE),
                FileKind::Image => raw
                    .st_value(LE)
                    .wrapping_sub(sections[section as usize].header.addr),
            },
            size: raw.st_size(LE),
            raw,
        })
    };
    let is_bad = AtomicBool::new(false);
    let symbols = parallel::filled(count, |index| {
        read_one(index).unwrap_or_else(|_| {
            is_bad.store(true, Ordering::Relaxed);
            blank(&raw[index])
        })
    });
    if is_bad.into_inner() {
        // The first error counts, whoever met one first.
        (0..count).try_for_each(|index| read_one(index).map(drop))?;
    }
    for (index, symbol) in (0..).zip(&symbols) {
        if symbol.is_section() && symbol.section != SectionId::UNDEFINED {
            sections[symbol.section.index()].symbol = Some(SymbolId(index));
        }
    }
    Ok(SymbolTable {
        symbols,
        section: Some(SectionId(table as u32)),
        extension: extension.map(|i| SectionId(i as u32)),
    })
}
