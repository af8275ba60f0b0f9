//! The reliable stack unwinder: what a walk can conclude.
//!
//! So far only the verdict stands here; the walk itself, its steppers and the bounded stack reader
//! are still to come. This crate never knows of a kernel's symbols, of locks or of files.
//!
//! It is compiled into the kernel: `no_std`, no allocation, no dependency, no path to a panic.

#![no_std]
#![forbid(unsafe_code)]

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

/// Why a stack trace must not be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An address on the stack lies in no known text.
    AddressNotInText,
    /// The walk ended, but not where this kind of task must end.
    WrongEnd,
}

impl Reason {
    /// One sentence for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::AddressNotInText => "an address on the stack is not in kernel text",
            Self::WrongEnd => "the walk ended where this kind of task does not end",
        }
    }
}
