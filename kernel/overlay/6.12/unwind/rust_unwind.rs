//! The unwinder in the kernel: x86's unwind API (`arch/x86/include/asm/unwind.h`) on top of the
//! `unwind` crate.
//!
//! Only types and calls are translated here. What a stack means is `unwind`'s, how x86_64 lays it
//! out `arch_x86_64`'s; what cannot be said in Rust is in `shim.c`. Nothing here allocates or takes
//! a lock: it is called from any context, NMI and early boot included.

// SPDX-License-Identifier: GPL-2.0-only

#[cfg(CONFIG_RETHOOK)]
use core::ffi::c_void;
use core::ffi::{c_int, c_uint, c_ulong};
use core::mem::{align_of, size_of, MaybeUninit};

use arch::frame::{Frames, Origin};
use arch::insn::Reg;
use arch_x86_64::X86_64;
use modules::{Module, Modules};
use unwind::{
    Env, Mode, Recovered, Recovery, Slot, Stack, StackKind, Stacks, Start, Status, TaskKind, Text,
    TextKind, Verdict, Vouch, Walk,
};

#[cfg(CONFIG_RUST_UNWINDER_TEST)]
mod copied;
mod image;
mod modules;
#[cfg(CONFIG_UNWINDER_ORC)]
mod orc;
#[cfg(CONFIG_STACK_VERDICT)]
mod verdict;
#[cfg(CONFIG_UNWINDER_FRAME_POINTER)]
mod vouch;

#[cfg(CONFIG_UNWINDER_ORC)]
type Stepper = unwind::Orc;
#[cfg(CONFIG_UNWINDER_FRAME_POINTER)]
type Stepper = unwind::FramePointers;

/// `struct task_struct`, which only C looks into.
#[repr(C)]
struct Task {
    _opaque: [u8; 0],
}

/// `struct pt_regs`.
#[repr(C)]
struct Regs {
    words: [c_ulong; REGS_WORDS],
}

const REGS_WORDS: usize = (X86_64::REGISTERS.size / arch::frame::WORD) as usize;

impl Regs {
    /// The word at an offset, which lies in them.
    #[inline]
    fn at(&self, offset: u64) -> u64 {
        self.words.get((offset / arch::frame::WORD) as usize).copied().unwrap_or(0)
    }
}

/// `struct stack_info` of `asm/stacktrace.h`.
#[repr(C)]
struct StackInfo {
    kind: c_uint,
    begin: c_ulong,
    end: c_ulong,
    next: c_ulong,
}

/// `struct rust_unwind_subject` of `shim.h`: a task whose stack is walked, and what is held meanwhile.
///
/// # Invariants
///
/// The task's stack stays where it is (the callers of the unwind API see to that), and `start`,
/// unless null, points to the registers that the walk was started from, for as long as it goes on.
#[repr(C)]
struct Subject {
    task: *mut Task,
    top: c_ulong,
    sp: c_ulong,
    /// Not zero while a CPU runs it; null if this one does.
    on_cpu: *const c_int,
    start: *const Regs,
    modules: Modules,
    kind: TaskKind,
}

extern "C" {
    fn ret_from_fork_asm();
    #[cfg(CONFIG_FUNCTION_GRAPH_TRACER)]
    fn return_to_handler();
    #[cfg(CONFIG_RETHOOK)]
    fn arch_rethook_trampoline();

    // `asm/stacktrace.h`.
    fn get_stack_info(
        address: c_ulong,
        task: *mut Task,
        info: *mut StackInfo,
        visited: *mut c_ulong,
    ) -> c_int;
    // `linux/kernel.h`, `linux/ftrace.h`, `linux/rethook.h`, `linux/uaccess.h`.
    fn core_kernel_text(address: c_ulong) -> c_int;
    fn __kernel_text_address(address: c_ulong) -> c_int;
    #[cfg(CONFIG_DYNAMIC_FTRACE)]
    fn is_ftrace_trampoline(address: c_ulong) -> bool;
    #[cfg(CONFIG_FUNCTION_GRAPH_TRACER)]
    fn ftrace_graph_ret_addr(
        task: *mut Task,
        index: *mut c_int,
        address: c_ulong,
        slot: c_ulong,
    ) -> c_ulong;
    #[cfg(CONFIG_RETHOOK)]
    fn rethook_find_ret_addr(task: *mut Task, slot: c_ulong, cursor: *mut *mut c_void) -> c_ulong;
    fn copy_from_kernel_nofault(to: *mut [u8; 8], from: c_ulong, size: usize) -> c_ulong;

    fn rust_unwind_look_at(task: *mut Task, start: *const Regs, subject: *mut Subject);
    #[cfg(all(CONFIG_DYNAMIC_FTRACE, CONFIG_UNWINDER_ORC))]
    fn rust_unwind_template(address: c_ulong) -> c_ulong;
}

