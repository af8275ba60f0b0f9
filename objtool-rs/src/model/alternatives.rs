//! Code that is patched at run time, and places where execution goes on after a fault.
//!
//! Three tables say where: `.altinstructions` (replacements that a CPU feature selects),
//! `__jump_table` (jump labels: a nop or a jump) and `__ex_table` (exceptions). The architecture
//! gives their layouts. How both streams of an alternative are reconciled is the stack check's.

use arch::insn::InsnKind;
use arch::object::{AlternativeLayout, AlternativePolicy, Architecture};

use super::{tables, Model, Purpose};
use crate::decode::{InsnId, Marks};
use crate::parallel;
use crate::read::{FileKind, SectionId};
use crate::report::{Abort, Findings, Message, Place};

/// Another place where execution may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// The first instruction there.
    pub insn: InsnId,
    /// The original code is never run.
    pub skip_original: bool,
    /// A fault leads there, and what handles it may change registers.
    pub is_fault: bool,
}

/// An original or a replacement of an alternative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupId(pub u32);

/// The instructions of an original or of a replacement.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// For a replacement, what it replaces.
    pub original: Option<GroupId>,
    /// The first instruction.
    pub first: Option<InsnId>,
    /// The last one; absent when the replacement is empty.
    pub last: Option<InsnId>,
    /// Padding up to the length of the original.
    pub padding: Option<InsnId>,
}

/// How many jump labels there are, by what they are now and by their length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JumpLabelCounts {
    /// Two-byte nops.
    pub nop_short: u64,
    /// Longer nops.
    pub nop_long: u64,
    /// Two-byte jumps.
    pub jump_short: u64,
    /// Longer jumps.
    pub jump_long: u64,
}

/// One entry of a table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: EntryKind,
    original: Place,
    new: Option<Place>,
}

#[derive(Clone, Copy, Debug)]
enum EntryKind {
    Replacement {
        original_len: u32,
        new_len: u32,
        policy: AlternativePolicy,
    },
    JumpLabel {
        key_flags: u8,
    },
    Exception,
}

/// The exception table's flag in a target's addend: some handlers are told by it that the
/// instruction is to be looked up otherwise. It is far outside of any section.
const EXCEPTION_FLAG: u64 = 0x7fff_fff0;

/// Asks to make a jump label an instruction that does nothing (`arch/*/include/asm/jump_label.h`).
const KEY_MAKE_NOP: u8 = 2;

/// Reads the three tables and adds what they say to the model.
pub(super) fn add<A: Architecture>(
    model: &mut Model<'_, A>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let mut entries = Vec::new();
    read_replacements(model, &mut entries, findings)?;
    read_jump_labels(model, &mut entries, findings)?;
    read_exceptions(model, &mut entries, findings)?;
    // Jumps to the end of their replacement. They go there whatever their bytes say, but a
    // replacement may be that of several originals, each of which looks at the bytes.
    let mut ends = Vec::new();
    // A table's places are all over the code, so that looking them up is mostly waiting for memory.
    let places = parallel::map_ranges(entries.len(), 1 << 10, |range| {
        let at = |place: Place| model.insns.at(place.section, place.offset);
        let entries = entries[range].iter();
        let insns = entries.map(|entry| (at(entry.original), entry.new.and_then(at)));
        insns.collect::<Vec<_>>()
    });
    for (entry, insns) in entries.into_iter().zip(places.into_iter().flatten()) {
        add_entry(model, entry, insns, &mut ends, findings)?;
    }
    for (insn, dest) in ends {
        model.insns.get_mut(insn).set_dest(dest);
    }
    model.owners.settle();
    Ok(())
}

/// A table: its section, where it starts there, and how many entries it has.
fn table<A>(
    model: &Model<'_, A>,
    name: &'static str,
    entry: u64,
    findings: &mut Findings,
) -> Result<Option<(SectionId, u64, u64)>, Abort> {
    let Some((section, range)) = tables::find(model.file, name) else {
        return Ok(None);
    };
    let size = range.end - range.start;
    if !size.is_multiple_of(entry) {
        findings.add(Message::TableSize { table: name, entry });
        return Err(Abort);
    }
    Ok(Some((section, range.start, size / entry)))
}

