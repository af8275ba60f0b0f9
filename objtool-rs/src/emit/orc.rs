//! `.orc_unwind` and `.orc_unwind_ip`: what an unwinder has to know about each instruction.
//!
//! An entry holds from its address up to the next one's; a section ends with an entry that says
//! that nothing is known (the kernel's `orc-unwinder.rst`). Within an alternative the
//! entries are those of both streams by distance from its start, since either may run.

use std::ops::{Range, RangeInclusive};

use arch::object::{Architecture, Rule};
use arch::orc::{Entry, Frame, FrameKind, Orc, Unencodable, MAX_ENTRY};
use rustc_hash::FxHashMap;

use super::{exists, relocated_places, NewRelocs, NewSection, Output, Places, SITE};
use crate::check::stack::state::{StackState, StateId, States};
use crate::check::stack::walked::Walked;
use crate::decode::{InsnId, Marks};
use crate::model::{HintKind, Model};
use crate::parallel;
use crate::read::SectionId;
use crate::report::{Abort, Findings, Message};

const DATA: &str = ".orc_unwind";
const ADDRESSES: &str = ".orc_unwind_ip";

/// Nothing is known.
const NOTHING: Entry = [0; MAX_ENTRY];

/// Instructions that are worth a part of the work.
const PART: u32 = 1 << 16;

/// The entries of states, by the state's number. States are thirty times as large.
#[derive(Debug, Default)]
pub struct Encoded {
    entries: Vec<Entry>,
    /// Why a state has none. Apart, so that the entries stay in the caches.
    errors: FxHashMap<usize, Message>,
}

/// Encodes all states.
pub(crate) fn encode_all<A: Architecture + Orc + Sync>(
    model: &Model<'_, A>,
    states: &States,
) -> Encoded {
    let parts = parallel::map_ranges(states.len(), 1 << 11, |numbers| {
        let states = numbers.map(|number| states.by_number(number));
        let encoded = states.map(|state| encode(model, state));
        encoded.collect::<Vec<_>>()
    });
    let mut all = Encoded::default();
    for encoded in parts.into_iter().flatten() {
        all.entries.push(encoded.unwrap_or_else(|message| {
            all.errors.insert(all.entries.len(), message);
            NOTHING
        }));
    }
    all
}

/// The sections as long as nothing is known of them.
pub(super) fn expected() -> [NewSection; 2] {
    let none = NewRelocs::List(Vec::new());
    [
        NewSection::plain(DATA, 0, Vec::new()),
        NewSection::relocated(ADDRESSES, SITE, 0, none),
    ]
}

pub(super) fn emit<A: Architecture + Orc + Sync>(
    model: &Model<'_, A>,
    walked: &Walked,
    encoded: &Encoded,
    output: &mut Output,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let table = Table {
        model,
        walked,
        encoded,
        groups: groups(model),
    };
    let worth = model.insns.len() > PART;
    let parts = parallel::map(worth, parts(model), |(section, insns)| {
        (section, table.part(section, insns))
    });
    let mut listed: Vec<Listed> = Vec::new();
    for (section, part) in parts {
        let part = match part {
            Ok(part) => part,
            Err((insn, message)) => {
                model.warn(findings, insn, message);
                return Err(Abort);
            }
        };
        let before = listed.last().filter(|before| before.section == section);
        let part = part.behind::<A>(before);
        if !part.offsets.is_empty() {
            listed.push(part);
        }
    }
    if listed.is_empty() {
        return Ok(());
    }
    if exists(model, findings, DATA, " section") {
        return Err(Abort);
    }
    let mut data = Vec::new();
    let mut places = Places::default();
    let mut parts = listed.into_iter().peekable();
    while let Some(mut part) = parts.next() {
        if parts.peek().is_none_or(|next| next.section != part.section) {
            let end = model.file.section(part.section).header.size;
            part.add::<A>(end as u32, &NOTHING);
        }
        let symbol = output.section_symbol(model.file, part.section);
        places.append(symbol, part.offsets);
        data.push(part.data);
    }
    output.add_section(NewSection::plain(DATA, A::ENTRY_SIZE as u64, data));
    let kind = A::RELOCATIONS.relative32;
    output.add_section(relocated_places(ADDRESSES, SITE, kind, places));
    Ok(())
}

/// All stretches of instructions that are alternatives, by the first.
fn groups<A>(model: &Model<'_, A>) -> Vec<RangeInclusive<InsnId>> {
    let groups = model.groups().iter();
    let mut groups: Vec<_> = groups
        .filter_map(|group| Some(group.first?..=group.last?))
        .collect();
    groups.sort_unstable_by_key(|group| *group.start());
    groups
}

/// The text in parts that no alternative reaches over.
fn parts<A>(model: &Model<'_, A>) -> Vec<(SectionId, Range<InsnId>)> {
    let mut parts = Vec::new();
    for section in model.file.section_ids() {
        if !model.file.section(section).is_executable() || !model.sections[section.index()].text {
            continue;
        }
        let Range { mut start, end } = model.insns.range_of(section);
        while start < end {
            let in_group = |&id: &u32| model.insn(InsnId(id)).marks.has(Marks::IN_GROUP);
            let until = end.min(start + PART);
            let until = (until..end).find(|id| !in_group(id)).unwrap_or(end);
            parts.push((section, InsnId(start)..InsnId(until)));
            start = until;
        }
    }
    parts
}

