//! Stacks of x86_64: frame records, `struct pt_regs`, `struct inactive_task_frame`, the outermost
//! record of a task, and what stands before a return address.
//!
//! Sources: `arch/x86/include/asm/ptrace.h`, `frame.h` and `switch_to.h` of Linux 6.12 for the
//! layouts; Intel SDM volume 2, CALL, for the encodings of calls.

use arch::frame::{FramePointer, Frames, InactiveLayout, Privilege, RecordLayout, RegistersLayout};
use arch::insn::Reg;

use crate::{reg, X86_64};

/// Offsets of the registers in `struct pt_regs`, by register number (rax, rcx, rdx, ...).
const OFFSETS: [u8; 16] = [
    80, 88, 96, 40, 152, 32, 104, 112, 72, 64, 56, 48, 24, 16, 8, 0,
];

/// Requested privilege level, the low bits of a code segment selector.
const PRIVILEGE: u64 = 3;

/// The kernel's code segment (`__KERNEL_CS`, `arch/x86/include/asm/segment.h`).
const KERNEL_CS: u64 = 0x10;

/// The same in a guest of Xen without hardware virtualization (`FLAT_KERNEL_CS64` of
/// `arch/x86/include/asm/xen/interface_64.h`, whose privilege level Xen takes off).
const XEN_KERNEL_CS: u64 = 0xe030;

/// The breakpoint instruction.
const INT3: u8 = 0xcc;

/// The opcode of a direct call; that of a jump differs in the lowest bit.
const CALL: u64 = 0xe8;

/// The opcode of indirect calls and jumps, and what the ModRM byte of a call has in the middle.
const INDIRECT: u8 = 0xff;
const INDIRECT_CALL: u8 = 2 << 3;

/// What stands between functions, behind the first byte: no call that was probed.
const PADDING: u64 = u32::from_le_bytes([INT3; 4]) as u64;

/// What a static call or the tracer's call is switched off with.
const SWITCHED_OFF: u64 = u64::from_le_bytes([0x0f, 0x1f, 0x44, 0, 0, 0, 0, 0]);

/// What a static call to a function that only returns zero becomes.
const RETURNS_ZERO: u64 = u64::from_le_bytes([0x2e, 0x2e, 0x2e, 0x31, 0xc0, 0, 0, 0]);

/// Bits of the word with the code segment: the selector; with FRED, three more about the event
/// (`struct fred_cs`, `arch/x86/include/asm/ptrace.h`).
const STATUS_BITS: u32 = 19;

impl X86_64 {
    /// Whether registers were saved when user space was left, by their [`Frames::REGISTERS`]`.status`,
    /// if it is known that they are registers (`user_mode`, `asm/ptrace.h`).
    #[inline]
    pub const fn is_user(status: u64) -> bool {
        status & PRIVILEGE == PRIVILEGE
    }
}

impl Frames for X86_64 {
    const SP: Reg = reg::RSP;
    const FP: Reg = reg::RBP;
    const RECORD: RecordLayout = RecordLayout {
        size: 16,
        caller: 0,
        return_address: 8,
    };
    const REGISTERS: RegistersLayout = RegistersLayout {
        size: 168,
        pc: 128,
        status: 136,
        sp: 152,
        fp: 32,
        partial: 128,
    };
    // rbp and the return address come last.
    const INACTIVE: InactiveLayout = InactiveLayout {
        size: 56,
        record: 40,
    };
    const LAST_RECORD: u64 = 40;
    const PAGE: u64 = 4096;

    #[inline]
    fn is_last_record(below: u64, same: impl Fn(u64, u64) -> bool) -> bool {
        match below {
            // Entry code calls a function, which pushes rbp.
            16 => true,
            // A function that realigns its stack pushes its return address once more before rbp.
            24 => same(8, 16),
            // A traced function that has not pushed rbp yet: the tracer's entry pushes rbp, the
            // address that the function returns to, rbp again, and makes a record of the last two
            // (`save_mcount_regs` in ftrace_64.S).
            40 => same(0, 16) && same(8, 32),
            _ => false,
        }
    }

