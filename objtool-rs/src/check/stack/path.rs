//! How the walk came to an instruction, told after the fact.
//!
//! The walk keeps only where it left the straight line and may come back to, so that it need not
//! remember anything while all is well. From that, and from the states that it left at each
//! instruction, the path is put together again when a rule is broken and somebody wants to see it.

use arch::insn::InsnKind;
use arch::object::Architecture;
use rustc_hash::FxHashMap;

use super::rules::{self, Flags};
use super::state::{StackState, StateId};
use super::trail::Trail;
use crate::decode::InsnId;
use crate::model::Model;
use crate::report::detail::{Arrival, Detail, Step};
use crate::report::Place;

/// Where a path leaves the straight line: the instruction, and where it goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub from: InsnId,
    pub to: InsnId,
}

/// A path, as the walk knows it when it stops.
#[derive(Debug)]
pub(super) struct Known<'w> {
    pub start: InsnId,
    pub flags: Flags,
    pub turns: &'w [Turn],
    pub end: InsnId,
    /// The state that the path brought to its end.
    pub end_state: StateId,
    /// The state that other paths brought there.
    pub clash: Option<StateId>,
}

/// What the walk left behind, and how it goes straight on.
pub(super) struct Walked<'w, A> {
    pub model: &'w Model<'w, A>,
    pub trail: &'w Trail,
    pub state: &'w dyn Fn(StateId) -> StackState,
    pub sources: &'w dyn Fn() -> &'w Sources,
}

/// From where each instruction is gone on at, however that is.
///
/// Made once, because there may be as many findings that ask for it as there are functions.
#[derive(Debug)]
pub(super) struct Sources(Vec<(InsnId, InsnId)>);

impl Sources {
    /// Of all instructions.
    pub fn new<A>(model: &Model<'_, A>) -> Self {
        let mut pairs = Vec::new();
        for from in model.insns.ids() {
            let ends = matches!(
                model.insn(from).kind,
                InsnKind::JumpUnconditional | InsnKind::JumpDynamic | InsnKind::Return
            );
            let next = if ends {
                None
            } else {
                model.next_executed(from)
            };
            let alternatives = model.alternatives(from).iter().map(|a| a.insn);
            let to = next.into_iter().chain(model.jump_target(from));
            pairs.extend(to.chain(alternatives).map(|to| (to, from)));
        }
        pairs.sort_unstable();
        pairs.dedup();
        Self(pairs)
    }

    fn of(&self, insn: InsnId) -> impl Iterator<Item = InsnId> + '_ {
        let first = self.0.partition_point(|&(to, _)| to < insn);
        let pairs = self.0[first..]
            .iter()
            .take_while(move |&&(to, _)| to == insn);
        pairs.map(|&(_, from)| from)
    }
}

/// What has been told so far, and the states in it by their numbers.
#[derive(Default)]
struct Told {
    detail: Detail,
    ids: FxHashMap<StateId, u32>,
}

impl Told {
    fn state(&mut self, id: StateId, state: &dyn Fn(StateId) -> StackState) -> u32 {
        let next = self.detail.states.len() as u32;
        *self.ids.entry(id).or_insert_with(|| {
            self.detail.states.push(state(id));
            next
        })
    }
}

impl<A: Architecture> Walked<'_, A> {
    /// Puts a path together.
    pub fn tell(&self, known: &Known<'_>) -> Detail {
        let model = self.model;
        let mut told = Told::default();
        let mut flags = known.flags;
        let mut pending = Arrival::Straight;
        let insns = self.insns(known);
        let last = insns.len() - 1;
        for (index, (insn, arrival)) in insns.into_iter().enumerate() {
            let id = match self.trail.state(insn) {
                Some(id) if index != last => id,
                _ => known.end_state,
            };
            if arrival != Arrival::Straight {
                pending = arrival;
            }
            if !model.insns.is_padding(insn) {
                let step = Step {
                    place: model.place(insn),
                    arrival: pending,
                    state: told.state(id, self.state),
                    user_access: flags.user_access,
                    direction: flags.direction,
                };
                told.detail.path.push(step);
                pending = Arrival::Straight;
            }
            // What is broken is broken at the end; up to there the rules held.
            let record = model.insn(insn);
            let function = model.function_of(known.start);
            let kept = rules::flags_kept(model, insn, record.ops(), &mut flags);
            let _ = kept.and(rules::flag_change(model, function, record.kind, &mut flags));
        }
        told.detail.end_state = told.state(known.end_state, self.state);
        let mut detail = told.detail;
        if let Some(clash) = known.clash {
            detail.clash = Some((self.state)(clash));
            // Where streams of an alternative clash, they need not meet.
            if self.trail.state(known.end) == Some(clash) {
                let before = detail.path.iter().rev().nth(1).map(|step| step.place);
                detail.others = self.others(known.end, before);
            }
        }
        detail
    }

    /// The instructions from the start to the end.
    fn insns(&self, known: &Known<'_>) -> Vec<(InsnId, Arrival)> {
        let mut insns = vec![(known.start, Arrival::Start)];
        let mut at = known.start;
        let stops = known.turns.iter().map(|turn| (turn.from, Some(turn.to)));
        for (stop, turn) in stops.chain([(known.end, None)]) {
            while at != stop {
                let Some(next) = self.model.next_executed(at) else {
                    break;
                };
                // An instruction is reached twice at the most, once with user access open.
                if insns.len() > 2 * self.model.insns.records() {
                    break;
                }
                insns.push((next, Arrival::Straight));
                at = next;
            }
            if let Some(to) = turn {
                insns.push((to, self.arrival(stop, to)));
                at = to;
            }
        }
        insns
    }

    fn arrival(&self, from: InsnId, to: InsnId) -> Arrival {
        let model = self.model;
        if !model.alternatives(from).iter().any(|a| a.insn == to) {
            return Arrival::Jump;
        }
        let replaces = |group| model.group(group).original == model.group_of(from);
        match model.insn(from).kind {
            InsnKind::JumpDynamic | InsnKind::JumpDynamicConditional => Arrival::Case,
            _ if model.group_of(from).is_some() && model.group_of(to).is_some_and(replaces) => {
                Arrival::Replacement
            }
            InsnKind::Nop | InsnKind::JumpUnconditional => Arrival::Label,
            _ => Arrival::Fault,
        }
    }

    /// Instructions but one that were reached and go on at an instruction.
    fn others(&self, insn: InsnId, but: Option<Place>) -> Vec<Place> {
        let model = self.model;
        (self.sources)()
            .of(insn)
            .filter(|&from| self.trail.state(from).is_some())
            .map(|from| model.place(from))
            .filter(|&place| Some(place) != but)
            .collect()
    }
}