impl Stacks for Subject {
    #[inline]
    fn stack_at(&self, address: u64) -> Option<Stack> {
        let mut info = MaybeUninit::<StackInfo>::uninit();
        let nowhere = core::ptr::null_mut();
        // SAFETY: by the type's invariant; `info` can be written to.
        let failed = unsafe { get_stack_info(address, self.task, info.as_mut_ptr(), nowhere) } != 0;
        if failed {
            return None;
        }
        // SAFETY: all of it was written where that did not fail.
        let info = unsafe { info.assume_init() };
        // `enum stack_type` has the same order, behind an unknown one.
        let kind = StackKind::numbered(info.kind.wrapping_sub(1) as u8);
        Some(Stack::new(kind, info.begin, info.end, info.next))
    }

    #[inline]
    fn read(&self, slot: Slot) -> u64 {
        // SAFETY: a slot lies on a stack that `stack_at` has made, which is mapped for as long as
        // the task lives. Others may write to it meanwhile, so the read is a volatile one.
        unsafe { core::ptr::read_volatile(slot.address() as *const u64) }
    }
}

impl Text for Subject {
    #[inline]
    fn kind(&self, address: u64) -> TextKind {
        if image::is_text(address) && !image::is_tracer_entry(address) {
            TextKind::Fixed
        } else {
            self.kind_elsewhere(address)
        }
    }

    #[inline]
    fn origin(&self, address: u64) -> Option<Origin> {
        image::origin(address)
    }

    #[inline]
    fn is_fork_return(&self, address: u64) -> bool {
        address == ret_from_fork_asm as *const () as u64
    }

    #[inline]
    fn vouch(&self, address: u64) -> Vouch {
        #[cfg(CONFIG_UNWINDER_FRAME_POINTER)]
        return vouch::vouch(&self.modules, address);
        #[cfg(CONFIG_UNWINDER_ORC)]
        {
            // Nobody asks: there is no table.
            let _ = address;
            Vouch::Unknown
        }
    }

    #[inline]
    fn template(&self, address: u64) -> Option<u64> {
        #[cfg(all(CONFIG_DYNAMIC_FTRACE, CONFIG_UNWINDER_ORC))]
        // SAFETY: takes any address.
        match unsafe { rust_unwind_template(address) } {
            0 => {}
            template => return Some(template),
        }
        let _ = address;
        None
    }

    #[inline]
    fn is_known(&self, address: u64) -> bool {
        // SAFETY: takes any address.
        image::is_text(address) || unsafe { __kernel_text_address(address) } != 0
    }

    #[inline]
    fn bytes_before(&self, address: u64) -> Option<[u8; 8]> {
        match self.before(address) {
            Ok(bytes) => Some(bytes),
            Err(TextKind::None | TextKind::Gone) => None,
            Err(_) => {
                let mut bytes = [0; 8];
                copy_before(address, &mut bytes).then_some(bytes)
            }
        }
    }

