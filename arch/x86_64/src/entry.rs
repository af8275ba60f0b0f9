//! Entry code of an x86_64 kernel, by symbol: what each piece is entered for.
//!
//! Sources: `arch/x86/entry/entry_64.S`, `entry_64_compat.S`, `entry_64_fred.S`,
//! `arch/x86/include/asm/idtentry.h`, `arch/x86/kernel/head_64.S` of Linux 6.12. Where these
//! symbols lie is for whoever knows an image.

use arch::frame::{Event, Origin};

/// System calls and the parts of their entry that have labels of their own.
const SYSTEM_CALLS: &[&str] = &[
    "entry_SYSCALL_64",
    "entry_SYSCALL_64_safe_stack",
    "entry_SYSCALL_64_after_hwframe",
    "entry_SYSCALL_compat",
    "entry_SYSCALL_compat_safe_stack",
    "entry_SYSCALL_compat_after_hwframe",
    "entry_SYSENTER_compat",
    "entry_SYSENTER_compat_after_hwframe",
    "asm_int80_emulation",
];

/// Where a CPU comes from before it runs its idle task's first function.
const STARTUP: &[&str] = &[
    "startup_64",
    "secondary_startup_64",
    "secondary_startup_64_no_verify",
    "common_startup_64",
    "soft_restart_cpu",
];

/// Code that several entries share, and FRED's, which one entry is for all events.
const SHARED: &[&str] = &[
    "asm_fred_entrypoint_user",
    "asm_fred_entrypoint_kernel",
    "error_entry",
    "error_return",
    "paranoid_entry",
    "paranoid_exit",
    "xen_error_entry",
    "common_interrupt_return",
    "swapgs_restore_regs_and_return_to_usermode",
    "restore_regs_and_return_to_kernel",
    "native_irq_return_iret",
    "early_idt_handler_common",
];

/// The entry of interrupts that cannot be masked, and the parts of it that have labels of their own.
const NON_MASKABLE: &[&str] = &[
    "asm_exc_nmi",
    "asm_xenpv_exc_nmi",
    "asm_exc_nmi_kvm_vmx",
    "nested_nmi",
    "nested_nmi_out",
    "first_nmi",
    "repeat_nmi",
    "end_repeat_nmi",
    "nmi_no_fsgsbase",
    "nmi_swapgs",
    "nmi_restore",
];

/// What the entry code of this symbol is entered for; `None` if it is no entry code.
#[inline]
pub fn origin(symbol: &str) -> Option<Origin> {
    let event = |event| Some(Origin::Event(event));
    match symbol {
        "ret_from_fork_asm" => return Some(Origin::Fork),
        "rewind_stack_and_make_dead" => return Some(Origin::Rewound),
        "asm_exc_page_fault" => return event(Event::PageFault),
        "asm_exc_int3" => return event(Event::Breakpoint),
        "asm_common_interrupt"
        | "asm_spurious_interrupt"
        | "irq_entries_start"
        | "spurious_entries_start" => return event(Event::Interrupt),
        "asm_iret_error" => return event(Event::Exception),
        _ => {}
    }
    if SYSTEM_CALLS.contains(&symbol) {
        Some(Origin::SystemCall)
    } else if STARTUP.contains(&symbol) {
        Some(Origin::Startup)
    } else if NON_MASKABLE.contains(&symbol) {
        event(Event::NonMaskable)
    } else if SHARED.contains(&symbol) {
        event(Event::Unknown)
    } else if symbol.starts_with("asm_sysvec_") {
        event(Event::Interrupt)
    } else if symbol.starts_with("asm_exc_") || symbol.starts_with("asm_xenpv_exc_") {
        event(Event::Exception)
    } else {
        None
    }
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
            ("rewind_stack_and_make_dead", Some(Origin::Rewound)),
            // Functions, although they lie in entry text or their names look like it.
            ("asm_load_gs_index", None),
            ("entry_ibpb", None),
            ("do_syscall_64", None),
        ] {
            assert_eq!(origin(symbol), expected, "{symbol}");
        }
    }
}
