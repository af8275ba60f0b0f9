//! The file as it stands: sections, symbols and relocations by typed index.
//!
//! Everything is borrowed from the mapped input; nothing is interpreted beyond the ELF gABI. What
//! functions there are, how symbols nest and what annotations say is the `model`'s.

mod error;
mod header;
mod ids;
mod name;
mod reloc;
mod symbol;

use std::hash::BuildHasher as _;

use hashbrown::hash_table::{Entry, HashTable};
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::parallel;

pub use error::ReadError;
pub use ids::{RelocId, SectionId, SymbolId};
pub use name::printable;
pub use reloc::{Cursor, Reloc, RelocTable};
pub use symbol::{Binding, Symbol, SymbolKind};

/// Section types and flags of the gABI that validation tells apart.
pub mod elf {
    use object::elf;

    /// The section is part of the running image.
    pub const SHF_ALLOC: u64 = elf::SHF_ALLOC.0;
    /// It holds instructions.
    pub const SHF_EXECINSTR: u64 = elf::SHF_EXECINSTR.0;
    /// `sh_info` is a section's index.
    pub const SHF_INFO_LINK: u64 = elf::SHF_INFO_LINK.0;
    /// It is writable.
    pub const SHF_WRITE: u64 = elf::SHF_WRITE.0;
    /// Section indices from here on mean something else.
    pub const SHN_LORESERVE: u16 = elf::SHN_LORESERVE;
    /// The section's index is in the extension table.
    pub const SHN_XINDEX: u16 = elf::SHN_XINDEX.0;
    /// A group of sections.
    pub const SHT_GROUP: u32 = elf::SHT_GROUP.0;
    /// Takes no room in the file.
    pub const SHT_NOBITS: u32 = elf::SHT_NOBITS.0;
    /// An unused header.
    pub const SHT_NULL: u32 = elf::SHT_NULL.0;
    /// Bytes that the program gives a meaning.
    pub const SHT_PROGBITS: u32 = elf::SHT_PROGBITS.0;
    /// Relocations without addends.
    pub const SHT_REL: u32 = elf::SHT_REL.0;
    /// Relocations with addends.
    pub const SHT_RELA: u32 = elf::SHT_RELA.0;
    /// Strings.
    pub const SHT_STRTAB: u32 = elf::SHT_STRTAB.0;
    /// Symbols.
    pub const SHT_SYMTAB: u32 = elf::SHT_SYMTAB.0;
    /// Section indices of symbols.
    pub const SHT_SYMTAB_SHNDX: u32 = elf::SHT_SYMTAB_SHNDX.0;
}

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// An object or a module: places are relocated.
    Object,
    /// A linked kernel: places are addresses.
    Image,
}

/// A section header, in host types; fields as in the gABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SectionHeader {
    /// Offset of the name in the section name table.
    pub name: u32,
    /// Type (`SHT_*`).
    pub kind: u32,
    /// Flags (`SHF_*`).
    pub flags: u64,
    /// Address at execution.
    pub addr: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
    /// Section index that depends on the type.
    pub link: u32,
    /// Extra information that depends on the type.
    pub info: u32,
    /// Alignment in bytes; 0 and 1 mean none.
    pub addralign: u64,
    /// Size of an entry in bytes, if the section is a table.
    pub entsize: u64,
}

/// A section.
#[derive(Clone, Debug)]
pub struct Section<'d> {
    /// Its name.
    pub name: &'d [u8],
    /// Its header.
    pub header: SectionHeader,
    /// Its bytes; empty when the file holds none.
    pub data: &'d [u8],
    /// Its relocations, if it has any.
    pub relocs: Option<RelocTable<'d>>,
    /// The section that holds them.
    pub reloc_section: Option<SectionId>,
    /// The symbol that stands for the section.
    pub symbol: Option<SymbolId>,
}

impl Section<'_> {
    /// Whether it holds instructions.
    pub fn is_executable(&self) -> bool {
        self.header.flags & elf::SHF_EXECINSTR != 0
    }

    /// Its name for a message.
    pub fn display_name(&self) -> std::borrow::Cow<'_, str> {
        printable(self.name)
    }
}

/// An ELF file: a relocatable object, or a linked image.
///
/// In an image, too, symbols have offsets in their sections, not addresses.
#[derive(Clone, Debug)]
pub struct ElfFile<'d> {
    /// What kind of file it is.
    pub kind: FileKind,
    /// The whole input.
    pub data: &'d [u8],
    /// `e_machine`.
    pub machine: u16,
    /// Index of the section name table.
    pub section_names: SectionId,
    /// All sections, the null section first.
    pub sections: Vec<Section<'d>>,
    /// All symbols, the null symbol first; empty if there is no symbol table.
    pub symbols: Vec<Symbol<'d>>,
    /// The symbol table's section.
    pub symtab: Option<SectionId>,
    /// The section that extends the symbols' section indices.
    pub symtab_shndx: Option<SectionId>,
    /// Sections of an image by address.
    by_address: Vec<SectionId>,
    sections_by_name: FxHashMap<&'d [u8], SectionId>,
    /// By the hash of their names. Names are compared where they stand, so that an entry is a
    /// number: with the names in it, the table of a kernel would be five times as large.
    symbols_by_name: HashTable<SymbolId>,
}

/// Files from here on are worth another thread, in bytes.
const WORTH_THREADS: usize = 1 << 20;

