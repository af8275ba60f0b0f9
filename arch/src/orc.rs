//! ORC: what an unwinder has to know about an instruction, in a few bytes.
//!
//! The kernel's own table format for stack traces without frame pointers
//! (the kernel's `orc-unwinder.rst`). How the bytes are laid out is each architecture's;
//! which instruction gets which entry is the analyzer's.

use crate::object::{Base, Rule};

/// What kind of frame an instruction runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// Nothing is known.
    Undefined,
    /// The stack ends here.
    EndOfStack,
    /// A function's.
    Call,
    /// A full set of saved registers lies at the CFA.
    Regs,
    /// The frame that the processor pushed lies at the CFA.
    RegsPartial,
}

/// What an unwinder has to know about an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// What kind of frame it is.
    pub kind: FrameKind,
    /// It is that of an interrupted context.
    pub signal: bool,
    /// Where the caller's stack pointer is.
    pub cfa: Rule,
    /// Where the caller's frame pointer is.
    pub frame_pointer: Rule,
}

/// A frame that the format can't express, because of this base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unencodable {
    /// That of the CFA.
    Cfa(Base),
    /// That of the frame pointer.
    FramePointer(Base),
}

/// Size in bytes of the largest entry of any architecture.
pub const MAX_ENTRY: usize = 8;

/// An encoded entry; bytes behind [`Orc::ENTRY_SIZE`] are zero.
pub type Entry = [u8; MAX_ENTRY];

/// Words for entries. Implemented by each architecture, behind its `decode` feature, because the
/// kernel has no use for them.
pub trait Describe {
    /// Writes what an entry of [`Orc::ENTRY_SIZE`] bytes says, without its address.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    fn describe(&self, entry: &[u8], out: &mut dyn core::fmt::Write) -> core::fmt::Result;
}

/// An architecture's ORC format.
pub trait Orc {
    /// Size of an entry in bytes, at most [`MAX_ENTRY`].
    const ENTRY_SIZE: usize;

    /// The entry for a frame.
    ///
    /// # Errors
    ///
    /// When a base of the frame has no encoding.
    fn encode(&self, frame: &Frame) -> Result<Entry, Unencodable>;
}

/// Reads entries of an architecture's ORC format, as a kernel has them in memory.
pub trait Decode {
    /// An entry as it lies in memory.
    type Entry: Copy + PartialEq;

    /// What kind of frame an entry is of; `None` when the format knows no such kind.
    fn kind(entry: Self::Entry) -> Option<FrameKind>;

    /// What an entry says; `None` when it says nothing that the format knows.
    fn decode(entry: Self::Entry) -> Option<Frame>;
}