    #[inline]
    fn frame_pointer(value: u64) -> FramePointer {
        // ENCODE_FRAME_POINTER: the lowest bit, which no frame record's address has.
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
        if status >> STATUS_BITS != 0 {
            return Privilege::Neither;
        }
        match status & 0xffff {
            // The null selector is not for code.
            0..=3 => Privilege::Neither,
            cs if cs & PRIVILEGE == 3 => Privilege::User,
            KERNEL_CS | XEN_KERNEL_CS => Privilege::Kernel,
            _ => Privilege::Neither,
        }
    }

    #[inline]
    fn register_offset(reg: Reg) -> Option<u64> {
        OFFSETS
            .get(usize::from(reg.0))
            .map(|offset| u64::from(*offset))
    }

    #[inline]
    fn may_follow_call(before: [u8; 8]) -> bool {
        let word = u64::from_le_bytes(before);
        let five = word >> 24;
        // Direct: call, or a jump over it; what kprobes and text that is being patched put there.
        (five & 0xfe == CALL || five & 0xff == u64::from(INT3) && word >> 32 != PADDING)
            || five == SWITCHED_OFF
            || five == RETURNS_ZERO
            || may_end_in_indirect_call(word)
    }

    #[inline]
    fn breakpoint([.., last]: [u8; 8]) -> Option<u64> {
        // int3, a trap: the saved address is that of the next byte.
        (last == INT3).then_some(1)
    }
}

/// Whether an indirect call may end with these bytes: its opcode, or the breakpoint of a kprobe in
/// its place, stands as far from the end as the instruction that begins there is long.
#[inline]
fn may_end_in_indirect_call(bytes: u64) -> bool {
    (2..8).any(|size: u32| {
        let begin = bytes.wrapping_shr(64u32.wrapping_sub(size.wrapping_mul(8)));
        let [opcode, modrm, sib, ..] = begin.to_le_bytes();
        (opcode == INDIRECT || opcode == INT3)
            && modrm & 0x38 == INDIRECT_CALL
            && size == indirect_size(modrm, sib)
    })
}

