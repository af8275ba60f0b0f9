//! Patches: the C structures of `linux/livepatch.h`, their lists, flags, callbacks and modules.

// SPDX-License-Identifier: GPL-2.0-only

use core::cell::UnsafeCell;
use core::ptr;

use kernel::bindings::{self, klp_func, klp_object, klp_patch, klp_state, list_head};
use kernel::ffi::{c_char, c_int};
use livepatch::port::{Patches, State};
use livepatch::{Code, Epoch};

use crate::list::{self, around};
use crate::{symbols, Errno, Func, Kernel, Locked, Module, Object, Patch, EINVAL, ENOMEM};

extern "C" {
    fn rust_klp_is_ready() -> bool;
    fn rust_klp_init_patch(patch: Patch);
    fn rust_klp_init_object(object: Object);
    fn rust_klp_init_func(func: Func);
    fn rust_klp_show_patch(patch: Patch) -> c_int;
    fn rust_klp_show_object(patch: Patch, object: Object) -> c_int;
    fn rust_klp_show_func(object: Object, func: Func) -> c_int;
    fn rust_klp_hide_patch(patch: Patch);
    fn rust_klp_new_object(name: *const c_char) -> Object;
    fn rust_klp_new_nop(name: *const c_char) -> Func;
    fn rust_klp_schedule_free(patch: Patch);
    fn rust_klp_schedule_put(patch: Patch);
    fn rust_klp_find_module(name: *const c_char) -> Module;
    fn rust_klp_is_livepatch(module: Module) -> bool;
    fn rust_klp_get_module(module: Module) -> bool;
    fn rust_klp_put_module(module: Module);
}

/// The patches that are listed, and those that are retired.
///
/// The latter use the members of `klp_patch.list` otherwise: `next` is the next patch itself, and
/// `prev` the number of the time. `klp_patch.forced` says that nothing but the code is left.
struct Lists {
    listed: list_head,
    retired: Patch,
}

static LISTS: Locked<Lists> = Locked(UnsafeCell::new(Lists {
    listed: list_head {
        next: ptr::null_mut(),
        prev: ptr::null_mut(),
    },
    retired: ptr::null_mut(),
}));

/// The head of the list of patches, which points to itself from its first use on.
fn listed() -> *mut list_head {
    // SAFETY: only called under the lock.
    unsafe {
        let head = ptr::addr_of_mut!((*LISTS.0.get()).listed);
        if (*head).next.is_null() {
            list::init(head);
        }
        head
    }
}

/// The place that holds the first retired patch.
fn retired() -> *mut Patch {
    // SAFETY: only the address is taken.
    unsafe { ptr::addr_of_mut!((*LISTS.0.get()).retired) }
}

fn node(patch: Patch) -> *mut list_head {
    // SAFETY: only the address is taken.
    unsafe { ptr::addr_of_mut!((*patch).list) }
}

fn next_listed(node: *mut list_head) -> Option<Patch> {
    // SAFETY: the lock is held, and the node is in the list.
    let next = unsafe { list::next(listed(), node) }?;
    Some(around!(next, klp_patch, list))
}

fn next_object(patch: Patch, node: *mut list_head) -> Option<Object> {
    // SAFETY: the lock is held, and the node is in the patch's list.
    let next = unsafe { list::next(ptr::addr_of_mut!((*patch).obj_list), node) }?;
    Some(around!(next, klp_object, node))
}

fn next_func(object: Object, node: *mut list_head) -> Option<Func> {
    // SAFETY: the lock is held, and the node is in the object's list.
    let next = unsafe { list::next(ptr::addr_of_mut!((*object).func_list), node) }?;
    Some(around!(next, klp_func, node))
}

/// Calls `f` for each object that the patch came with; the array ends with one that has neither a
/// name nor functions.
pub(crate) fn each_own_object(patch: Patch, mut f: impl FnMut(Object)) {
    // SAFETY: the array is in the patch's module, which is there.
    unsafe {
        let mut object = (*patch).objs;
        while !(*object).funcs.is_null() || !(*object).name.is_null() {
            f(object);
            object = object.add(1);
        }
    }
}