    #[inline]
    fn before(&self, address: u64) -> Result<[u8; 8], TextKind> {
        if !image::ends_at(address) || image::is_tracer_entry(address.wrapping_sub(1)) {
            let mut bytes = [0; 8];
            return match self.before_elsewhere(address, &mut bytes) {
                TextKind::Fixed => Ok(bytes),
                kind => Err(kind),
            };
        }
        // SAFETY: all eight lie in the image's text, which can always be read.
        Ok(unsafe { core::ptr::read_unaligned(address.wrapping_sub(8) as *const [u8; 8]) })
    }

    #[inline]
    fn recover(&self, cursor: &mut Recovery, address: u64, slot: u64) -> Recovered {
        if is_return_hook(address) {
            self.recover_rewritten(cursor, address, slot)
        } else {
            Recovered::Same
        }
    }

    #[inline]
    fn recover_interrupted(&self, cursor: &mut Recovery, address: u64, slot: u64) -> Recovered {
        if !is_return_hook(address) {
            return Recovered::Same;
        }
        match self.recover_hook(cursor, address, slot) {
            found if found == address => Recovered::Same,
            0 => Recovered::Lost(address),
            found if is_return_hook(found) => Recovered::Lost(address),
            found => Recovered::Original(found),
        }
    }
}

/// Copies the eight bytes in front of an address, if they can be read.
#[inline]
fn copy_before(address: u64, bytes: &mut [u8; 8]) -> bool {
    // SAFETY: takes any address; `bytes` can be written to.
    unsafe { copy_from_kernel_nofault(bytes, address.wrapping_sub(8), bytes.len()) == 0 }
}

/// Whether tracers send returns to this address.
#[inline]
fn is_return_hook(address: u64) -> bool {
    #[cfg(CONFIG_FUNCTION_GRAPH_TRACER)]
    if address == return_to_handler as *const () as u64 {
        return true;
    }
    is_rethook(address)
}

/// Whether it is the return hooks' list that knows the original of this address.
#[inline]
fn is_rethook(address: u64) -> bool {
    #[cfg(CONFIG_RETHOOK)]
    if address == arch_rethook_trampoline as *const () as u64 {
        return true;
    }
    let _ = address;
    false
}

impl Subject {
    /// What lies at an address that is not the image's text, but for the tracer's entry.
    #[inline]
    fn kind_elsewhere(&self, address: u64) -> TextKind {
        if image::is_tracer_entry(address) {
            return TextKind::Trampoline;
        }
        // SAFETY: all take any address.
        unsafe {
            if image::is_init_text(address) {
                return match core_kernel_text(address) {
                    // By now it is given back, and need not be mapped.
                    0 => TextKind::Gone,
                    _ => TextKind::Fixed,
                };
            }
            // From here on what RCU frees stays as well: it is held together with modules.
            if self.modules.show(address, |_: &Module| ()).is_some() {
                return TextKind::Fixed;
            }
            #[cfg(CONFIG_DYNAMIC_FTRACE)]
            if is_ftrace_trampoline(address) {
                return TextKind::Trampoline;
            }
            match __kernel_text_address(address) {
                0 => TextKind::None,
                _ => TextKind::Generated,
            }
        }
    }

    /// What ends in front of an address that is not in the image's text, but for the tracer's entry;
    /// if that is [`TextKind::Fixed`], also its last eight bytes.
    #[cold]
    #[inline(never)]
    fn before_elsewhere(&self, address: u64, bytes: &mut [u8; 8]) -> TextKind {
        let kind = self.kind_elsewhere(address.wrapping_sub(1));
        match kind {
            TextKind::Fixed if !copy_before(address, bytes) => TextKind::None,
            kind => kind,
        }
    }

    #[cold]
    #[inline(never)]
    fn recover_rewritten(&self, cursor: &mut Recovery, address: u64, slot: u64) -> Recovered {
        let mut found = address;
        // Each tracer may have found the other's hook there.
        for _ in 0..Self::MOST_HOOKS {
            #[cfg(not(CONFIG_FUNCTION_GRAPH_TRACER))]
            let next = found;
            #[cfg(CONFIG_FUNCTION_GRAPH_TRACER)]
            // SAFETY: by the type's invariant; what is passed can be written to.
            let next =
                unsafe { ftrace_graph_ret_addr(self.task, &mut cursor.index, found, slot) };
            let next = self.recover_hook(cursor, next, slot);
            if !is_return_hook(next) {
                return match next {
                    0 => Recovered::Lost(address),
                    original => Recovered::Original(original),
                };
            }
            if next == found {
                break;
            }
            found = next;
        }
        Recovered::Lost(address)
    }

