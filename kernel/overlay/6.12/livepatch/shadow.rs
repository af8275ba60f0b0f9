//! Shadow variables: data that patches attach to objects of the kernel's, found by the object and a
//! number (`Documentation/livepatch/shadow-vars.rst`).
//!
//! A table of lists that are read under RCU and changed under a spinlock.

// SPDX-License-Identifier: GPL-2.0-only

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use kernel::bindings;
use kernel::ffi::{c_int, c_ulong, c_void};

type Constructor = Option<unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void) -> c_int>;
type Destructor = Option<unsafe extern "C" fn(*mut c_void, *mut c_void)>;

/// `struct rust_klp_shadow` of `shim.h`.
#[repr(C)]
struct Shadow {
    next: AtomicPtr<Shadow>,
    rcu: bindings::callback_head,
    object: *mut c_void,
    id: c_ulong,
    data: Data,
}

/// What callers see: aligned for anything.
#[repr(C, align(16))]
struct Data([u8; 0]);

impl Shadow {
    fn is(&self, object: *mut c_void, id: c_ulong) -> bool {
        self.object == object && self.id == id
    }

    fn data(&self) -> *mut c_void {
        ptr::addr_of!(self.data).cast_mut().cast()
    }
}

extern "C" {
    fn rust_klp_shadow_lock() -> c_ulong;
    fn rust_klp_shadow_unlock(flags: c_ulong);
    fn rust_klp_rcu_lock();
    fn rust_klp_rcu_unlock();
    fn rust_klp_new_shadow(size: usize, flags: bindings::gfp_t) -> *mut Shadow;
    fn rust_klp_free_shadow(shadow: *mut Shadow, later: bool);
    fn rust_klp_warn_shadow(object: *mut c_void, id: c_ulong);
    fn rust_klp_say_shadow(object: *mut c_void, id: c_ulong, error: c_int);
}

const BITS: u32 = 12;

type Place = AtomicPtr<Shadow>;

struct Table([Place; 1 << BITS]);

static TABLE: Table = Table([const { AtomicPtr::new(ptr::null_mut()) }; 1 << BITS]);

impl Table {
    /// The list for an object.
    fn list(&self, object: *mut c_void) -> &Place {
        // Fibonacci hashing: the upper bits of a product with 2^64 divided by the golden ratio.
        let hash = (object as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - BITS);
        match self.0.get(hash as usize) {
            Some(list) => list,
            None => self.first(),
        }
    }

    /// There are that many, so that this is not needed for anything but the compiler.
    fn first(&self) -> &Place {
        let [first, ..] = &self.0;
        first
    }
}

/// The shadow with this object and number in a list.
///
/// # Safety
///
/// RCU or the lock keeps what is in the list.
unsafe fn find<'a>(list: &Place, object: *mut c_void, id: c_ulong) -> Option<&'a Shadow> {
    let mut next = list.load(Ordering::Acquire);
    loop {
        // SAFETY: by this function's own condition.
        let shadow = unsafe { next.as_ref() }?;
        if shadow.is(object, id) {
            return Some(shadow);
        }
        next = shadow.next.load(Ordering::Acquire);
    }
}

/// Takes out the shadows of a list that are meant.
///
/// # Safety
///
/// The lock is held.
unsafe fn remove(list: &Place, destructor: Destructor, is_meant: impl Fn(&Shadow) -> bool) {
    let mut place: *const Place = list;
    loop {
        // SAFETY: a place is the list's, or one in a shadow that is still in it.
        let here = unsafe { &*place };
        let next = here.load(Ordering::Relaxed);
        // SAFETY: what is in the list stays while the lock is held.
        let Some(shadow) = (unsafe { next.as_ref() }) else {
            return;
        };
        if !is_meant(shadow) {
            place = &shadow.next;
            continue;
        }
        here.store(shadow.next.load(Ordering::Relaxed), Ordering::Release);
        // SAFETY: the caller's destructor takes what it put there; readers may still hold it, for
        // as long as RCU lets them.
        unsafe {
            if let Some(destructor) = destructor {
                destructor(shadow.object, shadow.data());
            }
            rust_klp_free_shadow(next, true);
        }
    }
}

/// `klp_shadow_get` of `linux/livepatch.h`; null for none.
///
/// # Safety
///
/// Takes any object and number.
#[no_mangle]
unsafe extern "C" fn klp_shadow_get(object: *mut c_void, id: c_ulong) -> *mut c_void {
    // SAFETY: it is unlocked below; between that everything stays.
    unsafe {
        rust_klp_rcu_lock();
        let found = find(TABLE.list(object), object, id).map_or(ptr::null_mut(), Shadow::data);
        rust_klp_rcu_unlock();
        found
    }
}

