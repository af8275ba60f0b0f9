//! Transitions that were looked up last.
//!
//! A function uses few states and effects again and again, so most lookups are answered here,
//! from 64 KB that stay in the processor's caches; the table of all transitions does not.

use super::super::state::StateId;
use super::super::transition::Context;
use crate::decode::OpsId;

/// A state, and what happens to it.
pub(super) type Transition = (StateId, OpsId, Context);

/// How many are kept.
const ENTRIES: usize = 1 << 12;

/// Transitions, each at the one place where it may stand, with what comes out.
#[derive(Debug)]
pub(super) struct Recent {
    entries: Box<[(Transition, StateId)]>,
}

impl Recent {
    /// Knows of no transition but one that nothing comes of.
    pub fn new(state: StateId) -> Self {
        let nothing = (state, OpsId::NONE, Context::default());
        Self {
            entries: vec![(nothing, state); ENTRIES].into_boxed_slice(),
        }
    }

    fn place((state, ops, context): Transition) -> usize {
        // Odd factors keep neighbours apart.
        let mix = (state.number()).wrapping_mul(0x9e37) ^ ops.index().wrapping_mul(0x85eb);
        (mix ^ usize::from(context.next_has_hint)) % ENTRIES
    }

    /// What comes of a transition, if it is known.
    pub fn get(&self, transition: Transition) -> Option<StateId> {
        let (known, state) = self.entries[Self::place(transition)];
        (known == transition).then_some(state)
    }

    /// This comes of a transition.
    pub fn set(&mut self, transition: Transition, state: StateId) {
        self.entries[Self::place(transition)] = (transition, state);
    }
}
