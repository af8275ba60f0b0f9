// SPDX-License-Identifier: GPL-2.0-only

//! The unwinder in the kernel: x86's unwind API (`arch/x86/include/asm/unwind.h`) on top of the
//! `unwind` crate.
//!
//! Only types and calls are translated here. What a stack means is `unwind`'s, how x86_64 lays it
//! out `arch_x86_64`'s; what cannot be said in Rust is in `shim.c`. Nothing here allocates or takes
//! a lock: it is called from any context, NMI and early boot included.

use core::cell::UnsafeCell;
use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void, CStr};
use core::mem::{align_of, size_of, MaybeUninit};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arch::frame::{Frames, Origin};
use arch::insn::Reg;
use arch_x86_64::{entry, X86_64};
use unwind::ranges::{self, Base, EntryCode, Range, UnreliableText};
use unwind::{
    Env, Mode, Recovered, Recovery, Slot, Stack, StackKind, Stacks, Start, Status, TaskKind, Text,
    TextKind, Verdict, Vouch, Walk,
};

#[cfg(CONFIG_UNWINDER_ORC)]
mod orc;

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

/// `struct rust_unwind_stack` of `shim.h`.
#[repr(C)]
#[derive(Default)]
struct StackInfo {
    begin: c_ulong,
    end: c_ulong,
    next: c_ulong,
}

extern "C" {
    static _stext: [u8; 0];
    static _etext: [u8; 0];
    fn ret_from_fork_asm();

    fn rust_unwind_stack_at(task: *mut Task, address: c_ulong, stack: *mut StackInfo) -> c_int;
    fn rust_unwind_text_kind(address: c_ulong) -> c_int;
    fn rust_unwind_recover_graph(
        task: *mut Task,
        index: *mut c_int,
        address: c_ulong,
        slot: c_ulong,
    ) -> c_ulong;
    fn rust_unwind_recover_rethook(
        task: *mut Task,
        cursor: *mut *mut c_void,
        address: c_ulong,
        slot: c_ulong,
    ) -> c_ulong;
    fn rust_unwind_is_return_hook(address: c_ulong) -> bool;
    fn rust_unwind_template(address: c_ulong) -> c_ulong;
    fn rust_unwind_top(task: *mut Task) -> c_ulong;
    fn rust_unwind_saved_sp(task: *mut Task) -> c_ulong;
    fn rust_unwind_task_kind(task: *mut Task) -> c_int;
    fn rust_unwind_is_running(task: *mut Task) -> bool;
    fn rust_unwind_is_current(task: *mut Task) -> bool;
    fn rust_unwind_user_mode(regs: *const Regs) -> bool;
    fn rust_unwind_entry_code(
        each: unsafe extern "C" fn(name: *const c_char, start: c_ulong, size: c_ulong),
    );
    fn rust_unwind_unreliable_text(count: *mut c_uint) -> *const Range;
}

/// The kernel's text but for that of its start-up.
fn text_bounds() -> (u64, u64) {
    // SAFETY: the linker script defines both; only their addresses are taken.
    unsafe { (_stext.as_ptr() as u64, _etext.as_ptr() as u64) }
}

/// A task's stack, as the kernel knows it.
///
/// # Invariants
///
/// `task` is a task whose stack stays where it is (the callers of the unwind API see to that), and
/// `start`, unless null, points to the registers that the walk was started from, for as long as the
/// walk goes on.
struct Kernel {
    task: *mut Task,
    start: *const Regs,
}

