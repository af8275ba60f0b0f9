//! How the object files of an architecture's kernel are to be read and written.
//!
//! Layouts of the annotation tables, classes of relocations, names with a role. Not here: the
//! reading and writing itself, and anything about instructions ([`crate::insn`]).

use crate::insn::{Note, Reg};

/// What a stack value or a saved register is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Base {
    /// Not known, or not saved.
    Undefined,
    /// The call frame address: the stack pointer of the caller right before its call.
    Cfa,
    /// What the stack pointer points at.
    StackPointerIndirect,
    /// What the frame pointer points at.
    FramePointerIndirect,
    /// A register's value.
    Reg(Reg),
}

impl Base {
    /// The number that messages print for it: a register's own, negative for the others.
    pub const fn number(self) -> i32 {
        match self {
            Self::Undefined => -1,
            Self::Cfa => -2,
            Self::StackPointerIndirect => -3,
            Self::FramePointerIndirect => -4,
            Self::Reg(reg) => reg.0 as i32,
        }
    }
}

/// A place: a base and a distance from it in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What the distance is from.
    pub base: Base,
    /// Distance in bytes.
    pub offset: i32,
}

impl Rule {
    /// Not known, or not saved.
    pub const UNDEFINED: Self = Self {
        base: Base::Undefined,
        offset: 0,
    };

    /// `offset` bytes from `base`.
    pub const fn new(base: Base, offset: i32) -> Self {
        Self { base, offset }
    }
}

/// Which of the two streams of an alternative are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlternativePolicy {
    /// The original and the replacement.
    Both,
    /// The replacement only.
    ReplacementOnly,
    /// The original only.
    OriginalOnly,
}

/// Layout of an entry of the alternatives table (`.altinstructions`), offsets in bytes.
#[derive(Clone, Copy, Debug)]
pub struct AlternativeLayout {
    /// Size of an entry.
    pub size: u64,
    /// Relocated field: the original instructions.
    pub original: u64,
    /// Relocated field: the replacement.
    pub replacement: u64,
    /// 16-bit field: the CPU feature that selects the replacement.
    pub feature: u64,
    /// 8-bit field: length of the original in bytes.
    pub original_len: u64,
    /// 8-bit field: length of the replacement in bytes.
    pub replacement_len: u64,
}

/// Layout of an entry of the jump label table (`__jump_table`), offsets in bytes.
#[derive(Clone, Copy, Debug)]
pub struct JumpLabelLayout {
    /// Size of an entry.
    pub size: u64,
    /// Relocated field: the instruction that is patched.
    pub original: u64,
    /// Relocated field: the target of the jump.
    pub target: u64,
    /// Relocated field: the key; the low bits of its addend are flags.
    pub key: u64,
}

/// Layout of an entry of the exception table (`__ex_table`), offsets in bytes.
#[derive(Clone, Copy, Debug)]
pub struct ExceptionLayout {
    /// Size of an entry.
    pub size: u64,
    /// Relocated field: the instruction that may fault.
    pub original: u64,
    /// Relocated field: where execution goes on after the fault.
    pub target: u64,
}

/// Layout of an entry of the table of `BUG()` and `WARN()` places (`__bug_table`), offsets in
/// bytes; it depends on the configuration.
#[derive(Clone, Copy, Debug)]
pub struct BugLayout {
    /// Size of an entry.
    pub size: u64,
    /// Relocated field: the instruction.
    pub insn: u64,
    /// 16-bit field: flags.
    pub flags: u64,
}

/// Flag of a `__bug_table` entry: execution goes on after the instruction.
pub const BUG_FLAG_WARNING: u16 = 1;

/// Layout of an entry of `.discard.unwind_hints`, offsets in bytes
/// (`include/linux/objtool_types.h`).
#[derive(Clone, Copy, Debug)]
pub struct UnwindHintLayout {
    /// Size of an entry.
    pub size: u64,
    /// Relocated field: the instruction that the hint is about.
    pub ip: u64,
    /// 16-bit signed field: distance from the base register to the CFA.
    pub sp_offset: u64,
    /// 8-bit field: the base register, in the ORC encoding.
    pub sp_reg: u64,
    /// 8-bit field: the type of the hint.
    pub kind: u64,
    /// 8-bit field: the frame is that of an interrupted context.
    pub signal: u64,
}

