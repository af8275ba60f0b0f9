//! The kernel's lists (`linux/list.h`) and strings, as far as patches need them. Lists that are read
//! without the lock are in `sites`.

// SPDX-License-Identifier: GPL-2.0-only

use kernel::bindings::list_head;
use kernel::ffi::c_char;

extern "C" {
    fn strlen(string: *const c_char) -> usize;
}

/// The bytes of a C string. `CStr::from_ptr` would do, but counts with a path to a panic.
///
/// # Safety
///
/// `string` is a C string, which stays as it is for the lifetime.
pub(crate) unsafe fn bytes<'a>(string: *const c_char) -> &'a [u8] {
    // SAFETY: by this function's own condition.
    unsafe { core::slice::from_raw_parts(string.cast(), strlen(string)) }
}

/// The structure around a member, from the member's address.
macro_rules! around {
    ($node:expr, $type:ty, $member:ident) => {
        $node
            .cast::<u8>()
            .wrapping_sub(core::mem::offset_of!($type, $member))
            .cast::<$type>()
    };
}
pub(crate) use around;

/// Makes an empty list, or a node that is in none.
///
/// # Safety
///
/// `head` can be written to.
pub(crate) unsafe fn init(head: *mut list_head) {
    // SAFETY: by this function's own condition.
    unsafe {
        (*head).next = head;
        (*head).prev = head;
    }
}

/// Puts a node at the end.
///
/// # Safety
///
/// `head` is a list, `node` is in none, and nobody else uses the list.
pub(crate) unsafe fn add_last(head: *mut list_head, node: *mut list_head) {
    // SAFETY: by this function's own condition.
    unsafe {
        let last = (*head).prev;
        (*node).next = head;
        (*node).prev = last;
        (*last).next = node;
        (*head).prev = node;
    }
}

/// Takes a node out of its list, if it is in one.
///
/// # Safety
///
/// `node` was set up, and nobody else uses the list.
pub(crate) unsafe fn remove(node: *mut list_head) {
    // SAFETY: by this function's own condition.
    unsafe {
        let (next, prev) = ((*node).next, (*node).prev);
        (*prev).next = next;
        (*next).prev = prev;
        init(node);
    }
}

/// The node after another one, or the first; `None` at the end.
///
/// # Safety
///
/// `head` is a list, `node` is in it or is `head`, and nobody changes the list.
pub(crate) unsafe fn next(head: *mut list_head, node: *mut list_head) -> Option<*mut list_head> {
    // SAFETY: by this function's own condition.
    let next = unsafe { (*node).next };
    (next != head).then_some(next)
}