/// The same for the functions of such an object; the last has nothing that is set from outside.
fn each_own_func(object: Object, mut f: impl FnMut(Func)) {
    // SAFETY: as above.
    unsafe {
        let mut func = (*object).funcs;
        if func.is_null() {
            return;
        }
        while !(*func).old_name.is_null() || !(*func).new_func.is_null() || (*func).old_sympos != 0
        {
            f(func);
            func = func.add(1);
        }
    }
}

/// The name of a patch's module.
pub(crate) fn name(patch: Patch) -> *const c_char {
    // SAFETY: the patch is a live one.
    unsafe { ptr::addr_of!((*(*patch).mod_).name) }.cast()
}

/// The name of an object, for people.
pub(crate) fn object_name(object: Object) -> *const c_char {
    // SAFETY: the object is a live one.
    match unsafe { (*object).name } {
        name if name.is_null() => c"vmlinux".as_ptr().cast(),
        name => name,
    }
}

/// The name of the function that is replaced.
pub(crate) fn func_name(func: Func) -> *const c_char {
    // SAFETY: the function is a live one.
    unsafe { (*func).old_name }
}

fn is_same_string(a: *const c_char, b: *const c_char) -> bool {
    if a.is_null() || b.is_null() {
        return a.is_null() && b.is_null();
    }
    // SAFETY: names are C strings.
    unsafe { list::bytes(a) == list::bytes(b) }
}

fn length(name: *const c_char) -> usize {
    // SAFETY: names are C strings.
    unsafe { list::bytes(name) }.len()
}

/// The state of a patch with this number; null for none.
pub(crate) fn find_state(patch: Patch, id: usize) -> *mut klp_state {
    // SAFETY: the array, if there is one, ends with the number 0.
    unsafe {
        let mut state = (*patch).states;
        while !state.is_null() && (*state).id != 0 {
            if (*state).id as usize == id {
                return state;
            }
            state = state.add(1);
        }
    }
    ptr::null_mut()
}

/// The newest state with this number of the patches before this one.
pub(crate) fn find_previous_state(patch: Patch, id: usize) -> *mut klp_state {
    let mut last = ptr::null_mut();
    let mut next = next_listed(listed());
    while let Some(older) = next.filter(|older| *older != patch) {
        let state = find_state(older, id);
        if !state.is_null() {
            last = state;
        }
        next = next_listed(node(older));
    }
    last
}

/// The module of an object, and whether it is loaded.
pub(crate) fn is_loaded(object: Object) -> bool {
    // SAFETY: the object is a live one.
    unsafe { (*object).name.is_null() || !(*object).mod_.is_null() }
}

impl Patches for Kernel {
    fn first_patch(&self) -> Option<Patch> {
        next_listed(listed())
    }

    fn next_patch(&self, patch: Patch) -> Option<Patch> {
        next_listed(node(patch))
    }

    fn list(&self, patch: Patch) {
        // SAFETY: the lock is held; the patch was prepared and is in no list.
        unsafe { list::add_last(listed(), node(patch)) }
    }

    fn unlist(&self, patch: Patch) {
        // SAFETY: the lock is held; the patch was prepared.
        unsafe { list::remove(node(patch)) }
    }

    fn first_retired(&self) -> Option<Patch> {
        // SAFETY: the lock is held.
        let patch = unsafe { *retired() };
        (!patch.is_null()).then_some(patch)
    }

    fn next_retired(&self, patch: Patch) -> Option<Patch> {
        // SAFETY: the lock is held; see `Lists`.
        let next: Patch = unsafe { (*node(patch)).next }.cast();
        (!next.is_null()).then_some(next)
    }

    fn retire(&self, patch: Patch, at: Epoch) {
        // SAFETY: the lock is held; see `Lists`.
        unsafe {
            (*node(patch)).next = (*retired()).cast();
            (*node(patch)).prev = at.0 as *mut list_head;
            *retired() = patch;
        }
    }

    fn retired_at(&self, patch: Patch) -> Epoch {
        // SAFETY: the lock is held; see `Lists`.
        Epoch(unsafe { (*node(patch)).prev } as usize)
    }

    fn unretire(&self, patch: Patch) {
        // SAFETY: the lock is held; see `Lists`.
        unsafe {
            let mut place = retired();
            while !(*place).is_null() && *place != patch {
                place = ptr::addr_of_mut!((**place).list.next).cast();
            }
            if *place == patch {
                *place = (*node(patch)).next.cast();
            }
        }
    }

