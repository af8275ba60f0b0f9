//! Code to compact instruction records, section by section.
//!
//! Nothing here knows of symbols, annotations or relocations, but that code is divided at functions
//! to be decoded in parallel.
//!
//! - [`record`]: an instruction in twelve bytes.
//! - `parts`: the parallel decoding.
//! - `starts`: which instruction begins at a byte.
//!
//! Effects on the stack are interned, because a kernel has millions of instructions and a few
//! thousand different effects.

mod parts;
pub mod record;
mod starts;

use arch::insn::{Decode, InsnKind, Note, Wanted};

pub use record::{Marks, OpsId, Record, StackOps, Target};

use crate::parallel;
use crate::read::{ElfFile, ReadError, SectionId};
use parts::{Numbers, Part};
use starts::Starts;

/// An instruction, by its position among all instructions of the file.
///
/// Instructions of a section are numbered consecutively in address order. Padding that exists
/// only for the analysis has numbers after all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InsnId(pub u32);

impl InsnId {
    /// Position in a table.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The instructions of one section.
#[derive(Clone, Debug)]
struct Range {
    section: SectionId,
    first: u32,
    end: u32,
    starts: Starts,
}

/// Records from which on more than one thread is worth it.
const WORTH: usize = 1 << 15;

/// Instructions for each entry of the table that tells their sections.
const BLOCK: u32 = 1 << 12;

/// All instructions of a file.
#[derive(Clone, Debug)]
pub struct Insns {
    records: Vec<Record>,
    ops: Vec<StackOps>,
    ranges: Vec<Range>,
    /// Index into `ranges` by section.
    range_of: Vec<Option<u32>>,
    /// For every [`BLOCK`] instructions, the index into `ranges` of the first.
    range_at: Vec<u32>,
    /// Sections of the padding records.
    padding: Vec<SectionId>,
    /// Number of decoded instructions; padding follows.
    decoded: u32,
    /// Encodings that the kernel must not contain.
    pub notes: Vec<(InsnId, Note)>,
    /// All landing pads.
    pub landing_pads: Vec<InsnId>,
    /// All returns from interrupts.
    pub interrupt_returns: Vec<InsnId>,
    /// All direct jumps, as decoded. Here and in the next two, so that who looks for branches need
    /// not look at all records, which are 60 MB in a kernel.
    pub jumps: Vec<InsnId>,
    /// All direct calls, as decoded.
    pub calls: Vec<InsnId>,
    /// All indirect branches and all returns, as decoded.
    pub indirect: Vec<InsnId>,
}

impl Insns {
    /// Decodes every executable section.
    ///
    /// # Errors
    ///
    /// [`ReadError::Undecodable`] at the first bytes of an object that are no instruction. In an
    /// image they become [`InsnKind::Invalid`].
    pub fn decode<A: Decode + Sync>(
        arch: &A,
        file: &ElfFile<'_>,
        wanted: Wanted,
    ) -> Result<Self, ReadError> {
        let code = file.sections.iter().filter(|s| s.is_executable());
        let code: usize = code.map(|s| s.data.len()).sum();
        let mut insns = Self {
            // The kernel's code averages 3.5 to 4.5 bytes an instruction. Room that is not used
            // takes no memory.
            records: Vec::with_capacity(code / 3),
            ops: OpsId::FIXED.to_vec(),
            ranges: Vec::new(),
            range_of: vec![None; file.sections.len()],
            range_at: Vec::new(),
            padding: Vec::new(),
            decoded: 0,
            notes: Vec::new(),
            landing_pads: Vec::new(),
            interrupt_returns: Vec::new(),
            // These, too, are as often as not in a kernel's code.
            jumps: Vec::with_capacity(code / 24),
            calls: Vec::with_capacity(code / 40),
            indirect: Vec::with_capacity(code / 400),
        };
        let mut interned = Numbers::with_fixed();
        let mut bad = None;
        parts::decode(arch, file, wanted, |parts| {
            let first = parts
                .iter()
                .find_map(|part| Some((part.section, part.bad?)));
            bad = bad.or(first);
            if bad.is_none() {
                insns.append(file, parts, &mut interned);
            }
        });
        if let Some((section, offset)) = bad {
            return Err(ReadError::Undecodable {
                section: file.section(section).display_name().into_owned(),
                offset: offset as u64,
            });
        }
        insns.finish();
        Ok(insns)
    }

