//! The livepatch core in the kernel: the API of `include/linux/livepatch.h` on top of the
//! `livepatch` crate.
//!
//! Handles are pointers to the C structures, which stay the ABI. Only types and calls are translated
//! here and in the modules by topic; what is done when is `livepatch`'s, and what cannot be said in
//! Rust is in `shim.c`.

// SPDX-License-Identifier: GPL-2.0-only

// Some structures of this configuration's are empty, as C has them; only pointers are passed.
#![allow(improper_ctypes)]

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{fence, AtomicI32, AtomicPtr, Ordering};

use kernel::bindings;
use kernel::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};
use livepatch::barrier::Kind;
#[cfg(CONFIG_DEBUG_FS)]
use livepatch::port::{Patches, Sites, Tasks};
use livepatch::port::{Handles, Port};
#[cfg(CONFIG_DEBUG_FS)]
use livepatch::Variant;
use livepatch::{Barrier, Blocker, Choice, Core, Event, How, Refused, Side, Universe};

mod list;
mod patches;
mod shadow;
mod sites;
mod symbols;
mod tasks;

use sites::Site;

pub(crate) type Patch = *mut bindings::klp_patch;
pub(crate) type Object = *mut bindings::klp_object;
pub(crate) type Func = *mut bindings::klp_func;
pub(crate) type Task = *mut bindings::task_struct;
pub(crate) type Module = *mut bindings::module;

/// An errno, negative.
#[derive(Clone, Copy)]
pub(crate) struct Errno(pub(crate) c_int);

pub(crate) const EINVAL: Errno = Errno(-(bindings::EINVAL as c_int));
pub(crate) const ENOMEM: Errno = Errno(-(bindings::ENOMEM as c_int));
pub(crate) const ENOENT: Errno = Errno(-(bindings::ENOENT as c_int));
pub(crate) const ENOEXEC: Errno = Errno(-(bindings::ENOEXEC as c_int));
const ENODEV: Errno = Errno(-(bindings::ENODEV as c_int));
const EBUSY: Errno = Errno(-(bindings::EBUSY as c_int));

/// The number of the unwinder's reason, negative where it has none.
#[derive(Clone, Copy)]
pub(crate) struct Doubt(pub(crate) c_int);

impl Errno {
    /// The outcome that C code tells by a number.
    pub(crate) fn of(number: c_int) -> Result<(), Self> {
        match number {
            0 => Ok(()),
            error => Err(Self(error)),
        }
    }
}

/// `enum rust_klp_message` of `shim.h`.
#[repr(C)]
pub(crate) enum Message {
    Enabling,
    NotEnabled,
    Incompatible,
    Unmarked,
    NoReliableStacks,
    Preparing,
    Starting,
    Reversing,
    Cancelling,
    Forcing,
    Nudging,
    Completing,
    Complete,
    PrePatchFailed,
    NotPatched,
    Applying,
    Reverting,
    NotResolved,
    NotApplied,
    RefusingModule,
    Pinned,
    Released,
    NoLocation,
    NoFilter,
    NoHandler,
    NoSymbol,
    AmbiguousSymbol,
    NoSuchPosition,
    NoSize,
    NoReplacementSize,
    SymbolUnmarked,
    SymbolMisnamed,
    SymbolOfImage,
    SectionMisnamed,
    ModuleMisnamed,
}

extern "C" {
    fn rust_klp_lock();
    fn rust_klp_try_lock() -> bool;
    fn rust_klp_unlock();
    fn rust_klp_schedule_tick();
    fn rust_klp_say(message: Message, first: *const c_char, second: *const c_char, number: c_long);
    fn rust_klp_say_task(task: Task, blocker: c_uint, func: *const c_char);
    fn rust_klp_trace_switch(task: Task, patching: bool, how: c_uint);
    #[cfg(CONFIG_DEBUG_FS)]
    fn rust_klp_show_blocker(
        seq: *mut c_void,
        task: Task,
        blocker: c_uint,
        func: *const c_char,
        variant: c_ulong,
        patch: *const c_char,
        number: c_int,
    );
    #[cfg(CONFIG_DEBUG_FS)]
    fn rust_klp_show_forced(seq: *mut c_void, patch: *const c_char);
    #[cfg(CONFIG_DEBUG_FS)]
    fn rust_klp_show_end(seq: *mut c_void);
    fn rust_klp_warn_choice(empty: bool);
    fn rust_klp_warn_no_transition();
}

