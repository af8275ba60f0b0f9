//! Modules' text, and the tables that came with it.
//!
//! A module may go away at any time unless it is held, so nothing of it is kept beyond that.

// SPDX-License-Identifier: GPL-2.0-only

use core::cell::{Cell, UnsafeCell};
use core::ffi::{c_int, c_ulong};

#[cfg(CONFIG_UNWINDER_FRAME_POINTER)]
use unwind::ranges::Range;

/// `struct rust_unwind_module` of `shim.h`: the text that an address lies in, and its module's tables.
#[repr(C)]
pub(crate) struct Module {
    pub(crate) begin: c_ulong,
    pub(crate) size: c_ulong,
    #[cfg(CONFIG_UNWINDER_FRAME_POINTER)]
    pub(crate) unreliable: *const Range,
    #[cfg(CONFIG_UNWINDER_ORC)]
    pub(crate) orc_ips: *const c_int,
    #[cfg(CONFIG_UNWINDER_ORC)]
    pub(crate) orc_entries: *const [u8; 6],
    pub(crate) count: c_ulong,
}

impl Module {
    /// Whether an address lies in this text.
    #[inline]
    pub(crate) fn has(&self, address: u64) -> bool {
        address.wrapping_sub(self.begin) < self.size
    }
}

extern "C" {
    fn rust_unwind_find_module(modules: *const Modules, address: c_ulong);
    fn rust_unwind_let_go(modules: *const Modules);
}

/// `struct rust_unwind_modules` of `shim.h`. From the first look at a module on, all of them stay
/// until they are let go.
#[repr(C)]
pub(crate) struct Modules {
    /// The module that was asked for last, if they are held; else its size is 0.
    last: UnsafeCell<Module>,
    /// Not 0 if they are held.
    held: Cell<c_int>,
}

impl Modules {
    /// Shows the module that has this text, if one has it.
    #[inline]
    pub(crate) fn show<R>(&self, address: u64, look: impl FnOnce(&Module) -> R) -> Option<R> {
        // SAFETY: nobody else has it now.
        if !unsafe { &*self.last.get() }.has(address) {
            // SAFETY: all of it lies in cells, and nobody else has any of it now. Whoever walks lets
            // modules go.
            unsafe { rust_unwind_find_module(self, address) };
        }
        // SAFETY: it is only changed above, which nothing that `look` gets at leads to.
        let last = unsafe { &*self.last.get() };
        last.has(address).then(|| look(last))
    }

    /// Lets them go, if they are held.
    #[inline]
    pub(crate) fn let_go(&self) {
        if self.held.get() != 0 {
            // SAFETY: all of it lies in cells, and nobody else has any of it now.
            unsafe { rust_unwind_let_go(self) };
        }
    }
}