    /// Adds parts that follow those that are there.
    fn append(&mut self, file: &ElfFile<'_>, parts: &[Part], interned: &mut Numbers) {
        // The number of each part's effects among those of all.
        let mut numbers: Vec<Vec<u32>> = Vec::with_capacity(parts.len());
        let mut first = self.records.len() as u32;
        for part in parts {
            let own = part.ops.iter();
            let own = own.map(|ops| interned.intern(&mut self.ops, *ops).0);
            numbers.push(own.collect());
            let id = |&number: &u32| InsnId(first + number);
            let notes = part.notes.iter().map(|(number, note)| (id(number), *note));
            self.notes.extend(notes);
            self.landing_pads.extend(part.landing_pads.iter().map(id));
            let returns = part.interrupt_returns.iter().map(id);
            self.interrupt_returns.extend(returns);
            self.jumps.extend(part.jumps.iter().map(id));
            self.calls.extend(part.calls.iter().map(id));
            self.indirect.extend(part.indirect.iter().map(id));

            let end = first + part.records.len() as u32;
            if self.ranges.last().is_none_or(|r| r.section != part.section) {
                self.range_of[part.section.index()] = Some(self.ranges.len() as u32);
                self.ranges.push(Range {
                    section: part.section,
                    first,
                    end,
                    starts: Starts::new(file.section(part.section).data.len()),
                });
            }
            if let Some(range) = self.ranges.last_mut() {
                range.end = end;
                range.starts.append(&part.starts);
            }
            first = end;
        }
        concatenate(&mut self.records, parts, &numbers);
    }

    /// Makes what lookups go by.
    fn finish(&mut self) {
        self.decoded = self.records.len() as u32;
        for range in &self.ranges {
            let records = &mut self.records[range.first as usize..range.end as usize];
            if let Some(last) = records.last_mut() {
                last.marks.set(Marks::LAST, true);
            }
        }
        for range in &mut self.ranges {
            range.starts.count(range.first);
        }
        let mut range = 0;
        for first in (0..self.decoded).step_by(BLOCK as usize) {
            while self.ranges[range].end <= first {
                range += 1;
            }
            self.range_at.push(range as u32);
        }
    }

    /// Number of decoded instructions.
    pub fn len(&self) -> u32 {
        self.decoded
    }

    /// Whether the file holds no instruction.
    pub fn is_empty(&self) -> bool {
        self.decoded == 0
    }

    /// Number of records, padding included.
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// All decoded instructions, by section and address.
    pub fn ids(&self) -> impl Iterator<Item = InsnId> + use<> {
        (0..self.decoded).map(InsnId)
    }

    /// The numbers of a section's instructions.
    pub fn range_of(&self, section: SectionId) -> std::ops::Range<u32> {
        self.range(section).map_or(0..0, |r| r.first..r.end)
    }

    /// The instructions of a section.
    pub fn ids_of(&self, section: SectionId) -> impl Iterator<Item = InsnId> + use<> {
        self.range_of(section).map(InsnId)
    }

    /// A record.
    pub fn get(&self, id: InsnId) -> &Record {
        &self.records[id.index()]
    }

    /// A record, to be changed.
    pub fn get_mut(&mut self, id: InsnId) -> &mut Record {
        &mut self.records[id.index()]
    }

    /// Effects on the stack.
    pub fn ops(&self, id: OpsId) -> &StackOps {
        &self.ops[id.0 as usize]
    }

    /// All effects, by number.
    pub fn all_ops(&self) -> impl Iterator<Item = &StackOps> {
        self.ops.iter()
    }

    /// A number for stack effects that were not decoded but follow from context.
    pub fn add_ops(&mut self, ops: StackOps) -> OpsId {
        let found = self.ops.iter().position(|known| *known == ops);
        OpsId(found.unwrap_or_else(|| {
            self.ops.push(ops);
            self.ops.len() - 1
        }) as u32)
    }

    /// The decoded instructions that are wanted, by section and address.
    ///
    /// Passes that look for few instructions do it by this, in parallel: a look at all of a
    /// kernel's records is some 50 MB of memory to read.
    pub fn select(&self, wanted: impl Fn(InsnId, &Record) -> bool + Sync + Send) -> Vec<InsnId> {
        let chunks = parallel::map_ranges(self.decoded as usize, 1 << 16, |range| {
            let records = (range.start..).zip(&self.records[range]);
            let records = records.map(|(id, record)| (InsnId(id as u32), record));
            let wanted = records.filter(|(id, record)| wanted(*id, record));
            wanted.map(|(id, _)| id).collect::<Vec<_>>()
        });
        chunks.concat()
    }

    /// Changes records in parallel. The changes are in pieces, in the order of instructions.
    pub fn update<T: Send>(
        &mut self,
        changes: Vec<Vec<(InsnId, T)>>,
        change: impl Fn(&mut Record, T) + Sync + Send,
    ) {
        let mut rest = self.records.as_mut_slice();
        let mut before = 0;
        let mut pieces = Vec::with_capacity(changes.len());
        for changes in changes {
            let Some(&(InsnId(last), _)) = changes.last() else {
                continue;
            };
            let (own, behind) = rest.split_at_mut((last + 1 - before) as usize);
            pieces.push((before, own, changes));
            rest = behind;
            before = last + 1;
        }
        parallel::map(true, pieces, |(first, records, changes)| {
            for (id, what) in changes {
                change(&mut records[(id.0 - first) as usize], what);
            }
        });
    }

