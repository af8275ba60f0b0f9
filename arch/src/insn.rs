//! An instruction as validation sees it: its effect on control flow and on the stack.
//!
//! Not here: how bytes become such a record (each architecture's decoder does that), and what a
//! record means for the state of the stack (the analyzer's stack check does that).

/// A register, by the architecture's own number for call frame information.
///
/// The numbers are small and dense; [`crate::object::Architecture::REGISTERS`] is one more than
/// the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg(pub u8);

/// Some registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers(u64);

impl Registers {
    /// Whether it is one of them.
    pub const fn contains(self, reg: Reg) -> bool {
        self.0 & Self::bit(reg) != 0
    }

    /// Registers' numbers are below [`crate::object::MAX_REGISTERS`], which is less than 64.
    const fn bit(reg: Reg) -> u64 {
        1_u64.wrapping_shl(reg.0 as u32)
    }
}

impl FromIterator<Reg> for Registers {
    fn from_iter<I: IntoIterator<Item = Reg>>(registers: I) -> Self {
        Self(
            registers
                .into_iter()
                .fold(0, |all, reg| all | Self::bit(reg)),
        )
    }
}

/// What an instruction does to control flow, or which rule looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum InsnKind {
    /// A direct jump that may fall through.
    JumpConditional,
    /// A direct jump that is always taken.
    JumpUnconditional,
    /// A jump through a register or memory.
    JumpDynamic,
    /// A conditional jump through a thunk: a conditional direct jump to an indirect-branch thunk
    /// is one.
    JumpDynamicConditional,
    /// A direct call.
    Call,
    /// A call through a register or memory.
    CallDynamic,
    /// A return to the caller.
    Return,
    /// Leaves the current context altogether: system call entry or exit, far jump or return,
    /// return from interrupt.
    ContextSwitch,
    /// The instruction that is undefined on purpose, used for `BUG()` and `WARN()`.
    Bug,
    /// Does nothing.
    Nop,
    /// Opens access to user memory.
    UserAccessEnable,
    /// Closes access to user memory.
    UserAccessDisable,
    /// Makes string instructions run downwards.
    DirectionSet,
    /// Makes string instructions run upwards, as the ABI demands at every call and return.
    DirectionClear,
    /// Breakpoint trap, also used to fill text that must not be executed.
    Trap,
    /// A mark that indirect branches may land here.
    LandingPad,
    /// No instruction at all: data between code. Only images have it, where decoding goes on at
    /// the next symbol.
    Invalid,
    /// Anything else.
    Other,
}

impl InsnKind {
    /// A direct jump, conditional or not.
    pub const fn is_static_jump(self) -> bool {
        matches!(self, Self::JumpConditional | Self::JumpUnconditional)
    }
}

/// Where a [`StackOp`] takes its value from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A register's value.
    Reg(Reg),
    /// Memory at `base + offset`.
    Mem {
        /// Register that holds the address.
        base: Reg,
        /// Displacement in bytes.
        offset: i32,
    },
    /// A value that has no meaning for the frame.
    Const,
    /// The word on top of the stack, which is taken off.
    Pop,
    /// The word on top of the stack, taken off, as the flags.
    PopFlags,
    /// A register's value plus a constant.
    Add {
        /// The register.
        reg: Reg,
        /// What is added, in bytes.
        offset: i32,
    },
    /// The stack pointer rounded down by a mask.
    And,
}

/// Where a [`StackOp`] puts its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dest {
    /// A register.
    Reg(Reg),
    /// Memory at `base + offset`.
    Mem {
        /// Register that holds the address.
        base: Reg,
        /// Displacement in bytes.
        offset: i32,
    },
    /// Memory whose place does not matter for the frame.
    Elsewhere,
    /// A new word on top of the stack.
    Push,
    /// A new word on top of the stack, holding the flags.
    PushFlags,
}

/// One effect of an instruction on the stack pointer, the frame pointer, or saved registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackOp {
    /// Where the value goes.
    pub dest: Dest,
    /// Where it comes from.
    pub source: Source,
}

