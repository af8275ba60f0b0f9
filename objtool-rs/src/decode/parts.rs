//! Code in parts that are decoded side by side.
//!
//! Where an instruction begins can only be known from the one before it, so a part is a guess: it
//! begins where a function does. A guess is right if the part before ends there; where it does
//! not, what lies between is decoded over again from where that one ended. The result is what
//! decoding a section from its first byte gives, however it was divided.

use std::ops::Range;

use arch::insn::{Decode, Dest, Insn, InsnKind, Note, Reg, Source, StackOp, Wanted};
use rustc_hash::FxHashMap;

use super::record::{OpsId, Record, StackOps};
use super::starts::Bits;
use crate::parallel;
use crate::read::{ElfFile, FileKind, SectionId};

/// Bytes of code that are worth a part of their own: some 15 000 instructions, 300 µs of work.
const PART: usize = 64 << 10;

/// One part, decoded. Instructions are numbered from 0, and so are the effects on the stack.
pub(super) struct Part {
    pub section: SectionId,
    /// Where it begins and where its last instruction ends.
    pub range: Range<usize>,
    pub records: Vec<Record>,
    pub ops: Vec<StackOps>,
    pub notes: Vec<(u32, Note)>,
    pub landing_pads: Vec<u32>,
    pub interrupt_returns: Vec<u32>,
    pub jumps: Vec<u32>,
    pub calls: Vec<u32>,
    pub indirect: Vec<u32>,
    pub starts: Bits,
    /// The first place in an object that holds no instruction.
    pub bad: Option<usize>,
}

/// Bytes of code from which on more than one thread is worth it.
pub(super) const WORTH: usize = 2 * PART;

/// Parts that are decoded before they are put together. Their memory is used again for the next
/// ones: to have all parts at once takes twice the memory of the records, and to get that from the
/// system twice the time of decoding them.
const BATCH: usize = 16;

/// Decodes all executable sections, and hands the parts over in batches. Parts are in the order of
/// sections and addresses, and each begins where the one before ends.
pub(super) fn decode<A: Decode + Sync>(
    arch: &A,
    file: &ElfFile<'_>,
    wanted: Wanted,
    mut take: impl FnMut(&[Part]),
) {
    let starts = match file.kind {
        FileKind::Object => Vec::new(),
        FileKind::Image => function_starts(file),
    };
    let guesses = guesses(file);
    let code: usize = guesses.iter().map(|(_, range)| range.len()).sum();
    let worth = code >= WORTH;
    // Where the last part ended.
    let mut before: Option<(SectionId, usize)> = None;
    let mut spare: Vec<Vec<Record>> = Vec::new();
    for (batch, some) in guesses.chunks(BATCH).enumerate() {
        let new = |(section, range): &(SectionId, Range<usize>)| {
            Part::new(*section, range.clone(), spare.pop().unwrap_or_default())
        };
        let new: Vec<Part> = some.iter().map(new).collect();
        let mut parts = parallel::map(worth, new, |part| match file.kind {
            FileKind::Object => run(arch, file, part, wanted),
            FileKind::Image => image(arch, file, part, &starts, wanted),
        });
        for (i, part) in parts.iter_mut().enumerate() {
            let section = part.section;
            let gap = before.filter(|&(of, end)| of == section && end != part.range.start);
            if let Some((_, start)) = gap {
                // It is decoded to where the next guess begins, or the section ends.
                let end = match guesses.get(batch * BATCH + i + 1) {
                    Some((of, next)) if *of == section => next.start,
                    _ => file.section(section).data.len(),
                };
                let room = std::mem::take(&mut part.records);
                let again = Part::new(section, start..end.max(start), room);
                *part = run(arch, file, again, wanted);
            }
            before = Some((section, part.range.end));
        }
        take(&parts);
        spare.extend(parts.into_iter().map(|part| part.records));
    }
}

