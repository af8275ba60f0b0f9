//! The walks for an architecture that was made up, with an environment that is only known at run
//! time.
//!
//! Generic code becomes machine code where it is used, so that a library of nothing else cannot be
//! looked at for paths to a panic. Here it is used. The functions are inlined ones, which a kernel
//! that does not call them does not hold. Not for any other use.

use arch::frame::{FramePointer, Frames, InactiveLayout, Privilege, RecordLayout, RegistersLayout};
use arch::insn::Reg;
use arch::object::{Base, Rule};
use arch::orc::{Decode, Frame as Entry, FrameKind};

use crate::orc::sort;
use crate::orc::table::{BadTable, Table};
use crate::{reliable, Env, Frame, FramePointers, Mode, Orc, OrcEnv, Outcome, Start, Walk};

/// An architecture with eight registers.
#[derive(Clone, Copy, Debug)]
pub struct MadeUp;

impl Frames for MadeUp {
    const SP: Reg = Reg(6);
    const FP: Reg = Reg(7);
    const RECORD: RecordLayout = RecordLayout {
        size: 16,
        caller: 0,
        return_address: 8,
    };
    const REGISTERS: RegistersLayout = RegistersLayout {
        size: 80,
        pc: 64,
        status: 72,
        sp: 48,
        fp: 56,
        partial: 48,
    };
    const INACTIVE: InactiveLayout = InactiveLayout {
        size: 16,
        record: 0,
    };
    const LAST_RECORD: u64 = 16;
    const PAGE: u64 = 4096;

    #[inline]
    fn is_last_record(below: u64, same: impl Fn(u64, u64) -> bool) -> bool {
        below == 16 && same(0, 8)
    }

    #[inline]
    fn frame_pointer(value: u64) -> FramePointer {
        if value & 1 == 0 {
            FramePointer::Record(value)
        } else {
            FramePointer::Registers(value & !1)
        }
    }

    #[inline]
    fn encoded(address: u64) -> u64 {
        address | 1
    }

    #[inline]
    fn privilege(status: u64) -> Privilege {
        match status {
            0 => Privilege::Kernel,
            1 => Privilege::User,
            _ => Privilege::Neither,
        }
    }

    #[inline]
    fn register_offset(reg: Reg) -> Option<u64> {
        (reg.0 < 8).then_some(u64::from(reg.0).wrapping_mul(8))
    }

    #[inline]
    fn may_follow_call(before: [u8; 8]) -> bool {
        u64::from_le_bytes(before) & 1 == 1
    }

    #[inline]
    fn breakpoint(before: [u8; 8]) -> Option<u64> {
        (before[7] == 1).then_some(1)
    }
}

impl Decode for MadeUp {
    type Entry = [i8; 4];

    #[inline]
    fn kind([kind, ..]: [i8; 4]) -> Option<FrameKind> {
        Some(match kind {
            0 => FrameKind::Undefined,
            1 => FrameKind::EndOfStack,
            2 => FrameKind::Call,
            3 => FrameKind::Regs,
            4 => FrameKind::RegsPartial,
            _ => return None,
        })
    }

    #[inline]
    fn decode(entry @ [_, register, cfa, fp]: [i8; 4]) -> Option<Entry> {
        let kind = Self::kind(entry)?;
        let cfa_base = match register {
            0 => Base::StackPointerIndirect,
            1 => Base::FramePointerIndirect,
            _ => Base::Reg(Reg(register as u8 & 7)),
        };
        let fp_base = match fp {
            0 => Base::Undefined,
            1 => Base::Reg(Self::FP),
            _ => Base::Cfa,
        };
        Some(Entry {
            kind,
            signal: kind != FrameKind::Call,
            cfa: Rule::new(cfa_base, i32::from(cfa)),
            frame_pointer: Rule::new(fp_base, i32::from(fp)),
        })
    }
}

/// A walk by frame pointers for a verdict.
#[inline]
pub fn reliable_by_frame_pointers(
    env: &dyn Env<Arch = MadeUp>,
    start: Start,
    visit: &mut dyn FnMut(&Frame) -> bool,
) -> Outcome {
    reliable::<FramePointers, _>(env, start, 0, visit)
}

/// A walk by ORC for a verdict.
#[inline]
pub fn reliable_by_orc(
    env: &dyn OrcEnv<Arch = MadeUp, Format = MadeUp>,
    start: Start,
    visit: &mut dyn FnMut(&Frame) -> bool,
) -> Outcome {
    reliable::<Orc, _>(env, start, 0, visit)
}

/// All frames by frame pointers.
#[inline]
pub fn frames_by_frame_pointers(
    env: &dyn Env<Arch = MadeUp>,
    start: Start,
    first: u64,
    visit: &mut dyn FnMut(Option<u64>, Option<u64>, bool),
) {
    let mut walk = Walk::<FramePointers>::start(env, Mode::BestEffort, start, first);
    while !walk.is_done() {
        let slot = walk.address_slot(env);
        visit(walk.address(env), slot, walk.registers().is_some());
        walk.next(env);
    }
}

/// All frames by ORC.
#[inline]
pub fn frames_by_orc(
    env: &dyn OrcEnv<Arch = MadeUp, Format = MadeUp>,
    start: Start,
    first: u64,
    visit: &mut dyn FnMut(Option<u64>, Option<u64>, bool),
) {
    let mut walk = Walk::<Orc>::start(env, Mode::BestEffort, start, first);
    while !walk.is_done() {
        let slot = walk.address_slot(env);
        visit(walk.address(env), slot, walk.registers().is_some());
        walk.next(env);
    }
}

/// Sorting.
#[inline]
pub fn sort_table(distances: &mut [i32], entries: &mut [[i8; 4]]) -> Result<(), BadTable> {
    sort::sort(distances, entries, crate::orc::is_weak::<MadeUp>)
}

/// Lookup.
#[inline]
pub fn look_up(table: &Table<'_, [i8; 4]>, address: u64) -> Option<[i8; 4]> {
    table.find(address)
}
