//! Stacks of x86_64: frame records, `struct pt_regs`, `struct inactive_task_frame`, the outermost
//! record of a task, and what stands before a return address.
//!
//! Sources: `arch/x86/include/asm/ptrace.h`, `frame.h` and `switch_to.h` of Linux 6.12 for the
//! layouts; Intel SDM volume 2, CALL, for the encodings of calls.

use arch::frame::{
    FramePointer, Frames, InactiveLayout, LastRecord, Privilege, RecordLayout, RegistersLayout,
};
use arch::insn::Reg;

use crate::{reg, X86_64};

/// Offsets of the registers in `struct pt_regs`, by register number (rax, rcx, rdx, ...).
const OFFSETS: [u64; 16] = [
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

/// What stands between functions: no call that was probed.
const PADDING: [u8; 4] = [INT3; 4];

/// Bits of the word with the code segment: the selector; with FRED, three more about the event
/// (`struct fred_cs`, `arch/x86/include/asm/ptrace.h`).
const STATUS_BITS: u32 = 19;

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
    const LAST_RECORDS: &'static [LastRecord] = &[
        // Entry code calls a function, which pushes rbp.
        LastRecord {
            below: 16,
            equal: &[],
        },
        // A function that realigns its stack pushes its return address once more before rbp.
        LastRecord {
            below: 24,
            equal: &[(8, 16)],
        },
        // A traced function that has not pushed rbp yet: the tracer's entry pushes rbp, the
        // address that the function returns to, rbp again, and makes a record of the last two
        // (`save_mcount_regs` in ftrace_64.S).
        LastRecord {
            below: 40,
            equal: &[(0, 16), (8, 32)],
        },
    ];
    const PAGE: u64 = 4096;

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
        OFFSETS.get(usize::from(reg.0)).copied()
    }

    #[inline]
    fn may_follow_call(before: [u8; 8]) -> bool {
        let [_, seven, b2, b3, b4, b5, b6, b7] = before;
        let [six, five, four, three, two] = [b2, b3, b4, b5, b6];
        // A kprobe replaces the first byte by a breakpoint.
        let indirect = |opcode: u8| opcode == 0xff || opcode == 0xcc;
        // ModRM: mode in the two high bits, 2 (the call) in the middle, register in the low ones.
        let (mode_reg, rm) = (|m: u8| m & 0xf8, |m: u8| m & 7);
        // Direct: call; a breakpoint or jump over it (kprobes, text being patched).
        matches!(five, 0xe8 | 0xe9)
            || five == 0xcc && [b4, b5, b6, b7] != PADDING
            // What a static call or the tracer's call is switched off with.
            || before[3..] == [0x0f, 0x1f, 0x44, 0x00, 0x00]
            // What a static call to a function that only returns zero becomes.
            || before[3..] == [0x2e, 0x2e, 0x2e, 0x31, 0xc0]
            // Register; memory without displacement.
            || indirect(two)
                && (mode_reg(b7) == 0xd0 || mode_reg(b7) == 0x10 && rm(b7) != 4 && rm(b7) != 5)
            // Memory: 8-bit displacement; index without displacement.
            || indirect(three)
                && (mode_reg(b6) == 0x50 && rm(b6) != 4 || b6 == 0x14 && rm(b7) != 5)
            // Index and 8-bit displacement.
            || indirect(four) && b5 == 0x54
            // 32-bit displacement; relative to the next instruction.
            || indirect(six) && (mode_reg(b3) == 0x90 && rm(b3) != 4 || b3 == 0x15)
            // Index and 32-bit displacement.
            || indirect(seven) && (b2 == 0x94 || b2 == 0x14 && rm(b3) == 5)
    }

    #[inline]
    fn breakpoint([.., last]: [u8; 8]) -> Option<u64> {
        // int3, a trap: the saved address is that of the next byte.
        (last == INT3).then_some(1)
    }
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