/// Says something.
pub(crate) fn say(message: Message, first: *const c_char, second: *const c_char, number: c_long) {
    // SAFETY: both are C strings, or null where the message does not show them.
    unsafe { rust_klp_say(message, first, second, number) }
}

/// The kernel, as the core sees it.
///
/// # Invariants
///
/// Handles that the core is given point to structures that stay for as long as it knows of them:
/// patches until their module is put, tasks for as long as the task list is locked or they are the
/// caller.
pub(crate) struct Kernel;

/// The core's state.
struct Shared(Core<Kernel>);

// SAFETY: `Core` uses its cells under `Port::with_lock` or `Port::try_lock` only, which is one mutex;
// callbacks, which read the transition, are called under it.
unsafe impl Sync for Shared {}

static CORE: Shared = Shared(Core::new());

/// The transition's goal, as `task->patch_state` has it.
static TARGET: AtomicI32 = AtomicI32::new(Universe::Undefined.number());

/// The patch in transition, for those who look without the lock.
static SHOWN: AtomicPtr<bindings::klp_patch> = AtomicPtr::new(ptr::null_mut());

/// Something that is only used under the lock.
pub(crate) struct Locked<T>(pub(crate) UnsafeCell<T>);

// SAFETY: whoever gets at the contents promises that the lock is held; pointers in it are to memory
// that any CPU may use.
unsafe impl<T> Sync for Locked<T> {}

impl Handles for Kernel {
    type Patch = Patch;
    type Object = Object;
    type Func = Func;
    type Site = *mut Site;
    type Task = Task;
    type Module = Module;
    type Error = Errno;
    type Doubt = Doubt;
}

impl Port for Kernel {
    #[inline]
    fn with_lock<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: the core takes its lock once, from where it may sleep.
        unsafe { rust_klp_lock() };
        let result = f();
        // SAFETY: it was taken above.
        unsafe { rust_klp_unlock() };
        result
    }

    fn try_lock(&self, f: impl FnOnce()) {
        // Whoever waits for the lock is not to wait until this task gets a CPU again.
        self.without_preemption(|| {
            // SAFETY: may be called by any task, which may hold it.
            if unsafe { rust_klp_try_lock() } {
                f();
                // SAFETY: it was taken above.
                unsafe { rust_klp_unlock() };
            }
        });
    }

    #[inline]
    fn order(&self, barrier: Barrier) {
        fence(match barrier.kind() {
            Kind::Read => Ordering::Acquire,
            Kind::Write => Ordering::Release,
        });
    }

    #[inline]
    fn target(&self) -> Universe {
        Universe::from_number(TARGET.load(Ordering::Relaxed))
    }

    fn set_target(&self, target: Universe) {
        TARGET.store(target.number(), Ordering::Relaxed);
    }

    fn show_transition(&self, patch: Option<Patch>) {
        SHOWN.store(patch.unwrap_or(ptr::null_mut()), Ordering::Relaxed);
    }

    fn schedule_tick(&self) {
        // SAFETY: takes nothing.
        unsafe { rust_klp_schedule_tick() }
    }

    #[inline]
    fn note(&self, event: Event<'_, Self>) {
        match event {
            // The one that comes once for each task; all others are worth a message.
            Event::Switched(task, side, how) => {
                let how = match how {
                    How::Clear => 0,
                    How::SafePoint => 1,
                    How::Forced => 2,
                    How::Offline => 3,
                };
                // SAFETY: by the invariant of `Kernel`.
                unsafe { rust_klp_trace_switch(task, side == Side::Patched, how) }
            }
            event => note(&event),
        }
    }
}

