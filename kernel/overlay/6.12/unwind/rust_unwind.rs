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

/// `struct rust_unwind_task` of `shim.h`.
#[repr(C)]
struct Facts {
    task: *mut Task,
    top: c_ulong,
    sp: c_ulong,
    /// Not zero while a CPU runs it; null if this one does.
    on_cpu: *const c_int,
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

    fn rust_unwind_facts(task: *mut Task, facts: *mut Facts);
    #[cfg(CONFIG_DYNAMIC_FTRACE)]
    fn rust_unwind_template(address: c_ulong) -> c_ulong;
}

/// A task's stack, as the kernel knows it.
///
/// # Invariants
///
/// `facts` are of a task whose stack stays where it is (the callers of the unwind API see to that),
/// and `start`, unless null, points to the registers that the walk was started from, for as long as
/// the walk goes on.
struct Kernel<'a> {
    facts: &'a Facts,
    start: *const Regs,
    modules: Modules,
}

impl Stacks for Kernel<'_> {
    #[inline(never)]
    fn stack_at(&self, address: u64) -> Option<Stack> {
        let mut info = StackInfo {
            kind: 0,
            begin: 0,
            end: 0,
            next: 0,
        };
        let nowhere = core::ptr::null_mut();
        // SAFETY: by the type's invariant; `info` can be written to.
        if unsafe { get_stack_info(address, self.facts.task, &mut info, nowhere) } != 0 {
            return None;
        }
        // `enum stack_type`.
        let kind = match info.kind {
            1 => StackKind::Task,
            2 => StackKind::Interrupt,
            3 => StackKind::SoftInterrupt,
            4 => StackKind::Entry,
            5.. => StackKind::Exception(info.kind.wrapping_sub(5) as u8),
            0 => return None,
        };
        Some(Stack::new(kind, info.begin, info.end, info.next))
    }

    #[inline]
    fn read(&self, slot: Slot) -> u64 {
        // SAFETY: a slot lies on a stack that `stack_at` has made, which is mapped for as long as
        // the task lives. Others may write to it meanwhile, so the read is a volatile one.
        unsafe { core::ptr::read_volatile(slot.address() as *const u64) }
    }
}

impl Text for Kernel<'_> {
    #[inline]
    fn kind(&self, address: u64) -> TextKind {
        match image::is_text(address) {
            true => TextKind::Fixed,
            false => self.kind_elsewhere(address),
        }
    }

    #[inline(never)]
    fn origin(&self, address: u64) -> Option<Origin> {
        image::ENTRIES.origin(address)
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
        #[cfg(CONFIG_DYNAMIC_FTRACE)]
        // SAFETY: takes any address.
        match unsafe { rust_unwind_template(address) } {
            0 => {}
            template => return Some(template),
        }
        let _ = address;
        None
    }

    #[inline]
    fn bytes_before(&self, address: u64) -> Option<[u8; 8]> {
        let first = address.wrapping_sub(8);
        let (begin, end) = image::text();
        if begin <= first && address <= end {
            // SAFETY: all eight lie in the kernel's text, which can always be read.
            return Some(unsafe { core::ptr::read_unaligned(first as *const [u8; 8]) });
        }
        // The text of one module, which is held.
        let is_module = |module: &Module| module.has(address.wrapping_sub(1));
        if self.modules.show(first, is_module) == Some(true) {
            // SAFETY: all eight lie in it.
            return Some(unsafe { core::ptr::read_unaligned(first as *const [u8; 8]) });
        }
        bytes_elsewhere(first)
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

/// The eight bytes at an address, wherever it is: such text may go away at any time.
#[cold]
#[inline(never)]
fn bytes_elsewhere(address: u64) -> Option<[u8; 8]> {
    let mut bytes = [0; 8];
    // SAFETY: takes any address; `bytes` can be written to.
    let failed = unsafe { copy_from_kernel_nofault(&mut bytes, address, bytes.len()) } != 0;
    (!failed).then_some(bytes)
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

impl<'a> Kernel<'a> {
    /// # Safety
    ///
    /// The type's invariant holds of what is passed.
    #[inline]
    unsafe fn new(facts: &'a Facts, start: *const Regs) -> Self {
        // INVARIANT: by this function's own condition.
        Self {
            facts,
            start,
            modules: Modules::new(),
        }
    }

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
                unsafe { ftrace_graph_ret_addr(self.facts.task, &mut cursor.index, found, slot) };
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
            let found = unsafe { rethook_find_ret_addr(self.facts.task, slot, &mut hook) };
            cursor.hook = hook as u64;
            return found;
        }
        let _ = (cursor, slot);
        address
    }
}