/// Parts that begin where a function does, as evenly as functions allow.
fn guesses(file: &ElfFile<'_>) -> Vec<(SectionId, Range<usize>)> {
    // For each section and each multiple of the length, the first function from there on.
    let mut cuts: Vec<Vec<usize>> = Vec::with_capacity(file.sections.len());
    for section in &file.sections {
        let parts = if section.is_executable() {
            section.data.len() / PART
        } else {
            0
        };
        cuts.push(vec![usize::MAX; parts]);
    }
    for symbol in file.symbols.iter().filter(|symbol| symbol.is_function()) {
        let cuts = &mut cuts[symbol.section.index()];
        let value = usize::try_from(symbol.value).unwrap_or(usize::MAX);
        if let Some(cut) = (value / PART).checked_sub(1).and_then(|i| cuts.get_mut(i)) {
            *cut = value.min(*cut);
        }
    }
    let mut guesses = Vec::new();
    for (section, cuts) in file.section_ids().zip(cuts) {
        let data = file.section(section);
        if !data.is_executable() {
            continue;
        }
        let len = data.data.len();
        let inner = cuts.into_iter().filter(|&cut| cut < len);
        let mut start = 0;
        for end in inner.chain([len]) {
            guesses.push((section, start..end));
            start = end;
        }
    }
    guesses
}

impl Part {
    /// A part of which nothing is decoded yet, with room for its records.
    fn new(section: SectionId, range: Range<usize>, mut room: Vec<Record>) -> Self {
        room.clear();
        // The kernel's code averages 3.5 bytes an instruction, filling included.
        room.reserve(range.len() / 3);
        Self {
            section,
            records: room,
            starts: Bits::new(&range),
            range,
            ops: OpsId::FIXED.to_vec(),
            notes: Vec::new(),
            landing_pads: Vec::new(),
            interrupt_returns: Vec::new(),
            jumps: Vec::new(),
            calls: Vec::new(),
            indirect: Vec::new(),
            bad: None,
        }
    }

    /// Adds an instruction.
    fn take(&mut self, offset: usize, insn: &Insn, interned: &mut Numbers) {
        let id = self.records.len() as u32;
        let mut record = Record::new(offset as u32, insn);
        if record.ops() == OpsId::NONE && insn.ops[0].is_some() {
            record.set_ops(interned.intern(&mut self.ops, insn.ops));
        }
        match insn.kind {
            InsnKind::LandingPad => self.landing_pads.push(id),
            InsnKind::JumpConditional | InsnKind::JumpUnconditional => self.jumps.push(id),
            InsnKind::Call => self.calls.push(id),
            InsnKind::JumpDynamic
            | InsnKind::JumpDynamicConditional
            | InsnKind::CallDynamic
            | InsnKind::Return => self.indirect.push(id),
            _ => {}
        }
        if insn.interrupt_return {
            self.interrupt_returns.push(id);
        }
        if let Some(note) = insn.note {
            self.notes.push((id, note));
        }
        self.records.push(record);
    }

    /// Decodes what begins in a range of a section; the result is where it ends, or the first
    /// place that holds no instruction.
    fn decode<A: Decode>(
        &mut self,
        arch: &A,
        data: &[u8],
        range: Range<usize>,
        interned: &mut Numbers,
        wanted: Wanted,
    ) -> Result<usize, usize> {
        let start = range.start;
        let decoded = arch.decode_until(&data[start..], range.len(), wanted, &mut |at, insn| {
            let offset = start + at;
            self.starts.set(offset);
            // Decided here, so that it is known where the decoder makes nothing else.
            if is_plain(&insn) {
                let record = Record::plain(offset as u32, insn.len, insn.kind);
                self.records.push(record);
            } else {
                self.take(offset, &insn, interned);
            }
        });
        match decoded {
            Ok(end) => Ok(start + end),
            Err(error) => Err(start + error.offset),
        }
    }
}

/// Whether there is nothing to say of an instruction but its length.
fn is_plain(insn: &Insn) -> bool {
    let has_nothing = insn.ops[0].is_none() && insn.note.is_none() && !insn.interrupt_return;
    insn.kind == InsnKind::Other && has_nothing && !insn.touches_frame && !insn.touches_stack
}

/// Decodes a part of an object, which is code from end to end.
fn run<A: Decode>(arch: &A, file: &ElfFile<'_>, mut part: Part, wanted: Wanted) -> Part {
    let data = file.section(part.section).data;
    let range = part.range.clone();
    match part.decode(arch, data, range, &mut Numbers::default(), wanted) {
        Ok(end) => part.range.end = end,
        Err(bad) => part.bad = Some(bad),
    }
    part
}

