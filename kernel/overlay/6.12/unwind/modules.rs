//! Modules' text, and the tables that came with it.
//!
//! A module may go away at any time unless it is held, so nothing of it is kept beyond that.

// SPDX-License-Identifier: GPL-2.0-only

use core::cell::{Cell, UnsafeCell};
#[cfg(CONFIG_UNWINDER_ORC)]
use core::ffi::c_int;
use core::ffi::c_ulong;
use core::ptr;

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
    fn rust_unwind_hold_modules() -> bool;
    fn rust_unwind_release_modules(is_awake: bool);
    fn rust_unwind_module_at(address: c_ulong, module: *mut Module);
}

/// Modules: from the first look at one on, all of them stay for as long as this.
pub(crate) struct Modules {
    /// Whether they are held, and what releasing them is told.
    held: Cell<Option<bool>>,
    /// The module that was asked for last, if they are held.
    last: UnsafeCell<Module>,
}

impl Modules {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self {
            held: Cell::new(None),
            last: UnsafeCell::new(Module {
                begin: 0,
                size: 0,
                #[cfg(CONFIG_UNWINDER_FRAME_POINTER)]
                unreliable: ptr::null(),
                #[cfg(CONFIG_UNWINDER_ORC)]
                orc_ips: ptr::null(),
                #[cfg(CONFIG_UNWINDER_ORC)]
                orc_entries: ptr::null(),
                count: 0,
            }),
        }
    }

    /// Shows the module that has this text, if one has it.
    #[inline]
    pub(crate) fn show<R>(&self, address: u64, look: impl FnOnce(&Module) -> R) -> Option<R> {
        // SAFETY: nobody else has it now.
        if !unsafe { &*self.last.get() }.has(address) {
            self.find(address);
        }
        // SAFETY: it is only changed by `find`, which nothing that `look` gets at leads to.
        let last = unsafe { &*self.last.get() };
        last.has(address).then(|| look(last))
    }

    /// Makes it the last one.
    #[cold]
    #[inline(never)]
    fn find(&self, address: u64) {
        if self.held.get().is_none() {
            // SAFETY: it may be called anywhere, and is undone when this goes away.
            self.held.set(Some(unsafe { rust_unwind_hold_modules() }));
        }
        // SAFETY: modules are held; nobody else has it now, see `show`, and it can be written to.
        unsafe { rust_unwind_module_at(address, self.last.get()) };
    }
}

impl Drop for Modules {
    #[inline]
    fn drop(&mut self) {
        if let Some(is_awake) = self.held.get() {
            // SAFETY: undoes what `find` did.
            unsafe { rust_unwind_release_modules(is_awake) };
        }
    }
}
