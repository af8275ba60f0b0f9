//! The state of the stack at an instruction, interned.
//!
//! States are compared at every instruction and differ at few, so an instruction holds a number.
//! What changes a state is in `transition`.

use std::hash::{BuildHasher as _, Hash, Hasher};

use arch::insn::Reg;
use arch::object::{Architecture, Base, Rule, MAX_REGISTERS};
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::model::HintKind;

/// An interned [`StackState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateId(std::num::NonZeroU32);

impl StateId {
    /// Its position among all states.
    pub fn number(self) -> usize {
        self.0.get() as usize - 1
    }

    /// As bits that are never all zero; fewer than 2^30, because states take far more than a byte
    /// of a file each (`model::effort`).
    pub(super) fn bits(self) -> u32 {
        self.0.get()
    }

    /// The inverse of [`Self::bits`].
    pub(super) fn from_bits(bits: u32) -> Option<Self> {
        std::num::NonZeroU32::new(bits).map(Self)
    }
}

/// What a realigned stack holds of the frame that the function must make there, because the one
/// that its caller's call began lies at an unknown distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameCopy {
    /// Nothing.
    None,
    /// The return address.
    ReturnAddress,
    /// The return address and below it the caller's frame pointer.
    FramePointer,
}

/// What is known of the stack's depth behind a frame pointer, which sets the stack pointer anew in
/// the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Depth {
    /// It is what was counted.
    Known,
    /// It is that or more: the stack pointer was rounded down.
    AtLeast,
    /// Nothing.
    Unknown,
}

/// A register that holds what the stack pointer was, behind a frame pointer: clang copies the stack
/// pointer to one and back around a call in inline assembly that is said to change it
/// (the kernel's `ASM_CALL_CONSTRAINT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackPointerCopy {
    /// The register.
    pub reg: Reg,
    /// [`StackState::stack_size`] as it was.
    pub stack_size: i32,
    /// Whether that was right.
    pub depth: Depth,
}

/// A rule for each register.
///
/// Bases and distances apart, as plain numbers: so that states, which are nearly all registers, are
/// compared as fast as memory, and take a third less of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// [`Base`] as a number; 0 is [`Base::Undefined`].
    bases: [u8; MAX_REGISTERS],
    offsets: [i32; MAX_REGISTERS],
}

/// What is added to the number of a register for its base.
const FIRST_REGISTER: u8 = 4;

impl Rules {
    /// Nothing is known of any.
    pub const UNDEFINED: Self = Self {
        bases: [0; MAX_REGISTERS],
        offsets: [0; MAX_REGISTERS],
    };

    /// The rule of a register.
    pub fn get(&self, reg: Reg) -> Rule {
        let base = match self.bases[usize::from(reg.0)] {
            0 => Base::Undefined,
            1 => Base::Cfa,
            2 => Base::StackPointerIndirect,
            3 => Base::FramePointerIndirect,
            reg => Base::Reg(Reg(reg - FIRST_REGISTER)),
        };
        Rule::new(base, self.offsets[usize::from(reg.0)])
    }

    /// Sets the rule of a register.
    pub fn set(&mut self, reg: Reg, rule: Rule) {
        self.bases[usize::from(reg.0)] = match rule.base {
            Base::Undefined => 0,
            Base::Cfa => 1,
            Base::StackPointerIndirect => 2,
            Base::FramePointerIndirect => 3,
            Base::Reg(reg) => reg.0 + FIRST_REGISTER,
        };
        self.offsets[usize::from(reg.0)] = rule.offset;
    }

    /// Whether nothing is known of any.
    pub fn is_empty(&self) -> bool {
        self.bases == Self::UNDEFINED.bases
    }

    /// What both say.
    pub fn common(&self, other: &Self) -> Self {
        let mut common = *self;
        for reg in (0..MAX_REGISTERS as u8).map(Reg) {
            if self.get(reg) != other.get(reg) {
                common.set(reg, Rule::UNDEFINED);
            }
        }
        common
    }

    /// Whether any register has a rule.
    pub fn contains(&self, rule: Rule) -> bool {
        (0..MAX_REGISTERS as u8).any(|reg| self.get(Reg(reg)) == rule)
    }
}

/// Registers of which nothing is known are left out: that is fast, and a hash is only a hint.
impl Hash for Rules {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for (reg, (&base, &offset)) in (0_u64..).zip(self.bases.iter().zip(&self.offsets)) {
            if base != 0 {
                let rule = reg << 8 | u64::from(base);
                hasher.write_u64(rule << 32 | u64::from(offset as u32));
            }
        }
        hasher.write_u8(0);
    }
}

/// Where the caller's registers and the CFA are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackState {
    /// The call frame address.
    pub cfa: Rule,
    /// Where each register's value at entry is saved.
    pub regs: Rules,
    /// What is known of each register's present value.
    pub values: Rules,
    /// Bytes on the stack since the CFA.
    pub stack_size: i32,
    /// The register that holds the CFA of a realigned frame, or may come to.
    pub drap_reg: Option<Reg>,
    /// Where that register is saved, relative to the frame pointer; -1 if it isn't.
    pub drap_offset: i32,
    /// What kind of frame it is, as an unwind hint says it.
    pub kind: HintKind,
    /// The frame pointer was saved while it was used for something else.
    pub frame_pointer_scratch: bool,
    /// The frame is realigned.
    pub drap: bool,
    /// How far it has come to have a frame of its own there; only followed in linked code.
    pub copy: FrameCopy,
    /// Whether [`Self::stack_size`] is right; only followed in linked code.
    pub depth: Depth,
    /// The last copy of the stack pointer that is still there; only followed in linked code.
    pub kept: Option<StackPointerCopy>,
    /// The frame is that of an interrupted context.
    pub signal: bool,
    /// Nothing is known, on purpose, and nothing is checked.
    pub force_undefined: bool,
}