/// Size in bytes of an instruction with one byte of opcode and these two behind it (Intel SDM
/// volume 2, 2.1.5, tables 2-2 and 2-3, in 64-bit mode).
#[inline]
const fn indirect_size(modrm: u8, sib: u8) -> u32 {
    let mode = modrm >> 6;
    let has_sib = modrm & 7 == 4 && mode != 3;
    let base = if has_sib { sib & 7 } else { modrm & 7 };
    let displacement = if mode == 0 && base == 5 {
        4
    } else {
        // By mode: none, a byte, four, none.
        0x0004_0100u32 >> (mode as u32).wrapping_mul(8) & 0xff
    };
    2u32.wrapping_add(displacement).wrapping_add(has_sib as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follows(bytes: &[u8]) -> bool {
        let mut before = [0x90; 8];
        before[8 - bytes.len()..].copy_from_slice(bytes);
        X86_64::may_follow_call(before)
    }

    #[test]
    fn every_form_of_a_call_is_known() {
        let calls: &[&[u8]] = &[
            &[0xe8, 1, 2, 3, 4],
            &[0x2e, 0xe8, 1, 2, 3, 4],
            &[0xff, 0xd0],                   // *%rax
            &[0x41, 0xff, 0xd3],             // *%r11
            &[0xff, 0x10],                   // *(%rax)
            &[0xff, 0x50, 0x18],             // *0x18(%rax)
            &[0xff, 0x14, 0xc0],             // *(%rax,%rax,8)
            &[0xff, 0x54, 0x24, 0x08],       // *0x8(%rsp)
            &[0xff, 0x15, 1, 2, 3, 4],       // *x(%rip)
            &[0xff, 0x90, 1, 2, 3, 4],       // *0x4030201(%rax)
            &[0xff, 0x94, 0x24, 1, 2, 3, 4], // *0x4030201(%rsp)
            &[0xff, 0x14, 0xc5, 1, 2, 3, 4], // *0x4030201(,%rax,8)
            &[0xff, 0x14, 0x25, 1, 2, 3, 4], // *0x4030201
            &[0x0f, 0x1f, 0x44, 0x00, 0x00], // switched off
            &[0x2e, 0x2e, 0x2e, 0x31, 0xc0], // returns zero
            &[0xcc, 1, 2, 3, 4],             // probed
            &[0xcc, 0xd0],                   // probed
        ];
        for call in calls {
            assert!(follows(call), "{call:x?}");
        }
    }

    #[test]
    fn indirect_calls_are_as_long_as_their_operands_make_them() {
        // By form: mode, low bits of ModRM, low bits of SIB where there is one, size.
        let expected = |modrm: u8, sib: u8| match (modrm >> 6, modrm & 7, sib & 7) {
            (3, _, _) => 2,
            (0, 4, 5) => 7,
            (0, 4, _) => 3,
            (0, 5, _) => 6,
            (0, _, _) => 2,
            (1, 4, _) => 4,
            (1, _, _) => 3,
            (_, 4, _) => 7,
            _ => 6,
        };
        for modrm in 0..=u8::MAX {
            for sib in 0..=u8::MAX {
                assert_eq!(indirect_size(modrm, sib), expected(modrm, sib));
            }
        }
    }

    #[test]
    fn other_instructions_are_not_taken_for_calls() {
        let others: &[&[u8]] = &[
            &[0x90],
            &[0x55],                   // push %rbp
            &[0x48, 0x89, 0xe5],       // mov %rsp,%rbp
            &[0xcc; 8],                // between functions
            &[0xff, 0xe0],             // jmp *%rax
            &[0xff, 0x20],             // jmp *(%rax)
            &[0xff, 0x30],             // push (%rax)
            &[0x48, 0x83, 0xec, 0x10], // sub $0x10,%rsp
            &[0x0f, 0x1f, 0x40, 0x00], // nop
        ];
        for other in others {
            assert!(!follows(other), "{other:x?}");
        }
    }

    #[test]
    fn registers_lie_where_the_kernel_puts_them() {
        let at = |reg| X86_64::register_offset(reg);
        assert_eq!(at(reg::R15), Some(0));
        assert_eq!(at(reg::R13), Some(16));
        assert_eq!(at(reg::RBP), Some(X86_64::REGISTERS.fp));
        assert_eq!(at(reg::RSP), Some(X86_64::REGISTERS.sp));
        assert_eq!(at(reg::R10), Some(56));
        assert_eq!(at(reg::RDX), Some(96));
        assert_eq!(at(reg::RDI), Some(112));
        assert_eq!(at(reg::RETURN_ADDRESS), None);
        // No two in one place.
        let mut offsets = OFFSETS;
        offsets.sort_unstable();
        assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn selectors_tell_who_ran() {
        for (status, who) in [
            (0x10, Privilege::Kernel),
            (0x33, Privilege::User),
            (0x23, Privilege::User),
            (0xe030, Privilege::Kernel),
            (0x0007_0033, Privilege::User),
            (0x0001_0010, Privilege::Kernel),
            (0x0008_0010, Privilege::Neither),
            (0xffff_ffff_8100_0010, Privilege::Neither),
            (0x18, Privilege::Neither),
            (0, Privilege::Neither),
            (3, Privilege::Neither),
            (0x31, Privilege::Neither),
        ] {
            assert_eq!(X86_64::privilege(status), who, "{status:#x}");
        }
    }

    #[test]
    fn an_encoded_frame_pointer_leads_to_registers() {
        let address = 0xffff_c900_0000_3f58;
        assert_eq!(
            X86_64::frame_pointer(X86_64::encoded(address)),
            FramePointer::Registers(address)
        );
        assert_eq!(
            X86_64::frame_pointer(address),
            FramePointer::Record(address)
        );
    }
}
