//! Tasks: their side, the flag that asks them to switch, and their stacks.

// SPDX-License-Identifier: GPL-2.0-only

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

use kernel::bindings::{self, list_head, task_struct};
use kernel::ffi::{c_int, c_uint, c_ulong, c_void};
use livepatch::port::{Synchronize, Tasks};
use livepatch::{Code, Epoch, Side, Universe};

use crate::list::around;
use crate::{Doubt, Kernel, Locked, Task};

extern "C" {
    fn rust_klp_synchronize();
    fn rust_klp_wait_for_unlisted();
    fn rust_klp_lock_tasks();
    fn rust_klp_unlock_tasks();
    fn rust_klp_rcu_lock();
    fn rust_klp_rcu_unlock();
    fn rust_klp_pause(task: Task) -> Task;
    fn rust_klp_while_off_cpu(
        task: Task,
        call: unsafe extern "C" fn(Task, *mut c_void) -> c_int,
        data: *mut c_void,
    );
    fn rust_klp_checks_stacks() -> bool;
    fn rust_klp_walk(
        task: Task,
        goes_on: unsafe extern "C" fn(*mut c_void, c_ulong) -> bool,
        data: *mut c_void,
    ) -> bool;
    fn rust_klp_doubt(task: Task) -> c_int;
    fn rust_klp_each_idle(each: unsafe extern "C" fn(Task, bool, *mut c_void), data: *mut c_void);
    fn rust_klp_nudge(task: Task);
    fn rust_klp_nudge_idle(task: Task);
    fn rust_klp_preempt_disable();
    fn rust_klp_preempt_enable();
    fn rust_klp_watch_reschedules(on: bool);
    fn stack_trace_save_tsk_reliable(task: Task, store: *mut c_ulong, size: c_uint) -> c_int;
}

/// Frames that a stack may have.
const FRAMES: usize = 100;

/// The stack that is looked at; only one is at a time.
static STACK: Locked<[usize; FRAMES]> = Locked(UnsafeCell::new([0; FRAMES]));

/// Tasks that are looked at before others may run.
const TURN: u32 = 32;

/// The task that the list of tasks begins with, an idle one.
#[inline]
fn first_task() -> Task {
    // SAFETY: only the address is taken.
    unsafe { ptr::addr_of_mut!(bindings::init_task) }
}

/// The forward link of a node of one of the lists of tasks, which are changed meanwhile.
///
/// # Safety
///
/// `node` is a live one.
#[inline]
unsafe fn link(node: *mut list_head) -> *mut list_head {
    // SAFETY: by this function's own condition; it is only used as an atomic, and C does as well.
    unsafe { AtomicPtr::from_ptr(ptr::addr_of_mut!((*node).next)) }.load(Ordering::Relaxed)
}

/// The task after another one: first a process's threads, then the next process; `None` at the end.
///
/// # Safety
///
/// Under the lock of the task list, or RCU since when `task` was in it.
#[inline]
unsafe fn task_after(task: Task) -> Option<Task> {
    // SAFETY: by this function's own condition; a task's signals stay as long as the task, and what
    // was taken out of a list still leads on.
    unsafe {
        let thread = link(ptr::addr_of_mut!((*task).thread_node));
        if thread != ptr::addr_of_mut!((*(*task).signal).thread_head) {
            return Some(around!(thread, task_struct, thread_node));
        }
        let mut leader = (*task).group_leader;
        loop {
            let process = link(ptr::addr_of_mut!((*leader).tasks));
            leader = around!(process, task_struct, tasks);
            if leader == first_task() {
                return None;
            }
            // Not the leader itself, which for a moment of exec(2) stands behind the old one.
            let threads = ptr::addr_of_mut!((*(*leader).signal).thread_head);
            let thread = link(threads);
            if thread != threads {
                return Some(around!(thread, task_struct, thread_node));
            }
        }
    }
}

/// The bit of `TIF_PATCH_PENDING`.
const PENDING: u64 = 1 << bindings::TIF_PATCH_PENDING;

