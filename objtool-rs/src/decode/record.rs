//! The record of one instruction.
//!
//! Twelve bytes, because a kernel has millions of them and most passes are bound by how fast they
//! come from memory. What would be a field of few instructions shares one: an instruction that
//! branches directly has a target, the others have effects on the stack.

use arch::insn::{Dest, Insn, InsnKind, Source, StackOp, MAX_STACK_OPS};

use super::InsnId;
use crate::read::SymbolId;

/// What an instruction does to the stack: at most [`MAX_STACK_OPS`] effects, in order.
pub type StackOps = [Option<StackOp>; MAX_STACK_OPS];

/// Interned [`StackOps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpsId(pub(super) u32);

impl OpsId {
    /// No effect at all.
    pub const NONE: Self = Self(0);
    /// A push of an address to return to.
    pub const CALL: Self = Self(1);

    /// Position in a table.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// What the fixed numbers stand for.
    pub(super) const FIXED: [StackOps; 2] = [
        [None; MAX_STACK_OPS],
        [
            Some(StackOp {
                dest: Dest::Push,
                source: Source::Const,
            }),
            None,
        ],
    ];
}

/// Where a direct branch or a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nowhere that is known.
    None,
    /// An instruction of the same function or of code without functions.
    Insn(InsnId),
    /// Another function: a call, or a sibling call when it is a jump.
    Symbol(SymbolId),
}

/// What [`Record::payload`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Payload {
    /// The number of stack effects.
    Ops,
    /// The distance from its end to where it branches; it is not resolved.
    Displacement,
    /// The number of the instruction that it branches to.
    Insn,
    /// The number of the symbol that it calls.
    Symbol,
}

/// One instruction.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Offset in its section, in bytes.
    pub offset: u32,
    payload: u32,
    /// Length in bytes.
    pub len: u8,
    /// What it does to control flow.
    pub kind: InsnKind,
    /// Marks from decoding and from annotations.
    pub marks: Marks,
}

// The figure that the module's words rest on.
const _: () = assert!(size_of::<Record>() == 12);

impl Record {
    /// A record with neither target nor effects.
    pub(super) fn plain(offset: u32, len: u8, kind: InsnKind) -> Self {
        Self {
            offset,
            payload: OpsId::NONE.0,
            len,
            kind,
            marks: Marks::default(),
        }
    }

    /// What was decoded; the effects of what is no direct branch are set later.
    pub(super) fn new(offset: u32, insn: &Insn) -> Self {
        let mut record = Self::plain(offset, insn.len, insn.kind);
        let marks = &mut record.marks;
        // Undefined on purpose: a dead end unless annotated otherwise.
        marks.set(Marks::DEAD_END, insn.kind == InsnKind::Bug);
        marks.set(Marks::TOUCHES_FRAME, insn.touches_frame);
        marks.set(Marks::TOUCHES_STACK, insn.touches_stack);
        if insn.kind.is_static_jump() || insn.kind == InsnKind::Call {
            debug_assert!(
                insn.ops == OpsId::FIXED[0] || insn.ops == OpsId::FIXED[1],
                "a direct branch does nothing but push"
            );
            record.marks.set(Marks::PUSHES, insn.ops[0].is_some());
            record.set_payload(Payload::Displacement, insn.displacement as u32);
        }
        record
    }

    fn payload(&self) -> Payload {
        match self.marks.0 & Marks::PAYLOAD {
            Marks::PAYLOAD_OPS => Payload::Ops,
            Marks::PAYLOAD_DISPLACEMENT => Payload::Displacement,
            Marks::PAYLOAD_INSN => Payload::Insn,
            _ => Payload::Symbol,
        }
    }

    fn set_payload(&mut self, is: Payload, payload: u32) {
        self.payload = payload;
        self.marks.0 &= !Marks::PAYLOAD;
        self.marks.0 |= match is {
            Payload::Ops => Marks::PAYLOAD_OPS,
            Payload::Displacement => Marks::PAYLOAD_DISPLACEMENT,
            Payload::Insn => Marks::PAYLOAD_INSN,
            Payload::Symbol => Marks::PAYLOAD_SYMBOL,
        };
    }