    /// A tracer looks behind its own hooks by itself. Two can take turns, where one function after the
    /// other ends with a jump.
    const MOST_HOOKS: usize =
        if cfg!(all(CONFIG_FUNCTION_GRAPH_TRACER, CONFIG_RETHOOK)) { 4 } else { 1 };

    #[inline]
    fn recover_hook(&self, cursor: &mut Recovery, address: u64, slot: u64) -> u64 {
        #[cfg(CONFIG_RETHOOK)]
        if is_rethook(address) {
            let mut hook = cursor.hook as *mut c_void;
            // SAFETY: by the type's invariant; the cursor is what the last call left there, or null.
            let found = unsafe { rethook_find_ret_addr(self.task, slot, &mut hook) };
            cursor.hook = hook as u64;
            return found;
        }
        let _ = (cursor, slot);
        address
    }
}

impl Env for Subject {
    type Arch = X86_64;

    #[inline]
    fn task_kind(&self) -> TaskKind {
        self.kind
    }

    #[inline]
    fn top(&self) -> u64 {
        self.top
    }

    #[inline]
    fn is_running(&self) -> bool {
        // SAFETY: by the type's invariant the task is still there, and this is a part of it.
        let on_cpu = unsafe { self.on_cpu.as_ref() };
        // SAFETY: others write to it.
        on_cpu.is_some_and(|on_cpu| unsafe { core::ptr::read_volatile(on_cpu) } != 0)
    }

    #[inline]
    fn start_register(&self, register: Reg) -> Option<u64> {
        // SAFETY: by the type's invariant.
        let regs = unsafe { self.start.as_ref() }?;
        Some(regs.at(X86_64::register_offset(register)?))
    }
}

/// What `struct unwind_state` keeps for Rust: `walk` there.
#[repr(C)]
struct Kept {
    walk: Walk<Stepper>,
    subject: Subject,
}

impl Kept {
    /// Starts a walk of a task: from these registers, unless they are null, and with the frames from
    /// the address `first` on.
    ///
    /// # Safety
    ///
    /// `kept` can be written to; `task` is a task with a stack that stays; `regs`, unless null, points
    /// to registers that stay for as long as the walk goes on.
    #[inline(never)]
    unsafe fn start<'a>(
        kept: *mut Self,
        task: *mut Task,
        regs: *const Regs,
        first: c_ulong,
        mode: Mode,
    ) -> &'a mut Self {
        // SAFETY: by this function's own condition; zeros are a new walk, see below, and what C has
        // written is a subject.
        let kept = unsafe {
            kept.write_bytes(0, 1);
            let kept = &mut *kept;
            rust_unwind_look_at(task, regs, &mut kept.subject);
            kept
        };
        let Self { walk, subject } = kept;
        // SAFETY: by this function's own condition.
        let start = match unsafe { regs.as_ref() } {
            Some(regs) => {
                let layout = X86_64::REGISTERS;
                Start::Interrupted {
                    pc: regs.at(layout.pc),
                    sp: regs.at(layout.sp),
                    fp: regs.at(layout.fp),
                    user: X86_64::is_user(regs.at(layout.status)),
                }
            }
            None if subject.on_cpu.is_null() => here(),
            None => Start::Inactive { sp: subject.sp },
        };
        // A task that is asleep has no frames below that.
        let first = match start {
            Start::Inactive { sp } if matches!(mode, Mode::Reliable) => sp,
            _ => first,
        };
        walk.start_here(subject, mode, start, first);
        kept
    }
}

