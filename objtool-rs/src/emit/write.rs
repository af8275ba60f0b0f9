//! Lays out the changed file, and writes it from front to back.
//!
//! Sections stand in the order of their headers, each at the next offset that its alignment
//! allows, the section headers last (gABI, "Sections"); this is also how libelf lays out what
//! C objtool writes, so the two outputs can be compared byte by byte.
//!
//! Nothing is put together in memory: what is unchanged goes from the mapped input into the file,
//! and what is changed is made on the way. A kernel's output is 90 MB, and to have it whole would
//! double the memory of a run.
//!
//! What does not depend on the checks can be written while they are at work ([`Begun`]):
//! that is two thirds of a kernel, and writing is a tenth of all time if everything else is done.

mod begun;

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write};
use std::ops::Range;
use std::sync::Arc;

use object::elf::{
    FileHeader64, Rela64, SectionFlags, SectionHeader64, SectionType, Sym64, SymbolInfo,
    SymbolOther, SymbolSection, STB_LOCAL, STT_SECTION,
};
use object::read::elf::{Rela as _, Sym as _};
use object::{LittleEndian as LE, U16, U32, U64};

pub use begun::Begun;

use super::output::NewName;
use super::{NewData, NewSymbol, Output, SymbolRef};
use crate::read::{elf, ElfFile, SectionHeader, SectionId, Symbol};

const HEADER: usize = size_of::<FileHeader64<LE>>();
const SECTION_HEADER: usize = size_of::<SectionHeader64<LE>>();
const RELA: usize = size_of::<Rela64<LE>>();
const SYM: usize = size_of::<Sym64<LE>>();

/// Room for gaps between sections that were not there before, in bytes.
const MOST_GAPS: u64 = 1 << 20;

/// Bytes that are handed to the system at once, where they are made on the way.
const BUFFER: usize = 256 << 10;

/// What keeps an output from being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteError(pub String);

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WriteError {}

/// Where the bytes of a section come from.
#[derive(Clone, Debug)]
enum Content {
    /// They are as they were.
    Same,
    /// They are as they were but for these, by offset.
    Patched(Vec<(usize, &'static [u8])>),
    /// They are as they were, with these behind.
    Extended(Vec<u8>),
    /// Relocations whose symbols have moved, or whose types are new: index and type, by index.
    Relocs(Vec<(u32, u32)>),
    /// The symbol table.
    Symbols,
    /// The section indices that do not fit into it.
    SymbolSections,
    /// The data of the added section with this number.
    New(usize),
    /// Its relocations.
    NewRelocs(usize),
}

/// A section of the output.
#[derive(Clone, Debug)]
struct OutSection {
    header: SectionHeader,
    content: Content,
}

/// A changed file.
#[derive(Clone, Debug)]
pub struct NewFile<'d> {
    file: Arc<ElfFile<'d>>,
    output: Output,
    /// The first section that is not in the file yet that it is to be written to; nothing if the whole
    /// of it is not.
    written: Option<usize>,
    names: NameOffsets,
    index_of: SymbolIndices,
    sections: Vec<OutSection>,
    /// Where the section headers stand.
    table: u64,
}

/// Where each symbol of the output stands in its table.
#[derive(Clone, Debug)]
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

    fn have_moved(&self) -> bool {
        (0..).zip(&self.existing).any(|(id, &index)| id != index)
    }
}

/// Offsets of the new names in their string tables.
#[derive(Clone, Debug, Default)]
struct NameOffsets {
    symbols: Vec<u32>,
    sections: Vec<u32>,
    relocs: Vec<u32>,
}

fn symbol_table(file: &ElfFile<'_>) -> Result<SectionId, WriteError> {
    file.symtab
        .ok_or_else(|| WriteError("there is no symbol table to add symbols to".into()))
}

fn symbol_names(file: &ElfFile<'_>) -> Result<SectionId, WriteError> {
    Ok(SectionId(file.section(symbol_table(file)?).header.link))
}

