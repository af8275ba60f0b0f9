//! `.orc_unwind` and `.orc_unwind_ip`: what an unwinder has to know about each instruction.
//!
//! An entry holds from its address up to the next one's; a section ends with an entry that says
//! that nothing is known (the kernel's `orc-unwinder.rst`). Within an alternative the
//! entries are those of both streams by distance from its start, since either may run.

use arch::object::{Architecture, Rule};
use arch::orc::{Entry, Frame, FrameKind, Orc, Unencodable, MAX_ENTRY};

use super::{exists, places_section, NewSection, Output};
use crate::check::stack::state::{StackState, StateId};
use crate::check::stack::walked::Walked;
use crate::decode::InsnId;
use crate::model::{HintKind, Model};
use crate::read::SectionId;
use crate::report::{Abort, Findings, Message, Place};

const DATA: &str = ".orc_unwind";
const ADDRESSES: &str = ".orc_unwind_ip";

/// Nothing is known.
const NOTHING: Entry = [0; MAX_ENTRY];

pub(super) fn emit<A: Architecture + Orc>(
    model: &Model<'_, A>,
    walked: &Walked,
    output: &mut Output,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let mut table = Table {
        model,
        walked,
        findings,
        encoded: Vec::new(),
        entries: Vec::new(),
    };
    for section in model.file.section_ids() {
        if model.file.section(section).is_executable() && model.sections[section.index()].text {
            table.section(section)?;
        }
    }
    let entries = table.entries;
    if entries.is_empty() {
        return Ok(());
    }
    if exists(model, findings, DATA, " section") {
        return Err(Abort);
    }
    let mut data = Vec::with_capacity(entries.len() * A::ENTRY_SIZE);
    let mut places = Vec::with_capacity(entries.len());
    for (place, entry) in entries {
        data.extend_from_slice(&entry[..A::ENTRY_SIZE]);
        places.push(place);
    }
    output.add_section(NewSection::plain(DATA, A::ENTRY_SIZE as u64, data));
    let addresses = places_section(model, output, ADDRESSES, &places);
    output.add_section(addresses);
    Ok(())
}

struct Table<'t, 'f, A> {
    model: &'t Model<'f, A>,
    walked: &'t Walked,
    findings: &'t mut Findings,
    /// Entries of states, by the state's number.
    encoded: Vec<Option<Entry>>,
    entries: Vec<(Place, Entry)>,
}

impl<A: Architecture + Orc> Table<'_, '_, A> {
    fn section(&mut self, section: SectionId) -> Result<(), Abort> {
        let model = self.model;
        let before = self.entries.len();
        let mut last = NOTHING;
        let mut next = model.insns.first_of(section);
        while let Some(insn) = next {
            let Some(group) = model.group_of(insn) else {
                let entry = self.entry(insn, self.walked.trail.state(insn))?;
                self.add(model.place(insn), entry, &mut last);
                next = model.insns.next(insn);
                continue;
            };
            let original = model.group(group).original.unwrap_or(group);
            let end = model.group(group).last.unwrap_or(insn);
            let start = model.place(insn);
            let states = self.walked.group_states.get(&original);
            let states = states.map_or(&[][..], Vec::as_slice);
            let len = model.insn(end).end().saturating_sub(start.offset);
            for at in 0..len {
                let Some(&Some(state)) = states.get(at as usize) else {
                    continue;
                };
                let entry = self.entry(insn, Some(state))?;
                let place = Place {
                    offset: start.offset + at,
                    ..start
                };
                self.add(place, entry, &mut last);
            }
            next = model.insns.next(end);
        }
        if self.entries.len() != before {
            let offset = model.file.section(section).header.size;
            self.entries.push((Place { section, offset }, NOTHING));
        }
        Ok(())
    }

    fn add(&mut self, place: Place, entry: Entry, last: &mut Entry) {
        if entry != *last {
            self.entries.push((place, entry));
            *last = entry;
        }
    }

    fn entry(&mut self, insn: InsnId, state: Option<StateId>) -> Result<Entry, Abort> {
        // Filling, and functions that are not standard.
        let Some(id) = state else { return Ok(NOTHING) };
        let number = id.number();
        if let Some(&Some(entry)) = self.encoded.get(number) {
            return Ok(entry);
        }
        let state = self.walked.states.get(id);
        let encoded = frame::<A>(state).and_then(|frame| {
            self.model.arch.encode(&frame).map_err(|error| match error {
                Unencodable::Cfa(base) => Message::OrcCfa { base },
                Unencodable::FramePointer(base) => Message::OrcFramePointer { base },
            })
        });
        match encoded {
            Ok(entry) => {
                if self.encoded.len() <= number {
                    self.encoded.resize(self.walked.states.len(), None);
                }
                self.encoded[number] = Some(entry);
                Ok(entry)
            }
            Err(message) => {
                self.model.warn(self.findings, insn, message);
                Err(Abort)
            }
        }
    }
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
