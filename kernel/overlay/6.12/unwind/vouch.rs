//! What the validator says of text: its tables of the image and of modules.
//!
//! Only frame pointers ask for them. How they are read is `unwind`'s, how they are written
//! `objtool-rs verify`'s.

// SPDX-License-Identifier: GPL-2.0-only

use core::slice;

use unwind::ranges::{Base, Page, Range, UnreliableText};
use unwind::Vouch;

use super::image;
use super::modules::{Module, Modules};

/// What stands in front of the ranges in the table of the image.
#[repr(C)]
struct Head {
    count: u32,
    _room: u32,
    /// Which pages some of the ranges lie in; there only if there are any.
    pages: [u64; Page::WORDS],
}

extern "C" {
    /// In the first link of the image there is no table, and this is a 0 of `shim.c`'s.
    static unreliable_text_count: u32;
}

/// The image's table: what stands in front of it if it is there, and where its ranges are.
#[inline]
fn table() -> Option<(&'static Head, &'static [Range])> {
    // SAFETY: the linked table begins with it, and nobody writes to it.
    let count = unsafe { core::ptr::addr_of!(unreliable_text_count).read_volatile() };
    if count == 0 {
        return None;
    }
    let head = core::ptr::addr_of!(unreliable_text_count).cast::<Head>();
    // SAFETY: where it is not 0, the rest of the table follows.
    Some(unsafe { (&*head, slice::from_raw_parts(head.add(1).cast(), count as usize)) })
}

/// What the validator says of the text at an address.
#[inline]
pub(super) fn vouch(modules: &Modules, address: u64) -> Vouch {
    if image::is_text(address) {
        let page = Page::of(address.wrapping_sub(image::text().0));
        if let Some((head, _)) = table() {
            if head.pages.get(page.word).is_some_and(|word| word & page.bit == 0) {
                return Vouch::Keeps;
            }
        }
    }
    look_up(modules, address)
}

#[cold]
#[inline(never)]
fn look_up(modules: &Modules, address: u64) -> Vouch {
    let table = if image::has(address) {
        // Whoever links it looks at whether it is in order.
        table().map(|(_, ranges)| (Base::Image(image::text().0), ranges))
    } else {
        let of_module = |module: &Module| {
            let (first, count) = (module.unreliable, module.count as usize);
            // SAFETY: a table has that many ranges, nobody writes to it, and it is there for as long
            // as its module.
            let ranges = || unsafe { slice::from_raw_parts(first, count) };
            (!first.is_null()).then(|| (Base::Module(first as u64), ranges()))
        };
        modules.show(address, of_module).flatten()
    };
    match table {
        None => Vouch::Unknown,
        Some((base, ranges)) if UnreliableText::known(base, ranges, true).contains(address) => {
            Vouch::KeepsNot
        }
        Some(_) => Vouch::Keeps,
    }
}
