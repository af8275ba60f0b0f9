//! Where walks start: at functions, and at hints that no function has led to; and the states that
//! hints give.

use std::ops::Range;

use arch::insn::Decode;
use arch::object::Architecture;

use super::super::rules::{self, Flags};
use super::super::state::{StackState, StateId};
use super::super::walked::Failure;
use super::{Broken, Path, Walker};
use crate::decode::{InsnId, Marks};
use crate::model::{HintState, Purpose};
use crate::read::{SectionId, SymbolId};
use crate::report::{Message, Trace};

/// A function to be walked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// The function.
    pub id: SymbolId,
    /// Where it is.
    pub section: SectionId,
    /// Its first instruction; absent when it has no size.
    pub insn: Option<InsnId>,
}

impl<A: Architecture + Decode> Walker<'_, '_, A> {
    /// Whether calls out of a section's functions are checked. Only a linked object says where
    /// they go.
    pub(super) fn is_noinstr(&self, section: SectionId) -> bool {
        let options = self.model.options;
        options.link && options.noinstr && self.model.sections[section.index()].noinstr
    }

    /// Where the functions of sections are walked from, in the order of walking.
    pub(super) fn starts(&self, sections: impl Iterator<Item = SectionId>) -> Vec<Start> {
        let model = self.model;
        let mut starts = Vec::new();
        for section in sections {
            for &id in model.symbols.of_section(section) {
                let symbol = model.file.symbol(id);
                if !symbol.is_function() {
                    continue;
                }
                if model.symbols.len(id) == 0 {
                    let insn = None;
                    starts.push(Start { id, section, insn });
                    continue;
                }
                if model.symbols.parent(id) != id || model.symbols.alias(id) != id {
                    continue;
                }
                let insn = model.insns.at(section, symbol.value);
                if insn.is_some_and(|insn| !model.insn(insn).marks.has(Marks::IGNORE)) {
                    starts.push(Start { id, section, insn });
                }
            }
        }
        starts
    }

    /// Walks a function.
    pub(super) fn function(&mut self, start: Start) {
        let model = self.model;
        let Start { id, section, insn } = start;
        let Some(insn) = insn else {
            let message = Message::MissingSize(id);
            self.findings.add(message.clone());
            self.failures.push(Failure {
                function: Some(id),
                place: None,
                message,
            });
            return;
        };
        // In a build, code that another function leads to has had its findings there; to judge a
        // function, it must be entered.
        if model.purpose == Purpose::Build && self.trail.is_reached(insn) {
            return;
        }
        let flags = Flags {
            user_access: model.options.uaccess && rules::is_user_access_safe(model, Some(id)),
            noinstr: self.is_noinstr(section),
            ..Flags::default()
        };
        let path = Path {
            insn,
            is_straight: false,
            origin: insn,
            state: self.entry_id,
            flags,
        };
        self.start(path, Trace::Symbol);
        self.walk_behind_calls(id);
    }

    /// Walks from the hints among some instructions that no path has reached.
    pub(super) fn hints(&mut self, insns: Range<u32>, noinstr: bool) {
        for &insn in self.model.hinted() {
            let marks = self.model.insn(insn).marks;
            let reached = self.trail.is_reached(insn);
            if insns.contains(&insn.0) && !reached && !marks.has(Marks::IGNORE) {
                let path = Path {
                    insn,
                    is_straight: false,
                    origin: insn,
                    state: self.unknown,
                    flags: Flags {
                        noinstr,
                        ..Flags::default()
                    },
                };
                self.start(path, Trace::Hint);
            }
        }
    }

    /// The state that a hint gives.
    pub(super) fn intern_hint(&mut self, hint: HintState) -> StateId {
        let state = match hint {
            HintState::Undefined => StackState::FORCED,
            HintState::Function => self.entry,
            HintState::Explicit { cfa, kind, signal } => StackState {
                cfa,
                kind,
                signal,
                ..StackState::UNKNOWN
            },
        };
        self.states.intern(&state)
    }

    /// The state that a restore takes back, or nothing if its place must be reached first.
    pub(super) fn saved_state(
        &mut self,
        function: Option<SymbolId>,
        path: Path,
    ) -> Result<Option<StateId>, Broken> {
        let model = self.model;
        let start = function.map_or(u64::MAX, |function| model.file.symbol(function).value);
        let before = model.saves.partition_point(|&save| save < path.insn);
        let here = model.insns.section(path.insn);
        let save = model.saves[..before].last().filter(|&&save| {
            model.insns.section(save) == here && u64::from(model.insn(save).offset) >= start
        });
        let Some(&save) = save else {
            return self.broken(path.insn, Message::NoSave);
        };
        let reached = self.trail.is_reached(save);
        match self.trail.state(save).filter(|_| reached) {
            Some(state) => Ok(Some(state)),
            // A branch to the restore; it will be reached again along the straight line.
            None if !path.is_straight => Ok(None),
            None => self.broken(path.insn, Message::UnsupportedRestore),
        }
    }
}