impl Env for Kernel<'_> {
    type Arch = X86_64;

    #[inline]
    fn task_kind(&self) -> TaskKind {
        match self.facts.kind {
            2 => TaskKind::Idle,
            1 => TaskKind::KernelThread,
            _ => TaskKind::User,
        }
    }

    #[inline]
    fn top(&self) -> u64 {
        self.facts.top
    }

    #[inline]
    fn is_running(&self) -> bool {
        // SAFETY: by the type's invariant the task is still there, and this is a part of it.
        let on_cpu = unsafe { self.facts.on_cpu.as_ref() };
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

/// `unwind_init` of `asm/unwind.h`: sets up what is looked up.
///
/// # Safety
///
/// Called once, while only one CPU runs.
#[no_mangle]
#[link_section = ".init.text"]
unsafe extern "C" fn unwind_init() {
    // SAFETY: by this function's own condition.
    unsafe {
        image::ENTRIES.set_up();
        #[cfg(CONFIG_UNWINDER_FRAME_POINTER)]
        vouch::set_up();
        #[cfg(CONFIG_UNWINDER_ORC)]
        orc::init();
    }
}

/// What `struct unwind_state` keeps for Rust: `walk` there.
#[repr(C)]
struct Kept {
    walk: Walk<Stepper>,
    facts: Facts,
    start: *const Regs,
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
    /// # Safety
    ///
    /// A walk was started in it.
    #[inline]
    unsafe fn kept(&mut self) -> &mut Kept {
        // SAFETY: by this function's own condition and the type's invariant; it is large and
        // aligned enough.
        unsafe { &mut *self.walk.as_mut_ptr().cast::<Kept>() }
    }

    /// Lets something look at the walk, or move it.
    ///
    /// # Safety
    ///
    /// As [`State::kept`]; its task is still there.
    #[inline]
    unsafe fn on<R>(&mut self, act: impl FnOnce(&mut Walk<Stepper>, &Kernel<'_>) -> R) -> R {
        // SAFETY: by this function's own condition.
        let Kept { walk, facts, start } = unsafe { self.kept() };
        // SAFETY: they are what the walk was started with.
        act(walk, &unsafe { Kernel::new(facts, *start) })
    }

    /// Shows C what it looks at.
    ///
    /// # Safety
    ///
    /// As [`State::kept`].
    #[inline(never)]
    unsafe fn show(&mut self) -> bool {
        // SAFETY: by this function's own condition.
        let walk = unsafe { &self.kept().walk };
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

/// Where a walk of a task begins that starts from no registers.
#[inline(always)]
fn begin(facts: &Facts) -> Start {
    match facts.on_cpu.is_null() {
        true => here(),
        false => Start::Inactive { sp: facts.sp },
    }
}

/// `__unwind_start` of `asm/unwind.h`.
///
/// # Safety
///
/// `state` can be written to; `task` is a task with a stack that stays; `regs`, unless null, points
/// to registers that stay for as long as the walk goes on.
#[no_mangle]
#[inline(never)]
unsafe extern "C" fn __unwind_start(
    state: *mut State,
    task: *mut Task,
    regs: *const Regs,
    first: c_ulong,
) {
    // SAFETY: by this function's own condition; C has not set it up, so it is written first.
    let state = unsafe {
        core::ptr::addr_of_mut!((*state).kind).write(0);
        core::ptr::addr_of_mut!((*state).task).write(task);
        core::ptr::addr_of_mut!((*state).error).write(false);
        core::ptr::addr_of_mut!((*state).full_regs).write(false);
        core::ptr::addr_of_mut!((*state).regs).write(0);
        #[cfg(CONFIG_UNWINDER_ORC)]
        {
            core::ptr::addr_of_mut!((*state).sp).write(0);
            core::ptr::addr_of_mut!((*state).bp).write(0);
        }
        &mut *state
    };
    let kept = state.walk.as_mut_ptr().cast::<Kept>();
    // SAFETY: it is large and aligned enough, and `task` is one.
    let (place, facts) = unsafe {
        rust_unwind_facts(task, core::ptr::addr_of_mut!((*kept).facts));
        core::ptr::addr_of_mut!((*kept).start).write(regs);
        let place = core::ptr::addr_of_mut!((*kept).walk);
        (&mut *place.cast::<MaybeUninit<Walk<Stepper>>>(), &(*kept).facts)
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
        None => begin(facts),
    };
    // SAFETY: by this function's own condition.
    let env = unsafe { Kernel::new(facts, regs) };
    // INVARIANT: with the walk all of it is there.
    Walk::start_in(place, &env, Mode::BestEffort, start, first);
    drop(env);
    // SAFETY: as above.
    unsafe { state.show() };
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
        state.on(|walk, env| walk.next(env));
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
    unsafe { state.on(|walk, env| walk.address(env).unwrap_or(0)) }
}

/// `unwind_get_return_address_ptr` of `asm/unwind.h`; null for none.
///
/// # Safety
///
/// As [`unwind_next_frame`].
#[no_mangle]
unsafe extern "C" fn unwind_get_return_address_ptr(state: &mut State) -> *mut c_ulong {
    // SAFETY: by this function's own condition.
    unsafe { state.on(|walk, env| walk.address_slot(env).unwrap_or(0) as *mut c_ulong) }
}

/// Looks at a task, and has a walk of it for a verdict done.
///
/// # Safety
///
/// `task` is a task with a stack that stays.
#[inline(always)]
unsafe fn judge<R>(task: *mut Task, walk: impl FnOnce(&Kernel<'_>, Start, u64) -> R) -> R {
    let mut facts = MaybeUninit::uninit();
    // SAFETY: by this function's own condition; C writes all of it.
    let facts = unsafe {
        rust_unwind_facts(task, facts.as_mut_ptr());
        facts.assume_init_ref()
    };
    let start = begin(facts);
    // The address from which on its frames are of interest.
    let first = match start {
        Start::Here { sp, .. } if cfg!(CONFIG_UNWINDER_ORC) => sp,
        Start::Here { fp, .. } => fp,
        _ => facts.sp,
    };
    // SAFETY: by this function's own condition.
    walk(&unsafe { Kernel::new(facts, core::ptr::null()) }, start, first)
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
    // SAFETY: by this function's own condition.
    let verdict = unsafe {
        judge(task, |env, start, first| {
            unwind::reliable_addresses::<Stepper, _>(env, start, first, visit)
        })
    };
    match verdict {
        Verdict::Reliable => 0,
        Verdict::Unreliable(_) => -EINVAL,
    }
}
