//! An object file with the place of everything in it: where in the file each header, symbol and
//! relocation entry stands, so that one of them can be changed in place.
//!
//! Reading is left to the `object` crate; nothing here knows what the sections mean.

use anyhow::{bail, Context, Result};
use object::elf;
use object::read::elf::{FileHeader as _, SectionHeader as _};
use object::LittleEndian as LE;

/// The size of an `Elf64_Rela`, in bytes.
const RELA_SIZE: usize = 24;

/// A relocatable x86-64 object in memory.
pub struct Image {
    /// The whole file.
    pub data: Vec<u8>,
    /// By section header index.
    pub sections: Vec<Section>,
    /// By symbol table index.
    pub symbols: Vec<Symbol>,
}

/// A section and the relocations that apply to it.
pub struct Section {
    /// From the section name table.
    pub name: String,
    /// `SHF_*`.
    pub flags: u64,
    /// The contents' place in the file.
    pub at: usize,
    /// The contents' size in bytes; 0 where the file holds none.
    pub size: usize,
    /// The section header's place in the file.
    pub header_at: usize,
    /// The relocations that apply to this section, by offset.
    pub relocs: Vec<Reloc>,
    /// The section that holds these relocations.
    pub reloc_section: Option<usize>,
}

impl Section {
    /// Whether it holds code.
    pub fn is_code(&self) -> bool {
        self.flags & elf::SHF_EXECINSTR.0 != 0
    }
}

/// A symbol table entry.
pub struct Symbol {
    /// From the string table; empty for a section's symbol.
    pub name: String,
    /// `STT_*`.
    pub kind: u8,
    /// The section it is defined in.
    pub section: Option<usize>,
    /// The offset in that section.
    pub value: u64,
    /// In bytes.
    pub size: u64,
    /// The entry's place in the file.
    pub at: usize,
}

impl Symbol {
    /// Whether it is an `STT_FUNC` of this object.
    pub fn is_function(&self) -> bool {
        self.kind == elf::STT_FUNC.0 && self.section.is_some()
    }
}

/// A relocation entry.
#[derive(Clone)]
pub struct Reloc {
    /// The offset in the section it applies to.
    pub offset: u64,
    /// The index of the symbol it refers to.
    pub symbol: usize,
    /// What is added to the symbol's value.
    pub addend: i64,
    /// The entry's place in the file.
    pub at: usize,
}

/// Bytes to be put in place of those in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Their place in the file.
    pub at: usize,
    /// What stands there afterwards.
    pub bytes: Vec<u8>,
}

impl Edit {
    /// The edit that writes `bytes` at `at`.
    pub fn new(at: usize, bytes: &[u8]) -> Self {
        Self {
            at,
            bytes: bytes.to_vec(),
        }
    }
}

impl Image {
    /// Reads an object.
    ///
    /// # Errors
    /// It is not a little-endian ELF64 object, or its tables do not hold together.
    pub fn parse(data: Vec<u8>) -> Result<Self> {
        let header = elf::FileHeader64::<LE>::parse(data.as_slice())?;
        if header.e_type.get(LE) != elf::ET_REL {
            bail!("not a relocatable object");
        }
        let table = header.sections(LE, data.as_slice())?;
        let headers_at = usize::try_from(header.e_shoff.get(LE))?;
        let header_size = usize::from(header.e_shentsize.get(LE));

        let mut sections = Vec::with_capacity(table.len());
        for (index, section) in table.iter().enumerate() {
            let name = table.section_name(LE, section)?;
            let (at, size) = section.file_range(LE).unwrap_or((0, 0));
            sections.push(Section {
                name: String::from_utf8_lossy(name).into_owned(),
                flags: section.sh_flags.get(LE).0,
                at: usize::try_from(at)?,
                size: usize::try_from(size)?,
                header_at: headers_at + index * header_size,
                relocs: Vec::new(),
                reloc_section: None,
            });
        }

        let symtab = table.symbols(LE, data.as_slice(), elf::SHT_SYMTAB)?;
        let symbols_at = sections[symtab.section().0].at;
        let mut symbols = Vec::with_capacity(symtab.len());
        for (index, symbol) in symtab.enumerate() {
            symbols.push(Symbol {
                name: String::from_utf8_lossy(symtab.symbol_name(LE, symbol)?).into_owned(),
                kind: symbol.st_type().0,
                section: symtab
                    .symbol_section(LE, symbol, index)?
                    .map(|section| section.0),
                value: symbol.st_value.get(LE),
                size: symbol.st_size.get(LE),
                at: symbols_at + index.0 * size_of::<elf::Sym64<LE>>(),
            });
        }

        for (index, section) in table.iter().enumerate() {
            let Some((entries, _)) = section.rela(LE, data.as_slice())? else {
                continue;
            };
            let target = section.info_link(LE).0;
            let at = sections[index].at;
            let mut relocs: Vec<Reloc> = entries
                .iter()
                .enumerate()
                .map(|(entry, rela)| Reloc {
                    offset: rela.r_offset.get(LE),
                    symbol: rela.r_sym(LE, false) as usize,
                    addend: rela.r_addend.get(LE),
                    at: at + entry * RELA_SIZE,
                })
                .collect();
            if relocs.iter().any(|reloc| reloc.symbol >= symbols.len()) {
                bail!(
                    "a relocation of {} names no symbol",
                    sections[target.min(index)].name
                );
            }
            relocs.sort_by_key(|reloc| reloc.offset);
            let owner = sections
                .get_mut(target)
                .context("a relocation section applies to no section")?;
            owner.relocs = relocs;
            owner.reloc_section = Some(index);
        }
        Ok(Self {
            data,
            sections,
            symbols,
        })
    }

