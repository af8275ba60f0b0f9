//! Lays out the changed file.
//!
//! Sections stand in the order of their headers, each at the next offset that its alignment
//! allows, the section headers last (gABI, "Sections"); this is also how libelf lays out what
//! C objtool writes, so the two outputs can be compared byte by byte.

use std::borrow::Cow;

use object::elf::{
    FileHeader64, Rela64, SectionFlags, SectionHeader64, SectionType, Sym64, SymbolInfo,
    SymbolOther, SymbolSection, STB_LOCAL, STT_SECTION,
};
use object::read::elf::Sym as _;
use object::{LittleEndian as LE, U16, U32, U64};

use super::output::NewName;
use super::{NewSymbol, Output, SymbolRef};
use crate::read::{elf, ElfFile, SectionHeader, SectionId, Symbol};

const HEADER: usize = size_of::<FileHeader64<LE>>();
const RELA: usize = size_of::<Rela64<LE>>();
const SYM: usize = size_of::<Sym64<LE>>();

/// Room for gaps between sections that were not there before, in bytes.
const MOST_GAPS: u64 = 1 << 20;

/// What keeps an output from being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteError(pub String);

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WriteError {}

/// A section of the output.
struct OutSection<'a> {
    header: SectionHeader,
    data: Cow<'a, [u8]>,
}

/// The bytes of the changed file.
///
/// # Errors
///
/// When the file has no place for a new name or symbol.
pub fn write(file: &ElfFile<'_>, output: &Output) -> Result<Vec<u8>, WriteError> {
    let mut sections: Vec<OutSection<'_>> = file
        .sections
        .iter()
        .map(|s| OutSection {
            header: s.header,
            data: Cow::Borrowed(s.data),
        })
        .collect();
    let names = append_names(file, output, &mut sections)?;
    let index_of = SymbolIndices::new(output, file.symbols.len());

    patch(file, output, &mut sections);
    move_symbols(file, output, &index_of, &mut sections)?;
    add_symbols(file, output, &names, &mut sections)?;
    add_sections(file, output, &names, &index_of, &mut sections)?;
    lay_out(file, &mut sections)
}

/// Where each symbol of the output stands in its table.
struct SymbolIndices {
    existing: Vec<u32>,
    new: Vec<u32>,
}

impl SymbolIndices {
    fn new(output: &Output, existing: usize) -> Self {
        let mut indices = Self {
            existing: vec![0; existing],
            new: vec![0; output.symbols.len()],
        };
        for (index, symbol) in output.table.iter().enumerate() {
            match symbol {
                SymbolRef::Existing(id) => indices.existing[id.index()] = index as u32,
                SymbolRef::New(new) => indices.new[*new as usize] = index as u32,
            }
        }
        indices
    }

    fn get(&self, symbol: SymbolRef) -> u32 {
        match symbol {
            SymbolRef::Existing(id) => self.existing[id.index()],
            SymbolRef::New(new) => self.new[new as usize],
        }
    }
}

/// Offsets of the new names in their string tables.
struct NameOffsets {
    symbols: Vec<u32>,
    sections: Vec<u32>,
    relocs: Vec<u32>,
}

fn append_names(
    file: &ElfFile<'_>,
    output: &Output,
    sections: &mut [OutSection<'_>],
) -> Result<NameOffsets, WriteError> {
    let mut names = NameOffsets {
        symbols: vec![0; output.symbols.len()],
        sections: vec![0; output.sections.len()],
        relocs: vec![0; output.sections.len()],
    };
    for name in &output.names {
        let (table, text) = match name {
            NewName::Symbol(new) => {
                let NewSymbol::Prefix { name, .. } = &output.symbols[*new as usize] else {
                    continue;
                };
                (symbol_names(file)?, name.clone())
            }
            NewName::Section(new) => {
                let name = output.sections[*new as usize].name;
                (file.section_names, name.as_bytes().to_vec())
            }
            NewName::Relocs(new) => {
                let name = output.sections[*new as usize].name;
                (file.section_names, format!(".rela{name}").into_bytes())
            }
        };
        let table = &mut sections[table.index()];
        let offset = u32::try_from(table.data.len())
            .map_err(|_| WriteError("the string table is full".into()))?;
        let bytes = table.data.to_mut();
        bytes.extend_from_slice(&text);
        bytes.push(0);
        match name {
            NewName::Symbol(new) => names.symbols[*new as usize] = offset,
            NewName::Section(new) => names.sections[*new as usize] = offset,
            NewName::Relocs(new) => names.relocs[*new as usize] = offset,
        }
    }
    Ok(names)
}

fn symbol_table(file: &ElfFile<'_>) -> Result<SectionId, WriteError> {
    file.symtab
        .ok_or_else(|| WriteError("there is no symbol table to add symbols to".into()))
}

fn symbol_names(file: &ElfFile<'_>) -> Result<SectionId, WriteError> {
    Ok(SectionId(file.section(symbol_table(file)?).header.link))
}

/// New bytes in code, and new types for relocations.
fn patch(file: &ElfFile<'_>, output: &Output, sections: &mut [OutSection<'_>]) {
    for (place, bytes) in &output.patches {
        let start = place.offset as usize;
        let data = sections[place.section.index()].data.to_mut();
        data[start..start + bytes.len()].copy_from_slice(bytes);
    }
    for &(id, kind) in &output.reloc_types {
        let reloc = file.reloc(id);
        if let Some(table) = file.section(id.section).reloc_section {
            let bytes = sections[table.index()].data.to_mut();
            set_info(bytes, id.index as usize, reloc.symbol.0, kind);
        }
    }
}