impl Stacks for Kernel {
    fn stack_at(&self, address: u64) -> Option<Stack> {
        let mut info = StackInfo::default();
        // SAFETY: by the type's invariant; `info` can be written to.
        let kind = unsafe { rust_unwind_stack_at(self.task, address, &mut info) };
        // `enum stack_type`.
        let kind = match kind {
            1 => StackKind::Task,
            2 => StackKind::Interrupt,
            3 => StackKind::SoftInterrupt,
            4 => StackKind::Entry,
            5..=20 => StackKind::Exception(kind.wrapping_sub(5) as u8),
            _ => return None,
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

impl Text for Kernel {
    #[inline]
    fn kind(&self, address: u64) -> TextKind {
        let (start, end) = text_bounds();
        if (start..end).contains(&address) {
            return TextKind::Fixed;
        }
        // SAFETY: takes any address.
        match unsafe { rust_unwind_text_kind(address) } {
            1 => TextKind::Fixed,
            2 => TextKind::Trampoline,
            3 => TextKind::Generated,
            _ => TextKind::None,
        }
    }

    fn origin(&self, address: u64) -> Option<Origin> {
        ranges::origin(ENTRY_CODE.get(), address)
    }

    fn is_fork_return(&self, address: u64) -> bool {
        address == ret_from_fork_asm as *const () as u64
    }

    fn vouch(&self, address: u64) -> Vouch {
        let (start, end) = text_bounds();
        if !(start..end).contains(&address) {
            return Vouch::Unknown;
        }
        let is_sorted = IMAGE_IS_SORTED.load(Ordering::Relaxed);
        match image_ranges() {
            None => Vouch::Unknown,
            Some(ranges)
                if UnreliableText::known(Base::Image(start), ranges, is_sorted)
                    .contains(address) =>
            {
                Vouch::KeepsNot
            }
            Some(_) => Vouch::Keeps,
        }
    }

    fn template(&self, address: u64) -> Option<u64> {
        // SAFETY: takes any address.
        match unsafe { rust_unwind_template(address) } {
            0 => None,
            template => Some(template),
        }
    }

    fn bytes_before(&self, address: u64) -> Option<[u8; 8]> {
        let first = address.wrapping_sub(8);
        if self.kind(first) == TextKind::None {
            return None;
        }
        // SAFETY: both ends lie in text, and no two pieces of text lie so near to each other with
        // a hole in between: text is mapped in pages.
        Some(unsafe { core::ptr::read_unaligned(first as *const [u8; 8]) })
    }

    #[inline]
    fn recover(&self, cursor: &mut Recovery, address: u64, slot: u64) -> Recovered {
        // SAFETY: by the type's invariant; what is passed can be written to.
        let found = unsafe { rust_unwind_recover_graph(self.task, &mut cursor.index, address, slot) };
        let found = self.recover_hook(cursor, found, slot);
        if found != address {
            Recovered::Original(found)
        // SAFETY: takes any address.
        } else if unsafe { rust_unwind_is_return_hook(address) } {
            Recovered::Lost(address)
        } else {
            Recovered::Same
        }
    }

    fn recover_interrupted(&self, cursor: &mut Recovery, address: u64, slot: u64) -> Recovered {
        match self.recover_hook(cursor, address, slot) {
            found if found == address => Recovered::Same,
            0 => Recovered::Lost(address),
            found => Recovered::Original(found),
        }
    }
}

impl Kernel {
    fn recover_hook(&self, cursor: &mut Recovery, address: u64, slot: u64) -> u64 {
        let mut hook = cursor.hook as *mut c_void;
        // SAFETY: by the type's invariant; the cursor is what the last call left there, or null.
        let found = unsafe { rust_unwind_recover_rethook(self.task, &mut hook, address, slot) };
        cursor.hook = hook as u64;
        found
    }
}

impl Env for Kernel {
    type Arch = X86_64;

    fn task_kind(&self) -> TaskKind {
        // SAFETY: by the type's invariant.
        match unsafe { rust_unwind_task_kind(self.task) } {
            2 => TaskKind::Idle,
            1 => TaskKind::KernelThread,
            _ => TaskKind::User,
        }
    }

    #[inline]
    fn top(&self) -> u64 {
        // SAFETY: by the type's invariant.
        unsafe { rust_unwind_top(self.task) }
    }

    fn is_running(&self) -> bool {
        // SAFETY: by the type's invariant.
        unsafe { rust_unwind_is_running(self.task) }
    }

    fn start_register(&self, register: Reg) -> Option<u64> {
        if self.start.is_null() {
            return None;
        }
        let word = X86_64::register_offset(register)? / arch::frame::WORD;
        // SAFETY: by the type's invariant.
        let regs = unsafe { &*self.start };
        regs.words.get(word as usize).copied()
    }
}

/// The validator's table of the image, if it was linked in.
fn image_ranges() -> Option<&'static [Range]> {
    let mut count = 0;
    // SAFETY: `count` can be written to.
    let ranges = unsafe { rust_unwind_unreliable_text(&mut count) };
    if ranges.is_null() {
        return None;
    }
    // SAFETY: the linked table has that many ranges, and nobody writes to it.
    Some(unsafe { core::slice::from_raw_parts(ranges, count as usize) })
}

/// Whether that table is in the order of its addresses, which makes looking quicker.
static IMAGE_IS_SORTED: AtomicBool = AtomicBool::new(false);

/// The entry code of the image, sorted, and how much of it there is.
struct Entries {
    count: AtomicUsize,
    table: UnsafeCell<[EntryCode; Self::MOST]>,
}

// SAFETY: the table is written once, on the one CPU of early boot, before the count says that there
// is something in it; later it is only read.
unsafe impl Sync for Entries {}

impl Entries {
    const MOST: usize = 256;

    fn get(&self) -> &[EntryCode] {
        let count = self.count.load(Ordering::Acquire);
        // SAFETY: what the count covers is not written any more.
        let table = unsafe { &*self.table.get() };
        table.get(..count).unwrap_or(&[])
    }

    /// Puts a piece in its place.
    ///
    /// # Safety
    ///
    /// Nobody else may use the table at the same time.
    unsafe fn add(&self, code: EntryCode) {
        let count = self.count.load(Ordering::Relaxed);
        // SAFETY: by this function's own condition.
        let table = unsafe { &mut *self.table.get() };
        let mut at = count;
        while let Some(before) = at.checked_sub(1) {
            match (table.get(before).copied(), table.get_mut(at)) {
                (Some(other), Some(place)) if other.begin > code.begin => *place = other,
                _ => break,
            }
            at = before;
        }
        if let Some(place) = table.get_mut(at) {
            *place = code;
            self.count.store(count.wrapping_add(1), Ordering::Release);
        }
    }
}

static ENTRY_CODE: Entries = Entries {
    count: AtomicUsize::new(0),
    table: UnsafeCell::new(
        [EntryCode {
            begin: 0,
            end: 0,
            origin: Origin::Startup,
        }; Entries::MOST],
    ),
};

/// Notes a piece of entry code.
///
/// # Safety
///
/// As [`Entries::add`]; `name` is a C string.
unsafe extern "C" fn note_entry_code(name: *const c_char, start: c_ulong, size: c_ulong) {
    // SAFETY: by this function's own condition.
    let name = unsafe { CStr::from_ptr(name) };
    let origin = name.to_str().ok().and_then(entry::origin);
    if let Some(origin) = origin {
        let code = EntryCode {
            begin: start,
            end: start.wrapping_add(size),
            origin,
        };
        // SAFETY: by this function's own condition.
        unsafe { ENTRY_CODE.add(code) };
    }
}

/// `unwind_init` of `asm/unwind.h`: sets up what is looked up.
///
/// # Safety
///
/// Called once, while only one CPU runs.
#[no_mangle]
pub unsafe extern "C" fn unwind_init() {
    // SAFETY: by this function's own condition.
    unsafe { rust_unwind_entry_code(note_entry_code) };
    if let Some(ranges) = image_ranges() {
        let table = UnreliableText::new(Base::Image(text_bounds().0), ranges);
        IMAGE_IS_SORTED.store(table.is_sorted(), Ordering::Relaxed);
    }
    #[cfg(CONFIG_UNWINDER_ORC)]
    // SAFETY: by this function's own condition.
    unsafe {
        orc::init();
    }
}

/// What `struct unwind_state` keeps for Rust: `walk` there.
#[repr(C)]
struct Kept {
    walk: Walk<Stepper>,
    start: *const Regs,
}

/// Words in `struct unwind_state` for [`Kept`].
const WORDS: usize = 32;

const _: () = assert!(size_of::<Kept>() <= WORDS * 8 && align_of::<Kept>() <= 8);

/// `struct stack_info`.
#[repr(C)]
struct CStackInfo {
    kind: c_uint,
    begin: *mut c_ulong,
    end: *mut c_ulong,
    next: *mut c_ulong,
}

/// `struct unwind_state`, as the overlay makes it.
///
/// # Invariants
///
/// Once a walk was started in it, `walk` holds a [`Kept`].
#[repr(C)]
pub struct State {
    stack_info: CStackInfo,
    stack_mask: c_ulong,
    task: *mut Task,
    graph_index: c_int,
    #[cfg(CONFIG_RETHOOK)]
    hook: *mut c_void,
    error: bool,
    full_regs: bool,
    regs: u64,
    walk: [MaybeUninit<u64>; WORDS],
}

impl State {
    /// # Safety
    ///
    /// A walk was started in it.
    unsafe fn kept(&mut self) -> &mut Kept {
        // SAFETY: by this function's own condition and the type's invariant; it is large and
        // aligned enough.
        unsafe { &mut *self.walk.as_mut_ptr().cast::<Kept>() }
    }

    /// Shows C what it looks at.
    ///
    /// # Safety
    ///
    /// As [`State::kept`].
    unsafe fn show(&mut self) {
        // SAFETY: by this function's own condition.
        let walk = unsafe { self.kept() }.walk;
        self.error = matches!(walk.status(), Status::Lost(_));
        // STACK_TYPE_UNKNOWN is what `unwind_done` looks for.
        self.stack_info.kind = c_uint::from(!walk.is_done());
        match walk.registers() {
            Some(registers) => {
                self.regs = registers.address;
                self.full_regs = !registers.partial;
            }
            None => {
                self.regs = 0;
                self.full_regs = false;
            }
        }
    }

    /// # Safety
    ///
    /// As [`State::kept`].
    unsafe fn env(&mut self) -> Kernel {
        // INVARIANT: as they were when the walk was started.
        Kernel {
            task: self.task,
            // SAFETY: by this function's own condition.
            start: unsafe { self.kept() }.start,
        }
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
#[inline(never)]
unsafe extern "C" fn __unwind_start(
    state: *mut State,
    task: *mut Task,
    regs: *const Regs,
    first: c_ulong,
) {
    // INVARIANT: by this function's own condition.
    let env = Kernel { task, start: regs };
    // SAFETY: by this function's own condition.
    let start = if !regs.is_null() {
        let layout = X86_64::REGISTERS;
        let word = |offset: u64| {
            // SAFETY: as above; offsets of the layout lie in the registers.
            unsafe { *(regs as *const u64).add((offset / 8) as usize) }
        };
        Start::Interrupted {
            pc: word(layout.pc),
            sp: word(layout.sp),
            fp: word(layout.fp),
            // SAFETY: as above.
            user: unsafe { rust_unwind_user_mode(regs) },
        }
    } else if unsafe { rust_unwind_is_current(task) } {
        here()
    } else {
        Start::Inactive {
            sp: unsafe { rust_unwind_saved_sp(task) },
        }
    };
    let walk = Walk::<Stepper>::start(&env, Mode::BestEffort, start, first);
    // SAFETY: by this function's own condition; C has not set it up, and zeros are what its parts
    // begin with.
    unsafe {
        core::ptr::write_bytes(state.cast::<u8>(), 0, size_of::<State>());
        let state = &mut *state;
        state.task = task;
        // INVARIANT: now it does.
        state.walk.as_mut_ptr().cast::<Kept>().write(Kept { walk, start: regs });
        state.show();
    }
}

/// `unwind_next_frame` of `asm/unwind.h`.
///
/// # Safety
///
/// A walk was started in `state`, of a task whose stack is still there.
#[no_mangle]
unsafe extern "C" fn unwind_next_frame(state: *mut State) -> bool {
    // SAFETY: by this function's own condition.
    unsafe {
        let state = &mut *state;
        let env = state.env();
        let goes_on = state.kept().walk.next(&env);
        state.show();
        goes_on
    }
}

/// `unwind_get_return_address` of `asm/unwind.h`; 0 for none.
///
/// # Safety
///
/// As [`unwind_next_frame`].
#[no_mangle]
unsafe extern "C" fn unwind_get_return_address(state: *mut State) -> c_ulong {
    // SAFETY: by this function's own condition.
    unsafe {
        let state = &mut *state;
        let env = state.env();
        state.kept().walk.address(&env).unwrap_or(0)
    }
}

/// `unwind_get_return_address_ptr` of `asm/unwind.h`; null for none.
///
/// # Safety
///
/// As [`unwind_next_frame`].
#[no_mangle]
unsafe extern "C" fn unwind_get_return_address_ptr(state: *mut State) -> *mut c_ulong {
    // SAFETY: by this function's own condition.
    unsafe {
        let state = &mut *state;
        let env = state.env();
        state.kept().walk.address_slot(&env).unwrap_or(0) as *mut c_ulong
    }
}

/// `stack_trace_consume_fn` of `linux/stacktrace.h`.
type Consume = unsafe extern "C" fn(cookie: *mut c_void, address: c_ulong) -> bool;

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
    cookie: *mut c_void,
    task: *mut Task,
) -> c_int {
    // INVARIANT: by this function's own condition.
    let env = Kernel {
        task,
        start: core::ptr::null(),
    };
    // SAFETY: by this function's own condition.
    let (start, first) = if unsafe { rust_unwind_is_current(task) } {
        let start = here();
        let first = match start {
            Start::Here { fp, sp, .. } if cfg!(CONFIG_UNWINDER_ORC) => {
                let _ = fp;
                sp
            }
            Start::Here { fp, .. } => fp,
            _ => 0,
        };
        (start, first)
    } else {
        // SAFETY: as above.
        let sp = unsafe { rust_unwind_saved_sp(task) };
        (Start::Inactive { sp }, sp)
    };
    let outcome = unwind::reliable::<Stepper, _>(&env, start, first, |frame| {
        // SAFETY: by this function's own condition.
        unsafe { consume(cookie, frame.address) }
    });
    match outcome.verdict {
        Verdict::Reliable => 0,
        Verdict::Unreliable(_) => -EINVAL,
    }
}