#[inline(never)]
fn note(event: &Event<'_, Kernel>) {
    let none = ptr::null();
    let about = |message, patch| say(message, patches::name(patch), none, 0);
    let sided = |message, patch, side| {
        let number = c_long::from(side == Side::Patched);
        say(message, patches::name(patch), none, number);
    };
    let module = |message, patch, object, errno: c_int| {
        let number = errno as c_long;
        say(
            message,
            patches::name(patch),
            patches::object_name(object),
            number,
        );
    };
    match *event {
        Event::Enabling(patch) => about(Message::Enabling, patch),
        Event::NotEnabled(patch) => about(Message::NotEnabled, patch),
        Event::Incompatible(patch) => about(Message::Incompatible, patch),
        Event::Unmarked(patch) => about(Message::Unmarked, patch),
        Event::NoReliableStacks => say(Message::NoReliableStacks, none, none, 0),
        Event::Preparing(patch, side) => sided(Message::Preparing, patch, side),
        Event::Starting(patch, side) => sided(Message::Starting, patch, side),
        Event::Reversing(patch, side) => sided(Message::Reversing, patch, side),
        Event::Cancelling(patch) => about(Message::Cancelling, patch),
        Event::Forcing(patch, side) => sided(Message::Forcing, patch, side),
        Event::Nudging { is_first } => {
            if is_first {
                say(Message::Nudging, none, none, 0);
            }
        }
        Event::Completing(patch, side) => sided(Message::Completing, patch, side),
        Event::Complete(patch, side) => sided(Message::Complete, patch, side),
        Event::Blocked(task, blocker) => {
            let (number, func) = match *blocker {
                Blocker::Running => (0, none),
                Blocker::Unreliable(_) => (1, none),
                Blocker::Inside { func, .. } => (2, patches::func_name(func)),
                Blocker::NotAtSafePoint => (3, none),
                Blocker::InModule { patch, .. } => (4, patches::name(patch)),
            };
            // SAFETY: by the invariant of `Kernel`; the name is a C string where it is shown.
            unsafe { rust_klp_say_task(task, number, func) }
        }
        // SAFETY: as above.
        Event::Cleared(task) => unsafe { rust_klp_say_task(task, 5, none) },
        Event::Switched(..) => {}
        Event::PrePatchFailed(object) => {
            say(
                Message::PrePatchFailed,
                patches::object_name(object),
                none,
                0,
            );
        }
        Event::NotPatched(object) => {
            say(Message::NotPatched, patches::object_name(object), none, 0);
        }
        Event::Applying(patch, object) => module(Message::Applying, patch, object, 0),
        Event::Reverting(patch, object) => module(Message::Reverting, patch, object, 0),
        Event::NotResolved(patch, object, why) => {
            module(Message::NotResolved, patch, object, why.0);
        }
        Event::NotApplied(patch, object, why) => module(Message::NotApplied, patch, object, why.0),
        Event::RefusingModule(patch, object) => module(Message::RefusingModule, patch, object, 0),
        Event::Pinned(patch) => about(Message::Pinned, patch),
        Event::Released(patch) => about(Message::Released, patch),
    }
}

/// What C callers are told.
fn number(outcome: Result<(), Refused<Errno>>) -> c_int {
    let errno = match outcome {
        Ok(()) => return 0,
        Err(why) => match why {
            Refused::Incomplete
            | Refused::Unmarked
            | Refused::Incompatible
            | Refused::Already
            | Refused::Disabled
            | Refused::NotInTransition => EINVAL,
            Refused::NotReady | Refused::ModuleGone => ENODEV,
            Refused::Busy => EBUSY,
            Refused::Failed(errno) => errno,
        },
    };
    errno.0
}

/// `klp_enable_patch` of `linux/livepatch.h`.
///
/// # Safety
///
/// `patch` is null or a patch in the module that calls, in which nothing has been set up yet.
#[no_mangle]
unsafe extern "C" fn klp_enable_patch(patch: Patch) -> c_int {
    number(CORE.0.enable(&Kernel, patch))
}