#[inline]
fn side<'a>(task: Task) -> &'a AtomicI32 {
    // SAFETY: by the invariant of `Kernel`; the member is only used as an atomic, or read by C.
    unsafe { AtomicI32::from_ptr(ptr::addr_of_mut!((*task).patch_state)) }
}

#[inline]
fn flags<'a>(task: Task) -> &'a AtomicU64 {
    // SAFETY: by the invariant of `Kernel`; C uses bit operations on it.
    unsafe { AtomicU64::from_ptr(ptr::addr_of_mut!((*task).thread_info.flags).cast()) }
}

#[inline]
fn since<'a>(task: Task) -> &'a AtomicU64 {
    // SAFETY: by the invariant of `Kernel`; nobody else uses it.
    unsafe { AtomicU64::from_ptr(ptr::addr_of_mut!((*task).klp_forced_since).cast()) }
}

unsafe extern "C" fn each_idle<F: FnMut(Task, bool)>(task: Task, online: bool, data: *mut c_void) {
    // SAFETY: `data` is the closure that `each_idle` was given, which nobody else uses meanwhile.
    unsafe { (*data.cast::<F>())(task, online) }
}

/// What is done while a task is off its CPU, and what came of it.
struct Call<F, R> {
    f: Option<F>,
    result: Option<R>,
}

unsafe extern "C" fn call<F: FnOnce() -> R, R>(task: Task, data: *mut c_void) -> c_int {
    // SAFETY: `data` is the call that `while_off_cpu` made, which nobody else uses meanwhile.
    let call = unsafe { &mut *data.cast::<Call<F, R>>() };
    // SAFETY: the task is a live one, and its scheduler's lock is held, or it is the caller.
    if unsafe { bindings::task_curr(task) == 0 || task == bindings::get_current() } {
        call.result = call.f.take().map(|f| f());
    }
    0
}

impl Tasks for Kernel {
    #[inline]
    fn universe(&self, task: Task) -> Universe {
        Universe::from_number(side(task).load(Ordering::Relaxed))
    }

    #[inline]
    fn is_on(&self, task: Task, wanted: Side) -> bool {
        side(task).load(Ordering::Relaxed) == Universe::On(wanted).number()
    }

    #[inline]
    fn set_universe(&self, task: Task, universe: Universe) {
        side(task).store(universe.number(), Ordering::Relaxed);
    }

    #[inline]
    fn is_pending(&self, task: Task) -> bool {
        flags(task).load(Ordering::Relaxed) & PENDING != 0
    }

    #[inline]
    fn set_pending(&self, task: Task) {
        flags(task).fetch_or(PENDING, Ordering::Relaxed);
    }

    #[inline]
    fn clear_pending(&self, task: Task) {
        flags(task).fetch_and(!PENDING, Ordering::Relaxed);
    }

    #[inline]
    fn take_pending(&self, task: Task) -> bool {
        flags(task).fetch_and(!PENDING, Ordering::SeqCst) & PENDING != 0
    }