    fn is_bare(&self, patch: Patch) -> bool {
        // SAFETY: the patch's module is there.
        unsafe { (*patch).forced }
    }

    fn set_bare(&self, patch: Patch) {
        // SAFETY: as above.
        unsafe { (*patch).forced = true };
    }

    fn retired_code(&self, patch: Patch, original: usize) -> Option<Code> {
        let mut found = None;
        each_own_object(patch, |object| {
            each_own_func(object, |func| {
                // SAFETY: as above.
                let func = unsafe { &*func };
                if func.old_func as usize == original {
                    found = Some(Code {
                        start: func.new_func as usize,
                        size: func.new_size as usize,
                    });
                }
            });
        });
        found
    }

    fn text(&self, patch: Patch) -> Code {
        // SAFETY: the patch's module is there. Of its code that of its init function is not meant,
        // which goes by itself.
        let memory = unsafe { &(*(*patch).mod_).mem[bindings::mod_mem_type_MOD_TEXT as usize] };
        Code {
            start: memory.base as usize,
            size: memory.size as usize,
        }
    }

    fn is_enabled(&self, patch: Patch) -> bool {
        // SAFETY: the patch is a live one.
        unsafe { (*patch).enabled }
    }

    fn set_enabled(&self, patch: Patch, enabled: bool) {
        // SAFETY: as above.
        unsafe { (*patch).enabled = enabled };
    }

    fn replaces(&self, patch: Patch) -> bool {
        // SAFETY: as above.
        unsafe { (*patch).replace }
    }

    fn state(&self, patch: Patch, n: usize) -> Option<State> {
        // SAFETY: the core asks for one after the other, and not past the end.
        unsafe {
            let states = (*patch).states;
            if states.is_null() {
                return None;
            }
            let state = &*states.add(n);
            (state.id != 0).then_some(State {
                id: state.id as usize,
                version: state.version,
            })
        }
    }

    fn first_object(&self, patch: Patch) -> Option<Object> {
        // SAFETY: only the address is taken.
        next_object(patch, unsafe { ptr::addr_of_mut!((*patch).obj_list) })
    }

    fn next_object(&self, patch: Patch, object: Object) -> Option<Object> {
        // SAFETY: as above.
        next_object(patch, unsafe { ptr::addr_of_mut!((*object).node) })
    }

    fn first_func(&self, object: Object) -> Option<Func> {
        // SAFETY: as above.
        next_func(object, unsafe { ptr::addr_of_mut!((*object).func_list) })
    }

    fn next_func(&self, object: Object, func: Func) -> Option<Func> {
        // SAFETY: as above.
        next_func(object, unsafe { ptr::addr_of_mut!((*func).node) })
    }

    fn is_same_object(&self, a: Object, b: Object) -> bool {
        // SAFETY: both are live.
        unsafe { is_same_string((*a).name, (*b).name) }
    }

    fn is_same_name(&self, a: Func, b: Func) -> bool {
        // SAFETY: both are live.
        unsafe { is_same_string((*a).old_name, (*b).old_name) }
    }

    fn position(&self, func: Func) -> usize {
        // SAFETY: the function is a live one.
        unsafe { (*func).old_sympos as usize }
    }

    fn is_loaded(&self, object: Object) -> bool {
        is_loaded(object)
    }

    fn is_patched(&self, object: Object) -> bool {
        // SAFETY: the object is a live one.
        unsafe { (*object).patched }
    }

    fn set_patched(&self, object: Object, patched: bool) {
        // SAFETY: as above.
        unsafe { (*object).patched = patched };
    }

    fn is_dynamic(&self, object: Object) -> bool {
        // SAFETY: as above.
        unsafe { (*object).dynamic }
    }

    #[inline]
    fn is_nop(&self, func: Func) -> bool {
        // SAFETY: the function is a live one; this is set before anybody sees it.
        unsafe { (*func).nop }
    }

    fn is_complete(&self, patch: Patch) -> bool {
        // SAFETY: by the condition of `klp_enable_patch`.
        if patch.is_null() || unsafe { (*patch).mod_.is_null() || (*patch).objs.is_null() } {
            return false;
        }
        let mut is_complete = true;
        // SAFETY: the object is one of the array's.
        each_own_object(patch, |object| {
            is_complete &= unsafe { !(*object).funcs.is_null() }
        });
        is_complete
    }