// SAFETY: only looked at by the compiler, which finds out whether it is a walk.
const _: () = assert!(unsafe { MaybeUninit::<Walk<Stepper>>::zeroed().assume_init() }.is_new());

/// Words in `struct unwind_state` for [`Kept`].
const WORDS: usize = 32;

const _: () = assert!(size_of::<Kept>() <= WORDS * 8 && align_of::<Kept>() <= 8);

/// `struct unwind_state`, as the overlay makes it. Of what the C unwinders keep in it, nobody looks at
/// what is left unwritten here.
///
/// # Invariants
///
/// Once a walk was started in it, `walk` holds a [`Kept`].
#[repr(C)]
struct State {
    kind: c_uint,
    _stack: MaybeUninit<[c_ulong; 4]>,
    task: *mut Task,
    _graph_index: MaybeUninit<c_int>,
    #[cfg(CONFIG_RETHOOK)]
    _hook: MaybeUninit<*mut c_void>,
    error: bool,
    full_regs: bool,
    regs: u64,
    #[cfg(CONFIG_UNWINDER_ORC)]
    sp: u64,
    #[cfg(CONFIG_UNWINDER_ORC)]
    bp: u64,
    walk: [MaybeUninit<u64>; WORDS],
}

impl State {
    /// The walk, and what it is about.
    ///
    /// # Safety
    ///
    /// A walk was started in it, of a task that is still there.
    #[inline]
    unsafe fn kept(&mut self) -> &mut Kept {
        // SAFETY: by this function's own condition and the type's invariant; it is large and
        // aligned enough.
        unsafe { &mut *self.walk.as_mut_ptr().cast::<Kept>() }
    }

    /// Behind a step of the walk: lets modules go, and shows C what it looks at.
    ///
    /// # Safety
    ///
    /// As [`State::kept`].
    #[inline(never)]
    unsafe fn settle(&mut self) -> bool {
        // SAFETY: by this function's own condition.
        let Kept { walk, subject } = unsafe { self.kept() };
        // With frame pointers, only those who want a verdict ask about modules.
        if cfg!(CONFIG_UNWINDER_ORC) {
            subject.modules.let_go();
        }
        let registers = walk.registers();
        let (is_lost, is_done) = (matches!(walk.status(), Status::Lost(_)), walk.is_done());
        #[cfg(CONFIG_UNWINDER_ORC)]
        {
            // The BPF JIT's exceptions ask for them.
            let (sp, bp) = (walk.stack_pointer(), walk.frame_pointer());
            (self.sp, self.bp) = (sp, bp);
        }
        self.error = is_lost;
        // STACK_TYPE_UNKNOWN is what `unwind_done` looks for.
        self.kind = c_uint::from(!is_done);
        self.regs = registers.map_or(0, |registers| registers.address);
        self.full_regs = registers.is_some_and(|registers| !registers.partial);
        !is_done
    }
}

/// Where whoever called this stands: the place itself, the stack pointer and the frame pointer.
#[inline(always)]
fn here() -> Start {
    let (pc, sp, fp): (u64, u64, u64);
    // SAFETY: these only read registers. What is not asked for need not be read.
    unsafe {
        core::arch::asm!("lea {}, [rip]", out(reg) pc, options(pure, nomem, nostack, preserves_flags));
        core::arch::asm!("mov {}, rsp", out(reg) sp, options(pure, nomem, nostack, preserves_flags));
        core::arch::asm!("mov {}, rbp", out(reg) fp, options(pure, nomem, nostack, preserves_flags));
    }
    Start::Here { pc, sp, fp }
}

/// `__unwind_start` of `asm/unwind.h`.
///
/// # Safety
///
/// `state` can be written to; `task` is a task with a stack that stays; `regs`, unless null, points
/// to registers that stay for as long as the walk goes on.
#[no_mangle]
unsafe extern "C" fn __unwind_start(
    state: *mut State,
    task: *mut Task,
    regs: *const Regs,
    first: c_ulong,
) {
    // SAFETY: by this function's own condition.
    unsafe {
        core::ptr::addr_of_mut!((*state).task).write(task);
        let kept = core::ptr::addr_of_mut!((*state).walk).cast::<Kept>();
        Kept::start(kept, task, regs, first, Mode::BestEffort);
        // INVARIANT: the walk was started, and what else C looks at is written here.
        (*state).settle();
    }
}