/// The last symbol of each name.
fn by_name(symbols: &[Symbol<'_>]) -> HashTable<SymbolId> {
    let name = |id: &SymbolId| symbols[id.index()].name;
    let hash = |id: &SymbolId| FxBuildHasher.hash_one(name(id));
    let mut table = HashTable::with_capacity(symbols.len());
    for id in (0..symbols.len() as u32).map(SymbolId) {
        match table.entry(hash(&id), |other| name(other) == name(&id), hash) {
            Entry::Occupied(mut entry) => *entry.get_mut() = id,
            Entry::Vacant(entry) => {
                entry.insert(id);
            }
        }
    }
    table
}

impl<'d> ElfFile<'d> {
    /// Reads a 64-bit little-endian relocatable object for `machine`.
    ///
    /// # Errors
    ///
    /// The first thing found that makes the file unreadable, with its place.
    pub fn parse(data: &'d [u8], machine: u16) -> Result<Self, ReadError> {
        let file = Self::parse_any(data, machine)?;
        match file.kind {
            FileKind::Object => Ok(file),
            FileKind::Image => Err(ReadError::Unsupported(
                "not a relocatable object but a linked image (e_type is ET_EXEC); \
                 `objtool-rs verify` takes those"
                    .into(),
            )),
        }
    }

    /// Reads a 64-bit little-endian relocatable object or linked image for `machine`.
    ///
    /// # Errors
    ///
    /// The first thing found that makes the file unreadable, with its place.
    pub fn parse_any(data: &'d [u8], machine: u16) -> Result<Self, ReadError> {
        let header::Headers {
            kind,
            mut sections,
            section_names,
        } = header::read(data, machine)?;
        let table = symbol::read(kind, &mut sections)?;
        let (relocs, symbols_by_name) = parallel::join(
            data.len() >= WORTH_THREADS,
            || match kind {
                FileKind::Object => reloc::read(&mut sections, table.section, table.symbols.len()),
                // What relocations an image has kept are about addresses, and their work is done.
                FileKind::Image => Ok(()),
            },
            || by_name(&table.symbols),
        );
        relocs?;

        // Where a name occurs twice, the last one counts: a later definition shadows a former.
        let sections_by_name = sections
            .iter()
            .enumerate()
            .map(|(i, s)| (s.name, SectionId(i as u32)))
            .collect();
        let mut by_address: Vec<SectionId> = (0..sections.len() as u32)
            .map(SectionId)
            .filter(|id| {
                let header = &sections[id.index()].header;
                // Per-CPU data is addressed from zero and is no place that code names.
                header.flags & elf::SHF_ALLOC != 0 && header.addr != 0 && header.size != 0
            })
            .collect();
        by_address.sort_unstable_by_key(|id| sections[id.index()].header.addr);
        Ok(Self {
            kind,
            by_address,
            data,
            machine,
            section_names,
            sections,
            symbols: table.symbols,
            symtab: table.section,
            symtab_shndx: table.extension,
            sections_by_name,
            symbols_by_name,
        })
    }

    /// A section.
    pub fn section(&self, id: SectionId) -> &Section<'d> {
        &self.sections[id.index()]
    }

    /// A symbol.
    pub fn symbol(&self, id: SymbolId) -> &Symbol<'d> {
        &self.symbols[id.index()]
    }

    /// A relocation.
    pub fn reloc(&self, id: RelocId) -> Reloc {
        let table = self.section(id.section).relocs.as_ref();
        table
            .expect("a RelocId is only made for a section with relocations")
            .get(id.index)
    }

    /// All section indices in order, the null section first.
    pub fn section_ids(&self) -> impl Iterator<Item = SectionId> + use<> {
        (0..self.sections.len() as u32).map(SectionId)
    }

    /// All symbol indices in order, the null symbol first.
    pub fn symbol_ids(&self) -> impl Iterator<Item = SymbolId> + use<> {
        (0..self.symbols.len() as u32).map(SymbolId)
    }

    /// The section and offset of an address, in an image.
    pub fn at_address(&self, address: u64) -> Option<(SectionId, u64)> {
        let i = self
            .by_address
            .partition_point(|&id| self.section(id).header.addr <= address)
            .checked_sub(1)?;
        let id = self.by_address[i];
        let offset = address - self.section(id).header.addr;
        (offset < self.section(id).header.size).then_some((id, offset))
    }

    /// The address of an offset in a section of an image.
    pub fn address(&self, section: SectionId, offset: u64) -> u64 {
        self.section(section).header.addr.wrapping_add(offset)
    }

    /// The last section of this name.
    pub fn section_by_name(&self, name: &[u8]) -> Option<SectionId> {
        self.sections_by_name.get(name).copied()
    }

    /// The last symbol of this name; a section's symbol has the section's name.
    pub fn symbol_by_name(&self, name: &[u8]) -> Option<SymbolId> {
        let is_it = |id: &SymbolId| self.symbol(*id).name == name;
        let hash = FxBuildHasher.hash_one(name);
        self.symbols_by_name.find(hash, is_it).copied()
    }

    /// The first relocation by offset in `[offset, offset + len)` of a section.
    pub fn reloc_in(&self, section: SectionId, offset: u64, len: u64) -> Option<(RelocId, Reloc)> {
        let index = self
            .section(section)
            .relocs
            .as_ref()?
            .first_in(offset, len)?;
        let id = RelocId { section, index };
        Some((id, self.reloc(id)))
    }

    /// The relocation at an offset of a section.
    pub fn reloc_at(&self, section: SectionId, offset: u64) -> Option<(RelocId, Reloc)> {
        self.reloc_in(section, offset, 1)
    }
}