    fn range(&self, section: SectionId) -> Option<&Range> {
        self.range_of[section.index()].map(|i| &self.ranges[i as usize])
    }

    fn range_with(&self, id: InsnId) -> Option<&Range> {
        if id.0 >= self.decoded {
            return None;
        }
        let mut i = self.range_at[(id.0 / BLOCK) as usize] as usize;
        while self.ranges[i].end <= id.0 {
            i += 1;
        }
        Some(&self.ranges[i])
    }

    /// The section of an instruction.
    pub fn section(&self, id: InsnId) -> SectionId {
        match self.range_with(id) {
            Some(range) => range.section,
            None => self.padding[(id.0 - self.decoded) as usize],
        }
    }

    /// The instruction that starts at an offset of a section.
    pub fn at(&self, section: SectionId, offset: u64) -> Option<InsnId> {
        self.range(section)?.starts.at(offset).map(InsnId)
    }

    /// The first instruction that starts at an offset of a section or behind it.
    pub fn from(&self, section: SectionId, offset: u64) -> Option<InsnId> {
        let range = self.range(section)?;
        let id = range.starts.from(offset)?;
        (id < range.end).then_some(InsnId(id))
    }

    /// The instruction that an offset of a section lies in.
    pub fn containing(&self, section: SectionId, offset: u64) -> Option<InsnId> {
        let range = self.range(section)?;
        let behind = range.starts.from(offset.saturating_add(1));
        let id = behind.unwrap_or(range.end).checked_sub(1)?;
        let is_in = id >= range.first && offset < self.records[id as usize].end();
        is_in.then_some(InsnId(id))
    }

    /// The first instruction of a section.
    pub fn first_of(&self, section: SectionId) -> Option<InsnId> {
        let range = self.range(section)?;
        (range.first < range.end).then_some(InsnId(range.first))
    }

    /// The last instruction of a section.
    pub fn last_of(&self, section: SectionId) -> Option<InsnId> {
        let range = self.range(section)?;
        (range.first < range.end).then(|| InsnId(range.end - 1))
    }

    /// The next instruction of the same section.
    pub fn next(&self, id: InsnId) -> Option<InsnId> {
        let is_last = self.records[id.index()].marks.has(Marks::LAST);
        (!is_last).then_some(InsnId(id.0 + 1))
    }

    /// The previous instruction of the same section.
    pub fn prev(&self, id: InsnId) -> Option<InsnId> {
        if self.is_padding(id) {
            return None;
        }
        let before = id.0.checked_sub(1)?;
        let is_last = self.records[before as usize].marks.has(Marks::LAST);
        (!is_last).then_some(InsnId(before))
    }

    /// Whether an instruction is padding which only the analysis sees.
    pub fn is_padding(&self, id: InsnId) -> bool {
        id.0 >= self.decoded
    }

    /// Adds a record that stands for padding which only the analysis sees.
    pub fn add_padding(&mut self, section: SectionId, offset: u32, len: u8) -> InsnId {
        let id = InsnId(self.records.len() as u32);
        self.padding.push(section);
        let mut record = Record::plain(offset, len, InsnKind::Nop);
        record.marks.set(Marks::LAST, true);
        self.records.push(record);
        id
    }
}

/// Adds the records of parts, with their effects numbered alike.
///
/// Copied in parallel, because most of it is the first use of fresh memory: on one thread this takes
/// a fifteenth of a whole run on two.
fn concatenate(records: &mut Vec<Record>, parts: &[Part], numbers: &[Vec<u32>]) {
    let before = records.len();
    let len: usize = parts.iter().map(|part| part.records.len()).sum();
    records.reserve(len);
    let mut room = &mut records.spare_capacity_mut()[..len];
    let mut copies = Vec::with_capacity(parts.len());
    for (part, numbers) in parts.iter().zip(numbers) {
        let (own, rest) = room.split_at_mut(part.records.len());
        room = rest;
        copies.push((part, numbers.as_slice(), own));
    }
    parallel::map(len >= WORTH, copies, |(part, numbers, room)| {
        for (record, room) in part.records.iter().zip(room) {
            room.write(record.renumbered(numbers));
        }
    });
    // SAFETY: there is room for `len` more, which is the sum of the parts' lengths. Each part has
    // written as many records as it has, into room that is as long, and the rooms follow each other
    // from the first free place on.
    unsafe { records.set_len(before + len) };
}