/// Sets symbol and type of a relocation.
fn set_info(table: &mut [u8], index: usize, symbol: u32, kind: u32) {
    let info = u64::from(symbol) << 32 | u64::from(kind);
    let at = index * RELA + 8;
    table[at..at + 8].copy_from_slice(&info.to_le_bytes());
}

/// Lets relocations and groups follow symbols that have moved in the table.
fn move_symbols(
    file: &ElfFile<'_>,
    output: &Output,
    index_of: &SymbolIndices,
    sections: &mut [OutSection<'_>],
) -> Result<(), WriteError> {
    let moved = |id: u32| index_of.existing[id as usize] != id;
    if !(0..file.symbols.len() as u32).any(moved) {
        return Ok(());
    }
    for section in &file.sections {
        let (Some(relocs), Some(table)) = (&section.relocs, section.reloc_section) else {
            continue;
        };
        for (index, reloc) in relocs.iter().enumerate() {
            if moved(reloc.symbol.0) {
                let bytes = sections[table.index()].data.to_mut();
                // The type may have been changed before.
                let at = index * RELA + 8;
                let kind =
                    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
                set_info(bytes, index, index_of.existing[reloc.symbol.index()], kind);
            }
        }
    }
    let symtab = symbol_table(file)?;
    for section in sections.iter_mut() {
        // A group is named after its signature symbol.
        if section.header.kind == elf::SHT_GROUP && section.header.link == symtab.0 {
            let signature = index_of.existing.get(section.header.info as usize);
            section.header.info = *signature
                .ok_or_else(|| WriteError("a section group's signature is no symbol".into()))?;
        }
    }
    sections[symtab.index()].header.info = output.first_global;
    Ok(())
}

/// Writes the symbol table anew.
fn add_symbols(
    file: &ElfFile<'_>,
    output: &Output,
    names: &NameOffsets,
    sections: &mut [OutSection<'_>],
) -> Result<(), WriteError> {
    if output.symbols.is_empty() {
        return Ok(());
    }
    let symtab = symbol_table(file)?;
    let mut table = Vec::with_capacity(output.table.len() * SYM);
    let mut extension = Vec::new();
    for &symbol in &output.table {
        let (raw, section) = match symbol {
            SymbolRef::Existing(id) => (*file.symbol(id).raw, file.symbol(id).section),
            SymbolRef::New(new) => {
                let name = names.symbols[new as usize];
                new_symbol(file, &output.symbols[new as usize], name)
            }
        };
        let mut raw = raw;
        let mut word = 0;
        if let SymbolRef::New(_) = symbol {
            if section.0 < u32::from(elf::SHN_LORESERVE) {
                raw.st_shndx = U16::new(LE, SymbolSection(section.0 as u16));
            } else if file.symtab_shndx.is_some() {
                raw.st_shndx = U16::new(LE, SymbolSection(elf::SHN_XINDEX));
            } else {
                return Err(WriteError(format!(
                    "section {} is beyond what the symbol table can name (no .symtab_shndx)",
                    section.0
                )));
            }
        }
        if raw.st_shndx(LE).0 == elf::SHN_XINDEX {
            word = section.0;
        }
        extension.extend_from_slice(&word.to_le_bytes());
        table.extend_from_slice(object::pod::bytes_of(&raw));
    }
    let section = &mut sections[symtab.index()];
    section.data = Cow::Owned(table);
    section.header.info = output.first_global;
    if let Some(id) = file.symtab_shndx {
        sections[id.index()].data = Cow::Owned(extension);
    }
    Ok(())
}

fn new_symbol(file: &ElfFile<'_>, symbol: &NewSymbol, name: u32) -> (Sym64<LE>, SectionId) {
    let blank = Sym64 {
        st_name: U32::new(LE, name),
        st_info: SymbolInfo(STB_LOCAL.0 << 4 | STT_SECTION.0),
        st_other: SymbolOther(0),
        st_shndx: U16::new(LE, SymbolSection(0)),
        st_value: U64::new(LE, 0),
        st_size: U64::new(LE, 0),
    };
    match symbol {
        NewSymbol::Section(section) => (blank, *section),
        NewSymbol::Prefix {
            function, before, ..
        } => {
            let Symbol {
                raw,
                section,
                value,
                ..
            } = *file.symbol(*function);
            let prefix = Sym64 {
                st_info: raw.st_info,
                st_value: U64::new(LE, value - before),
                st_size: U64::new(LE, *before),
                ..blank
            };
            (prefix, section)
        }
    }
}

fn add_sections(
    file: &ElfFile<'_>,
    output: &Output,
    names: &NameOffsets,
    index_of: &SymbolIndices,
    sections: &mut Vec<OutSection<'_>>,
) -> Result<(), WriteError> {
    for (i, new) in output.sections.iter().enumerate() {
        let own_index = sections.len() as u32;
        sections.push(OutSection {
            header: SectionHeader {
                name: names.sections[i],
                kind: elf::SHT_PROGBITS,
                flags: new.flags,
                size: new.data.len() as u64,
                addralign: new.addralign,
                entsize: new.entsize,
                ..SectionHeader::default()
            },
            data: Cow::Owned(new.data.clone()),
        });
        let Some(new_relocs) = &new.relocs else {
            continue;
        };
        let mut relocs = Vec::with_capacity(new_relocs.len() * RELA);
        for reloc in new_relocs {
            let symbol = index_of.get(reloc.symbol);
            relocs.extend_from_slice(&reloc.offset.to_le_bytes());
            let info = u64::from(symbol) << 32 | u64::from(reloc.kind);
            relocs.extend_from_slice(&info.to_le_bytes());
            relocs.extend_from_slice(&reloc.addend.to_le_bytes());
        }
        sections.push(OutSection {
            header: SectionHeader {
                name: names.relocs[i],
                kind: elf::SHT_RELA,
                flags: elf::SHF_INFO_LINK,
                link: symbol_table(file)?.0,
                info: own_index,
                addralign: 8,
                entsize: RELA as u64,
                ..SectionHeader::default()
            },
            data: Cow::Owned(relocs),
        });
    }
    Ok(())
}

fn lay_out(file: &ElfFile<'_>, sections: &mut [OutSection<'_>]) -> Result<Vec<u8>, WriteError> {
    let mut end = HEADER as u64;
    // Whoever laid out the input has aligned its sections, too. More than this can only be gaps.
    let data: u64 = sections.iter().map(|s| s.data.len() as u64).sum();
    let most = data + 2 * file.data.len() as u64 + MOST_GAPS;
    for (index, section) in sections.iter_mut().enumerate().skip(1) {
        let header = &mut section.header;
        end = end
            .checked_next_multiple_of(header.addralign.max(1))
            .filter(|&end| end <= most)
            .ok_or_else(|| {
                WriteError(format!(
                    "section {}, aligned to {:#x} bytes, would make the file much longer than it is",
                    file.sections.get(index).map_or("".into(), |s| s.display_name()),
                    header.addralign
                ))
            })?;
        header.offset = end;
        if !matches!(header.kind, elf::SHT_NOBITS | elf::SHT_NULL) {
            header.size = section.data.len() as u64;
            end += header.size;
        }
    }
    let table = end.next_multiple_of(8);
    let entry = size_of::<SectionHeader64<LE>>();
    let mut bytes = Vec::with_capacity(table as usize + sections.len() * entry);

    let (mut header, _) = object::pod::from_bytes::<FileHeader64<LE>>(file.data)
        .map(|(header, rest)| (*header, rest))
        .map_err(|()| WriteError("the ELF header can't be read".into()))?;
    header.e_shoff = U64::new(LE, table);
    if sections.len() < usize::from(elf::SHN_LORESERVE) {
        header.e_shnum = U16::new(LE, sections.len() as u16);
    } else {
        header.e_shnum = U16::new(LE, 0);
        sections[0].header.size = sections.len() as u64;
    }
    bytes.extend_from_slice(object::pod::bytes_of(&header));
    for section in sections.iter().skip(1) {
        bytes.resize(section.header.offset as usize, 0);
        if section.header.kind != elf::SHT_NOBITS {
            bytes.extend_from_slice(&section.data);
        }
    }
    bytes.resize(table as usize, 0);
    for section in sections.iter() {
        let h = &section.header;
        let raw = SectionHeader64 {
            sh_name: U32::new(LE, h.name),
            sh_type: U32::new(LE, SectionType(h.kind)),
            sh_flags: U64::new(LE, SectionFlags(h.flags)),
            sh_addr: U64::new(LE, h.addr),
            sh_offset: U64::new(LE, h.offset),
            sh_size: U64::new(LE, h.size),
            sh_link: U32::new(LE, h.link),
            sh_info: U32::new(LE, h.info),
            sh_addralign: U64::new(LE, h.addralign),
            sh_entsize: U64::new(LE, h.entsize),
        };
        bytes.extend_from_slice(object::pod::bytes_of(&raw));
    }
    Ok(bytes)
}
