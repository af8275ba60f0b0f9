//! The kernel's ORC tables: those of the image, which the build has sorted, and those of modules.
//!
//! How entries are found and read is `unwind`'s and `arch_x86_64`'s.

// SPDX-License-Identifier: GPL-2.0-only

use core::ffi::{c_int, c_ulong};
use core::slice;
use core::sync::atomic::{AtomicBool, Ordering};

use arch::orc::Decode;
use arch_x86_64::X86_64;
use unwind::orc::table::{Addresses, Blocks, Table};
use unwind::orc::{is_weak, sort};
use unwind::{Lookup, OrcEnv};

use super::modules::Module;
use super::{image, Subject};

type Entry = <X86_64 as Decode>::Entry;

extern "C" {
    static __start_orc_unwind_ip: [i32; 0];
    static __stop_orc_unwind_ip: [i32; 0];
    static __start_orc_unwind: [Entry; 0];
    static __stop_orc_unwind: [Entry; 0];
    static mut orc_lookup: [u32; 0];
    static mut orc_lookup_end: [u32; 0];
}

/// Whether the tables are set up.
static READY: AtomicBool = AtomicBool::new(false);

/// How many of something lie between two addresses.
fn count<T>(start: *const T, stop: *const T) -> usize {
    (stop as usize).wrapping_sub(start as usize) / core::mem::size_of::<T>().max(1)
}

/// The image's table.
#[inline]
fn table() -> Option<Table<'static, Entry>> {
    // SAFETY: the linker script defines the four around two tables, which are not written to.
    let (ips, entries) = unsafe {
        let ips = __start_orc_unwind_ip.as_ptr();
        let entries = __start_orc_unwind.as_ptr();
        (
            slice::from_raw_parts(ips, count(ips, __stop_orc_unwind_ip.as_ptr())),
            slice::from_raw_parts(entries, count(entries, __stop_orc_unwind.as_ptr())),
        )
    };
    Table::new(Addresses::new(ips.as_ptr() as u64, ips), entries).ok()
}

/// `unwind_init` of `asm/unwind.h`: fills the table of blocks, for which the linker script left room.
///
/// # Safety
///
/// Called once, while only one CPU runs.
#[no_mangle]
#[link_section = ".init.text"]
unsafe extern "C" fn unwind_init() {
    let Some(table) = table() else {
        return;
    };
    let (start, stop) = image::text();
    // SAFETY: the linker script defines both around room for this; nobody else uses it before
    // `READY` is set.
    let firsts = unsafe {
        let first = core::ptr::addr_of_mut!(orc_lookup).cast::<u32>();
        let end = core::ptr::addr_of!(orc_lookup_end).cast::<u32>();
        slice::from_raw_parts_mut(first, count(first.cast_const(), end))
    };
    let in_order = table.addresses().out_of_order().is_none();
    if in_order && Blocks::fill(firsts, &table.addresses(), start, stop).is_ok() {
        READY.store(true, Ordering::Release);
    }
}

impl OrcEnv for Subject {
    type Format = X86_64;

    #[inline(never)]
    fn orc(&self, address: u64) -> Lookup<Entry> {
        if !READY.load(Ordering::Acquire) {
            return Lookup::NotReady;
        }
        let found = if image::is_text(address) {
            let (start, stop) = image::text();
            // SAFETY: since `READY` is set, it is only read.
            let firsts = unsafe {
                let first = core::ptr::addr_of!(orc_lookup).cast::<u32>();
                let end = core::ptr::addr_of!(orc_lookup_end).cast::<u32>();
                slice::from_raw_parts(first, count(first, end))
            };
            let blocks = Blocks::new(start, stop, firsts);
            table().and_then(|table| table.find_in(&blocks, address))
        } else {
            elsewhere(self, address)
        };
        found.map_or(Lookup::Missing, Lookup::Found)
    }

    #[cfg(CONFIG_KPROBES)]
    fn has_run(&self, address: u64) -> Option<bool> {
        extern "C" {
            fn rust_unwind_has_run(address: c_ulong) -> c_int;
        }
        // Nobody else is in a handler: they do not sleep.
        if !self.on_cpu.is_null() {
            return None;
        }
        // SAFETY: takes any address.
        match unsafe { rust_unwind_has_run(address) } {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// The entry for text that is not the image's, or only at its start-up.
#[cold]
#[inline(never)]
fn elsewhere(subject: &Subject, address: u64) -> Option<Entry> {
    if image::is_init_text(address) {
        return table()?.find(address);
    }
    subject.modules.show(address, |found| module(found, address)).flatten()
}

#[inline]
fn module(module: &Module, address: u64) -> Option<Entry> {
    if module.orc_ips.is_null() || module.orc_entries.is_null() {
        return None;
    }
    // SAFETY: a module's tables are there for as long as the module, which is held.
    let (ips, entries) = unsafe {
        (
            slice::from_raw_parts(module.orc_ips, module.count as usize),
            slice::from_raw_parts(module.orc_entries, module.count as usize),
        )
    };
    let table = Table::new(Addresses::new(ips.as_ptr() as u64, ips), entries).ok()?;
    table.find(address)
}

/// Sorts the tables of a module that is being loaded; false if that cannot be done, and they are as
/// they were then.
///
/// # Safety
///
/// The tables have `count` entries each, and nobody else uses them yet.
#[no_mangle]
unsafe extern "C" fn rust_unwind_sort(
    ips: *mut c_int,
    entries: *mut Entry,
    count: c_ulong,
) -> bool {
    if count == 0 {
        return true;
    }
    // SAFETY: by this function's own condition.
    let (ips, entries) = unsafe {
        (
            slice::from_raw_parts_mut(ips, count as usize),
            slice::from_raw_parts_mut(entries, count as usize),
        )
    };
    sort::sort(ips, entries, is_weak::<X86_64>).is_ok()
}