impl<'d> NewFile<'d> {
    /// Lays a changed file out.
    ///
    /// # Errors
    ///
    /// When the file has no place for a new name or symbol.
    pub fn new(file: Arc<ElfFile<'d>>, output: Output) -> Result<Self, WriteError> {
        Self::lay_out(file, output).map_err(|(error, _)| error)
    }

    /// The same, that gives the changes back where it fails.
    fn lay_out(file: Arc<ElfFile<'d>>, output: Output) -> Result<Self, (WriteError, Box<Output>)> {
        let mut new = Self {
            index_of: SymbolIndices::new(&output, file.symbols.len()),
            names: NameOffsets::default(),
            sections: Vec::new(),
            file,
            output,
            table: 0,
            written: None,
        };
        match new.make() {
            Ok(()) => Ok(new),
            Err(error) => Err((error, Box::new(new.output))),
        }
    }

    fn make(&mut self) -> Result<(), WriteError> {
        let same = |header| OutSection {
            header,
            content: Content::Same,
        };
        let sections = self.file.sections.iter();
        self.sections = sections.map(|section| same(section.header)).collect();
        self.names = append_names(&self.file, &self.output, &mut self.sections)?;
        self.patch();
        self.move_symbols()?;
        self.add_symbols()?;
        self.add_sections()?;
        self.place()
    }

    /// How long it is, in bytes.
    pub fn len(&self) -> u64 {
        self.table + (self.sections.len() * SECTION_HEADER) as u64
    }

    /// Never: it has a header.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// New bytes in code, and new types for relocations.
    fn patch(&mut self) {
        for &(place, bytes) in &self.output.patches {
            let content = &mut self.sections[place.section.index()].content;
            if let Content::Same = content {
                *content = Content::Patched(Vec::new());
            }
            if let Content::Patched(patches) = content {
                patches.push((place.offset as usize, bytes));
            }
        }
        for &(id, kind) in &self.output.reloc_types {
            let Some(table) = self.file.section(id.section).reloc_section else {
                continue;
            };
            let content = &mut self.sections[table.index()].content;
            if let Content::Same = content {
                *content = Content::Relocs(Vec::new());
            }
            if let Content::Relocs(types) = content {
                types.push((id.index, kind));
            }
        }
        for section in &mut self.sections {
            match &mut section.content {
                // Of several for one place the last one counts, so they keep their order.
                Content::Patched(patches) => patches.sort_by_key(|&(offset, _)| offset),
                Content::Relocs(types) => types.sort_by_key(|&(index, _)| index),
                _ => {}
            }
        }
    }

    /// Lets relocations and groups follow symbols that have moved in the table.
    fn move_symbols(&mut self) -> Result<(), WriteError> {
        if !self.index_of.have_moved() {
            return Ok(());
        }
        for section in &self.file.sections {
            if let (Some(_), Some(table)) = (&section.relocs, section.reloc_section) {
                let content = &mut self.sections[table.index()].content;
                if let Content::Same = content {
                    *content = Content::Relocs(Vec::new());
                }
            }
        }
        let symtab = symbol_table(&self.file)?;
        for section in &mut self.sections {
            // A group is named after its signature symbol.
            if section.header.kind == elf::SHT_GROUP && section.header.link == symtab.0 {
                let signature = self.index_of.existing.get(section.header.info as usize);
                section.header.info = *signature
                    .ok_or_else(|| WriteError("a section group's signature is no symbol".into()))?;
            }
        }
        self.sections[symtab.index()].header.info = self.output.first_global;
        Ok(())
    }

    /// Writes the symbol table anew.
    fn add_symbols(&mut self) -> Result<(), WriteError> {
        if self.output.symbols.is_empty() {
            return Ok(());
        }
        let symtab = symbol_table(&self.file)?;
        let extension = self.file.symtab_shndx;
        let beyond = |section: &SectionId| section.0 >= u32::from(elf::SHN_LORESERVE);
        let new = 0..self.output.symbols.len() as u32;
        if let Some(section) = new.map(|new| self.new_symbol(new).1).find(beyond) {
            if extension.is_none() {
                return Err(WriteError(format!(
                    "section {} is beyond what the symbol table can name (no .symtab_shndx)",
                    section.0
                )));
            }
        }
        let section = &mut self.sections[symtab.index()];
        section.content = Content::Symbols;
        section.header.info = self.output.first_global;
        if let Some(id) = extension {
            self.sections[id.index()].content = Content::SymbolSections;
        }
        Ok(())
    }