/// What became of a wish for a shadow.
enum Made {
    New(*mut c_void),
    Known(*mut c_void),
    None,
}

/// # Safety
///
/// The constructor may be called with the object, the new data and its own, under a spinlock.
unsafe fn get_or_make(
    object: *mut c_void,
    id: c_ulong,
    size: usize,
    flags: bindings::gfp_t,
    constructor: Constructor,
    argument: *mut c_void,
) -> Made {
    // SAFETY: takes anything.
    let known = unsafe { klp_shadow_get(object, id) };
    if !known.is_null() {
        return Made::Known(known);
    }
    // Before the lock, under which not every allocation is possible.
    // SAFETY: takes any size; zeros are a shadow.
    let new = unsafe { rust_klp_new_shadow(size, flags) };
    // SAFETY: nobody else knows it.
    let Some(shadow) = (unsafe { new.as_mut() }) else {
        return Made::None;
    };
    shadow.object = object;
    shadow.id = id;
    let list = TABLE.list(object);
    // SAFETY: it is unlocked below.
    let flags = unsafe { rust_klp_shadow_lock() };
    // SAFETY: the lock is held.
    let known = unsafe { find(list, object, id) };
    let (made, errno) = match (known, constructor) {
        (Some(known), _) => (Made::Known(known.data()), 0),
        (None, None) => (Made::New(shadow.data()), 0),
        // SAFETY: by this function's own condition.
        (None, Some(construct)) => match unsafe { construct(object, shadow.data(), argument) } {
            0 => (Made::New(shadow.data()), 0),
            errno => (Made::None, errno),
        },
    };
    let is_used = matches!(made, Made::New(_));
    if is_used {
        shadow
            .next
            .store(list.load(Ordering::Relaxed), Ordering::Relaxed);
        list.store(new, Ordering::Release);
    }
    // SAFETY: it was locked above; what is not used is nobody else's.
    unsafe {
        rust_klp_shadow_unlock(flags);
        if !is_used {
            rust_klp_free_shadow(new, false);
        }
        if errno != 0 {
            rust_klp_say_shadow(object, id, errno);
        }
    }
    made
}

/// `klp_shadow_alloc` of `linux/livepatch.h`; null if there is one already, or none can be made.
///
/// # Safety
///
/// As [`get_or_make`].
#[no_mangle]
unsafe extern "C" fn klp_shadow_alloc(
    object: *mut c_void,
    id: c_ulong,
    size: usize,
    flags: bindings::gfp_t,
    constructor: Constructor,
    argument: *mut c_void,
) -> *mut c_void {
    // SAFETY: by this function's own condition.
    match unsafe { get_or_make(object, id, size, flags, constructor, argument) } {
        Made::New(data) => data,
        Made::Known(_) => {
            // SAFETY: takes anything.
            unsafe { rust_klp_warn_shadow(object, id) };
            ptr::null_mut()
        }
        Made::None => ptr::null_mut(),
    }
}

/// `klp_shadow_get_or_alloc` of `linux/livepatch.h`; null if none can be made.
///
/// # Safety
///
/// As [`get_or_make`].
#[no_mangle]
unsafe extern "C" fn klp_shadow_get_or_alloc(
    object: *mut c_void,
    id: c_ulong,
    size: usize,
    flags: bindings::gfp_t,
    constructor: Constructor,
    argument: *mut c_void,
) -> *mut c_void {
    // SAFETY: by this function's own condition.
    match unsafe { get_or_make(object, id, size, flags, constructor, argument) } {
        Made::New(data) | Made::Known(data) => data,
        Made::None => ptr::null_mut(),
    }
}

/// `klp_shadow_free` of `linux/livepatch.h`.
///
/// # Safety
///
/// The destructor may be called with the object and its data, under a spinlock.
#[no_mangle]
unsafe extern "C" fn klp_shadow_free(object: *mut c_void, id: c_ulong, destructor: Destructor) {
    // SAFETY: by this function's own condition; the lock is held in between.
    unsafe {
        let flags = rust_klp_shadow_lock();
        remove(TABLE.list(object), destructor, |shadow| {
            shadow.is(object, id)
        });
        rust_klp_shadow_unlock(flags);
    }
}

/// `klp_shadow_free_all` of `linux/livepatch.h`.
///
/// # Safety
///
/// As [`klp_shadow_free`], for all objects with such a shadow.
#[no_mangle]
unsafe extern "C" fn klp_shadow_free_all(id: c_ulong, destructor: Destructor) {
    // SAFETY: by this function's own condition; the lock is held in between.
    unsafe {
        let flags = rust_klp_shadow_lock();
        for list in &TABLE.0 {
            remove(list, destructor, |shadow| shadow.id == id);
        }
        rust_klp_shadow_unlock(flags);
    }
}