/// Entries of a section, without those that say what the one before them says.
struct Listed {
    section: SectionId,
    offsets: Vec<u32>,
    data: Vec<u8>,
}

impl Listed {
    /// None yet, with room for as many as there are in so many instructions of a kernel.
    fn new<A: Orc>(section: SectionId, insns: usize) -> Self {
        Self {
            section,
            offsets: Vec::with_capacity(insns / 3),
            data: Vec::with_capacity(insns / 3 * A::ENTRY_SIZE),
        }
    }

    fn add<A: Orc>(&mut self, offset: u32, entry: &Entry) {
        self.offsets.push(offset);
        self.data.extend_from_slice(&entry[..A::ENTRY_SIZE]);
    }

    /// Without its first entry, if that says what the last one before it says.
    fn behind<A: Orc>(mut self, before: Option<&Self>) -> Self {
        let before = before.and_then(|before| before.data.rchunks_exact(A::ENTRY_SIZE).next());
        let before = before.unwrap_or(&NOTHING[..A::ENTRY_SIZE]);
        if self.data.chunks_exact(A::ENTRY_SIZE).next() == Some(before) {
            self.data.drain(..A::ENTRY_SIZE);
            self.offsets.remove(0);
        }
        self
    }
}

struct Table<'t, 'f, A> {
    model: &'t Model<'f, A>,
    walked: &'t Walked,
    /// Entries of states, by the state's number.
    encoded: &'t Encoded,
    /// See [`groups`].
    groups: Vec<RangeInclusive<InsnId>>,
}

impl<A: Architecture + Orc> Table<'_, '_, A> {
    /// The entries of some instructions of a section, the first one included whatever is before
    /// them.
    fn part(&self, section: SectionId, insns: Range<InsnId>) -> Result<Listed, (InsnId, Message)> {
        let model = self.model;
        let len = insns.end.index() - insns.start.index();
        let mut list = Listed::new::<A>(section, len);
        let mut last = None;
        // Instructions in a row have the same state more often than not.
        let mut last_state = None;
        let mut insn = insns.start;
        // No alternative reaches into a part from before it.
        let before = self.groups.partition_point(|group| *group.start() < insn);
        let mut groups = self.groups[before..].iter();
        while insn < insns.end {
            // Up to the next alternative, states are all that need be looked at.
            let group = groups.as_slice().first();
            let end = group
                .map_or(insns.end, |group| *group.start())
                .min(insns.end);
            while insn < end {
                let state = self.walked.trail.state(insn);
                if last_state != Some(state) {
                    last_state = Some(state);
                    let entry = self.entry(insn, state)?;
                    if last != Some(entry) {
                        list.add::<A>(model.insn(insn).offset, entry);
                        last = Some(entry);
                    }
                }
                insn.0 += 1;
            }
            if insn >= insns.end {
                break;
            }
            let Some(group) = model.group_of(insn) else {
                // It is behind that one.
                groups.next();
                continue;
            };
            let original = model.group(group).original.unwrap_or(group);
            let end = model.group(group).last.unwrap_or(insn);
            let start = model.insn(insn).offset;
            let states = self.walked.group_states.get(&original);
            let states = states.map_or(&[][..], Vec::as_slice);
            let len = model.insn(end).end().saturating_sub(start.into());
            for (at, &state) in (0..len as u32).zip(states) {
                if state.is_some() {
                    let entry = self.entry(insn, state)?;
                    if last != Some(entry) {
                        list.add::<A>(start + at, entry);
                        last = Some(entry);
                    }
                }
            }
            last_state = None;
            insn.0 = end.0.max(insn.0) + 1;
        }
        Ok(list)
    }

    fn entry(&self, insn: InsnId, state: Option<StateId>) -> Result<&Entry, (InsnId, Message)> {
        // Filling, and functions that are not standard.
        let Some(id) = state else { return Ok(&NOTHING) };
        if !self.encoded.errors.is_empty() {
            if let Some(message) = self.encoded.errors.get(&id.number()) {
                return Err((insn, message.clone()));
            }
        }
        Ok(&self.encoded.entries[id.number()])
    }
}

fn encode<A: Architecture + Orc>(
    model: &Model<'_, A>,
    state: &StackState,
) -> Result<Entry, Message> {
    model
        .arch
        .encode(&frame::<A>(state)?)
        .map_err(|error| match error {
            Unencodable::Cfa(base) => Message::OrcCfa { base },
            Unencodable::FramePointer(base) => Message::OrcFramePointer { base },
        })
}

fn frame<A: Architecture>(state: &StackState) -> Result<Frame, Message> {
    let kind = match state.kind {
        HintKind::UNDEFINED => FrameKind::Undefined,
        HintKind::END_OF_STACK => FrameKind::EndOfStack,
        HintKind::CALL => FrameKind::Call,
        HintKind::REGS => FrameKind::Regs,
        HintKind::REGS_PARTIAL => FrameKind::RegsPartial,
        HintKind(kind) => return Err(Message::OrcHint { kind }),
    };
    let frame_pointer: Rule = state.saved(A::FRAME_POINTER);
    Ok(Frame {
        kind,
        signal: state.signal,
        cfa: state.cfa,
        frame_pointer,
    })
}