    fn is_marked(&self, patch: Patch) -> bool {
        // SAFETY: the patch has a module, which calls.
        unsafe { rust_klp_is_livepatch((*patch).mod_) }
    }

    fn is_ready(&self) -> bool {
        // SAFETY: takes nothing.
        unsafe { rust_klp_is_ready() }
    }

    fn get_module(&self, patch: Patch) -> bool {
        // SAFETY: as above.
        unsafe { rust_klp_get_module((*patch).mod_) }
    }

    fn put_module(&self, patch: Patch) {
        // SAFETY: it was got; nobody uses the patch from here on.
        unsafe { rust_klp_put_module((*patch).mod_) }
    }

    fn prepare(&self, patch: Patch) {
        // SAFETY: nothing of the patch is in use yet; the arrays are its own.
        unsafe {
            list::init(node(patch));
            list::init(ptr::addr_of_mut!((*patch).obj_list));
            (*patch).enabled = false;
            (*patch).forced = false;
            rust_klp_init_patch(patch);
        }
        symbols::release_sections(patch);
        each_own_object(patch, |object| {
            prepare_object(patch, object);
            each_own_func(object, |func| prepare_func(object, func));
        });
    }

    fn show_patch(&self, patch: Patch) -> Result<(), Errno> {
        // SAFETY: the patch was prepared.
        Errno::of(unsafe { rust_klp_show_patch(patch) })
    }

    fn show_object(&self, patch: Patch, object: Object) -> Result<(), Errno> {
        // SAFETY: the object was prepared.
        unsafe {
            let name = (*object).name;
            if !name.is_null() && length(name) >= symbols::MODULE_NAME {
                return Err(EINVAL);
            }
            (*object).patched = false;
            (*object).mod_ = match name.is_null() {
                true => ptr::null_mut(),
                false => rust_klp_find_module(name),
            };
            Errno::of(rust_klp_show_object(patch, object))
        }
    }

    fn show_func(&self, object: Object, func: Func) -> Result<(), Errno> {
        // SAFETY: both were prepared.
        unsafe {
            let name = (*func).old_name;
            if name.is_null() || ((*func).new_func.is_null() && !(*func).nop) {
                return Err(EINVAL);
            }
            if length(name) >= symbols::SYMBOL_NAME {
                return Err(EINVAL);
            }
            list::init(ptr::addr_of_mut!((*func).stack_node));
            (*func).patched = false;
            (*func).transition = false;
            Errno::of(rust_klp_show_func(object, func))
        }
    }

    fn resolve(&self, patch: Patch, object: Object) -> Result<(), Errno> {
        if let Err(why) = symbols::relocate_object(patch, object) {
            self.lose(object);
            return Err(why);
        }
        let mut next = self.first_func(object);
        while let Some(func) = next {
            if let Err(why) = symbols::find_func(object, func) {
                symbols::clear_object(patch, object);
                self.lose(object);
                return Err(why);
            }
            next = self.next_func(object, func);
        }
        Ok(())
    }

    fn forget(&self, patch: Patch, object: Object) {
        // One that could not be resolved is lost already, and none of its relocations is written.
        symbols::clear_object(patch, object);
        self.lose(object);
    }

    fn add_object(&self, patch: Patch, like: Object) -> Result<Object, Errno> {
        // SAFETY: the name is a C string or null.
        let object = unsafe { rust_klp_new_object((*like).name) };
        if object.is_null() {
            return Err(ENOMEM);
        }
        prepare_object(patch, object);
        // SAFETY: it is a new one.
        unsafe { (*object).dynamic = true };
        Ok(object)
    }

    fn add_nop(&self, object: Object, like: Func) -> Result<(), Errno> {
        // SAFETY: the name is a C string; functions without one have been refused.
        let func = unsafe { rust_klp_new_nop((*like).old_name) };
        if func.is_null() {
            return Err(ENOMEM);
        }
        prepare_func(object, func);
        // SAFETY: both are live.
        unsafe { (*func).old_sympos = (*like).old_sympos };
        Ok(())
    }

