//! Entry code of an x86_64 kernel: what each piece is entered for, by its symbol and by the number
//! that a kernel's own table has.
//!
//! Sources: `arch/x86/entry/entry_64.S`, `entry_64_compat.S`, `entry_64_fred.S`,
//! `arch/x86/include/asm/idtentry.h`, `arch/x86/kernel/head_64.S` of Linux 6.12. Where these
//! symbols lie is for whoever knows an image.

use arch::frame::{Event, Origin};

/// One line for each: a digit for what it is entered for ([`numbered`]), and the symbol. Where an
/// asterisk stands, any symbol is meant that begins so. The first line that fits counts.
const SYMBOLS: &str = "\
1ret_from_fork_asm
2rewind_stack_and_make_dead
0entry_SYSCALL_64
0entry_SYSCALL_64_safe_stack
0entry_SYSCALL_64_after_hwframe
0entry_SYSCALL_compat*
0entry_SYSENTER_compat*
0asm_int80_emulation
4asm_exc_page_fault
5asm_exc_int3
6asm_exc_nmi*
6asm_xenpv_exc_nmi
7asm_exc_xen_hypervisor_callback
8asm_exc_*
8asm_xenpv_exc_*
8asm_iret_error
7asm_sysvec_*
7asm_common_interrupt
7asm_spurious_interrupt
7irq_entries_start
7spurious_entries_start
6nested_nmi*
6first_nmi
6repeat_nmi
6end_repeat_nmi
6nmi_no_fsgsbase
6nmi_swapgs
6nmi_restore
9asm_fred_entrypoint_*
9error_entry
9error_return
9paranoid_entry
9paranoid_exit
9xen_error_entry
9common_interrupt_return
9swapgs_restore_regs_and_return_to_usermode
9restore_regs_and_return_to_kernel
9native_irq_return_iret
9early_idt_handler_common
3startup_64
3secondary_startup_64*
3common_startup_64
3soft_restart_cpu
";

/// What entry code is entered for: system calls; where a new task comes from, one that is to die, a
/// CPU; events; and code that several entries share.
const ORIGINS: [Origin; 10] = [
    Origin::SystemCall,
    Origin::Fork,
    Origin::Rewound,
    Origin::Startup,
    Origin::Event(Event::PageFault),
    Origin::Event(Event::Breakpoint),
    Origin::Event(Event::NonMaskable),
    Origin::Event(Event::Interrupt),
    Origin::Event(Event::Exception),
    Origin::Event(Event::Unknown),
];

/// What entry code with this number is entered for; the numbers are those of `asm/entry_code.h`, which
/// the overlay brings along.
#[inline]
pub fn numbered(number: u16) -> Option<Origin> {
    ORIGINS.get(usize::from(number)).copied()
}

/// What the entry code of this symbol is entered for; `None` if it is no entry code.
#[inline]
pub fn origin(symbol: &[u8]) -> Option<Origin> {
    let mut rest = symbol.iter();
    let (mut digit, mut fits) = (None, true);
    for &byte in SYMBOLS.as_bytes() {
        match (digit, byte) {
            (None, _) => digit = Some(byte),
            (_, b'*') if fits => break,
            (_, b'\n') => {
                if fits && rest.as_slice().is_empty() {
                    break;
                }
                (rest, digit, fits) = (symbol.iter(), None, true);
            }
            _ => fits = fits && rest.next() == Some(&byte),
        }
    }
    numbered(u16::from(digit?.wrapping_sub(b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_code_is_known_by_its_symbol() {
        for (symbol, expected) in [
            ("entry_SYSCALL_64_after_hwframe", Some(Origin::SystemCall)),
            ("asm_exc_page_fault", Some(Origin::Event(Event::PageFault))),
            (
                "asm_sysvec_apic_timer_interrupt",
                Some(Origin::Event(Event::Interrupt)),
            ),
            (
                "asm_exc_divide_error",
                Some(Origin::Event(Event::Exception)),
            ),
            ("asm_exc_nmi", Some(Origin::Event(Event::NonMaskable))),
            ("end_repeat_nmi", Some(Origin::Event(Event::NonMaskable))),
            ("ret_from_fork_asm", Some(Origin::Fork)),
            ("secondary_startup_64", Some(Origin::Startup)),
            ("startup_64", Some(Origin::Startup)),
            ("entry_SYSCALL_64", Some(Origin::SystemCall)),
            ("entry_SYSENTER_compat", Some(Origin::SystemCall)),
            ("error_entry", Some(Origin::Event(Event::Unknown))),
            ("nested_nmi_out", Some(Origin::Event(Event::NonMaskable))),
            ("rewind_stack_and_make_dead", Some(Origin::Rewound)),
            // Functions, although they lie in entry text or their names look like it.
            ("asm_load_gs_index", None),
            ("entry_ibpb", None),
            ("startup_64_setup_gdt_idt", None),
            ("entry_SYSCALL32_ignore", None),
            ("", None),
            ("do_syscall_64", None),
        ] {
            assert_eq!(origin(symbol.as_bytes()), expected, "{symbol}");
        }
    }
}