    #[inline]
    fn without_preemption<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: it is enabled again below.
        unsafe { rust_klp_preempt_disable() };
        let result = f();
        // SAFETY: it was disabled above.
        unsafe { rust_klp_preempt_enable() };
        result
    }

    fn synchronize(&self, _: Synchronize) {
        // SAFETY: takes nothing; the caller may sleep.
        unsafe { rust_klp_synchronize() }
    }

    fn wait_for_unlisted(&self) {
        // SAFETY: as above.
        unsafe { rust_klp_wait_for_unlisted() }
    }

    #[inline]
    fn each_task(&self, mut f: impl FnMut(Task)) {
        // SAFETY: it is unlocked below, and the list is gone over in between.
        unsafe {
            rust_klp_lock_tasks();
            let mut next = task_after(first_task());
            while let Some(task) = next {
                f(task);
                next = task_after(task);
            }
            rust_klp_unlock_tasks();
        }
    }

    #[inline]
    fn each_task_in_turns(&self, mut f: impl FnMut(Task)) {
        // SAFETY: RCU keeps tasks while they are looked at; between turns `rust_klp_pause` does.
        unsafe {
            rust_klp_rcu_lock();
            let mut next = task_after(first_task());
            let mut count = 0_u32;
            while let Some(task) = next {
                f(task);
                count = count.wrapping_add(1);
                next = match count % TURN {
                    0 => Some(rust_klp_pause(task)).filter(|next| !next.is_null()),
                    _ => task_after(task),
                };
            }
            rust_klp_rcu_unlock();
        }
    }

    fn each_idle(&self, f: impl FnMut(Task, bool)) {
        fn go<F: FnMut(Task, bool)>(mut f: F) {
            // SAFETY: as above.
            unsafe { rust_klp_each_idle(each_idle::<F>, ptr::addr_of_mut!(f).cast()) }
        }
        go(f);
    }

    #[inline]
    fn while_off_cpu<R>(&self, task: Task, f: impl FnOnce() -> R) -> Option<R> {
        #[inline]
        fn go<F: FnOnce() -> R, R>(task: Task, f: F) -> Option<R> {
            let mut data = Call {
                f: Some(f),
                result: None,
            };
            // SAFETY: `call` gets the data that it is made for; the task is a live one.
            unsafe {
                rust_klp_while_off_cpu(task, call::<F, R>, ptr::addr_of_mut!(data).cast());
            }
            data.result
        }
        go(task, f)
    }

    fn with_stack<R>(&self, task: Task, f: impl FnOnce(Result<&[usize], Doubt>) -> R) -> R {
        // SAFETY: the lock is held by whoever looks at a stack, and nobody looks at two.
        let stack = unsafe { &mut *STACK.0.get() };
        // SAFETY: there is that much room; the task cannot run, or is the caller.
        let count = unsafe {
            stack_trace_save_tsk_reliable(task, stack.as_mut_ptr().cast(), FRAMES as c_uint)
        };
        match usize::try_from(count)
            .ok()
            .and_then(|count| stack.get(..count))
        {
            Some(stack) => f(Ok(stack)),
            // SAFETY: as above.
            None => f(Err(Doubt(unsafe { rust_klp_doubt(task) }))),
        }
    }

    #[inline]
    fn is_clear_of(&self, task: Task, mut code: Code) -> bool {
        unsafe extern "C" fn is_outside(code: *mut c_void, address: c_ulong) -> bool {
            // SAFETY: it is the code that is given below.
            !unsafe { *code.cast::<Code>() }.executes(address as usize)
        }
        // SAFETY: `is_outside` gets the code; for the task, as above.
        unsafe { rust_klp_walk(task, is_outside, ptr::addr_of_mut!(code).cast()) }
    }

    #[inline]
    fn has_reliable_stacks(&self) -> bool {
        cfg!(CONFIG_STACKTRACE)
            && cfg!(CONFIG_HAVE_RELIABLE_STACKTRACE)
            // SAFETY: takes nothing.
            && unsafe { rust_klp_checks_stacks() }
    }

    #[inline]
    fn forced_since(&self, task: Task) -> Option<Epoch> {
        match since(task).load(Ordering::Relaxed) {
            0 => None,
            epoch => Some(Epoch(epoch as usize)),
        }
    }

    #[inline]
    fn set_forced_since(&self, task: Task, epoch: Option<Epoch>) {
        // The first forced transition has the number 1.
        since(task).store(epoch.map_or(0, |epoch| epoch.0 as u64), Ordering::Relaxed);
    }

    fn nudge(&self, task: Task) {
        // SAFETY: by the invariant of `Kernel`.
        unsafe { rust_klp_nudge(task) }
    }

    fn nudge_idle(&self, task: Task) {
        // SAFETY: by the invariant of `Kernel`; CPUs stay while idle tasks are gone over.
        unsafe { rust_klp_nudge_idle(task) }
    }

    fn watch_reschedules(&self, on: bool) {
        // SAFETY: takes no pointer.
        unsafe { rust_klp_watch_reschedules(on) }
    }
}