/// `unwind_next_frame` of `asm/unwind.h`.
///
/// # Safety
///
/// A walk was started in `state`, of a task whose stack is still there.
#[no_mangle]
unsafe extern "C" fn unwind_next_frame(state: &mut State) -> bool {
    // SAFETY: by this function's own condition.
    unsafe {
        let Kept { walk, subject } = state.kept();
        walk.next(subject);
        state.settle()
    }
}

/// `unwind_get_return_address` of `asm/unwind.h`; 0 for none.
///
/// # Safety
///
/// As [`unwind_next_frame`].
#[no_mangle]
unsafe extern "C" fn unwind_get_return_address(state: &mut State) -> c_ulong {
    // SAFETY: by this function's own condition. No module is looked for.
    let Kept { walk, subject } = unsafe { state.kept() };
    walk.address(subject).unwrap_or(0)
}

/// `unwind_get_return_address_ptr` of `asm/unwind.h`; null for none.
///
/// # Safety
///
/// As [`unwind_next_frame`].
#[no_mangle]
unsafe extern "C" fn unwind_get_return_address_ptr(state: &mut State) -> *mut c_ulong {
    // SAFETY: by this function's own condition.
    let Kept { walk, subject } = unsafe { state.kept() };
    walk.address_slot(subject).unwrap_or(0) as *mut c_ulong
}

/// Where the frames of whoever called this begin: an address for [`Kept::start`].
#[inline(always)]
fn own_frames() -> c_ulong {
    match here() {
        Start::Here { sp, .. } if cfg!(CONFIG_UNWINDER_ORC) => sp,
        Start::Here { fp, .. } => fp,
        _ => 0,
    }
}

/// Walks a task's stack for a verdict, and lets somebody look at the walk, which has been started.
///
/// # Safety
///
/// `task` is a task with a stack that stays; `first` is what [`own_frames`] says where C called.
#[inline(always)]
unsafe fn judge<R>(
    task: *mut Task,
    first: c_ulong,
    look: impl FnOnce(&mut Walk<Stepper>, &Subject) -> R,
) -> R {
    let mut kept = MaybeUninit::uninit();
    let no_registers = core::ptr::null();
    // SAFETY: by this function's own condition.
    let Kept { walk, subject } =
        unsafe { Kept::start(kept.as_mut_ptr(), task, no_registers, first, Mode::Reliable) };
    let result = look(walk, subject);
    subject.modules.let_go();
    result
}

/// `stack_trace_consume_fn` of `linux/stacktrace.h`.
type Consume = unsafe extern "C" fn(cookie: *mut Cookie, address: c_ulong) -> bool;

/// What belongs to whoever consumes.
#[repr(C)]
struct Cookie {
    _opaque: [u8; 0],
}

/// `EINVAL` of `errno-base.h`.
const EINVAL: c_int = 22;

/// `arch_stack_walk_reliable` of `linux/stacktrace.h`: 0 if the trace that `consume` was shown is
/// reliable.
///
/// # Safety
///
/// `task` is a task with a stack that stays; `consume` can be called with `cookie`.
#[no_mangle]
#[inline(never)]
unsafe extern "C" fn arch_stack_walk_reliable(
    consume: Consume,
    cookie: *mut Cookie,
    task: *mut Task,
) -> c_int {
    // SAFETY: by this function's own condition.
    let visit = |address| unsafe { consume(cookie, address) };
    let look = |walk: &mut Walk<Stepper>, subject: &Subject| walk.conclude(subject, visit);
    // SAFETY: by this function's own condition.
    match unsafe { judge(task, own_frames(), look) } {
        Verdict::Reliable => 0,
        Verdict::Unreliable(_) => -EINVAL,
    }
}
