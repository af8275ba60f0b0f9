//! The changes to a file, collected.
//!
//! Not here: which changes are made (the emitters), and how the file is laid out (`write`).

use rustc_hash::FxHashMap;

use crate::read::{elf, Binding, ElfFile, RelocId, SectionId, SymbolId};
use crate::report::Place;

/// A symbol of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SymbolRef {
    /// One of the input.
    Existing(SymbolId),
    /// One that was added, by the order of adding.
    New(u32),
}

/// A symbol to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewSymbol {
    /// Stands for a section that has no symbol.
    Section(SectionId),
    /// Covers the padding in front of a function.
    Prefix {
        /// The function.
        function: SymbolId,
        /// Bytes of padding.
        before: u64,
    },
}

impl NewSymbol {
    /// What stands before a function's name in the name of [`Self::Prefix`].
    pub const PREFIX: &[u8] = b"__pfx_";
}

/// A relocation to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewReloc {
    /// Offset in its section, in bytes.
    pub offset: u64,
    /// What it refers to.
    pub symbol: SymbolRef,
    /// Type; the architecture's numbers.
    pub kind: u32,
    /// Constant to add.
    pub addend: i64,
}

/// Places in code, eight bytes each or less: a kernel lists more than a million.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Symbols of sections, and how many places in a row are in each.
    runs: Vec<(SymbolRef, u32)>,
    /// Offsets in the sections, in pieces that are as they were made.
    offsets: Vec<Vec<u32>>,
}

impl Places {
    /// Adds a place: an offset in the section of a symbol.
    pub fn push(&mut self, symbol: SymbolRef, offset: u32) {
        match self.runs.last_mut() {
            Some((last, count)) if *last == symbol => *count += 1,
            _ => self.runs.push((symbol, 1)),
        }
        match self.offsets.last_mut() {
            Some(last) => last.push(offset),
            None => self.offsets.push(vec![offset]),
        }
    }

    /// Adds places in a row.
    pub fn append(&mut self, symbol: SymbolRef, offsets: Vec<u32>) {
        self.runs.push((symbol, offsets.len() as u32));
        self.offsets.push(offsets);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.offsets.iter().map(Vec::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands out each.
    fn for_each(&self, mut f: impl FnMut(SymbolRef, u32)) {
        let mut runs = self.runs.iter().filter(|(_, count)| *count != 0);
        let Some(&(mut symbol, mut left)) = runs.next() else {
            return;
        };
        for &offset in self.offsets.iter().flatten() {
            if left == 0 {
                // There are as many places in the runs as there are offsets.
                let Some(&next) = runs.next() else { return };
                (symbol, left) = next;
            }
            left -= 1;
            f(symbol, offset);
        }
    }
}

/// Relocations to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewRelocs {
    /// Each by itself.
    List(Vec<NewReloc>),
    /// One for each place, all of a type, at the starts of entries that follow each other.
    Places {
        /// What they refer to.
        places: Places,
        /// Type; the architecture's numbers.
        kind: u32,
        /// Size of an entry in bytes.
        entry: u64,
    },
}

impl NewRelocs {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Places { places, .. } => places.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands out each.
    pub fn for_each(&self, mut f: impl FnMut(NewReloc)) {
        match self {
            Self::List(list) => list.iter().copied().for_each(f),
            Self::Places {
                places,
                kind,
                entry,
            } => {
                let mut offset = 0;
                places.for_each(|symbol, addend| {
                    f(NewReloc {
                        offset,
                        symbol,
                        kind: *kind,
                        addend: addend.into(),
                    });
                    offset += entry;
                });
            }
        }
    }
}

/// The bytes of a section to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewData {
    /// These, one piece behind the other.
    Bytes(Vec<Vec<u8>>),
    /// So many zeros, which relocations fill.
    Zeros(usize),
}

impl NewData {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(pieces) => pieces.iter().map(Vec::len).sum(),
            Self::Zeros(len) => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A section to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSection {
    /// Its name.
    pub name: &'static str,
    /// Size of an entry in bytes.
    pub entsize: u64,
    /// Its bytes.
    pub data: NewData,
    /// Flags (`SHF_*`).
    pub flags: u64,
    /// Alignment in bytes.
    pub addralign: u64,
    /// Its relocations, by offset; none for a section that is never relocated.
    pub relocs: Option<NewRelocs>,
}

impl NewSection {
    /// A section of `entries` relocated entries, loaded and not writable; its own bytes are zero.
    pub fn relocated(name: &'static str, entsize: u64, entries: usize, relocs: NewRelocs) -> Self {
        Self {
            name,
            entsize,
            data: NewData::Zeros(entsize as usize * entries),
            flags: elf::SHF_ALLOC,
            addralign: 1,
            relocs: Some(relocs),
        }
    }

