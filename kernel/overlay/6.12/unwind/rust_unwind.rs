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

use arch::frame::{Frames, Origin, Privilege};
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
    kind: c_int,
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
        if !image::is_text(address) {
            self.kind_elsewhere(address)
        } else if image::is_tracer_entry(address) {
            TextKind::Trampoline
        } else {
            TextKind::Fixed
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
        image::is_text(address) || self.kind_elsewhere(address) != TextKind::None
    }

    #[inline]
    fn bytes_before(&self, address: u64) -> Option<[u8; 8]> {
        match self.before(address) {
            (TextKind::None, _) => None,
            (_, bytes) => Some(bytes),
        }
    }

    #[inline]
    fn before(&self, address: u64) -> (TextKind, [u8; 8]) {
        if !image::ends_at(address) {
            return self.before_elsewhere(address);
        }
        let kind = match image::is_tracer_entry(address.wrapping_sub(1)) {
            true => TextKind::Trampoline,
            false => TextKind::Fixed,
        };
        // SAFETY: all eight lie in the image's text, which can always be read.
        (kind, unsafe { core::ptr::read_unaligned(address.wrapping_sub(8) as *const [u8; 8]) })
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
    /// What lies at an address that is not the image's text.
    #[cold]
    #[inline(never)]
    fn kind_elsewhere(&self, address: u64) -> TextKind {
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

    /// What ends in front of an address that is not in the image's text.
    #[cold]
    #[inline(never)]
    fn before_elsewhere(&self, address: u64) -> (TextKind, [u8; 8]) {
        let (first, last) = (address.wrapping_sub(8), address.wrapping_sub(1));
        if self.modules.show(last, |module: &Module| module.has(first)) == Some(true) {
            // SAFETY: all eight lie in the text of one module, which is held.
            let bytes = unsafe { core::ptr::read_unaligned(first as *const [u8; 8]) };
            return (TextKind::Fixed, bytes);
        }
        let mut bytes = [0; 8];
        let kind = self.kind_elsewhere(last);
        // SAFETY: takes any address, since such text may go away at any time; `bytes` can be written to.
        if unsafe { copy_from_kernel_nofault(&mut bytes, first, bytes.len()) } != 0
            && kind == TextKind::Fixed
        {
            return (TextKind::None, bytes);
        }
        (kind, bytes)
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

    /// More than tracers put into one place: each of two kinds may do so once.
    const MOST_HOOKS: usize = 4;

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
        match self.kind {
            2 => TaskKind::Idle,
            1 => TaskKind::KernelThread,
            _ => TaskKind::User,
        }
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
        // SAFETY: by this function's own condition; C writes all of the subject.
        let (walk, subject) = unsafe {
            let subject = core::ptr::addr_of_mut!((*kept).subject);
            rust_unwind_look_at(task, regs, subject);
            let walk = core::ptr::addr_of_mut!((*kept).walk).cast::<MaybeUninit<Walk<Stepper>>>();
            (&mut *walk, &*subject)
        };
        // SAFETY: by this function's own condition.
        let start = match unsafe { regs.as_ref() } {
            Some(regs) => {
                let layout = X86_64::REGISTERS;
                Start::Interrupted {
                    pc: regs.at(layout.pc),
                    sp: regs.at(layout.sp),
                    fp: regs.at(layout.fp),
                    user: X86_64::privilege(regs.at(layout.status)) == Privilege::User,
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
        Walk::start_in(walk, subject, mode, start, first);
        // SAFETY: both parts of it were written.
        unsafe { &mut *kept }
    }
}

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
    /// Lets something look at the walk, or move it.
    ///
    /// # Safety
    ///
    /// A walk was started in it, of a task that is still there.
    #[inline]
    unsafe fn on<R>(&mut self, act: impl FnOnce(&mut Walk<Stepper>, &Subject) -> R) -> R {
        // SAFETY: by this function's own condition and the type's invariant; it is large and
        // aligned enough.
        let Kept { walk, subject } = unsafe { &mut *self.walk.as_mut_ptr().cast::<Kept>() };
        let result = act(walk, subject);
        subject.modules.let_go();
        result
    }

    /// Shows C what it looks at.
    ///
    /// # Safety
    ///
    /// As [`State::on`].
    #[inline(never)]
    unsafe fn show(&mut self) -> bool {
        // SAFETY: by this function's own condition.
        let walk = unsafe { &(*self.walk.as_ptr().cast::<Kept>()).walk };
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
    // SAFETY: only reads registers.
    unsafe {
        core::arch::asm!(
            "lea {pc}, [rip]",
            "mov {sp}, rsp",
            "mov {fp}, rbp",
            pc = out(reg) pc,
            sp = out(reg) sp,
            fp = out(reg) fp,
            options(nomem, nostack, preserves_flags),
        );
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
        Kept::start(kept, task, regs, first, Mode::BestEffort).subject.modules.let_go();
        // INVARIANT: the walk was started, and what else C looks at is written here.
        (*state).show();
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
        state.on(|walk, subject| walk.next(subject));
        state.show()
    }
}

/// `unwind_get_return_address` of `asm/unwind.h`; 0 for none.
///
/// # Safety
///
/// As [`unwind_next_frame`].
#[no_mangle]
unsafe extern "C" fn unwind_get_return_address(state: &mut State) -> c_ulong {
    // SAFETY: by this function's own condition.
    unsafe { state.on(|walk, subject| walk.address(subject).unwrap_or(0)) }
}

/// `unwind_get_return_address_ptr` of `asm/unwind.h`; null for none.
///
/// # Safety
///
/// As [`unwind_next_frame`].
#[no_mangle]
unsafe extern "C" fn unwind_get_return_address_ptr(state: &mut State) -> *mut c_ulong {
    // SAFETY: by this function's own condition and the state's invariant. Nothing is looked up.
    let Kept { walk, subject } = unsafe { &*state.walk.as_ptr().cast::<Kept>() };
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
