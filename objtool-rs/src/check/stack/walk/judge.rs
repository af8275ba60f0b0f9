//! What the walk does besides when linked code is judged, for which there are no annotations and
//! every function is judged by itself.
//!
//! The rules for it are in `linked`; what follows for the verdict, in `verify`.

use arch::insn::{Decode, InsnKind};
use arch::object::Architecture;
use rustc_hash::FxHashSet;

use super::super::linked::{self, Crossing};
use super::super::state::StateId;
use super::super::walked::{mismatch, Failure};
use super::{Broken, Path, Step, Walker};
use crate::decode::{InsnId, Marks, Record};
use crate::model::Purpose;
use crate::read::{SectionId, SymbolId};
use crate::report::{Message, Trace};

impl<A: Architecture + Decode> Walker<'_, '_, A> {
    /// A call without a frame that hardly any machine makes is forgiven if it leads no further.
    pub(super) fn rare_calls(&mut self) {
        let model = self.model;
        let broken: FxHashSet<SymbolId> = self
            .failures
            .iter()
            .filter_map(|failure| failure.function)
            .collect();
        for (function, insn) in std::mem::take(&mut self.linked.rare_calls) {
            let callee = model.callee(insn).map(|callee| {
                let section = model.file.symbol(callee).section;
                let callee = model.symbols.alias(callee);
                (section, model.symbols.parent(callee))
            });
            let is_harmless = callee.is_some_and(|(section, callee)| {
                // Another file's function is for the verdict on that one.
                section == SectionId::UNDEFINED
                    || (model.file.symbol(callee).is_function()
                        && !self.linked.callers.contains(&callee)
                        && !broken.contains(&callee))
            });
            if !is_harmless {
                self.failures.push(Failure {
                    function: Some(function),
                    place: Some(model.place(insn)),
                    message: Message::CallWithoutFrame,
                });
            }
        }
    }

    /// In an image it is worked out which calls do not return, and more is found than the compiler
    /// knew. The code that it put behind such a call is meant to keep the rules all the same.
    pub(super) fn walk_behind_calls(&mut self, function: SymbolId) {
        let model = self.model;
        while let Some(path) = self.ended.pop() {
            let next = model.insns.next(path.insn).filter(|&next| {
                let own = model.function_of(next).map(|own| model.symbols.parent(own));
                let is_filling = matches!(
                    model.insn(next).kind,
                    InsnKind::Nop | InsnKind::Trap | InsnKind::Bug
                );
                own == Some(function) && !is_filling && !self.trail.is_reached(next)
            });
            if let Some(insn) = next {
                self.start(
                    Path {
                        insn,
                        is_straight: true,
                        ..path
                    },
                    Trace::Symbol,
                );
            }
        }
    }

    /// The state with which linked code that was walked before has to be walked again.
    pub(super) fn joined(&mut self, insn: InsnId, found: StateId) -> Option<StateId> {
        let known = self.trail.state(insn).filter(|&known| known != found)?;
        if self.model.purpose == Purpose::Build {
            return None;
        }
        let joined = linked::joined(self.states.get(known), self.states.get(found))?;
        Some(self.states.intern(&joined))
    }

    /// A path leaves its function for the midst of another one, or runs over its end. Other paths
    /// of it go on, so that all such places are known.
    pub(super) fn cross(&mut self, from: SymbolId, to: SymbolId, path: Path) -> Step {
        self.linked.crossings.push(Crossing {
            from,
            to: path.insn,
            state: path.state,
        });
        // Preambles fall into the function that they belong to.
        if !self.model.file.symbol(from).name.starts_with(b"__cfi_") {
            self.failures.push(Failure {
                function: Some(from),
                place: Some(self.model.place(path.insn)),
                message: Message::FallsThrough { from, to },
            });
        }
        Step::End
    }

    /// Code of no function belongs to every function that leads to it, and is walked for each.
    /// Whether it was reached for this one before, with all that this path brings.
    pub(super) fn enter_outside(
        &mut self,
        function: SymbolId,
        path: &mut Path,
    ) -> Result<bool, Broken> {
        let insn = path.insn;
        let key = (function, insn);
        if let Some(&known) = self.linked.outside.get(&key) {
            let (known, found) = (self.states.get(known), self.states.get(path.state));
            if let Some(message) = mismatch::<A>(known, found) {
                return self.broken(insn, message);
            }
            let Some(joined) = linked::joined(known, found) else {
                return Ok(true);
            };
            path.state = self.states.intern(&joined);
            self.linked.outside.insert(key, path.state);
            return Ok(false);
        }
        self.linked.outside.insert(key, path.state);
        let owners = self.linked.owners.entry(insn).or_default();
        owners.push(function);
        if owners.len() > linked::MAX_OWNERS {
            let to = owners[0];
            let from = function;
            return self.broken_at_large(insn, Message::FallsThrough { from, to });
        }
        Ok(false)
    }

    /// In linked code, what an instruction does beyond what a build follows.
    pub(super) fn linked_effects(
        &mut self,
        path: &mut Path,
        before: StateId,
        record: Record,
    ) -> Result<(), Broken> {
        let is_call = matches!(record.kind, InsnKind::Call | InsnKind::CallDynamic);
        self.values_lost(path, before, record, is_call);
        let marks = record.marks;
        if marks.has(Marks::TOUCHES_FRAME) {
            let (before, after) = (self.states.get(before), self.states.get(path.state));
            if let Err(message) = linked::frame_touched::<A>(before, after) {
                return self.broken(path.insn, message);
            }
        }
        if !is_call && linked::pushes(self.model.insns.ops(record.ops())) {
            if let Err(message) = linked::pushed::<A>(self.states.get(before)) {
                return self.broken(path.insn, message);
            }
        }
        if marks.has(Marks::TOUCHES_STACK) {
            self.stack_touched(path, before, record)?;
        }
        Ok(())
    }

    /// What an instruction does to registers of which something is known.
    fn values_lost(&mut self, path: &mut Path, before: StateId, record: Record, is_call: bool) {
        let before = self.states.get(before);
        if !linked::holds_values::<A>(before) {
            return;
        }
        let model = self.model;
        let written = model.arch.written(self.code(path.insn, record));
        let after = self.states.get(path.state);
        let ops = model.insns.ops(record.ops());
        let state = linked::forgotten(&model.arch, (before, after), ops, written, is_call);
        if state != *after {
            path.state = self.states.intern(&state);
        }
    }

    /// What an instruction does to the stack pointer and by it.
    fn stack_touched(
        &mut self,
        path: &mut Path,
        before: StateId,
        record: Record,
    ) -> Result<(), Broken> {
        let touch = self.model.arch.stack_touch(self.code(path.insn, record));
        let before = *self.states.get(before);
        if let Some(store) = touch.writes {
            if let Err(message) = linked::stored::<A>(&before, store) {
                return self.broken(path.insn, message);
            }
        }
        let op = self.model.insns.ops(record.ops())[0];
        let after = *self.states.get(path.state);
        let state = linked::moved::<A>(&before, &after, op, touch.sets);
        if state != after {
            path.state = self.states.intern(&state);
        }
        Ok(())
    }

    /// An instruction's bytes.
    fn code(&self, insn: InsnId, record: Record) -> &[u8] {
        let section = self.model.file.section(self.model.insns.section(insn));
        let code = section
            .data
            .get(record.offset as usize..record.end() as usize);
        code.unwrap_or_default()
    }
}