    /// A symbol as it stands in the table, and its section.
    fn symbol(&self, symbol: SymbolRef) -> (Sym64<LE>, SectionId) {
        match symbol {
            SymbolRef::Existing(id) => (*self.file.symbol(id).raw, self.file.symbol(id).section),
            SymbolRef::New(new) => {
                let (mut raw, section) = self.new_symbol(new);
                let index = if section.0 < u32::from(elf::SHN_LORESERVE) {
                    section.0 as u16
                } else {
                    elf::SHN_XINDEX
                };
                raw.st_shndx = U16::new(LE, SymbolSection(index));
                (raw, section)
            }
        }
    }

    fn new_symbol(&self, new: u32) -> (Sym64<LE>, SectionId) {
        let blank = Sym64 {
            st_name: U32::new(LE, self.names.symbols[new as usize]),
            st_info: SymbolInfo(STB_LOCAL.0 << 4 | STT_SECTION.0),
            st_other: SymbolOther(0),
            st_shndx: U16::new(LE, SymbolSection(0)),
            st_value: U64::new(LE, 0),
            st_size: U64::new(LE, 0),
        };
        match &self.output.symbols[new as usize] {
            NewSymbol::Section(section) => (blank, *section),
            NewSymbol::Prefix { function, before } => {
                let Symbol {
                    raw,
                    section,
                    value,
                    ..
                } = *self.file.symbol(*function);
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

    fn add_sections(&mut self) -> Result<(), WriteError> {
        for (i, new) in self.output.sections.iter().enumerate() {
            let own_index = self.sections.len() as u32;
            self.sections.push(OutSection {
                header: SectionHeader {
                    name: self.names.sections[i],
                    kind: elf::SHT_PROGBITS,
                    ..SectionHeader::default()
                },
                content: Content::New(i),
            });
            if new.relocs.is_none() {
                continue;
            }
            self.sections.push(OutSection {
                header: SectionHeader {
                    name: self.names.relocs[i],
                    kind: elf::SHT_RELA,
                    flags: elf::SHF_INFO_LINK,
                    link: symbol_table(&self.file)?.0,
                    info: own_index,
                    addralign: 8,
                    entsize: RELA as u64,
                    ..SectionHeader::default()
                },
                content: Content::NewRelocs(i),
            });
        }
        Ok(())
    }

    /// The bytes of a section of the input; none of one that is added.
    fn data(&self, index: usize) -> &'d [u8] {
        self.file.sections.get(index).map_or(&[], |s| s.data)
    }

    fn size(&self, index: usize) -> usize {
        let data = self.data(index);
        match &self.sections[index].content {
            Content::Same | Content::Patched(_) | Content::Relocs(_) => data.len(),
            Content::Extended(more) => data.len() + more.len(),
            Content::Symbols => self.output.table.len() * SYM,
            Content::SymbolSections => self.output.table.len() * 4,
            Content::New(new) => self.output.sections[*new].data.len(),
            Content::NewRelocs(new) => {
                let relocs = self.output.sections[*new].relocs.as_ref();
                relocs.map_or(0, |relocs| relocs.len() * RELA)
            }
        }
    }

    /// Says where each section stands.
    fn place(&mut self) -> Result<(), WriteError> {
        for section in &mut self.sections {
            if let Content::New(new) = section.content {
                let new = &self.output.sections[new];
                section.header.flags = new.flags;
                section.header.addralign = new.addralign;
                section.header.entsize = new.entsize;
            }
        }
        let mut end = HEADER as u64;
        // Whoever laid out the input has aligned its sections, too. More than this can only be
        // gaps.
        let data: u64 = (0..self.sections.len()).map(|i| self.size(i) as u64).sum();
        let most = data + 2 * self.file.data.len() as u64 + MOST_GAPS;
        for index in 1..self.sections.len() {
            let size = self.size(index) as u64;
            let header = &mut self.sections[index].header;
            end = end
                .checked_next_multiple_of(header.addralign.max(1))
                .filter(|&end| end <= most)
                .ok_or_else(|| {
                    let section = self.file.sections.get(index);
                    WriteError(format!(
                        "section {}, aligned to {:#x} bytes, would make the file much longer than \
                         it is",
                        section.map_or("".into(), |s| s.display_name()),
                        header.addralign
                    ))
                })?;
            header.offset = end;
            if !matches!(header.kind, elf::SHT_NOBITS | elf::SHT_NULL) {
                header.size = size;
                end += size;
            }
        }
        self.table = end.next_multiple_of(8);
        if self.sections.len() >= usize::from(elf::SHN_LORESERVE) {
            self.sections[0].header.size = self.sections.len() as u64;
        }
        Ok(())
    }

    /// The whole file.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len() as usize);
        self.write(&mut bytes)
            .expect("memory takes all that is written");
        bytes
    }

    /// Writes everything up to an added section; the result is the first section that is not written.
    fn begin(&self, to: &mut File, up_to: usize, release: &dyn Fn()) -> io::Result<usize> {
        let mut to = Counted {
            release: Some(release),
            ..Counted::new(to, self.len(), 0)
        };
        let is_it =
            |section: &OutSection| matches!(section.content, Content::New(new) if new == up_to);
        let section = self.sections.iter().position(is_it);
        let section = section.unwrap_or(self.sections.len());
        self.write_header(&mut to)?;
        self.write_sections(1..section, &mut to)?;
        to.to.flush()?;
        Ok(section)
    }

    /// Writes the file, or what is not in it yet.
    ///
    /// # Errors
    ///
    /// What the writer refuses.
    pub fn write_to(&self, file: &mut File) -> io::Result<()> {
        file.seek(SeekFrom::Start(0))?;
        let Some(first) = self.written else {
            file.set_len(0)?;
            return self.write(file);
        };
        // It says where the section headers stand, which was not known.
        let mut to = Counted::new(&mut *file, self.len(), 0);
        self.write_header(&mut to)?;
        to.to.flush()?;
        drop(to);
        let next = self.sections.get(first);
        let end = next.map_or(self.table, |section| section.header.offset);
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        let mut to = Counted::new(file, self.len(), end);
        self.write_sections(first..self.sections.len(), &mut to)?;
        self.write_section_headers(&mut to)?;
        to.to.flush()
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// What the writer refuses.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        let mut to = Counted::new(to, self.len(), 0);
        self.write_header(&mut to)?;
        self.write_sections(1..self.sections.len(), &mut to)?;
        self.write_section_headers(&mut to)?;
        to.to.flush()
    }

    fn write_header(&self, to: &mut Counted<'_, impl Write>) -> io::Result<()> {
        let (header, _) = object::pod::from_bytes::<FileHeader64<LE>>(self.file.data)
            .map_err(|()| io::Error::other("the ELF header can't be read"))?;
        let mut header = *header;
        header.e_shoff = U64::new(LE, self.table);
        let count = self.sections.len();
        let fits = count < usize::from(elf::SHN_LORESERVE);
        header.e_shnum = U16::new(LE, if fits { count as u16 } else { 0 });
        to.put(object::pod::bytes_of(&header))
    }

    fn write_sections(
        &self,
        indices: Range<usize>,
        to: &mut Counted<'_, impl Write>,
    ) -> io::Result<()> {
        for index in indices {
            let header = &self.sections[index].header;
            to.fill_up_to(header.offset)?;
            if !matches!(header.kind, elf::SHT_NOBITS | elf::SHT_NULL) {
                self.write_section(index, to)?;
            }
        }
        Ok(())
    }

    fn write_section_headers(&self, to: &mut Counted<'_, impl Write>) -> io::Result<()> {
        to.fill_up_to(self.table)?;
        for section in &self.sections {
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
            to.put(object::pod::bytes_of(&raw))?;
        }
        Ok(())
    }

    fn write_section(&self, index: usize, to: &mut Counted<'_, impl Write>) -> io::Result<()> {
        let data = self.data(index);
        match &self.sections[index].content {
            Content::Same => to.put(data),
            Content::Patched(patches) => patched(data, patches, to),
            Content::Extended(more) => {
                to.put(data)?;
                to.put(more)
            }
            Content::Relocs(types) => self.relocs(data, types, to),
            Content::Symbols => self.output.table.iter().try_for_each(|&symbol| {
                let (raw, _) = self.symbol(symbol);
                to.put(object::pod::bytes_of(&raw))
            }),
            Content::SymbolSections => self.output.table.iter().try_for_each(|&symbol| {
                let (raw, section) = self.symbol(symbol);
                let is_here = raw.st_shndx(LE).0 == elf::SHN_XINDEX;
                let word = if is_here { section.0 } else { 0 };
                to.put(&word.to_le_bytes())
            }),
            Content::New(new) => match &self.output.sections[*new].data {
                NewData::Bytes(pieces) => pieces.iter().try_for_each(|piece| to.put(piece)),
                NewData::Zeros(len) => to.zeros(*len as u64),
            },
            Content::NewRelocs(new) => {
                let mut list = List::new(to);
                if let Some(relocs) = &self.output.sections[*new].relocs {
                    relocs.for_each(|reloc| {
                        let symbol = self.index_of.get(reloc.symbol);
                        list.add(rela(reloc.offset, symbol, reloc.kind, reloc.addend));
                    });
                }
                list.finish()
            }
        }
    }

    fn relocs(
        &self,
        data: &[u8],
        types: &[(u32, u32)],
        to: &mut Counted<'_, impl Write>,
    ) -> io::Result<()> {
        let (entries, rest) = object::pod::slice_from_bytes::<Rela64<LE>>(data, data.len() / RELA)
            .map_err(|()| io::Error::other("its bytes can't be read as relocations"))?;
        let mut types = types.iter().peekable();
        let mut list = List::new(to);
        for (index, entry) in (0..).zip(entries) {
            let mut kind = entry.r_type(LE, false).0;
            while let Some(&(_, new)) = types.next_if(|&&(of, _)| of == index) {
                kind = new;
            }
            let symbol = self.index_of.existing[entry.r_sym(LE, false) as usize];
            list.add(rela(entry.r_offset(LE), symbol, kind, entry.r_addend(LE)));
        }
        list.finish()?;
        to.put(rest)
    }
}

/// Bytes of relocations that are handed on at once: more than [`BUFFER`], so that they go into the file
/// without being copied into another buffer.
const LIST: usize = BUFFER + (64 << 10);

/// A list of relocations on the way into the file.
///
/// They are put together here, and handed on by the thousand: a kernel has two million, of 24 bytes
/// each.
struct List<'w, 'r, W: Write> {
    to: &'w mut Counted<'r, W>,
    bytes: Vec<u8>,
    result: io::Result<()>,
}

impl<'w, 'r, W: Write> List<'w, 'r, W> {
    fn new(to: &'w mut Counted<'r, W>) -> Self {
        Self {
            to,
            bytes: Vec::with_capacity(LIST),
            result: Ok(()),
        }
    }

