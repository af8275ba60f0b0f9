//! Where paths meet: what they bring must agree, and the later one ends.

use arch::insn::Decode;
use arch::object::Architecture;

use super::super::linked;
use super::super::state::StateId;
use super::super::walked::mismatch;
use super::{Broken, Path, Walker};
use crate::decode::InsnId;
use crate::model::Purpose;
use crate::read::SymbolId;
use crate::report::Message;

impl<A: Architecture + Decode> Walker<'_, '_, A> {
    /// Whether it is plain that a path would end where it turns to, because another one has come
    /// there with the same state. Then it need not be kept what is to be done after that.
    pub(super) fn is_known(&self, function: Option<SymbolId>, path: &Path, dest: InsnId) -> bool {
        self.model.purpose == Purpose::Build
            && function.is_some()
            && self.own.whole == function
            && self.own.insns.contains(&dest.0)
            && self.trail.is_reached_with(dest, path.flags.user_access)
            && self.trail.state(dest) == Some(path.state)
    }

    /// Both streams of an alternative must have the same state at the same distance from its
    /// start, because an unwinder can't know which one runs.
    pub(super) fn share_group_state(&mut self, insn: InsnId, state: StateId) -> Result<(), Broken> {
        let model = self.model;
        let Some(id) = model.group_of(insn) else {
            return Ok(());
        };
        let group = model.group(id);
        let original = group.original.unwrap_or(id);
        let first = group.first.map_or(0, |first| model.insn(first).offset);
        let at = model.insn(insn).offset.saturating_sub(first) as usize;
        let shared = self.group_states.entry(original).or_default();
        if shared.len() <= at {
            shared.resize(at + 1, None);
        }
        match shared[at] {
            None => shared[at] = Some(state),
            Some(known) if known == state => {}
            // Walked again, with less known.
            Some(known) if self.states.get(state).depth != self.states.get(known).depth => {
                shared[at] = Some(state);
            }
            Some(known)
                if model.purpose == Purpose::Verify
                    && linked::is_alike(self.states.get(known), self.states.get(state)) => {}
            Some(known) => {
                self.clash = Some(known);
                let first = model.group(original).first.unwrap_or(insn);
                let message = Message::AlternativeConflict(model.place(insn));
                return self.broken(first, message);
            }
        }
        Ok(())
    }

    /// However an instruction is reached, the stack must be in the same state.
    pub(super) fn compare(&mut self, insn: InsnId, found: StateId) -> Result<(), Broken> {
        let Some(known) = self.trail.state(insn) else {
            return self.broken_at_large(insn, Message::MissingState);
        };
        if known == found {
            return Ok(());
        }
        match mismatch::<A>(self.states.get(known), self.states.get(found)) {
            None => Ok(()),
            Some(message) => {
                self.clash = Some(known);
                self.broken(insn, message)
            }
        }
    }
}
