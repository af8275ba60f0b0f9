//! The reliable stack unwinder.

#![no_std]
#![forbid(unsafe_code)]

pub mod ends;
pub mod env;
pub mod frame_pointers;
#[doc(hidden)]
pub mod instance;
pub mod orc;
pub mod ranges;
pub mod reason;
pub mod stack;
pub mod walk;

pub use ends::End;
pub use env::{Env, Lookup, OrcEnv, Recovered, Recovery, TaskKind, Text, TextKind, Vouch};
pub use frame_pointers::FramePointers;
pub use orc::Orc;
pub use reason::Reason;
pub use stack::{Slot, Stack, StackKind, Stacks};
pub use walk::{reliable, Frame, FrameKind, Mode, Outcome, Registers, Start, Status, Walk};

/// What a walk over a task's stack concludes. There is no third way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The walk ended exactly where this kind of task must end, and every address on the way lies
    /// in text known to keep the convention
    /// (`Documentation/livepatch/reliable-stacktrace.rst`, section 3).
    Reliable,
    /// Something on the way could not be vouched for.
    Unreliable(Reason),
}