    fn add(&mut self, raw: [u8; RELA]) {
        if self.bytes.len() + RELA > LIST {
            self.hand_on();
        }
        self.bytes.extend_from_slice(&raw);
    }

    fn hand_on(&mut self) {
        if self.result.is_ok() {
            self.result = self.to.put(&self.bytes);
        }
        self.bytes.clear();
    }

    fn finish(mut self) -> io::Result<()> {
        self.hand_on();
        self.result
    }
}

/// A relocation as it stands in the file.
fn rela(offset: u64, symbol: u32, kind: u32, addend: i64) -> [u8; RELA] {
    let mut raw = [0; RELA];
    raw[..8].copy_from_slice(&offset.to_le_bytes());
    raw[8..12].copy_from_slice(&kind.to_le_bytes());
    raw[12..16].copy_from_slice(&symbol.to_le_bytes());
    raw[16..].copy_from_slice(&addend.to_le_bytes());
    raw
}

/// Bytes with some of them replaced.
fn patched(
    data: &[u8],
    patches: &[(usize, &[u8])],
    to: &mut Counted<'_, impl Write>,
) -> io::Result<()> {
    let mut at = 0;
    for (i, &(offset, bytes)) in patches.iter().enumerate() {
        // The last one for a place counts.
        let next = patches.get(i + 1).map_or(data.len(), |next| next.0);
        if next == offset && i + 1 != patches.len() {
            continue;
        }
        to.put(&data[at..offset.max(at)])?;
        at = (offset + bytes.len()).min(next);
        to.put(&bytes[..at - offset])?;
    }
    to.put(&data[at..])
}

/// A writer that knows how far it is.
struct Counted<'r, W: Write> {
    to: BufWriter<W>,
    written: u64,
    /// Called where so much was written that as much was read.
    release: Option<&'r dyn Fn()>,
    released: u64,
}

