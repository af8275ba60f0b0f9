//! Sites: a tracer's handler for each function that is redirected, and the stack of `klp_func`s that
//! it chooses from.

// SPDX-License-Identifier: GPL-2.0-only

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use kernel::bindings::{self, klp_func, list_head};
use kernel::ffi::{c_int, c_long, c_ulong};
use livepatch::port::Sites;
use livepatch::Code;

use crate::list::{self, around};
use crate::patches::func_name;
use crate::{say, Errno, Func, Kernel, Locked, Message, EINVAL, ENOMEM};

/// What `struct rust_klp_site` of `shim.h` begins with.
#[repr(C)]
pub(crate) struct Site {
    node: list_head,
    stack: list_head,
    ip: c_ulong,
}

extern "C" {
    fn ftrace_location(ip: c_ulong) -> c_ulong;
    fn rust_klp_new_site(ip: c_ulong) -> *mut Site;
    fn rust_klp_free_site(site: *mut Site);
    fn rust_klp_set_filter(site: *mut Site) -> c_int;
    fn rust_klp_free_filter(site: *mut Site);
    fn rust_klp_register(site: *mut Site) -> c_int;
    fn rust_klp_unregister(site: *mut Site);
}

/// All sites: the first, each with the address of the next.
static SITES: Locked<*mut Site> = Locked(core::cell::UnsafeCell::new(ptr::null_mut()));

fn first_site() -> *mut Site {
    // SAFETY: only called under the lock.
    unsafe { *SITES.0.get() }
}

/// The forward link of a node, which others read while it is written.
///
/// # Safety
///
/// `node` stays for the link's lifetime.
#[inline]
unsafe fn link<'a>(node: *mut list_head) -> &'a AtomicPtr<list_head> {
    // SAFETY: by this function's own condition; it is written as an atomic, too.
    unsafe { AtomicPtr::from_ptr(ptr::addr_of_mut!((*node).next)) }
}

#[inline]
fn func_at(site: *mut Site, node: *mut list_head) -> Option<Func> {
    // SAFETY: only the address is taken.
    let head = unsafe { ptr::addr_of_mut!((*site).stack) };
    (node != head).then(|| around!(node, klp_func, stack_node))
}

#[inline]
fn node_of(func: Func) -> *mut list_head {
    // SAFETY: only the address is taken.
    unsafe { ptr::addr_of_mut!((*func).stack_node) }
}

fn head_of(site: *mut Site) -> *mut list_head {
    // SAFETY: only the address is taken.
    unsafe { ptr::addr_of_mut!((*site).stack) }
}

impl Sites for Kernel {
    fn site(&self, func: Func) -> Option<*mut Site> {
        let original = self.original(func).start;
        let mut site = first_site();
        while !site.is_null() {
            let top = self.top(site)?;
            if self.original(top).start == original {
                return Some(site);
            }
            // SAFETY: sites stay until they are freed under the lock.
            site = unsafe { (*site).node.next }.cast();
        }
        None
    }

    fn new_site(&self, func: Func) -> Result<*mut Site, Errno> {
        let original = self.original(func).start;
        // SAFETY: takes any address.
        let ip = unsafe { ftrace_location(original as c_ulong) };
        if ip == 0 {
            say(Message::NoLocation, func_name(func), ptr::null(), 0);
            return Err(EINVAL);
        }
        // SAFETY: takes any address.
        let site = unsafe { rust_klp_new_site(ip) };
        if site.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: it is large enough, and nobody else knows it; the lock is held.
        unsafe {
            list::init(head_of(site));
            (*site).node.next = first_site().cast();
            *SITES.0.get() = site;
        }
        Ok(site)
    }

