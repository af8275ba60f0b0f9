//! The image's text: where it lies, the validator's table of it, and its entry code.
//!
//! What the tables mean is `unwind`'s. Modules' text is `modules.rs`'s.

// SPDX-License-Identifier: GPL-2.0-only

use core::cell::UnsafeCell;
use core::ffi::{c_char, c_ulong};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};

use arch::frame::Origin;
use arch_x86_64::entry;
use unwind::ranges::{EntryCode, Packed};

extern "C" {
    // The linker script's.
    static _stext: [u8; 0];
    static _etext: [u8; 0];
    static _sinittext: [u8; 0];
    static _einittext: [u8; 0];
    static __entry_text_start: [u8; 0];
    static __entry_text_end: [u8; 0];

    // `linux/kallsyms.h`.
    fn kallsyms_lookup_name(name: *const c_char) -> c_ulong;
    fn kallsyms_lookup(
        address: c_ulong,
        size: *mut c_ulong,
        offset: *mut c_ulong,
        module: *mut *const c_char,
        name: *mut c_char,
    ) -> *const c_char;
    // `linux/string.h`.
    fn strlen(string: *const c_char) -> usize;
}

/// The kernel's text but for that of its start-up: its begin, and what is behind its end.
#[inline]
pub(crate) fn text() -> (u64, u64) {
    // SAFETY: only their addresses are taken.
    unsafe { (_stext.as_ptr() as u64, _etext.as_ptr() as u64) }
}

/// Whether an address lies in it.
#[inline]
pub(crate) fn is_text(address: u64) -> bool {
    let (begin, end) = text();
    (begin..end).contains(&address)
}

/// Whether it is the text of the kernel's start-up, which may be gone by now.
#[inline]
pub(crate) fn is_init_text(address: u64) -> bool {
    // SAFETY: only their addresses are taken.
    let (begin, end) = unsafe { (_sinittext.as_ptr() as u64, _einittext.as_ptr() as u64) };
    (begin..end).contains(&address)
}

/// The entry code of the image, and how many pieces it has.
pub(crate) struct Entries {
    count: AtomicUsize,
    /// Written up to the count.
    table: UnsafeCell<[MaybeUninit<Packed>; Self::MOST]>,
}

// SAFETY: the table is written once, on the one CPU of early boot, before the count says that there
// is something in it; later it is only read.
unsafe impl Sync for Entries {}

/// The entry code of the image.
pub(crate) static ENTRIES: Entries = Entries {
    count: AtomicUsize::new(0),
    table: UnsafeCell::new([MaybeUninit::uninit(); Entries::MOST]),
};

/// Entry code that does not lie in the section of entry code; each name ends with a NUL.
const ELSEWHERE: &[u8] = b"ret_from_fork_asm\0rewind_stack_and_make_dead\0startup_64\0\
    secondary_startup_64\0secondary_startup_64_no_verify\0common_startup_64\0soft_restart_cpu\0\
    early_idt_handler_common\0";

/// `KSYM_NAME_LEN` of `linux/kallsyms.h`.
const NAME_SIZE: usize = 512;

impl Entries {
    /// More than there are, with neighbours of one origin as one. What does not fit is no entry code,
    /// and no walk ends well there.
    const MOST: usize = 48;

    /// The origin of the code at an address.
    #[inline]
    pub(crate) fn origin(&self, address: u64) -> Option<Origin> {
        let count = self.count.load(Ordering::Acquire);
        // SAFETY: what the count covers was written, and is not written any more.
        let table = unsafe { core::slice::from_raw_parts(self.table.get().cast(), count) };
        Packed::origin(table, address.wrapping_sub(text().0))
    }

    /// Looks all entry code up.
    ///
    /// # Safety
    ///
    /// Called once, while only one CPU runs.
    #[link_section = ".init.text"]
    pub(crate) unsafe fn set_up(&self) {
        // SAFETY: the count is 0, so nobody reads it; by this function's own condition, nobody
        // else writes to it.
        let table = unsafe { &mut *self.table.get() };
        let mut filled = Filled { table, count: 0 };
        let mut before = 0;
        for (index, byte) in (0..ELSEWHERE.len()).zip(ELSEWHERE) {
            if before == 0 {
                // SAFETY: from there on it is a C string.
                let name = unsafe { ELSEWHERE.as_ptr().add(index) };
                // SAFETY: as above.
                filled.note(unsafe { kallsyms_lookup_name(name.cast()) });
            }
            before = *byte;
        }
        // SAFETY: only their addresses are taken.
        let (begin, end) =
            unsafe { (__entry_text_start.as_ptr() as u64, __entry_text_end.as_ptr() as u64) };
        let mut at = Some(begin);
        while let Some(next) = at.filter(|at| *at < end) {
            at = filled.note(next);
        }
        self.count.store(filled.count, Ordering::Release);
    }
}

/// The table while it is filled: the pieces up to the count.
struct Filled<'a> {
    table: &'a mut [MaybeUninit<Packed>],
    count: usize,
}

impl Filled<'_> {
    /// Looks at the symbol at an address, and returns where the next one begins.
    #[link_section = ".init.text"]
    #[inline(never)]
    fn note(&mut self, at: u64) -> Option<u64> {
        let (code, next) = symbol(at)?;
        if let Some(code) = code {
            let code = code.packed(text().0);
            let last = self.table.get_mut(self.count.wrapping_sub(1));
            // SAFETY: it lies before the count.
            let last = last.map(|last| unsafe { last.assume_init_mut() });
            match last.and_then(|last| Some((last.joined(code)?, last))) {
                Some((joined, last)) => *last = joined,
                None => {
                    self.table.get_mut(self.count)?.write(code);
                    self.count = self.count.wrapping_add(1);
                }
            }
        }
        Some(next)
    }
}

/// The entry code at an address, if its symbol is some, and where the next symbol begins.
#[inline]
fn symbol(at: u64) -> Option<(Option<EntryCode>, u64)> {
    let mut name = [const { MaybeUninit::<c_char>::uninit() }; NAME_SIZE];
    let (mut size, mut offset, mut module) = (0, 0, core::ptr::null());
    // SAFETY: all can be written to, and there is room for a name.
    let name = unsafe {
        let name = name.as_mut_ptr().cast();
        kallsyms_lookup(at, &mut size, &mut offset, &mut module, name)
    };
    if name.is_null() || size <= offset {
        return None;
    }
    let begin = at.wrapping_sub(offset);
    let end = begin.wrapping_add(size);
    // SAFETY: a C string, says whoever has written it.
    let name = unsafe { core::slice::from_raw_parts(name.cast(), strlen(name)) };
    let origin = entry::origin(name);
    Some((origin.map(|origin| EntryCode { begin, end, origin }), end))
}