    fn remove_func(&self, func: Func) {
        // SAFETY: the lock is held; the function was prepared, and is not used after this.
        unsafe {
            list::remove(ptr::addr_of_mut!((*func).node));
            bindings::kobject_put(ptr::addr_of_mut!((*func).kobj));
        }
    }

    fn remove_object(&self, object: Object) {
        // SAFETY: as above.
        unsafe {
            list::remove(ptr::addr_of_mut!((*object).node));
            bindings::kobject_put(ptr::addr_of_mut!((*object).kobj));
        }
    }

    fn schedule_free(&self, patch: Patch) {
        // SAFETY: the patch was prepared, and stays until this was done.
        unsafe { rust_klp_schedule_free(patch) }
    }

    fn schedule_put(&self, patch: Patch) {
        // SAFETY: as above; what it was scheduled for before has been done.
        unsafe { rust_klp_schedule_put(patch) }
    }

    fn drop_interface(&self, patch: Patch) {
        // SAFETY: the patch was prepared.
        unsafe { rust_klp_hide_patch(patch) }
    }

    fn is_of_module(&self, object: Object, module: Module) -> bool {
        // SAFETY: both are live.
        unsafe {
            let name = (*object).name;
            !name.is_null() && is_same_string(name, ptr::addr_of!((*module).name).cast())
        }
    }

    fn set_loaded(&self, object: Object, module: Module) {
        // SAFETY: the object is a live one.
        unsafe { (*object).mod_ = module };
    }

    fn set_alive(&self, module: Module, alive: bool) {
        // SAFETY: the module is a live one; the lock is held.
        unsafe { (*module).klp_alive = alive };
    }

    fn pre_patch(&self, object: Object) -> Result<(), Errno> {
        // SAFETY: the patch's module is there, and so is its code.
        match unsafe { (*object).callbacks.pre_patch } {
            // SAFETY: as above.
            Some(callback) => Errno::of(unsafe { callback(object) }),
            None => Ok(()),
        }
    }

    fn post_patch(&self, object: Object) {
        // SAFETY: as above.
        if let Some(callback) = unsafe { (*object).callbacks.post_patch } {
            // SAFETY: as above.
            unsafe { callback(object) };
        }
    }

    fn pre_unpatch(&self, object: Object) {
        // SAFETY: as above.
        if let Some(callback) = unsafe { (*object).callbacks.pre_unpatch } {
            // SAFETY: as above.
            unsafe { callback(object) };
        }
    }

    fn post_unpatch(&self, object: Object) {
        // SAFETY: as above.
        if let Some(callback) = unsafe { (*object).callbacks.post_unpatch } {
            // SAFETY: as above.
            unsafe { callback(object) };
        }
    }

    fn is_armed(&self, object: Object) -> bool {
        // SAFETY: the object is a live one.
        unsafe { (*object).callbacks.post_unpatch_enabled }
    }

    fn set_armed(&self, object: Object, armed: bool) {
        // SAFETY: as above.
        unsafe { (*object).callbacks.post_unpatch_enabled = armed };
    }
}

impl Kernel {
    /// Forgets where an object's functions are.
    fn lose(&self, object: Object) {
        // SAFETY: the object is a live one.
        unsafe { (*object).mod_ = ptr::null_mut() };
        let mut next = self.first_func(object);
        while let Some(func) = next {
            // SAFETY: the function is a live one.
            unsafe {
                (*func).old_func = ptr::null_mut();
                if (*func).nop {
                    (*func).new_func = ptr::null_mut();
                }
            }
            next = self.next_func(object, func);
        }
    }
}

fn prepare_object(patch: Patch, object: Object) {
    // SAFETY: nothing of the object is in use yet.
    unsafe {
        list::init(ptr::addr_of_mut!((*object).func_list));
        rust_klp_init_object(object);
        list::add_last(
            ptr::addr_of_mut!((*patch).obj_list),
            ptr::addr_of_mut!((*object).node),
        );
    }
}

fn prepare_func(object: Object, func: Func) {
    // SAFETY: nothing of the function is in use yet.
    unsafe {
        rust_klp_init_func(func);
        list::add_last(
            ptr::addr_of_mut!((*object).func_list),
            ptr::addr_of_mut!((*func).node),
        );
    }
}