/// The place that a field of a table means: by its relocation in an object, by its distance from
/// there in an image.
fn field<A>(
    model: &Model<'_, A>,
    section: SectionId,
    offset: u64,
    which: &'static str,
    findings: &mut Findings,
) -> Result<Place, Abort> {
    place_of(model, section, offset).ok_or_else(|| {
        findings.add_at(Place { section, offset }, Message::NoTableReloc { which });
        Abort
    })
}

fn place_of<A>(model: &Model<'_, A>, section: SectionId, offset: u64) -> Option<Place> {
    match model.file.kind {
        FileKind::Object => model.file.reloc_at(section, offset).map(|(_, reloc)| {
            let symbol = model.file.symbol(reloc.symbol);
            Place {
                section: symbol.section,
                offset: symbol.value.wrapping_add_signed(reloc.addend),
            }
        }),
        FileKind::Image => model.relative_place(section, offset),
    }
}

fn new_place<A>(
    model: &Model<'_, A>,
    section: SectionId,
    offset: u64,
    findings: &mut Findings,
) -> Result<Place, Abort> {
    let mut place = field(model, section, offset, "new", findings)?;
    if place.offset >= EXCEPTION_FLAG {
        place.offset -= EXCEPTION_FLAG;
    }
    Ok(place)
}

/// Flags in the low bits of a jump label's key. In an image, what they ask for has been done.
fn key_flags<A>(
    model: &Model<'_, A>,
    section: SectionId,
    offset: u64,
    findings: &mut Findings,
) -> Result<u8, Abort> {
    if model.file.kind == FileKind::Image {
        return Ok(0);
    }
    match model.file.reloc_at(section, offset) {
        Some((_, reloc)) => Ok(reloc.addend as u8),
        None => {
            let message = Message::NoTableReloc { which: "key" };
            findings.add_at(Place { section, offset }, message);
            Err(Abort)
        }
    }
}

/// The table of replacements.
const REPLACED: &str = ".altinstructions";

/// The layout of the table of replacements. Linked code may be of an older kernel; which it is of can
/// only be told by what makes sense.
fn layout<A: Architecture>(model: &Model<'_, A>) -> AlternativeLayout {
    if model.purpose == Purpose::Build {
        return A::ALTERNATIVE;
    }
    let mut layouts = std::iter::once(&A::ALTERNATIVE).chain(A::OLDER_ALTERNATIVES);
    let found = layouts.find(|layout| makes_sense(model, layout));
    *found.unwrap_or(&A::ALTERNATIVE)
}

/// Whether every entry of the table, read in this layout, replaces whole instructions by code
/// that is meant for that.
fn makes_sense<A>(model: &Model<'_, A>, layout: &AlternativeLayout) -> bool {
    let Some((section, range)) = tables::find(model.file, REPLACED) else {
        return false;
    };
    let data = model.file.section(section).data;
    let Some(data) = data.get(range.start as usize..range.end as usize) else {
        return false;
    };
    if !(data.len() as u64).is_multiple_of(layout.size) {
        return false;
    }
    let starts = (range.start..range.end).step_by(layout.size as usize);
    starts
        .zip(data.chunks_exact(layout.size as usize))
        .all(|(start, entry)| {
            let place = |field| place_of(model, section, start + field);
            let original_len = u64::from(entry[layout.original_len as usize]);
            let is_original = place(layout.original).is_some_and(|place| {
                let at = |offset| model.insns.at(place.section, offset).is_some();
                // A place that is an instruction's lies in its section.
                at(place.offset) && {
                    let end = place.offset + original_len;
                    end == model.file.section(place.section).data.len() as u64 || at(end)
                }
            });
            let is_replacement = entry[layout.replacement_len as usize] == 0
                || place(layout.replacement)
                    .is_some_and(|place| model.sections[place.section.index()].replacement);
            is_original && is_replacement
        })
}

