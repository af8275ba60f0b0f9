//! What a walk asks about text and about the task: oracles, all of them given from outside.
//!
//! A kernel answers from its symbols and tables, a test from a model. Not here: the stacks
//! ([`crate::stack`]), and any decision.

use arch::frame::{Frames, Origin};
use arch::orc::Decode;

use crate::stack::Stacks;

/// What an address in the kernel's half points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// No code.
    None,
    /// Code that a compiler or assembler made and that tools have seen: the kernel's, a module's.
    Fixed,
    /// The function tracer's entry, or a copy of it.
    Trampoline,
    /// Any other code made at run time.
    Generated,
    /// Code that only the kernel's start-up needed; it was there, but cannot be read any more.
    Gone,
}

/// What the validator says of some text (`objtool-rs verify --unreliable-text`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouch {
    /// It keeps the frame-pointer convention.
    Keeps,
    /// It is in the table of text that does not, or may not.
    KeepsNot,
    /// There is no table for this text.
    Unknown,
}

/// How far the search for rewritten return addresses is; kept from frame to frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// For the return hooks' list: an address, 0 at the start.
    pub hook: u64,
    /// For the graph tracer's shadow stack: an index, 0 at the start.
    pub index: i32,
}

/// An address that may have been rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// It was not.
    Same,
    /// It was, and this is the original.
    Original(u64),
    /// It was, and the original is not known. A best-effort walk goes on with this.
    Lost(u64),
}

/// What is known of text.
///
/// Where a return address is meant, callers pass the address of its call's last byte, because the
/// next instruction may belong to another function.
pub trait Text {
    /// What lies at `address`.
    fn kind(&self, address: u64) -> TextKind;

    /// Whether `address` lies in any code.
    #[inline]
    fn is_known(&self, address: u64) -> bool {
        self.kind(address) != TextKind::None
    }

    /// The entry code at `address`, if it lies in some.
    fn origin(&self, address: u64) -> Option<Origin>;

    /// Whether `address` is exactly where a new task starts to run.
    fn is_fork_return(&self, address: u64) -> bool;

    /// What the validator says of the text at `address`; only asked when frame pointers are
    /// followed.
    fn vouch(&self, address: u64) -> Vouch;

    /// The address in the tracer's entry that `address` in a [`TextKind::Trampoline`] is a copy of;
    /// only asked when ORC entries are followed.
    fn template(&self, address: u64) -> Option<u64>;

    /// The eight bytes in front of `address`, which lies in text.
    fn bytes_before(&self, address: u64) -> Option<[u8; 8]>;

    /// The last eight bytes of what ends in front of `address`, if that is [`TextKind::Fixed`]. Such
    /// text that cannot be read is none.
    ///
    /// # Errors
    /// It is something else.
    #[inline]
    fn before(&self, address: u64) -> Result<[u8; 8], TextKind> {
        match self.kind(address.wrapping_sub(1)) {
            TextKind::Fixed => self.bytes_before(address).ok_or(TextKind::None),
            kind => Err(kind),
        }
    }

    /// The original of the return address `address` that was found in the word at `slot`.
    fn recover(&self, cursor: &mut Recovery, address: u64, slot: u64) -> Recovered;

    /// The original of an address at which somebody was interrupted who had just returned to it,
    /// leaving `slot` as the last word.
    fn recover_interrupted(&self, cursor: &mut Recovery, address: u64, slot: u64) -> Recovered;
}

/// What kind of task a stack belongs to, which decides where it must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum TaskKind {
    /// One with a user space.
    User,
    /// A kernel thread.
    KernelThread,
    /// A CPU's idle task.
    Idle,
}

/// Everything a walk asks.
pub trait Env: Stacks + Text {
    /// The architecture.
    type Arch: Frames;

    /// What kind of task it is.
    fn task_kind(&self) -> TaskKind;

    /// Where the registers of user space lie on the task's stack: the place where every task's
    /// stack begins, whether or not it has a user space.
    fn top(&self) -> u64;

    /// Whether a CPU other than this one is running the task.
    fn is_running(&self) -> bool;

    /// A register of the registers that a walk was started from ([`crate::Start::Interrupted`]),
    /// by the architecture's number.
    fn start_register(&self, register: arch::insn::Reg) -> Option<u64>;
}

/// An answer about ORC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// The entry for the address.
    Found(T),
    /// There is none.
    Missing,
    /// The tables are not set up yet.
    NotReady,
}

/// What a walk with ORC asks in addition.
pub trait OrcEnv: Env {
    /// The format of the entries.
    type Format: Decode;

    /// The entry for the text at `address`. Copies of the tracer's entry need none: their
    /// [`Text::template`] is asked for.
    fn orc(&self, address: u64) -> Lookup<<Self::Format as Decode>::Entry>;

    /// A breakpoint is handled in the task: whether the instruction in whose place it stands has
    /// been run. `address` is in front of the one that was saved: the breakpoint if it has not been
    /// run, its own last byte if it has. `None` if that is not known.
    fn has_run(&self, address: u64) -> Option<bool> {
        let _ = address;
        None
    }
}