/// Decodes a part of an image. There may be anything between functions, so decoding starts anew at
/// each.
fn image<A: Decode>(
    arch: &A,
    file: &ElfFile<'_>,
    mut part: Part,
    functions: &[(SectionId, usize)],
    wanted: Wanted,
) -> Part {
    let (section, range) = (part.section, part.range.clone());
    let mut interned = Numbers::default();
    let first = functions.partition_point(|&start| start <= (section, range.start));
    let inner = functions[first..]
        .iter()
        .take_while(|&&start| start < (section, range.end))
        .map(|&(_, start)| start);
    let mut at = range.start;
    for end in inner.chain([range.end]) {
        // An instruction must not run into the next function.
        let data = &file.section(section).data[..end];
        while at < end {
            match part.decode(arch, data, at..end, &mut interned, wanted) {
                Ok(end) => at = end,
                Err(bad) => {
                    // Data between code; what runs into it is found by the walk.
                    let record = Record::plain(bad as u32, 1, InsnKind::Invalid);
                    part.records.push(record);
                    part.starts.set(bad);
                    at = bad + 1;
                }
            }
        }
    }
    part
}

/// Where functions begin.
fn function_starts(file: &ElfFile<'_>) -> Vec<(SectionId, usize)> {
    let functions = file.symbols.iter().filter(|symbol| symbol.is_function());
    let mut starts: Vec<_> = functions
        .filter_map(|symbol| Some((symbol.section, usize::try_from(symbol.value).ok()?)))
        .collect();
    starts.sort_unstable();
    starts.dedup();
    starts
}

/// Numbers of effects.
///
/// Nearly all instructions that have an effect have one, which is found by two words: to hash and
/// compare the effects themselves takes four times as long, which is a tenth of all decoding.
///
/// Most of those are the same few pushes, pops and copies, which are found before any table is asked.
pub(super) struct Numbers {
    recent: [([u64; 2], u32); RECENT],
    single: FxHashMap<[u64; 2], u32>,
    others: FxHashMap<StackOps, u32>,
}

/// How many are found so.
const RECENT: usize = 1 << 8;

impl Default for Numbers {
    fn default() -> Self {
        Self {
            // Words of no effect.
            recent: [([u64::MAX; 2], 0); RECENT],
            single: FxHashMap::default(),
            others: FxHashMap::default(),
        }
    }
}

impl Numbers {
    /// Of the effects that have fixed ones.
    pub fn with_fixed() -> Self {
        let mut numbers = Self::default();
        let mut table = Vec::new();
        for ops in OpsId::FIXED {
            numbers.intern(&mut table, ops);
        }
        numbers
    }

    /// The number of an effect, which is added to a table if it is new.
    pub fn intern(&mut self, table: &mut Vec<StackOps>, ops: StackOps) -> OpsId {
        let next = table.len() as u32;
        let number = match ops {
            [Some(op), None] => {
                let words = words(op);
                let mix = words[0].rotate_left(29) ^ words[1];
                let place = (mix.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % RECENT;
                if self.recent[place].0 == words {
                    return OpsId(self.recent[place].1);
                }
                let number = *self.single.entry(words).or_insert(next);
                self.recent[place] = (words, number);
                number
            }
            _ => *self.others.entry(ops).or_insert(next),
        };
        if number == next {
            table.push(ops);
        }
        OpsId(number)
    }
}

/// An effect as two words, another one for each.
fn words(op: StackOp) -> [u64; 2] {
    let place = |kind: u64, reg: Reg, offset: i32| {
        kind << 48 | u64::from(reg.0) << 32 | u64::from(offset as u32)
    };
    let dest = match op.dest {
        Dest::Reg(reg) => place(0, reg, 0),
        Dest::Mem { base, offset } => place(1, base, offset),
        Dest::Elsewhere => place(2, Reg(0), 0),
        Dest::Push => place(3, Reg(0), 0),
        Dest::PushFlags => place(4, Reg(0), 0),
    };
    let source = match op.source {
        Source::Reg(reg) => place(0, reg, 0),
        Source::Mem { base, offset } => place(1, base, offset),
        Source::Const => place(2, Reg(0), 0),
        Source::Pop => place(3, Reg(0), 0),
        Source::PopFlags => place(4, Reg(0), 0),
        Source::Add { reg, offset } => place(5, reg, offset),
        Source::And => place(6, Reg(0), 0),
    };
    [dest, source]
}