fn read_replacements<A: Architecture>(
    model: &Model<'_, A>,
    entries: &mut Vec<Entry>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let layout = layout(model);
    let Some((section, from, count)) = table(model, REPLACED, layout.size, findings)? else {
        return Ok(());
    };
    let data = model.file.section(section).data;
    // Entries for one original follow each other; all of them cover as much as the longest.
    let mut same_original = 0;
    let mut longest = 0;
    for index in 0..count {
        let start = from + index * layout.size;
        let byte = |at: u64| data[(start + at) as usize];
        let feature = u16::from_le_bytes([byte(layout.feature), byte(layout.feature + 1)]);
        let new_len = u32::from(byte(layout.replacement_len));
        let original_len = u32::from(byte(layout.original_len));
        let original = field(model, section, start + layout.original, "orig", findings)?;

        if entries
            .get(same_original)
            .is_some_and(|e| e.original != original)
        {
            cover(&mut entries[same_original..], longest);
            same_original = entries.len();
            longest = 0;
        }
        longest = longest.max(original_len);
        let new = if new_len == 0 {
            None
        } else {
            Some(new_place(
                model,
                section,
                start + layout.replacement,
                findings,
            )?)
        };
        let policy = match model.purpose {
            Purpose::Build => model
                .arch
                .alternative_policy(feature, model.options.uaccess),
            // Both may run, so both are followed; only what is rare is still told apart.
            Purpose::Verify => match model.arch.alternative_policy(feature, false) {
                AlternativePolicy::OriginalOnly => AlternativePolicy::Both,
                policy => policy,
            },
        };
        let kind = EntryKind::Replacement {
            original_len,
            new_len,
            policy,
        };
        entries.push(Entry {
            kind,
            original,
            new,
        });
    }
    cover(&mut entries[same_original..], longest);
    Ok(())
}

/// Lets replacements of one original all cover as much.
fn cover(entries: &mut [Entry], len: u32) {
    for entry in entries {
        if let EntryKind::Replacement { original_len, .. } = &mut entry.kind {
            *original_len = len;
        }
    }
}

fn read_jump_labels<A: Architecture>(
    model: &Model<'_, A>,
    entries: &mut Vec<Entry>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let layout = A::JUMP_LABEL;
    let Some((section, from, count)) = table(model, "__jump_table", layout.size, findings)? else {
        return Ok(());
    };
    for start in (0..count).map(|index| from + index * layout.size) {
        let original = field(model, section, start + layout.original, "orig", findings)?;
        let new = new_place(model, section, start + layout.target, findings)?;
        let key_flags = key_flags(model, section, start + layout.key, findings)?;
        entries.push(Entry {
            kind: EntryKind::JumpLabel { key_flags },
            original,
            new: Some(new),
        });
    }
    Ok(())
}

fn read_exceptions<A: Architecture>(
    model: &Model<'_, A>,
    entries: &mut Vec<Entry>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let layout = A::EXCEPTION;
    let Some((section, from, count)) = table(model, "__ex_table", layout.size, findings)? else {
        return Ok(());
    };
    for start in (0..count).map(|index| from + index * layout.size) {
        let original = field(model, section, start + layout.original, "orig", findings)?;
        let new = new_place(model, section, start + layout.target, findings)?;
        entries.push(Entry {
            kind: EntryKind::Exception,
            original,
            new: Some(new),
        });
    }
    Ok(())
}