    fn attach(&self, site: *mut Site, func: Func) -> Result<(), Errno> {
        // SAFETY: the site is a live one.
        let errno = unsafe { rust_klp_set_filter(site) };
        if errno != 0 {
            say(
                Message::NoFilter,
                func_name(func),
                ptr::null(),
                errno as c_long,
            );
            return Err(Errno(errno));
        }
        // SAFETY: as above.
        let errno = unsafe { rust_klp_register(site) };
        if errno != 0 {
            say(
                Message::NoHandler,
                func_name(func),
                ptr::null(),
                errno as c_long,
            );
            // SAFETY: as above.
            unsafe { rust_klp_free_filter(site) };
            return Err(Errno(errno));
        }
        Ok(())
    }

    fn detach(&self, site: *mut Site, _: Func) {
        // SAFETY: as above.
        unsafe { rust_klp_unregister(site) }
    }

    fn free_site(&self, site: *mut Site) {
        // SAFETY: all sites are live ones; the lock is held.
        unsafe {
            let mut place: *mut *mut Site = SITES.0.get();
            while !(*place).is_null() && *place != site {
                place = ptr::addr_of_mut!((**place).node.next).cast();
            }
            if *place == site {
                *place = (*site).node.next.cast();
            }
            rust_klp_free_site(site);
        }
    }

    fn link(&self, site: *mut Site, func: Func) {
        let (head, node) = (head_of(site), node_of(func));
        // SAFETY: both are live; nobody sees the node yet.
        unsafe {
            (*node).prev = head;
            link(node).store(link(head).load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn push(&self, site: *mut Site, func: Func) {
        let (head, node) = (head_of(site), node_of(func));
        // SAFETY: both are live, and so is what is below; only forward links are read by others.
        unsafe {
            (*link(node).load(Ordering::Relaxed)).prev = node;
            link(head).store(node, Ordering::Relaxed);
        }
    }

    fn pop(&self, _: *mut Site, func: Func) {
        let node = node_of(func);
        // SAFETY: the node is on a stack, whose nodes are all live. Its own forward link stays, for
        // handlers that hold it.
        unsafe {
            let (next, prev) = (link(node).load(Ordering::Relaxed), (*node).prev);
            (*next).prev = prev;
            link(prev).store(next, Ordering::Release);
        }
    }

    #[inline]
    fn top(&self, site: *mut Site) -> Option<Func> {
        // SAFETY: the site stays until all handlers have ended.
        let node = unsafe { link(ptr::addr_of_mut!((*site).stack)) }.load(Ordering::Relaxed);
        func_at(site, node)
    }

    #[inline]
    fn below(&self, site: *mut Site, func: Func) -> Option<Func> {
        // SAFETY: as above, for the function.
        let node = unsafe { link(node_of(func)) }.load(Ordering::Relaxed);
        func_at(site, node)
    }

    #[inline]
    fn is_in_transition(&self, func: Func) -> bool {
        // SAFETY: as above; it is only used as an atomic.
        unsafe { AtomicBool::from_ptr(ptr::addr_of_mut!((*func).transition)) }
            .load(Ordering::Relaxed)
    }

    fn set_in_transition(&self, func: Func, on: bool) {
        // SAFETY: as above.
        unsafe { AtomicBool::from_ptr(ptr::addr_of_mut!((*func).transition)) }
            .store(on, Ordering::Relaxed);
    }

    fn is_stacked(&self, func: Func) -> bool {
        // SAFETY: the function is a live one; the lock is held.
        unsafe { (*func).patched }
    }

    fn set_stacked(&self, func: Func, on: bool) {
        // SAFETY: as above.
        unsafe { (*func).patched = on };
    }

    fn original(&self, func: Func) -> Code {
        // SAFETY: as above.
        let bindings::klp_func {
            old_func, old_size, ..
        } = unsafe { &*func };
        Code {
            start: *old_func as usize,
            size: *old_size as usize,
        }
    }

    fn replacement(&self, func: Func) -> Code {
        // SAFETY: as above.
        let bindings::klp_func {
            new_func, new_size, ..
        } = unsafe { &*func };
        Code {
            start: *new_func as usize,
            size: *new_size as usize,
        }
    }
}