    /// Offset of the next instruction.
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.len)
    }

    /// Its effects on the stack.
    pub fn ops(&self) -> OpsId {
        match self.payload() {
            Payload::Ops => OpsId(self.payload),
            _ if self.marks.has(Marks::PUSHES) => OpsId::CALL,
            _ => OpsId::NONE,
        }
    }

    /// Gives it other effects on the stack; where it branched is forgotten.
    pub fn set_ops(&mut self, ops: OpsId) {
        self.set_payload(Payload::Ops, ops.0);
    }

    /// The same record, with its effects on the stack under another number.
    pub(super) fn renumbered(mut self, numbers: &[u32]) -> Self {
        // The first number is always the same, so that any record can ask for one: which of them have
        // effects can't be foreseen.
        let is_ops = self.marks.0 & Marks::PAYLOAD == Marks::PAYLOAD_OPS;
        let number = numbers[if is_ops { self.payload as usize } else { 0 }];
        self.payload = if is_ops { number } else { self.payload };
        self
    }

    /// Where it branches directly.
    pub fn target(&self) -> Target {
        match self.payload() {
            Payload::Insn => Target::Insn(InsnId(self.payload)),
            Payload::Symbol => Target::Symbol(SymbolId(self.payload)),
            Payload::Ops | Payload::Displacement => Target::None,
        }
    }

    /// Lets it branch to an instruction. What it pushes it goes on to push.
    pub fn set_dest(&mut self, dest: InsnId) {
        self.set_payload(Payload::Insn, dest.0);
    }

    /// Lets it call a function. What a call pushes its return takes off again, so it has no effect
    /// on the stack.
    pub fn set_callee(&mut self, callee: SymbolId) {
        self.marks.set(Marks::PUSHES, false);
        self.set_payload(Payload::Symbol, callee.0);
    }

    /// Distance from its end to the target of a direct branch that is not resolved yet, in bytes.
    pub fn displacement(&self) -> i32 {
        match self.payload() {
            Payload::Displacement => self.payload as i32,
            _ => 0,
        }
    }

    /// Where a direct branch without relocation goes that is not resolved yet, as an offset in its
    /// section. It wraps where the target lies before the section.
    pub fn branch_target(&self) -> u64 {
        self.end()
            .wrapping_add_signed(i64::from(self.displacement()))
    }

    /// Whether it has no effect on the stack and no target.
    pub fn is_without_effect(&self) -> bool {
        self.payload == OpsId::NONE.0 && self.payload() == Payload::Ops
    }

    /// Whether it goes to another function.
    pub fn has_callee(&self) -> bool {
        self.payload() == Payload::Symbol
    }
}

/// A set of yes-or-no properties of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Marks(u16);

impl Marks {
    /// Execution does not go on after it.
    pub const DEAD_END: Self = Self(1 << 0);
    /// In a function that is annotated as non-standard.
    pub const IGNORE: Self = Self(1 << 1);
    /// Its alternatives are not followed.
    pub const IGNORE_ALTERNATIVES: Self = Self(1 << 2);
    /// An unwind hint gives the stack state.
    pub const HINT: Self = Self(1 << 3);
    /// The stack state is that of the last save.
    pub const RESTORE: Self = Self(1 << 4);
    /// Exempt from the rules for indirect branches and returns.
    pub const RETPOLINE_SAFE: Self = Self(1 << 5);
    /// Need not start with a landing pad.
    pub const NO_LANDING_PAD: Self = Self(1 << 6);
    /// Has alternatives, exception targets or jump table targets.
    pub const HAS_ALTERNATIVES: Self = Self(1 << 7);
    /// Belongs to the original or the replacement of an alternative.
    pub const IN_GROUP: Self = Self(1 << 8);
    /// Instrumentation begins or ends to be allowed here.
    pub const INSTRUMENTATION: Self = Self(1 << 9);
    /// Changes the frame pointer, or one of the words that a frame keeps at it.
    pub const TOUCHES_FRAME: Self = Self(1 << 10);
    /// May set the stack pointer, or write memory at a distance from it.
    pub const TOUCHES_STACK: Self = Self(1 << 11);
    /// No instruction of its section comes after it.
    pub(super) const LAST: Self = Self(1 << 12);
    /// A direct branch that pushes the address behind it.
    const PUSHES: Self = Self(1 << 13);

    /// What the payload is, in the top two bits.
    const PAYLOAD: u16 = 3 << 14;
    const PAYLOAD_OPS: u16 = 0;
    const PAYLOAD_DISPLACEMENT: u16 = 1 << 14;
    const PAYLOAD_INSN: u16 = 2 << 14;
    const PAYLOAD_SYMBOL: u16 = 3 << 14;

    /// What makes the walk look at an instruction by itself.
    pub const PARTICULAR: Self = Self(
        Self::DEAD_END.0
            | Self::IGNORE.0
            | Self::HINT.0
            | Self::HAS_ALTERNATIVES.0
            | Self::IN_GROUP.0
            | Self::INSTRUMENTATION.0
            | Self::TOUCHES_FRAME.0
            | Self::TOUCHES_STACK.0
            | Self::LAST.0,
    );

    /// Whether all of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` are set.
    pub const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Sets or clears all of `other`.
    pub fn set(&mut self, other: Self, on: bool) {
        if on {
            self.0 |= other.0;
        } else {
            self.0 &= !other.0;
        }
    }
}