fn add_entry<A: Architecture>(
    model: &mut Model<'_, A>,
    entry: Entry,
    (original, new): (Option<InsnId>, Option<InsnId>),
    ends: &mut Vec<(InsnId, InsnId)>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let Some(original) = original else {
        findings.add_at(entry.original, Message::NoOriginalInstruction);
        return Err(Abort);
    };
    let new = match (new, entry.new) {
        (None, Some(place)) => {
            findings.add_at(place, Message::NoNewInstruction);
            return Err(Abort);
        }
        (new, place) => new.zip(place),
    };
    let mut skip_original = false;
    let target = match entry.kind {
        EntryKind::Replacement {
            original_len: 0, ..
        } => {
            model.warn(findings, original, Message::EmptyAlternative);
            return Ok(());
        }
        EntryKind::Replacement {
            original_len,
            new_len,
            policy,
        } => {
            skip_original = policy == AlternativePolicy::ReplacementOnly;
            let first = add_group(model, original, original_len, new, new_len, ends, findings)?;
            if policy == AlternativePolicy::OriginalOnly {
                let marks = &mut model.insns.get_mut(original).marks;
                marks.set(Marks::IGNORE_ALTERNATIVES, true);
            }
            first
        }
        EntryKind::JumpLabel { key_flags } => {
            let fallback = new.map(|(insn, _)| insn);
            jump_label(model, original, key_flags, fallback, findings)?
        }
        EntryKind::Exception => new.map(|(insn, _)| insn),
    };
    if let Some(insn) = target {
        model.add_alternative(
            original,
            Alternative {
                insn,
                skip_original,
                is_fault: matches!(entry.kind, EntryKind::Exception),
            },
        );
    }
    Ok(())
}

/// Joins an original and its replacement; the result is where the replacement starts.
fn add_group<A: Architecture>(
    model: &mut Model<'_, A>,
    original: InsnId,
    original_len: u32,
    new: Option<(InsnId, Place)>,
    new_len: u32,
    ends: &mut Vec<(InsnId, InsnId)>,
    findings: &mut Findings,
) -> Result<Option<InsnId>, Abort> {
    let (original_group, mut covered) = match model.group_of(original) {
        Some(group) => (group, length(model, group)),
        None => (
            add_original(model, original, original_len),
            i64::from(original_len),
        ),
    };
    let mut fits = covered == i64::from(original_len);
    if model.purpose == Purpose::Verify {
        // No assembler or compiler has made sure that whole instructions are replaced, and by no
        // more bytes than there are.
        covered = length(model, original_group).max(i64::from(new_len));
        fits = covered == i64::from(original_len)
            && model.group(original_group).first == Some(original)
            && model.group_of(original) == Some(original_group);
    }
    if !fits {
        let message = Message::OverlappingAlternative {
            covered,
            original_len,
        };
        model.warn(findings, original, message);
        return Err(Abort);
    }

    let id = GroupId(model.groups.len() as u32);
    let mut group = Group {
        original: Some(original_group),
        first: None,
        last: None,
        padding: None,
    };
    let ignored = model.insn(original).marks.has(Marks::IGNORE_ALTERNATIVES);
    let owner = model.owners.get(original);
    if new_len < original_len {
        // Both streams are as long, so that the state after the last instruction of each can be
        // compared with the other's.
        let place = match new {
            Some((_, place)) => Place {
                offset: place.offset + u64::from(new_len),
                ..place
            },
            None => model.place(original),
        };
        let len = (original_len - new_len) as u8;
        let padding = model
            .insns
            .add_padding(place.section, place.offset as u32, len);
        model.owners.set(padding, owner);
        model
            .insns
            .get_mut(padding)
            .marks
            .set(Marks::IGNORE, ignored);
        add_to_group(model, padding, id);
        group.padding = Some(padding);
    }
    let Some((first, place)) = new else {
        group.first = group.padding;
        model.groups.push(group);
        return Ok(group.first);
    };
    group.first = Some(first);

    let end = place.offset + u64::from(new_len);
    let mut next = Some(first);
    while let Some(insn) = next {
        let record = *model.insn(insn);
        if u64::from(record.offset) >= end {
            break;
        }
        group.last = Some(insn);
        model.insns.get_mut(insn).marks.set(Marks::IGNORE, ignored);
        model.owners.set(insn, owner);
        add_to_group(model, insn, id);

        // On every architecture so far, relocations in replacements are adjusted when they are
        // copied, so none is refused.
        if record.kind.is_static_jump()
            && record.displacement() != 0
            && record.branch_target() == end
        {
            let last = model.group(original_group).last;
            let Some(after) = last.and_then(|last| model.insns.next(last)) else {
                model.warn(findings, insn, Message::NoAlternativeJumpTarget);
                return Err(Abort);
            };
            ends.push((insn, after));
        }
        next = model.insns.next(insn);
    }
    if group.last.is_none() {
        findings.add_at(place, Message::NoLastAlternativeInstruction);
        return Err(Abort);
    }
    model.groups.push(group);
    if model.purpose == Purpose::Verify && length(model, id) != i64::from(new_len) {
        let message = Message::OverlappingAlternative {
            covered: length(model, id),
            original_len: new_len,
        };
        findings.add_at(place, message);
        return Err(Abort);
    }
    Ok(group.first)
}

