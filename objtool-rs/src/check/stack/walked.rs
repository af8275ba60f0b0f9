//! What the walk found out, to be read by what comes after it.

use std::sync::Arc;

use arch::insn::Reg;
use arch::object::Architecture;
use rustc_hash::FxHashMap;

use super::linked::{self, Crossing, Linked};
use super::state::{StackState, StateId, States};
use super::trail::Trail;
use crate::decode::InsnId;
use crate::model::GroupId;
use crate::read::SymbolId;
use crate::report::{DrapState, Message, Place};

/// What the walk found out about each instruction.
#[derive(Debug)]
pub struct Walked {
    /// What is left at each instruction.
    pub trail: Arc<Trail>,
    /// For each original of an alternative, the state at each byte from its start.
    pub group_states: FxHashMap<GroupId, Vec<Option<StateId>>>,
    /// All states.
    pub states: States,
    pub(super) entry: StackState,
    /// What broke a rule, in the order in which it was walked.
    pub failures: Vec<Failure>,
    /// What was seen of linked code besides; empty in a build.
    pub linked: Linked,
    /// Instructions reached.
    pub visits: usize,
}

impl Walked {
    /// Whether an instruction was reached.
    pub fn is_visited(&self, insn: InsnId) -> bool {
        self.trail.is_reached(insn)
    }

    /// Whether the state at an instruction is the one at the start of a function.
    pub fn is_fresh<A: Architecture>(&self, insn: InsnId) -> bool {
        self.trail
            .state(insn)
            .is_some_and(|state| mismatch::<A>(self.states.get(state), &self.entry).is_none())
    }

    /// Whether a path that came from another function did so in the state that its own function's
    /// paths have there.
    pub fn agrees<A: Architecture>(&self, crossing: &Crossing) -> bool {
        self.trail.state(crossing.to).is_some_and(|own| {
            let (own, found) = (self.states.get(own), self.states.get(crossing.state));
            mismatch::<A>(own, found).is_none() && linked::joined(own, found).is_none()
        })
    }
}

/// A function, or a stretch of code under a hint, that breaks a rule.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The function; none for code outside of functions.
    pub function: Option<SymbolId>,
    /// Where the rule is broken, if it is at one place.
    pub place: Option<Place>,
    /// Which rule.
    pub message: Message,
}

/// The first register that is saved in different places.
fn differing<A: Architecture>(a: &StackState, b: &StackState) -> Option<Reg> {
    let mut regs = (0..A::REGISTERS as u8).map(Reg);
    regs.find(|&reg| a.saved(reg) != b.saved(reg))
}

/// What differs between two states, of what is compared.
pub(super) fn mismatch<A: Architecture>(a: &StackState, b: &StackState) -> Option<Message> {
    let drap = |s: &StackState| DrapState {
        active: s.drap,
        reg: s.drap_reg.map_or(-1, |reg| reg.0.into()),
        offset: s.drap_offset,
    };
    if a.cfa != b.cfa {
        Some(Message::CfaMismatch {
            known: a.cfa,
            found: b.cfa,
        })
    } else if let Some(reg) = differing::<A>(a, b) {
        Some(Message::RegisterMismatch {
            reg: reg.0.into(),
            known: a.saved(reg),
            found: b.saved(reg),
        })
    } else if a.kind != b.kind {
        Some(Message::TypeMismatch {
            known: a.kind.0,
            found: b.kind.0,
        })
    } else if a.drap != b.drap || (a.drap && drap(a) != drap(b)) {
        Some(Message::DrapMismatch {
            known: drap(a),
            found: drap(b),
        })
    } else {
        None
    }
}
