//! What the validator says of text: its tables of the image and of modules.
//!
//! Only frame pointers ask for them. How they are read is `unwind`'s.

// SPDX-License-Identifier: GPL-2.0-only

use core::ffi::c_uint;
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use unwind::ranges::{Base, Page, Range, UnreliableText};
use unwind::Vouch;

use super::image;
use super::modules::{Module, Modules};

extern "C" {
    fn rust_unwind_unreliable_text(count: *mut c_uint) -> *const Range;
}

/// The validator's table of the image, once it is set up, if it was linked in.
struct Table {
    ranges: AtomicPtr<Range>,
    count: AtomicUsize,
    /// Which pages it may hold some of; all of them before it is set up.
    pages: [AtomicU64; Page::WORDS],
}

#[expect(clippy::declare_interior_mutable_const, reason = "what an array begins with")]
const ALL: AtomicU64 = AtomicU64::new(u64::MAX);

static IMAGE: Table = Table {
    ranges: AtomicPtr::new(ptr::null_mut()),
    count: AtomicUsize::new(0),
    pages: [ALL; Page::WORDS],
};

/// What the validator says of the text at an address.
#[inline]
pub(super) fn vouch(modules: &Modules, address: u64) -> Vouch {
    let page = Page::of(address);
    let pages = IMAGE.pages.get(page.word).map_or(u64::MAX, |page| page.load(Ordering::Relaxed));
    if image::is_text(address) && pages & page.bit == 0 {
        return Vouch::Keeps;
    }
    look_up(modules, address)
}

#[cold]
#[inline(never)]
fn look_up(modules: &Modules, address: u64) -> Vouch {
    let table = |base, ranges: *const Range, count| {
        if ranges.is_null() {
            return Vouch::Unknown;
        }
        // SAFETY: a table has that many ranges, nobody writes to it, and it is there for as long as
        // its image or module.
        let ranges = unsafe { slice::from_raw_parts(ranges, count) };
        // The image's is in order: that was looked at.
        match UnreliableText::known(base, ranges, true).contains(address) {
            true => Vouch::KeepsNot,
            false => Vouch::Keeps,
        }
    };
    if image::is_text(address) || image::is_init_text(address) {
        let ranges = IMAGE.ranges.load(Ordering::Acquire);
        let count = IMAGE.count.load(Ordering::Relaxed);
        return table(Base::Image(image::text().0), ranges, count);
    }
    let of_module = |module: &Module| {
        let base = Base::Module(module.unreliable as u64);
        table(base, module.unreliable, module.count as usize)
    };
    modules.show(address, of_module).unwrap_or(Vouch::Unknown)
}

/// Takes the table of the image, if there is one.
///
/// One that is out of order is not taken, and no frame is vouched for: the link of the image makes
/// none.
///
/// # Safety
///
/// Called once, while only one CPU runs.
#[link_section = ".init.text"]
pub(super) unsafe fn set_up() {
    let mut count = 0;
    // SAFETY: `count` can be written to.
    let first = unsafe { rust_unwind_unreliable_text(&mut count) };
    if first.is_null() {
        return;
    }
    // SAFETY: the linked table has that many ranges, and nobody writes to it.
    let ranges = unsafe { slice::from_raw_parts(first, count as usize) };
    let table = UnreliableText::known(Base::Image(image::text().0), ranges, true);
    let mut pages = [0; Page::WORDS];
    let in_order = table.survey(|page| {
        if let Some(word) = pages.get_mut(page.word) {
            *word |= page.bit;
        }
    });
    if in_order {
        IMAGE.count.store(ranges.len(), Ordering::Relaxed);
        IMAGE.ranges.store(first.cast_mut(), Ordering::Release);
        for (page, word) in IMAGE.pages.iter().zip(pages) {
            page.store(word, Ordering::Relaxed);
        }
    }
}
