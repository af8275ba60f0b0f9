//! Code to compact instruction records, section by section.
//!
//! A record is 16 bytes, whatever the instruction does; stack effects are interned, because a
//! kernel has millions of instructions and a few thousand different effects. Nothing here knows
//! of symbols, annotations or relocations.

use arch::insn::{Decode, Insn, InsnKind, Note, StackOp, MAX_STACK_OPS};
use rustc_hash::FxHashMap;

use crate::read::{ElfFile, FileKind, ReadError, SectionId};

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

/// What an instruction does to the stack: at most [`MAX_STACK_OPS`] effects, in order.
pub type StackOps = [Option<StackOp>; MAX_STACK_OPS];

/// Interned [`StackOps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpsId(u32);

impl OpsId {
    /// No effect at all.
    pub const NONE: Self = Self(0);
}

/// One instruction.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Offset in its section, in bytes.
    pub offset: u32,
    /// Distance from its end to the target of a direct branch, in bytes.
    pub displacement: i32,
    /// Its effects on the stack.
    pub ops: OpsId,
    /// Length in bytes.
    pub len: u8,
    /// What it does to control flow.
    pub kind: InsnKind,
    /// Marks from decoding and from annotations.
    pub marks: Marks,
}

impl Record {
    /// Offset of the next instruction.
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.len)
    }

    /// Where a direct branch without relocation goes, as an offset in its section. It wraps where
    /// the target lies before the section.
    pub fn branch_target(&self) -> u64 {
        self.end().wrapping_add_signed(i64::from(self.displacement))
    }
}

/// A set of yes-or-no properties of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Marks(u16);

impl Marks {
    /// Execution does not go on after it.
    pub const DEAD_END: Self = Self(1 << 0);
    /// In a function that is annotated as non-standard.
    pub const IGNORE: Self = Self(1 << 1);
    /// Its alternatives are not followed.
    pub const IGNORE_ALTERNATIVES: Self = Self(1 << 2);
    /// An unwind hint gives the stack state.
    pub const HINT: Self = Self(1 << 3);
    /// The stack state here is kept for a later restore.
    pub const SAVE: Self = Self(1 << 4);
    /// The stack state is that of the last save.
    pub const RESTORE: Self = Self(1 << 5);
    /// Exempt from the rules for indirect branches and returns.
    pub const RETPOLINE_SAFE: Self = Self(1 << 6);
    /// Need not start with a landing pad.
    pub const NO_LANDING_PAD: Self = Self(1 << 7);
    /// Has alternatives, exception targets or jump table targets.
    pub const HAS_ALTERNATIVES: Self = Self(1 << 8);
    /// Belongs to the original or the replacement of an alternative.
    pub const IN_GROUP: Self = Self(1 << 9);
    /// Returns from an interrupt.
    pub const INTERRUPT_RETURN: Self = Self(1 << 10);
    /// From here on a return must not come before returns were made safe.
    pub const UNRET: Self = Self(1 << 11);
    /// Instrumentation begins or ends to be allowed here.
    pub const INSTRUMENTATION: Self = Self(1 << 12);
    /// Changes the frame pointer, or one of the words that a frame keeps at it.
    pub const TOUCHES_FRAME: Self = Self(1 << 13);
    /// May set the stack pointer, or write memory at a distance from it.
    pub const TOUCHES_STACK: Self = Self(1 << 14);

    /// Whether all of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets or clears all of `other`.
    pub fn set(&mut self, other: Self, on: bool) {
        if on {
            self.0 |= other.0;
        } else {
            self.0 &= !other.0;
        }
    }
}

/// The instructions of one section.
#[derive(Clone, Debug)]
struct Range {
    section: SectionId,
    first: u32,
    end: u32,
    /// For every [`STRIDE`] bytes of the section, the first instruction at or after them.
    strides: Vec<u32>,
}

/// Bytes of code for each entry of the lookup table.
const STRIDE: u32 = 16;

/// All instructions of a file.
#[derive(Clone, Debug)]
pub struct Insns {
    records: Vec<Record>,
    ops: Vec<StackOps>,
    ranges: Vec<Range>,
    /// Index into `ranges` by section.
    range_of: Vec<Option<u32>>,
    /// Sections of the padding records.
    padding: Vec<SectionId>,
    /// Number of decoded instructions; padding follows.
    decoded: u32,
    /// Encodings that the kernel must not contain.
    pub notes: Vec<(InsnId, Note)>,
}