/// `klp_module_coming` of `linux/livepatch.h`.
///
/// # Safety
///
/// `module` is one that is being loaded.
#[no_mangle]
unsafe extern "C" fn klp_module_coming(module: Module) -> c_int {
    // SAFETY: by this function's own condition.
    let name = unsafe { ptr::addr_of!((*module).name) }.cast::<c_char>();
    // SAFETY: a module's name is a C string.
    if unsafe { list::bytes(name) } == b"vmlinux" {
        say(Message::ModuleMisnamed, ptr::null(), ptr::null(), 0);
        return EINVAL.0;
    }
    match CORE.0.module_coming(&Kernel, module) {
        Ok(()) => 0,
        Err(errno) => errno.0,
    }
}

/// `klp_module_going` of `linux/livepatch.h`.
///
/// # Safety
///
/// `module` is one that is being unloaded, in which nobody is any more.
#[no_mangle]
unsafe extern "C" fn klp_module_going(module: Module) {
    CORE.0.module_going(&Kernel, module);
}

/// `klp_update_patch_state` of `linux/livepatch.h`.
///
/// # Safety
///
/// `task` is the caller, at a safe point.
#[no_mangle]
unsafe extern "C" fn klp_update_patch_state(task: Task) {
    Core::safe_point(&Kernel, task);
}

/// `klp_kthread_safe_point` of `linux/livepatch.h`, where the caller is asked to switch.
///
/// # Safety
///
/// The caller is a kernel thread in its own loop.
#[no_mangle]
unsafe extern "C" fn rust_klp_kthread_safe_point() {
    // SAFETY: always allowed in a task's context.
    Core::thread_safe_point(&Kernel, unsafe { bindings::get_current() });
}

/// `klp_get_state` of `linux/livepatch.h`.
///
/// # Safety
///
/// `patch` is a patch.
#[no_mangle]
unsafe extern "C" fn klp_get_state(patch: Patch, id: c_ulong) -> *mut bindings::klp_state {
    patches::find_state(patch, id as usize)
}

/// `klp_get_prev_state` of `linux/livepatch.h`.
///
/// # Safety
///
/// Called by a callback.
#[no_mangle]
unsafe extern "C" fn klp_get_prev_state(id: c_ulong) -> *mut bindings::klp_state {
    let Some(transition) = CORE.0.transition() else {
        // SAFETY: takes nothing.
        unsafe { rust_klp_warn_no_transition() };
        return ptr::null_mut();
    };
    patches::find_previous_state(transition.patch, id as usize)
}

/// # Safety
///
/// Called without the lock.
#[no_mangle]
unsafe extern "C" fn rust_klp_tick() {
    CORE.0.tick(&Kernel);
}

/// Shows each task that has not switched.
///
/// # Safety
///
/// `seq` is a file that can be written to. Called without the lock.
#[cfg(CONFIG_DEBUG_FS)]
#[no_mangle]
unsafe extern "C" fn rust_klp_blockers(seq: *mut c_void) {
    let none = ptr::null();
    CORE.0.blockers(&Kernel, |task, blocker| {
        let mut func = none;
        let (mut variant, mut patch, mut detail) = (0, none, 0);
        let number = match blocker {
            Some(Blocker::Running) => 0,
            Some(Blocker::Unreliable(Doubt(reason))) => {
                detail = reason;
                1
            }
            Some(Blocker::Inside {
                func: of,
                variant: inside,
                frame,
            }) => {
                func = patches::func_name(of);
                detail = frame as c_int;
                match inside {
                    Variant::Original => variant = Kernel.original(of).start,
                    Variant::Replacement(of) => variant = Kernel.replacement(of).start,
                    Variant::Retired(of) => patch = patches::name(of),
                }
                2
            }
            Some(Blocker::NotAtSafePoint) => 3,
            Some(Blocker::InModule { patch: of, frame }) => {
                patch = patches::name(of);
                detail = frame as c_int;
                4
            }
            None => 6,
        };
        // SAFETY: by this function's own condition; names are C strings, or null where not shown.
        unsafe { rust_klp_show_blocker(seq, task, number, func, variant, patch, detail) }
        show_record(seq, task);
    });
}