impl StackState {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        cfa: Rule::UNDEFINED,
        regs: Rules::UNDEFINED,
        values: Rules::UNDEFINED,
        stack_size: 0,
        drap_reg: None,
        drap_offset: -1,
        kind: HintKind::UNDEFINED,
        frame_pointer_scratch: false,
        drap: false,
        copy: FrameCopy::None,
        depth: Depth::Known,
        kept: None,
        signal: false,
        force_undefined: false,
    };

    /// Nothing is known, on purpose.
    pub const FORCED: Self = Self {
        force_undefined: true,
        ..Self::UNKNOWN
    };

    /// The state at the first instruction of a callable function.
    pub fn at_entry<A: Architecture>() -> Self {
        let mut state = Self::UNKNOWN;
        state.cfa = Rule::new(Base::Reg(A::STACK_POINTER), A::ENTRY_CFA_OFFSET);
        state.set_saved(A::RETURN_ADDRESS, Rule::new(Base::Cfa, -A::WORD));
        state.stack_size = A::ENTRY_CFA_OFFSET;
        state.kind = HintKind::CALL;
        state
    }

    /// Where a register's value at entry is saved.
    pub fn saved(&self, reg: Reg) -> Rule {
        self.regs.get(reg)
    }

    /// Says where a register's value at entry is saved.
    pub fn set_saved(&mut self, reg: Reg, rule: Rule) {
        self.regs.set(reg, rule);
    }

    /// What is known of a register's present value.
    pub fn value(&self, reg: Reg) -> Rule {
        self.values.get(reg)
    }

    /// Says what is known of a register's present value.
    pub fn set_value(&mut self, reg: Reg, rule: Rule) {
        self.values.set(reg, rule);
    }

    /// Whether the frame differs from the one at a function's entry.
    pub fn is_modified(&self, entry: &Self) -> bool {
        self.cfa.base != entry.cfa.base
            || self.drap
            || self.cfa.offset != entry.cfa.offset
            || self.stack_size != entry.stack_size
            || self.depth != Depth::Known
            || self.regs != entry.regs
    }

    /// Whether the frame pointer leads to the caller's frame.
    pub fn has_frame<A: Architecture>(&self) -> bool {
        let fp = A::FRAME_POINTER;
        let at = |reg, offset| self.saved(reg) == Rule::new(Base::Cfa, offset);
        let saved_at = self.cfa.offset.wrapping_neg();
        let plain = self.cfa.base == Base::Reg(fp)
            && at(fp, saved_at)
            && at(A::RETURN_ADDRESS, saved_at.wrapping_add(A::WORD));
        plain || self.has_realigned_frame::<A>()
    }

    /// Whether that is so on a realigned stack.
    pub fn has_realigned_frame<A: Architecture>(&self) -> bool {
        let fp = A::FRAME_POINTER;
        self.drap && self.saved(fp).base == Base::Reg(fp)
    }
}

/// All states met in a file.
///
/// A state is some 390 bytes, so each is kept once: found by its hash, and then compared.
#[derive(Clone, Debug)]
pub struct States {
    list: Vec<StackState>,
    hashes: Vec<u64>,
    /// For each state, one met before that has the same hash.
    same_hash: Vec<Option<StateId>>,
    /// The last state met, by hash.
    by_hash: FxHashMap<u64, StateId>,
}

impl Default for States {
    fn default() -> Self {
        Self::new()
    }
}

impl States {
    /// No state yet.
    pub fn new() -> Self {
        Self {
            list: Vec::new(),
            hashes: Vec::new(),
            same_hash: Vec::new(),
            by_hash: FxHashMap::default(),
        }
    }

    /// Makes room for more states. Room that is not used takes no memory, and to grow step by step
    /// takes several times as much of it.
    pub fn reserve(&mut self, more: usize) {
        self.list.reserve(more);
        self.hashes.reserve(more);
        self.same_hash.reserve(more);
        self.by_hash.reserve(more);
    }

    /// The number of a state.
    pub fn intern(&mut self, state: &StackState) -> StateId {
        self.intern_hashed(state, FxBuildHasher.hash_one(state))
    }

    fn intern_hashed(&mut self, state: &StackState, hash: u64) -> StateId {
        let last = self.by_hash.get(&hash).copied();
        let mut next = last;
        while let Some(id) = next {
            if self.get(id) == state {
                return id;
            }
            next = self.same_hash[id.number()];
        }
        self.list.push(*state);
        let number = u32::try_from(self.list.len())
            .ok()
            .and_then(std::num::NonZeroU32::new);
        let id = StateId(number.unwrap_or(std::num::NonZeroU32::MAX));
        self.same_hash.push(last);
        self.hashes.push(hash);
        self.by_hash.insert(hash, id);
        id
    }

    /// Adds all states of another table; the result is each one's number here.
    pub fn absorb(&mut self, other: &Self) -> Vec<StateId> {
        let states = other.list.iter().zip(&other.hashes);
        states
            .map(|(state, &hash)| self.intern_hashed(state, hash))
            .collect()
    }

    /// A state.
    pub fn get(&self, id: StateId) -> &StackState {
        &self.list[id.number()]
    }

    /// The state with a number.
    pub(crate) fn by_number(&self, number: usize) -> &StackState {
        &self.list[number]
    }

    /// How many different states there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
