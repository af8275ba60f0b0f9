//! The per-task livepatch consistency core: when a task may be switched.
//!
//! So far only the rule that joins the unwinder's verdict with the functions found on the stack
//! stands here; patches, transitions and the port to the kernel are still to come. This crate
//! never walks a stack itself and never touches a lock.
//!
//! It is compiled into the kernel: `no_std`, no allocation, no dependency, no path to a panic.

#![no_std]
#![forbid(unsafe_code)]

use unwind::Verdict;

/// Whether a task that is off CPU may be switched now
/// (`Documentation/livepatch/livepatch.rst`, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Its stack is reliable and shows no variant of a function that the transition changes.
    Now,
    /// Its stack shows such a function.
    Blocked,
    /// Its stack cannot be trusted, so nothing is known about it.
    Unknown,
}

impl Switch {
    /// The decision for a stack with this verdict, on which such a function was or was not found.
    pub const fn decide(verdict: Verdict, shows_changed_function: bool) -> Self {
        match (verdict, shows_changed_function) {
            (Verdict::Reliable, false) => Self::Now,
            (Verdict::Reliable, true) => Self::Blocked,
            (Verdict::Unreliable(_), _) => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Switch;
    use unwind::{Reason, Verdict};

    #[test]
    fn an_unreliable_stack_never_switches() {
        for shown in [false, true] {
            let verdict = Verdict::Unreliable(Reason::WrongEnd);
            assert_eq!(Switch::decide(verdict, shown), Switch::Unknown);
        }
    }

    #[test]
    fn a_reliable_stack_switches_only_without_the_function() {
        assert_eq!(Switch::decide(Verdict::Reliable, false), Switch::Now);
        assert_eq!(Switch::decide(Verdict::Reliable, true), Switch::Blocked);
    }
}
