//! How a finding came about: the path to it, instruction by instruction, with the stack on the way.
//!
//! Kept only when somebody wants to see it. This is the data alone: the walk collects it
//! (`check::stack::path`), [`rich`](super::rich) shows it.

use super::Place;
use crate::check::stack::state::StackState;

/// How an instruction was reached from the one before it on the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The path begins here.
    Start,
    /// Straight on.
    Straight,
    /// A jump that is taken.
    Jump,
    /// The replacement that an alternative may put in place of the instruction before.
    Replacement,
    /// A case of a switch.
    Case,
    /// A jump label that is switched.
    Label,
    /// The handler of a fault.
    Fault,
}

/// One instruction on the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it is.
    pub place: Place,
    /// How it was reached.
    pub arrival: Arrival,
    /// The state before it runs, by position in [`Detail::states`].
    pub state: u32,
    /// Access to user memory is open before it runs.
    pub user_access: bool,
    /// String instructions run downwards before it runs.
    pub direction: bool,
}

/// How a finding came about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// The path, without the padding that only the analysis sees. The last step is where it came to
    /// an end.
    pub path: Vec<Step>,
    /// The different states on it.
    pub states: Vec<StackState>,
    /// The state that it brought to its end, by position in `states`.
    pub end_state: u32,
    /// What the state at the last step was by other paths, where that is what is wrong.
    pub clash: Option<StackState>,
    /// Where those came from.
    pub others: Vec<Place>,
}
