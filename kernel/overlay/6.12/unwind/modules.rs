//! Modules' text, and the tables that came with it.
//!
//! A module may go away at any time unless it is held, so nothing of it is kept beyond that.

// SPDX-License-Identifier: GPL-2.0-only

use core::cell::Cell;
use core::ffi::{c_int, c_uint, c_ulong};
use core::ptr;

use unwind::ranges::Range;

/// `struct rust_unwind_module` of `shim.h`: the text that an address lies in, and its module's tables.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Module {
    pub(crate) begin: c_ulong,
    pub(crate) end: c_ulong,
    pub(crate) unreliable: *const Range,
    pub(crate) unreliable_count: c_uint,
    pub(crate) orc_ips: *const c_int,
    pub(crate) orc_entries: *const [u8; 6],
    pub(crate) orc_count: c_ulong,
}

extern "C" {
    fn rust_unwind_hold_modules() -> bool;
    fn rust_unwind_release_modules();
    fn rust_unwind_module_at(address: c_ulong, module: *mut Module) -> bool;
}

/// Modules, which stay while this is held.
pub(crate) struct Modules {
    is_held: bool,
    /// The module that was asked for last.
    last: Cell<Option<Module>>,
}

impl Modules {
    /// Holds none but while one is looked at.
    #[inline]
    pub(crate) const fn passing() -> Self {
        Self {
            is_held: false,
            last: Cell::new(None),
        }
    }

    /// Holds all until it goes away, unless they cannot be held here.
    pub(crate) fn held() -> Self {
        // SAFETY: it may be called anywhere, and is undone here or when this goes away.
        let is_held = unsafe { rust_unwind_hold_modules() };
        if !is_held {
            // SAFETY: undoes what was just done.
            unsafe { rust_unwind_release_modules() };
        }
        Self {
            is_held,
            last: Cell::new(None),
        }
    }

    /// Whether all stay for as long as this.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Shows the module that has this text, if one has it, while it is held.
    pub(crate) fn show<R>(&self, address: u64, look: impl FnOnce(&Module) -> R) -> Option<R> {
        if self.is_held {
            if let Some(last) = self.last.get() {
                if (last.begin..last.end).contains(&address) {
                    return Some(look(&last));
                }
            }
            let module = Self::find(address)?;
            self.last.set(Some(module));
            return Some(look(&module));
        }
        // SAFETY: it may be called anywhere, and is undone below.
        unsafe { rust_unwind_hold_modules() };
        let found = Self::find(address).map(|module| look(&module));
        // SAFETY: undoes what was done above.
        unsafe { rust_unwind_release_modules() };
        found
    }

    fn find(address: u64) -> Option<Module> {
        let mut module = Module {
            begin: 0,
            end: 0,
            unreliable: ptr::null(),
            unreliable_count: 0,
            orc_ips: ptr::null(),
            orc_entries: ptr::null(),
            orc_count: 0,
        };
        // SAFETY: modules are held, and `module` can be written to.
        unsafe { rust_unwind_module_at(address, &mut module) }.then_some(module)
    }
}

impl Drop for Modules {
    fn drop(&mut self) {
        if self.is_held {
            // SAFETY: undoes what `held` did.
            unsafe { rust_unwind_release_modules() };
        }
    }
}