    /// The contents of a section.
    pub fn contents(&self, section: usize) -> &[u8] {
        let section = &self.sections[section];
        &self.data[section.at..section.at + section.size]
    }

    /// The section of this name.
    pub fn section(&self, name: &str) -> Option<usize> {
        self.sections
            .iter()
            .position(|section| section.name == name)
    }

    /// The indices of the relocations that touch a range of a section.
    pub fn relocs_in(&self, section: usize, offset: u64, len: u64) -> std::ops::Range<usize> {
        let relocs = &self.sections[section].relocs;
        let start = relocs.partition_point(|reloc| reloc.offset < offset);
        let end = relocs.partition_point(|reloc| reloc.offset < offset + len);
        start..end
    }

    /// The section and offset a relocation refers to, where they are in this object.
    pub fn target(&self, reloc: &Reloc) -> Option<(usize, u64)> {
        let symbol = &self.symbols[reloc.symbol];
        Some((
            symbol.section?,
            symbol.value.wrapping_add_signed(reloc.addend),
        ))
    }

    /// Turns relocations into `R_X86_64_NONE`, leaving symbol and addend.
    pub fn silence(&self, section: usize, relocs: std::ops::Range<usize>) -> Vec<Edit> {
        self.sections[section].relocs[relocs]
            .iter()
            .map(|reloc| Edit::new(reloc.at + 8, &[0; 4]))
            .collect()
    }

    /// Takes a relocation out of its table: the later ones move up, the table ends earlier.
    pub fn remove(&self, section: usize, reloc: usize) -> Option<Vec<Edit>> {
        let table = &self.sections[self.sections[section].reloc_section?];
        let at = self.sections[section].relocs[reloc].at;
        let end = table.at + table.size;
        let size = (table.size - RELA_SIZE) as u64;
        Some(vec![
            Edit::new(at, &self.data[at + RELA_SIZE..end]),
            // sh_size
            Edit::new(table.header_at + 32, &size.to_le_bytes()),
        ])
    }

    /// Gives a relocation another addend.
    pub fn with_addend(&self, section: usize, reloc: usize, addend: i64) -> Edit {
        let reloc = &self.sections[section].relocs[reloc];
        Edit::new(reloc.at + 16, &addend.to_le_bytes())
    }

    /// Makes a relocation refer to another symbol.
    pub fn with_symbol(&self, section: usize, reloc: usize, symbol: usize) -> Edit {
        let reloc = &self.sections[section].relocs[reloc];
        Edit::new(reloc.at + 12, &(symbol as u32).to_le_bytes())
    }

    /// The file with edits made.
    pub fn edited(&self, edits: &[Edit]) -> Vec<u8> {
        let mut data = self.data.clone();
        for edit in edits {
            data[edit.at..edit.at + edit.bytes.len()].copy_from_slice(&edit.bytes);
        }
        data
    }
}