/// The most stack effects that one instruction has on any architecture.
pub const MAX_STACK_OPS: usize = 2;

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Length in bytes, never 0.
    pub len: u8,
    /// What it does to control flow.
    pub kind: InsnKind,
    /// For direct jumps and calls: distance from the end of the instruction to the target, in
    /// bytes; 0 otherwise. Such an instruction's only effect on the stack, if it has one, is to
    /// push a value without a meaning for the frame: the address that it returns to.
    pub displacement: i32,
    /// Returns from an interrupt; [`InsnKind::ContextSwitch`] unless it stands inside a callable
    /// function, where it is a way to serialize that returns to itself.
    pub interrupt_return: bool,
    /// Effects on the stack, in order; the tail is `None`.
    pub ops: [Option<StackOp>; MAX_STACK_OPS],
    /// Changes the frame pointer, or one of the words that a frame keeps at it: the caller's frame
    /// pointer and the return address. [`Insn::ops`] tell of most such changes, not of all.
    pub touches_frame: bool,
    /// May set the stack pointer, or write memory at a distance from it; [`Decode::stack_touch`]
    /// says what of it is the case.
    pub touches_stack: bool,
    /// Something about the encoding that the kernel must not contain.
    pub note: Option<Note>,
}

/// What an instruction does to the stack pointer and by it, whether or not [`Insn::ops`] tell of it.
/// Pushes, pops, calls and returns move the stack pointer too, but nothing else about them counts
/// here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackTouch {
    /// Sets the stack pointer.
    pub sets: bool,
    /// Writes memory: distance from the stack pointer, and size, both in bytes.
    pub writes: Option<(i32, u32)>,
}

/// An encoding that the kernel must not contain; the architecture numbers and words them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note(pub u8);

/// The bytes at an offset are no instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// Offset in bytes from the start of the decoded code.
    pub offset: usize,
}

/// What is to be known of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// What a build's checks look at: [`Insn::touches_frame`] and [`Insn::touches_stack`] stay
    /// false, since working them out takes as long as the rest.
    Build,
    /// Everything.
    All,
}

/// Decodes a run of code. Implemented by each architecture, behind its `decode` feature, because
/// the kernel has no use for it.
pub trait Decode {
    /// Decodes the instructions of `code` that begin before `until`, from the first byte on, and
    /// hands each to `sink` with its offset in bytes. The result is where the last one ends.
    ///
    /// # Errors
    ///
    /// Stops at the first place that holds no instruction, or one that runs over the end.
    fn decode_until(
        &self,
        code: &[u8],
        until: usize,
        wanted: Wanted,
        sink: &mut impl FnMut(usize, Insn),
    ) -> Result<usize, Undecodable>;

    /// Decodes `code` from its first byte to its last, with all that there is to know.
    ///
    /// # Errors
    ///
    /// See [`Self::decode_until`].
    fn decode(&self, code: &[u8], sink: &mut impl FnMut(usize, Insn)) -> Result<(), Undecodable> {
        self.decode_until(code, code.len(), Wanted::All, sink)?;
        Ok(())
    }

    /// The fixed address that the first instruction of `code`, which stands at `address`, names:
    /// as a constant, or as the fixed part of where it reads. It may be no address at all; the
    /// caller knows what lies there.
    fn named_address(&self, code: &[u8], address: u64) -> Option<u64>;

    /// If an instruction stores a constant at a fixed place: the offsets in it of the field that
    /// names the place and of the constant, and what has to be added to the place's addend.
    fn constant_store(&self, code: &[u8]) -> Option<ConstantStore>;

    /// What the first instruction of `code` does to the stack pointer and by it.
    fn stack_touch(&self, code: &[u8]) -> StackTouch;

    /// The registers that the first instruction of `code` writes, or may write, as a whole or a part of
    /// them. What a call's callee writes does not count. All of them if there is no instruction.
    fn written(&self, code: &[u8]) -> Registers;
}

/// An instruction that stores a constant at a fixed place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConstantStore {
    /// Offset in the instruction of the field that names the place, in bytes.
    pub place: u64,
    /// Offset of the constant.
    pub constant: u64,
    /// Bytes from the first field to the instruction's end, by which a relative place is short.
    pub place_bias: i64,
}

/// Words for instructions. Implemented by each architecture, behind its `decode` feature.
pub trait Disassemble {
    /// Hands each instruction of `code` to `sink`: offset and length in bytes, and its text in the
    /// syntax that the kernel's own sources use. `address` is where the code stands, so that
    /// branch targets can be printed. Stops at the first place that holds no instruction.
    fn disassemble(&self, code: &[u8], address: u64, sink: &mut dyn FnMut(usize, usize, &str));
}