    /// A section of plain entries, loaded and not writable.
    pub fn plain(name: &'static str, entsize: u64, data: Vec<Vec<u8>>) -> Self {
        let flags = elf::SHF_ALLOC;
        Self {
            name,
            entsize,
            data: NewData::Bytes(data),
            flags,
            addralign: 1,
            relocs: None,
        }
    }
}

/// A name to be added to a string table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NewName {
    /// Of the added symbol with this number.
    Symbol(u32),
    /// Of the added section with this number.
    Section(u32),
    /// Of that section's relocations.
    Relocs(u32),
}

/// All changes to a file.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// New bytes for places in sections.
    pub(super) patches: Vec<(Place, &'static [u8])>,
    /// New types for relocations.
    pub(super) reloc_types: Vec<(RelocId, u32)>,
    pub(super) sections: Vec<NewSection>,
    pub(super) symbols: Vec<NewSymbol>,
    /// Names in the order in which they are appended.
    pub(super) names: Vec<NewName>,
    /// The symbol table's order.
    pub(super) table: Vec<SymbolRef>,
    /// Index of the first symbol that is not local.
    pub(super) first_global: u32,
    section_symbols: FxHashMap<SectionId, SymbolRef>,
}

impl Output {
    /// No change.
    pub fn new(file: &ElfFile<'_>) -> Self {
        Self {
            patches: Vec::new(),
            reloc_types: Vec::new(),
            sections: Vec::new(),
            symbols: Vec::new(),
            names: Vec::new(),
            table: file.symbol_ids().map(SymbolRef::Existing).collect(),
            first_global: file.symtab.map_or(0, |id| file.section(id).header.info),
            section_symbols: FxHashMap::default(),
        }
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.patches.is_empty()
            && self.reloc_types.is_empty()
            && self.sections.is_empty()
            && self.symbols.is_empty()
    }

    /// Puts new bytes at a place.
    pub fn patch(&mut self, place: Place, bytes: &'static [u8]) {
        self.patches.push((place, bytes));
    }

    /// Makes a relocation void.
    pub fn void_reloc(&mut self, reloc: RelocId, none: u32) {
        self.reloc_types.push((reloc, none));
    }

    /// Adds a section.
    pub fn add_section(&mut self, section: NewSection) {
        let index = self.sections.len() as u32;
        self.names.push(NewName::Section(index));
        if section.relocs.is_some() {
            self.names.push(NewName::Relocs(index));
        }
        self.sections.push(section);
    }

    /// Adds a symbol. A local one takes the place of the first global one, which moves to the
    /// end, so that few relocations have to follow.
    pub fn add_symbol(&mut self, file: &ElfFile<'_>, symbol: NewSymbol) -> SymbolRef {
        let index = self.symbols.len() as u32;
        let new = SymbolRef::New(index);
        let is_local = match &symbol {
            NewSymbol::Section(_) => true,
            NewSymbol::Prefix { function, .. } => {
                self.names.push(NewName::Symbol(index));
                file.symbol(*function).binding == Binding::Local
            }
        };
        self.symbols.push(symbol);
        if is_local {
            let first_global = self.first_global as usize;
            if let Some(slot) = self.table.get_mut(first_global) {
                let moved = std::mem::replace(slot, new);
                self.table.push(moved);
            } else {
                self.table.push(new);
            }
            self.first_global += 1;
        } else {
            self.table.push(new);
        }
        new
    }

    /// Places by the symbols of their sections.
    pub fn places(&mut self, file: &ElfFile<'_>, places: impl Iterator<Item = Place>) -> Places {
        let mut list = Places {
            offsets: vec![Vec::with_capacity(places.size_hint().0)],
            ..Places::default()
        };
        let mut last = None;
        for place in places {
            let symbol = match last {
                Some((section, symbol)) if section == place.section => symbol,
                _ => self.section_symbol(file, place.section),
            };
            last = Some((place.section, symbol));
            // Sections are shorter than 2 GB (`read::header`).
            list.push(symbol, place.offset as u32);
        }
        list
    }

    /// The symbol that stands for a section; added if there is none.
    ///
    /// Places in code are named by section and offset: a function's own symbol may be replaced by
    /// another definition when the object is linked, and then the place would move with it.
    pub fn section_symbol(&mut self, file: &ElfFile<'_>, section: SectionId) -> SymbolRef {
        if let Some(symbol) = file.section(section).symbol {
            return SymbolRef::Existing(symbol);
        }
        if let Some(&symbol) = self.section_symbols.get(&section) {
            return symbol;
        }
        let symbol = self.add_symbol(file, NewSymbol::Section(section));
        self.section_symbols.insert(section, symbol);
        symbol
    }
}