/// Ends a task's line with what is known of it from before: that it was forced, and the patches that
/// were disabled or replaced since, which it may be in.
#[cfg(CONFIG_DEBUG_FS)]
fn show_record(seq: *mut c_void, task: Task) {
    let since = Kernel.forced_since(task);
    if let Some(since) = since {
        let mut next = Kernel.first_retired();
        // SAFETY: the file can be written to; names are C strings.
        unsafe {
            rust_klp_show_forced(seq, ptr::null());
            while let Some(patch) = next {
                if Kernel.retired_at(patch) >= since {
                    rust_klp_show_forced(seq, patches::name(patch));
                }
                next = Kernel.next_retired(patch);
            }
        }
    }
    // SAFETY: as above.
    unsafe { rust_klp_show_end(seq) }
}

/// # Safety
///
/// `patch` was given to `Patches::schedule_free`. Called without the lock.
#[no_mangle]
unsafe extern "C" fn rust_klp_free(patch: Patch) {
    CORE.0.free(&Kernel, patch);
}

/// # Safety
///
/// `patch` was given to `Patches::schedule_put`. Called without the lock.
#[no_mangle]
unsafe extern "C" fn rust_klp_put(patch: Patch) {
    Core::put(&Kernel, patch);
}

/// # Safety
///
/// `patch` is shown. Called without the lock.
#[no_mangle]
unsafe extern "C" fn rust_klp_set_enabled(patch: Patch, enabled: bool) -> c_int {
    number(CORE.0.set_enabled(&Kernel, patch, enabled))
}

/// # Safety
///
/// As [`rust_klp_set_enabled`].
#[no_mangle]
unsafe extern "C" fn rust_klp_force(patch: Patch) -> c_int {
    number(CORE.0.force(&Kernel, patch))
}

/// # Safety
///
/// None; the pointer is only compared.
#[no_mangle]
unsafe extern "C" fn rust_klp_is_in_transition(patch: Patch) -> bool {
    ptr::eq(SHOWN.load(Ordering::Relaxed), patch)
}

/// # Safety
///
/// As [`rust_klp_set_enabled`].
#[no_mangle]
unsafe extern "C" fn rust_klp_order(patch: Patch) -> c_int {
    CORE.0.order(&Kernel, patch) as c_int
}

/// # Safety
///
/// `task` is the caller, and may sleep.
#[no_mangle]
unsafe extern "C" fn rust_klp_switch_current(task: Task) {
    CORE.0.switch_current(&Kernel, task);
}

/// # Safety
///
/// `parent` is the caller, `child` its copy that nobody sees yet; the task list is locked.
#[no_mangle]
unsafe extern "C" fn rust_klp_fork(parent: Task, child: Task) {
    Core::fork(&Kernel, parent, child);
}

/// Where a call of a redirected function goes; 0 for the original.
///
/// # Safety
///
/// `site` is attached or was when the call came, `task` is the caller; preemption is off.
#[no_mangle]
unsafe extern "C" fn rust_klp_choose(site: *mut Site, task: Task) -> c_ulong {
    match livepatch::choose(&Kernel, site, task) {
        Choice::Original => 0,
        // SAFETY: a function that was on a stack stays until all handlers have ended.
        Choice::Replacement(func) => unsafe { (*func).new_func as c_ulong },
        Choice::Empty => empty(),
        Choice::Sideless(func) => sideless(func),
    }
}

#[cold]
#[inline(never)]
fn empty() -> c_ulong {
    // SAFETY: takes no pointer.
    unsafe { rust_klp_warn_choice(true) };
    0
}

#[cold]
#[inline(never)]
fn sideless(func: Func) -> c_ulong {
    // SAFETY: takes no pointer; for the function, as in `rust_klp_choose`.
    unsafe {
        rust_klp_warn_choice(false);
        (*func).new_func as c_ulong
    }
}