/// Relocation types that the analyzer writes.
#[derive(Clone, Copy, Debug)]
pub struct RelocationTypes {
    /// No relocation: what a rewritten instruction leaves behind.
    pub none: u32,
    /// A 32-bit distance from the relocated place.
    pub relative32: u32,
    /// A 64-bit address.
    pub absolute64: u32,
}

/// Everything generic code asks of an architecture about its object files.
pub trait Architecture: Sync {
    /// `e_machine` of its ELF files.
    const MACHINE: u16;
    /// One more than the largest register number; at most [`MAX_REGISTERS`].
    const REGISTERS: usize;
    /// The stack pointer.
    const STACK_POINTER: Reg;
    /// The frame pointer.
    const FRAME_POINTER: Reg;
    /// The return address, numbered as a register.
    const RETURN_ADDRESS: Reg;
    /// Size in bytes of what a push puts on the stack.
    const WORD: i32;
    /// Distance in bytes from the stack pointer to the CFA at a function's first instruction.
    const ENTRY_CFA_OFFSET: i32;
    /// Bytes by which a return from interrupt moves the stack pointer.
    const INTERRUPT_RETURN_POP: i32;
    /// Relocation types that the analyzer writes.
    const RELOCATIONS: RelocationTypes;
    /// Bytes from a relocated branch field to the end of its instruction: a branch relocation's
    /// addend is smaller than the target by as much.
    const BRANCH_FIELD_LEN: i64;
    /// Layout of the alternatives table.
    const ALTERNATIVE: AlternativeLayout;
    /// Layouts of the alternatives table in older kernels, the latest first.
    const OLDER_ALTERNATIVES: &'static [AlternativeLayout];
    /// Layout of the jump label table.
    const JUMP_LABEL: JumpLabelLayout;
    /// Layout of the exception table.
    const EXCEPTION: ExceptionLayout;
    /// Possible layouts of the table of `BUG()` and `WARN()` places, the likeliest first.
    const BUG: &'static [BugLayout];
    /// Layout of the unwind hints.
    const UNWIND_HINT: UnwindHintLayout;

    /// What people call a register; the return address has a name, too.
    fn register_name(&self, reg: Reg) -> &'static str;

    /// Whether a callee keeps the register's value for its caller (the ABI's callee-saved set).
    fn is_callee_saved(&self, reg: Reg) -> bool;

    /// Base that an unwind hint's register field names, or `None` if the field means nothing.
    fn hint_base(&self, sp_reg: u8) -> Option<Base>;

    /// Whether the relocated place itself is part of what a relocation of this type computes.
    fn is_pc_relative(&self, reloc_type: u32) -> bool;

    /// Whether a relocation of this type in code is a plain 32-bit distance to data.
    fn is_relative32(&self, reloc_type: u32) -> bool;

    /// Instructions that do nothing, `len` bytes in all; `None` if there is no such sequence.
    fn nop(&self, len: usize) -> Option<&'static [u8]>;

    /// A return followed by filling, `len` bytes in all; `None` if there is no such sequence.
    fn ret(&self, len: usize) -> Option<&'static [u8]>;

    /// Whether a symbol stands in for an indirect branch (a retpoline thunk).
    fn is_retpoline_thunk(&self, name: &[u8]) -> bool;

    /// Whether a symbol stands in for a return (the return thunk).
    fn is_return_thunk(&self, name: &[u8]) -> bool;

    /// Whether a symbol names code that lies inside another instruction.
    fn is_embedded_insn(&self, name: &[u8]) -> bool;

    /// Whether a symbol is the function tracer's entry.
    fn is_trace_entry(&self, name: &[u8]) -> bool;

    /// Whether a relocation of this type in code is a distance from the end of its instruction.
    fn is_branch_relative(&self, reloc_type: u32) -> bool;

    /// Whether text of this section must not be instrumented (`noinstr`) because of its name
    /// on this architecture; the names that all share are the analyzer's.
    fn is_noinstr_section(&self, name: &[u8]) -> bool;

    /// How the alternative of a CPU feature is followed, given whether user access is validated.
    fn alternative_policy(&self, feature: u16, user_access: bool) -> AlternativePolicy;

    /// Words for a decoder's note, and whether its place is printed with a `0x` in front.
    fn note(&self, note: Note) -> (&'static str, bool);
}

/// The largest [`Architecture::REGISTERS`] of any architecture.
pub const MAX_REGISTERS: usize = 34;