impl Insns {
    /// Decodes every executable section.
    ///
    /// # Errors
    ///
    /// [`ReadError::Undecodable`] at the first bytes of an object that are no instruction. In an
    /// image they become [`InsnKind::Invalid`].
    pub fn decode<A: Decode>(arch: &A, file: &ElfFile<'_>) -> Result<Self, ReadError> {
        let code: usize = file
            .sections
            .iter()
            .filter(|s| s.is_executable())
            .map(|s| s.data.len())
            .sum();
        let mut insns = Self {
            // The kernel's code averages a little more than four bytes an instruction.
            records: Vec::with_capacity(code / 4),
            ops: vec![[None; MAX_STACK_OPS]],
            ranges: Vec::new(),
            range_of: vec![None; file.sections.len()],
            padding: Vec::new(),
            decoded: 0,
            notes: Vec::new(),
        };
        let mut interned = FxHashMap::default();
        for section in file.section_ids() {
            let s = file.section(section);
            if !s.is_executable() {
                continue;
            }
            let first = insns.records.len() as u32;
            let mut strides = Vec::with_capacity(s.data.len() / STRIDE as usize + 1);
            for piece in pieces(file, section) {
                let mut at = piece.start;
                while at < piece.end {
                    let decoded = arch.decode(&s.data[at..piece.end], &mut |offset, insn| {
                        let offset = at + offset;
                        let id = insns.records.len() as u32;
                        while strides.len() * STRIDE as usize <= offset {
                            strides.push(id);
                        }
                        let ops = intern(&mut insns.ops, &mut interned, insn.ops);
                        if let Some(note) = insn.note {
                            insns.notes.push((InsnId(id), note));
                        }
                        insns.records.push(record(offset as u32, &insn, ops));
                    });
                    let Err(error) = decoded else { break };
                    at += error.offset;
                    if file.kind == FileKind::Object {
                        return Err(ReadError::Undecodable {
                            section: s.display_name().into_owned(),
                            offset: at as u64,
                        });
                    }
                    // Data between code; what runs into it is found by the walk.
                    while strides.len() * STRIDE as usize <= at {
                        strides.push(insns.records.len() as u32);
                    }
                    insns.records.push(invalid(at as u32));
                    at += 1;
                }
            }
            insns.range_of[section.index()] = Some(insns.ranges.len() as u32);
            insns.ranges.push(Range {
                section,
                first,
                end: insns.records.len() as u32,
                strides,
            });
        }
        insns.decoded = insns.records.len() as u32;
        Ok(insns)
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

    /// The instructions of a section.
    pub fn ids_of(&self, section: SectionId) -> impl Iterator<Item = InsnId> + use<> {
        let range = self.range(section).map_or(0..0, |r| r.first..r.end);
        range.map(InsnId)
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

    /// A number for stack effects that were not decoded but follow from context.
    pub fn add_ops(&mut self, ops: StackOps) -> OpsId {
        let found = self.ops.iter().position(|known| *known == ops);
        OpsId(found.unwrap_or_else(|| {
            self.ops.push(ops);
            self.ops.len() - 1
        }) as u32)
    }

    fn range(&self, section: SectionId) -> Option<&Range> {
        self.range_of[section.index()].map(|i| &self.ranges[i as usize])
    }

    fn range_with(&self, id: InsnId) -> Option<&Range> {
        if id.0 >= self.decoded {
            return None;
        }
        let i = self.ranges.partition_point(|r| r.end <= id.0);
        self.ranges.get(i)
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
        let range = self.range(section)?;
        let stride = usize::try_from(offset / u64::from(STRIDE)).ok()?;
        let mut id = *range.strides.get(stride)?;
        while id < range.end {
            let at = u64::from(self.records[id as usize].offset);
            if at >= offset {
                return (at == offset).then_some(InsnId(id));
            }
            id += 1;
        }
        None
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
        let range = self.range_with(id)?;
        (id.0 + 1 < range.end).then_some(InsnId(id.0 + 1))
    }

    /// The previous instruction of the same section.
    pub fn prev(&self, id: InsnId) -> Option<InsnId> {
        let range = self.range_with(id)?;
        (id.0 > range.first).then(|| InsnId(id.0 - 1))
    }

    /// Whether an instruction is padding which only the analysis sees.
    pub fn is_padding(&self, id: InsnId) -> bool {
        id.0 >= self.decoded
    }

    /// Adds a record that stands for padding which only the analysis sees.
    pub fn add_padding(&mut self, section: SectionId, offset: u32, len: u8) -> InsnId {
        let id = InsnId(self.records.len() as u32);
        self.padding.push(section);
        self.records.push(Record {
            offset,
            displacement: 0,
            ops: OpsId::NONE,
            len,
            kind: InsnKind::Nop,
            marks: Marks::default(),
        });
        id
    }
}

/// Runs of code to be decoded on their own. An object's sections are code from end to end; in an
/// image there may be anything between functions, so that decoding starts anew at each.
fn pieces(file: &ElfFile<'_>, section: SectionId) -> Vec<std::ops::Range<usize>> {
    let len = file.section(section).data.len();
    let mut starts = vec![0];
    if file.kind == FileKind::Image {
        let functions = file.symbols.iter().filter(|symbol| symbol.is_function());
        let own = functions.filter(|symbol| symbol.section == section);
        starts.extend(own.filter_map(|symbol| usize::try_from(symbol.value).ok()));
        starts.retain(|&start| start < len);
        starts.sort_unstable();
        starts.dedup();
    }
    let ends = starts.iter().skip(1).copied().chain([len]);
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| start..end)
        .collect()
}

/// A byte that is no instruction.
fn invalid(offset: u32) -> Record {
    Record {
        offset,
        displacement: 0,
        ops: OpsId::NONE,
        len: 1,
        kind: InsnKind::Invalid,
        marks: Marks::default(),
    }
}

fn intern(table: &mut Vec<StackOps>, known: &mut FxHashMap<StackOps, u32>, ops: StackOps) -> OpsId {
    if ops[0].is_none() {
        return OpsId::NONE;
    }
    OpsId(*known.entry(ops).or_insert_with(|| {
        table.push(ops);
        (table.len() - 1) as u32
    }))
}

fn record(offset: u32, insn: &Insn, ops: OpsId) -> Record {
    let mut marks = Marks::default();
    // Undefined on purpose: a dead end unless annotated otherwise.
    marks.set(Marks::DEAD_END, insn.kind == InsnKind::Bug);
    marks.set(Marks::INTERRUPT_RETURN, insn.interrupt_return);
    marks.set(Marks::TOUCHES_FRAME, insn.touches_frame);
    marks.set(Marks::TOUCHES_STACK, insn.touches_stack);
    Record {
        offset,
        displacement: insn.displacement,
        ops,
        len: insn.len,
        kind: insn.kind,
        marks,
    }
}
