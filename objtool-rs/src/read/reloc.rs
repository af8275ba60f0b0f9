//! Relocation tables, with a lookup by offset.
//!
//! Source of the rules: the ELF gABI, chapter "Relocation". What a type means is the
//! architecture's.

use object::elf::Rela64;
use object::read::elf::Rela as _;
use object::LittleEndian as LE;

use super::header::place;
use super::{elf, ReadError, Section, SectionId, SymbolId};

/// A relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloc {
    /// Offset of the relocated place in its section, in bytes.
    pub offset: u64,
    /// The symbol that it refers to.
    pub symbol: SymbolId,
    /// Type; the architecture's numbers.
    pub kind: u32,
    /// Constant to add.
    pub addend: i64,
}

/// The relocations of one section.
///
/// # Invariants
///
/// Every symbol index lies in the symbol table. `order`, where it is there, is a permutation of
/// the indices of `entries`.
#[derive(Clone, Debug)]
pub struct RelocTable<'d> {
    entries: &'d [Rela64<LE>],
    /// Indices by offset; absent when the file's order is that already, as compilers emit it.
    order: Option<Box<[u32]>>,
}

impl RelocTable<'_> {
    /// Number of relocations.
    pub fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The relocation at an index, in file order.
    pub fn get(&self, index: u32) -> Reloc {
        let raw = &self.entries[index as usize];
        Reloc {
            offset: raw.r_offset(LE),
            symbol: SymbolId(raw.r_sym(LE, false)),
            kind: raw.r_type(LE, false).0,
            addend: raw.r_addend(LE),
        }
    }

    /// All relocations in file order.
    pub fn iter(&self) -> impl Iterator<Item = Reloc> + '_ {
        (0..self.len()).map(|i| self.get(i))
    }

    /// For lookups that go upwards from an offset on.
    pub fn cursor(&self, offset: u64) -> Cursor<'_> {
        Cursor {
            table: self,
            rank: self.rank(0, |at| at < offset),
        }
    }

    /// The relocations at some positions by offset, in that order; of several at one offset only the
    /// last in file order.
    pub fn by_offset(&self, ranks: std::ops::Range<usize>) -> impl Iterator<Item = Reloc> + '_ {
        let is_last = |&rank: &usize| {
            let next = rank + 1;
            next == self.entries.len() || self.offset_at(next) != self.offset_at(rank)
        };
        let ranks = ranks.filter(is_last);
        ranks.map(|rank| self.get(self.index_at(rank)))
    }

    /// Index of the lowest relocation in `[offset, offset + len)`. Of several at one offset it is
    /// the last in file order.
    pub fn first_in(&self, offset: u64, len: u64) -> Option<u32> {
        let first = self.rank(0, |at| at < offset);
        self.last_at(first, offset, len)
    }

    /// Index of the last relocation at the offset of the one at a position, if that is before the
    /// end of a range.
    fn last_at(&self, first: usize, offset: u64, len: u64) -> Option<u32> {
        if first == self.entries.len() || self.offset_at(first) - offset >= len {
            return None;
        }
        let found = self.offset_at(first);
        let mut last = first;
        // Nearly always there is just the one; a table may have any number at one offset, though.
        if last + 1 < self.entries.len() && self.offset_at(last + 1) == found {
            last = self.rank(last + 1, |at| at == found) - 1;
        }
        Some(self.index_at(last))
    }

    /// Position by offset, from `from` on, of the first relocation of whose offset `before` does
    /// not hold, where it holds of none after one of which it does not.
    fn rank(&self, from: usize, before: impl Fn(u64) -> bool) -> usize {
        let (mut low, mut high) = (from, self.entries.len());
        while low < high {
            let mid = low.midpoint(high);
            if before(self.offset_at(mid)) {
                low = mid + 1;
            } else {
                high = mid;
            }
        }
        low
    }

    /// Index in file order of the relocation at a position by offset.
    fn index_at(&self, rank: usize) -> u32 {
        self.order.as_ref().map_or(rank as u32, |order| order[rank])
    }

    fn offset_at(&self, rank: usize) -> u64 {
        self.entries[self.index_at(rank) as usize].r_offset(LE)
    }
}

/// Goes through a table once for any number of lookups, each at or behind the one before.
#[derive(Clone, Debug)]
pub struct Cursor<'t> {
    table: &'t RelocTable<'t>,
    rank: usize,
}

impl Cursor<'_> {
    /// As [`RelocTable::first_in`].
    pub fn first_in(&mut self, offset: u64, len: u64) -> Option<u32> {
        let table = self.table;
        while self.rank < table.entries.len() && table.offset_at(self.rank) < offset {
            self.rank += 1;
        }
        table.last_at(self.rank, offset, len)
    }
}

/// Reads all relocation tables and gives each to the section that it applies to.
pub(super) fn read(
    sections: &mut [Section<'_>],
    symtab: Option<SectionId>,
    symbols: usize,
) -> Result<(), ReadError> {
    for index in 0..sections.len() {
        let header = sections[index].header;
        if header.kind != elf::SHT_RELA {
            continue;
        }
        let here = || place(sections[index].name, index);
        let base = header.info as usize;
        if base == 0 || base >= sections.len() {
            return Err(ReadError::malformed(
                here(),
                format!("applies to section {base}, of {} sections", sections.len()),
            ));
        }
        if symtab.is_none_or(|symtab| symtab.0 != header.link) && header.size != 0 {
            return Err(ReadError::malformed(
                here(),
                format!("its link is {}, which is not the symbol table", header.link),
            ));
        }
        if let Some(other) = sections[base].reloc_section {
            return Err(ReadError::malformed(
                here(),
                format!(
                    "applies to {}, which section [{}] applies to already",
                    place(sections[base].name, base),
                    other.0
                ),
            ));
        }
        let count = sections[index].data.len() / size_of::<Rela64<LE>>();
        let (entries, _) = object::pod::slice_from_bytes::<Rela64<LE>>(sections[index].data, count)
            .map_err(|()| ReadError::malformed(here(), "its bytes can't be read as relocations"))?;
        let mut sorted = true;
        let mut last = 0;
        for (i, raw) in entries.iter().enumerate() {
            let symbol = raw.r_sym(LE, false);
            if symbol as usize >= symbols {
                return Err(ReadError::malformed(
                    format!("{}, relocation {i}", here()),
                    format!("its symbol is {symbol}, of {symbols} symbols"),
                ));
            }
            let offset = raw.r_offset(LE);
            // Type 0 relocates nothing, so it may stand anywhere.
            let is_void = raw.r_type(LE, false).0 == 0;
            if offset >= sections[base].header.size && !is_void {
                return Err(ReadError::malformed(
                    format!("{}, relocation {i}", here()),
                    format!(
                        "its offset {offset:#x} is outside of {}, {:#x} bytes long",
                        place(sections[base].name, base),
                        sections[base].header.size
                    ),
                ));
            }
            sorted &= last <= offset;
            last = offset;
        }
        let order = (!sorted).then(|| {
            let mut order: Box<[u32]> = (0..entries.len() as u32).collect();
            order.sort_by_key(|&i| entries[i as usize].r_offset(LE));
            order
        });
        sections[base].relocs = Some(RelocTable { entries, order });
        sections[base].reloc_section = Some(SectionId(index as u32));
    }
    Ok(())
}
