//! How an architecture lays out stacks: frame records, saved registers, what a switched-out task
//! leaves behind, where a task's stack begins.
//!
//! Plain numbers and small pure functions; an unwinder does the reading. Not here: the ORC format
//! ([`crate::orc`]), and anything about one kernel's addresses.

use crate::insn::Reg;

/// Size in bytes of a word on the stack: an address, a register.
pub const WORD: u64 = 8;

/// What a frame pointer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramePointer {
    /// The frame record at this address.
    Record(u64),
    /// A full set of saved registers at this address.
    Registers(u64),
}

/// Layout of a frame record, offsets in bytes.
#[derive(Clone, Copy, Debug)]
pub struct RecordLayout {
    /// Size of the record.
    pub size: u64,
    /// The caller's frame pointer.
    pub caller: u64,
    /// The return address.
    pub return_address: u64,
}

/// Layout of saved registers (`struct pt_regs`), offsets in bytes.
#[derive(Clone, Copy, Debug)]
pub struct RegistersLayout {
    /// Size of the whole.
    pub size: u64,
    /// The interrupted instruction.
    pub pc: u64,
    /// The word that tells privilege levels apart.
    pub status: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The frame pointer.
    pub fp: u64,
    /// From here on the processor itself saves; `pc`, `status` and `sp` lie behind it.
    pub partial: u64,
}

/// Layout of what a task leaves on its stack when it is switched out, offsets in bytes from its
/// saved stack pointer. A frame record lies in it.
#[derive(Clone, Copy, Debug)]
pub struct InactiveLayout {
    /// Size of the whole: behind it lies the frame of the function that switched.
    pub size: u64,
    /// The frame record.
    pub record: u64,
}

/// Who ran when registers were saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// User space.
    User,
    /// The kernel.
    Kernel,
    /// Nobody: the processor does not save such a word.
    Neither,
}

/// What interrupted somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A device, a timer, another CPU. That it is not 0 leaves this for `None`: walks begin as zeros.
    Interrupt = 1,
    /// An interrupt that cannot be masked.
    NonMaskable,
    /// Memory that is not there.
    PageFault,
    /// A breakpoint instruction.
    Breakpoint,
    /// Any other exception.
    Exception,
    /// Not known.
    Unknown,
}

/// Entry code: text that no function of the kernel calls, and what it is entered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// System calls.
    SystemCall,
    /// Interrupts and exceptions.
    Event(Event),
    /// The first run of a new task.
    Fork,
    /// The start of a CPU, which becomes its idle task.
    Startup,
    /// Everything on the stack was thrown away, because the task is to die.
    Rewound,
}

/// How an architecture lays out stacks.
pub trait Frames {
    /// Its stack pointer, in the numbering of its ORC rules.
    const SP: Reg;
    /// Its frame pointer, in the same numbering.
    const FP: Reg;
    /// Frame records.
    const RECORD: RecordLayout;
    /// Saved registers.
    const REGISTERS: RegistersLayout;
    /// What a switched-out task leaves behind.
    const INACTIVE: InactiveLayout;
    /// How far below a task's top registers its outermost record may lie at most, in bytes.
    const LAST_RECORD: u64;
    /// Size in bytes of a page: what guards the end of a stack.
    const PAGE: u64;

    /// Whether a record that lies `below` bytes (at most [`Self::LAST_RECORD`]) under a task's top
    /// registers is its outermost one. `same` says whether two words are the same, which are given by
    /// their distances from the record.
    fn is_last_record(below: u64, same: impl Fn(u64, u64) -> bool) -> bool;

    /// What a frame pointer leads to.
    fn frame_pointer(value: u64) -> FramePointer;

    /// The frame pointer that leads to the registers at `address`.
    fn encoded(address: u64) -> u64;

    /// Who ran, by the word at [`RegistersLayout::status`].
    fn privilege(status: u64) -> Privilege;

    /// Where a register lies in saved registers, in bytes; `None` if it is not among them.
    fn register_offset(reg: Reg) -> Option<u64>;

    /// Whether the instruction that ends with these bytes can be a call, or what the kernel puts
    /// in the place of one while a task may still return behind it.
    fn may_follow_call(before: [u8; 8]) -> bool;

    /// How far the address that is saved for an [`Event::Breakpoint`] lies behind the instruction
    /// that is to be run, if these bytes in front of the address show that a breakpoint stands there.
    fn breakpoint(before: [u8; 8]) -> Option<u64>;
}