/// Bytes after which what was read for them is let go of.
const RELEASE: u64 = 4 << 20;

impl<W: Write> Counted<'_, W> {
    /// For a file of a length of which some is there.
    fn new(to: W, len: u64, written: u64) -> Self {
        Self {
            to: BufWriter::with_capacity(BUFFER.min(len as usize), to),
            written,
            release: None,
            released: written,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(release) = self.release else {
            self.written += bytes.len() as u64;
            return self.to.write_all(bytes);
        };
        for bytes in bytes.chunks(RELEASE as usize) {
            self.to.write_all(bytes)?;
            self.written += bytes.len() as u64;
            if self.written - self.released >= RELEASE {
                self.released = self.written;
                release();
            }
        }
        Ok(())
    }

    fn zeros(&mut self, mut len: u64) -> io::Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while len != 0 {
            let some = len.min(ZEROS.len() as u64);
            self.put(&ZEROS[..some as usize])?;
            len -= some;
        }
        Ok(())
    }

    fn fill_up_to(&mut self, offset: u64) -> io::Result<()> {
        self.zeros(offset.saturating_sub(self.written))
    }
}

/// Puts new names behind those in the string tables.
fn append_names(
    file: &ElfFile<'_>,
    output: &Output,
    sections: &mut [OutSection],
) -> Result<NameOffsets, WriteError> {
    let mut names = NameOffsets {
        symbols: vec![0; output.symbols.len()],
        sections: vec![0; output.sections.len()],
        relocs: vec![0; output.sections.len()],
    };
    for name in &output.names {
        let (table, parts): (_, [&[u8]; 2]) = match name {
            NewName::Symbol(new) => {
                let NewSymbol::Prefix { function, .. } = &output.symbols[*new as usize] else {
                    continue;
                };
                let function = file.symbol(*function).name;
                (symbol_names(file)?, [NewSymbol::PREFIX, function])
            }
            NewName::Section(new) => {
                let name = output.sections[*new as usize].name;
                (file.section_names, [b"", name.as_bytes()])
            }
            NewName::Relocs(new) => {
                let name = output.sections[*new as usize].name;
                (file.section_names, [b".rela", name.as_bytes()])
            }
        };
        let content = &mut sections[table.index()].content;
        if let Content::Same = content {
            *content = Content::Extended(Vec::new());
        }
        let Content::Extended(more) = content else {
            continue;
        };
        let offset = u32::try_from(file.section(table).data.len() + more.len())
            .map_err(|_| WriteError("the string table is full".into()))?;
        for part in parts {
            more.extend_from_slice(part);
        }
        more.push(0);
        match name {
            NewName::Symbol(new) => names.symbols[*new as usize] = offset,
            NewName::Section(new) => names.sections[*new as usize] = offset,
            NewName::Relocs(new) => names.relocs[*new as usize] = offset,
        }
    }
    Ok(names)
}
