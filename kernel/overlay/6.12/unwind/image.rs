//! The image's text: where it lies, its entry code and the tracer's.
//!
//! What the tables mean is `unwind`'s. What the validator says of text is in `vouch.rs`, and modules'
//! text in `modules.rs`.

// SPDX-License-Identifier: GPL-2.0-only

use core::slice;

use arch::frame::Origin;
use arch_x86_64::entry;
use unwind::ranges::{self, EntryRecord};

extern "C" {
    // The linker script's.
    static _stext: [u8; 0];
    static _etext: [u8; 0];
    static _sinittext: [u8; 0];
    static _einittext: [u8; 0];
    static __start_entry_code: [EntryRecord; 0];
    static __stop_entry_code: [EntryRecord; 0];

    // `ftrace_64.S`: its two entries, one behind the other.
    #[cfg(CONFIG_DYNAMIC_FTRACE_WITH_REGS)]
    static ftrace_caller: [u8; 0];
    #[cfg(CONFIG_DYNAMIC_FTRACE_WITH_REGS)]
    static ftrace_regs_caller_end: [u8; 0];
}

/// Where two symbols of the linker's lie.
macro_rules! places {
    ($begin:ident, $end:ident) => {
        // SAFETY: only their addresses are taken.
        unsafe { ($begin.as_ptr() as u64, $end.as_ptr() as u64) }
    };
}

/// The kernel's text but for that of its start-up: its begin, and what is behind its end.
#[inline]
pub(crate) fn text() -> (u64, u64) {
    places!(_stext, _etext)
}

/// Whether an address lies between two others. They are constants, and their difference is none.
#[inline]
fn lies(address: u64, (begin, end): (u64, u64)) -> bool {
    begin <= address && address < end
}

/// Whether an address lies in that text.
#[inline]
pub(crate) fn is_text(address: u64) -> bool {
    lies(address, text())
}

/// Whether the eight bytes in front of an address do.
#[inline]
pub(crate) fn ends_at(address: u64) -> bool {
    let (begin, end) = text();
    begin.wrapping_add(8) <= address && address <= end
}

/// Whether an address lies in the image, from its text up to that of its start-up.
#[cfg(CONFIG_UNWINDER_FRAME_POINTER)]
#[inline]
pub(crate) fn has(address: u64) -> bool {
    lies(address, places!(_stext, _einittext))
}

/// Whether it is the text of the kernel's start-up, which may be gone by now.
#[inline]
pub(crate) fn is_init_text(address: u64) -> bool {
    lies(address, places!(_sinittext, _einittext))
}

/// Whether it is the function tracer's entry: up to where each of the two has decided where it goes.
#[inline]
pub(crate) fn is_tracer_entry(address: u64) -> bool {
    #[cfg(CONFIG_DYNAMIC_FTRACE_WITH_REGS)]
    return lies(address, places!(ftrace_caller, ftrace_regs_caller_end));
    #[cfg(not(CONFIG_DYNAMIC_FTRACE_WITH_REGS))]
    {
        let _ = address;
        false
    }
}

/// What the entry code at an address is entered for.
#[inline(never)]
pub(crate) fn origin(address: u64) -> Option<Origin> {
    // SAFETY: the linker script puts all records between these two, and nobody writes to them.
    let table = unsafe {
        let first = __start_entry_code.as_ptr();
        let bytes = (__stop_entry_code.as_ptr() as usize).wrapping_sub(first as usize);
        slice::from_raw_parts(first, bytes / core::mem::size_of::<EntryRecord>())
    };
    ranges::origin_number(table, table.as_ptr() as u64, address).and_then(entry::numbered)
}
