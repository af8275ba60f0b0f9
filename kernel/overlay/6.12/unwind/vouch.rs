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
    if !image::is_text(address) {
        return look_up_elsewhere(modules, address);
    }
    let page = Page::of(address.wrapping_sub(image::text().0));
    match table() {
        None => Vouch::Unknown,
        Some((head, ranges)) => {
            if head.pages.get(page.word).map_or(true, |word| word & page.bit != 0) {
                look_up(ranges, address)
            } else {
                Vouch::Keeps
            }
        }
    }
}

fn judged(in_table: bool) -> Vouch {
    match in_table {
        true => Vouch::KeepsNot,
        false => Vouch::Keeps,
    }
}

/// In the image, whose table is in order: whoever links it looks at that.
#[cold]
#[inline(never)]
fn look_up(ranges: &[Range], address: u64) -> Vouch {
    let base = Base::Image(image::text().0);
    judged(UnreliableText::known(base, ranges, true).contains(address))
}

#[cold]
#[inline(never)]
fn look_up_elsewhere(modules: &Modules, address: u64) -> Vouch {
    if image::is_init_text(address) {
        return table().map_or(Vouch::Unknown, |(_, ranges)| look_up(ranges, address));
    }
    let of_module = |module: &Module| {
        let (first, count) = (module.unreliable, module.count as usize);
        if first.is_null() {
            return Vouch::Unknown;
        }
        // SAFETY: a table has that many ranges, nobody writes to it, and it is there for as long as
        // its module.
        let ranges = unsafe { slice::from_raw_parts(first, count) };
        // Its sections need not have been loaded in the order of the table.
        judged(UnreliableText::known(Base::Module(first as u64), ranges, false).contains(address))
    };
    modules.show(address, of_module).unwrap_or(Vouch::Unknown)
}