/// From the first byte of a group's first instruction to the last one of its last.
fn length<A>(model: &Model<'_, A>, group: GroupId) -> i64 {
    let group = model.group(group);
    let first = group.first.map_or(0, |id| u64::from(model.insn(id).offset));
    let end = group.last.map_or(0, |id| model.insn(id).end());
    end as i64 - first as i64
}

fn add_original<A>(model: &mut Model<'_, A>, original: InsnId, len: u32) -> GroupId {
    let id = GroupId(model.groups.len() as u32);
    let end = u64::from(model.insn(original).offset) + u64::from(len);
    let mut last = None;
    let mut next = Some(original);
    while let Some(insn) = next.filter(|&insn| u64::from(model.insn(insn).offset) < end) {
        add_to_group(model, insn, id);
        last = Some(insn);
        next = model.insns.next(insn);
    }
    model.groups.push(Group {
        original: None,
        first: Some(original),
        last,
        padding: None,
    });
    id
}

fn add_to_group<A>(model: &mut Model<'_, A>, insn: InsnId, group: GroupId) {
    model.insns.get_mut(insn).marks.set(Marks::IN_GROUP, true);
    model.group_of.insert(insn, group);
}

/// A jump label is a nop that may become a jump, or a jump that may become a nop. The result is
/// where execution may go on besides the instruction itself.
fn jump_label<A: Architecture>(
    model: &mut Model<'_, A>,
    original: InsnId,
    key_flags: u8,
    target: Option<InsnId>,
    findings: &mut Findings,
) -> Result<Option<InsnId>, Abort> {
    let record = *model.insn(original);
    if !matches!(record.kind, InsnKind::JumpUnconditional | InsnKind::Nop) {
        model.warn(findings, original, Message::UnsupportedJumpLabel);
        return Err(Abort);
    }
    let mut kind = record.kind;
    if model.options.hack_jump_label && key_flags & KEY_MAKE_NOP != 0 {
        if let Some(nop) = model.arch.nop(record.len.into()) {
            model.replace_insn(original, InsnKind::Nop, nop);
            kind = InsnKind::Nop;
        } else {
            let len = record.len;
            findings.add(Message::NoFilling { what: "NOP", len });
        }
    }
    let counts = &mut model.jump_labels;
    let short = record.len == 2;
    if kind == InsnKind::Nop {
        *(if short {
            &mut counts.nop_short
        } else {
            &mut counts.nop_long
        }) += 1;
        return Ok(target);
    }
    *(if short {
        &mut counts.jump_short
    } else {
        &mut counts.jump_long
    }) += 1;
    Ok(model.insns.next(original))
}

impl<A> Model<'_, A> {
    /// Replaces an instruction's bytes, and voids its relocation.
    pub(super) fn replace_insn(&mut self, insn: InsnId, kind: InsnKind, bytes: &'static [u8]) {
        if let Some((reloc, _)) = self.insn_reloc(insn) {
            self.rewrites.void_relocs.push(reloc);
        }
        self.rewrites.code.push((insn, bytes));
        self.insns.get_mut(insn).kind = kind;
    }
}
