//! The unwinder in the kernel: x86's unwind API (`arch/x86/include/asm/unwind.h`) on top of the
//! `unwind` crate.
//!
//! Only types and calls are translated here. What a stack means is `unwind`'s, how x86_64 lays it
//! out `arch_x86_64`'s; what cannot be said in Rust is in `shim.c`. Nothing here allocates or takes
//! a lock: it is called from any context, NMI and early boot included.

// SPDX-License-Identifier: GPL-2.0-only

use core::cell::UnsafeCell;
use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void, CStr};
use core::mem::{align_of, size_of, MaybeUninit};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use arch::frame::{Frames, Origin};
use arch::insn::Reg;
use arch_x86_64::{entry, X86_64};
use modules::{Module, Modules};
use unwind::ranges::{self, Base, EntryCode, Pages, Range, UnreliableText};
use unwind::{
    Env, Mode, Recovered, Recovery, Slot, Stack, StackKind, Stacks, Start, Status, TaskKind, Text,
    TextKind, Verdict, Vouch, Walk,
};

#[cfg(CONFIG_RUST_UNWINDER_TEST)]
mod copied;
mod modules;
#[cfg(CONFIG_UNWINDER_ORC)]
mod orc;
mod verdict;

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
    #[cfg(CONFIG_FUNCTION_GRAPH_TRACER)]
    fn return_to_handler();
    #[cfg(CONFIG_RETHOOK)]
    fn arch_rethook_trampoline();

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
    fn rust_unwind_is_init_text(address: c_ulong) -> bool;
    fn rust_unwind_read_text(address: c_ulong, bytes: *mut [u8; 8]) -> bool;
}

/// The kernel's text but for that of its start-up.
fn text_bounds() -> (u64, u64) {
    // SAFETY: the linker script defines both; only their addresses are taken.
    unsafe { (_stext.as_ptr() as u64, _etext.as_ptr() as u64) }
}

/// Whether text is the kernel's start-up's, which may be gone by now.
fn is_init_text(address: u64) -> bool {
    // SAFETY: takes any address.
    unsafe { rust_unwind_is_init_text(address) }
}

/// A task's stack, as the kernel knows it.
///
/// # Invariants
///
/// `task` is a task whose stack stays where it is (the callers of the unwind API see to that), and
/// `start`, unless null, points to the registers that the walk was started from, for as long as the
/// walk goes on. `top` is the task's, from [`Kernel::new`].
struct Kernel {
    task: *mut Task,
    start: *const Regs,
    top: u64,
    modules: Modules,
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
        if self.modules.is_held() && self.modules.show(address, |_| ()).is_some() {
            return TextKind::Fixed;
        }
        // SAFETY: takes any address.
        match unsafe { rust_unwind_text_kind(address) } {
            1 => TextKind::Fixed,
            2 => TextKind::Trampoline,
            3 => TextKind::Generated,
            4 => TextKind::Gone,
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
        if (start..end).contains(&address) || is_init_text(address) {
            return IMAGE.vouch(address);
        }
        let table = |module: &Module| {
            if module.unreliable.is_null() {
                return Vouch::Unknown;
            }
            let base = Base::Module(module.unreliable as u64);
            let count = module.unreliable_count as usize;
            // SAFETY: the module's table has that many ranges, and is there while the module is.
            let ranges = unsafe { core::slice::from_raw_parts(module.unreliable, count) };
            said(&UnreliableText::known(base, ranges, false), address)
        };
        self.modules.show(address, table).unwrap_or(Vouch::Unknown)
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
        let (start, end) = text_bounds();
        if (start..end).contains(&first) && address <= end {
            // SAFETY: all eight lie in the kernel's text, which can always be read.
            return Some(unsafe { core::ptr::read_unaligned(first as *const [u8; 8]) });
        }
        let is_module = |module: &Module| (module.begin..module.end).contains(&address.wrapping_sub(1));
        if self.modules.is_held() && self.modules.show(first, is_module) == Some(true) {
            // SAFETY: all eight lie in the text of one module, which is held.
            return Some(unsafe { core::ptr::read_unaligned(first as *const [u8; 8]) });
        }
        let mut bytes = [0; 8];
        // SAFETY: takes any address; `bytes` can be written to.
        unsafe { rust_unwind_read_text(first, &mut bytes) }.then_some(bytes)
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
    #[cfg(CONFIG_RETHOOK)]
    if address == arch_rethook_trampoline as *const () as u64 {
        return true;
    }
    let _ = address;
    false
}

impl Kernel {
    #[cold]
    #[inline(never)]
    fn recover_rewritten(&self, cursor: &mut Recovery, address: u64, slot: u64) -> Recovered {
        let mut found = address;
        // Each tracer may have found the other's hook there.
        for _ in 0..Self::MOST_HOOKS {
            // SAFETY: by the type's invariant; what is passed can be written to.
            let next =
                unsafe { rust_unwind_recover_graph(self.task, &mut cursor.index, found, slot) };
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

    /// # Safety
    ///
    /// The type's invariant holds of what is passed.
    #[inline]
    unsafe fn new(task: *mut Task, start: *const Regs, modules: Modules) -> Self {
        // INVARIANT: by this function's own condition.
        Self {
            task,
            start,
            modules,
            // SAFETY: by this function's own condition.
            top: unsafe { rust_unwind_top(task) },
        }
    }

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
        self.top
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

/// What a table says of an address.
fn said(table: &UnreliableText<'_>, address: u64) -> Vouch {
    match table.contains(address) {
        true => Vouch::KeepsNot,
        false => Vouch::Keeps,
    }
}

/// The validator's table of the image, once it is set up, if it was linked in.
struct Image {
    ranges: AtomicPtr<Range>,
    count: AtomicUsize,
    /// Whether it is in the order of its addresses, which makes looking quicker.
    is_sorted: AtomicBool,
    /// Which pages it may hold some of ([`Pages`]).
    pages: [AtomicU64; Pages::WORDS],
}

#[expect(clippy::declare_interior_mutable_const, reason = "what an array begins with")]
const ZERO: AtomicU64 = AtomicU64::new(0);

static IMAGE: Image = Image {
    ranges: AtomicPtr::new(core::ptr::null_mut()),
    count: AtomicUsize::new(0),
    is_sorted: AtomicBool::new(false),
    pages: [ZERO; Pages::WORDS],
};

impl Image {
    /// What it says of an address in the image.
    #[inline]
    fn vouch(&self, address: u64) -> Vouch {
        let (word, bit) = Pages::place(address);
        let pages = self.pages.get(word).map_or(u64::MAX, |page| page.load(Ordering::Relaxed));
        match self.ranges.load(Ordering::Acquire).is_null() {
            true => Vouch::Unknown,
            false if pages & bit == 0 => Vouch::Keeps,
            false => self.table().map_or(Vouch::Unknown, |table| said(&table, address)),
        }
    }

    #[cold]
    fn table(&self) -> Option<UnreliableText<'static>> {
        let ranges = self.ranges.load(Ordering::Acquire);
        if ranges.is_null() {
            return None;
        }
        let count = self.count.load(Ordering::Relaxed);
        // SAFETY: the linked table has that many ranges, and nobody writes to it.
        let ranges = unsafe { core::slice::from_raw_parts(ranges.cast_const(), count) };
        let is_sorted = self.is_sorted.load(Ordering::Relaxed);
        Some(UnreliableText::known(Base::Image(text_bounds().0), ranges, is_sorted))
    }

    #[link_section = ".init.text"]
    fn set_up(&self) {
        let mut count = 0;
        // SAFETY: `count` can be written to.
        let first = unsafe { rust_unwind_unreliable_text(&mut count) };
        if first.is_null() {
            return;
        }
        // SAFETY: the linked table has that many ranges, and nobody writes to it.
        let ranges = unsafe { core::slice::from_raw_parts(first, count as usize) };
        let table = UnreliableText::new(Base::Image(text_bounds().0), ranges);
        self.is_sorted.store(table.is_sorted(), Ordering::Relaxed);
        for (page, word) in self.pages.iter().zip(Pages::of(&table).words()) {
            page.store(word, Ordering::Relaxed);
        }
        self.count.store(ranges.len(), Ordering::Relaxed);
        self.ranges.store(first.cast_mut(), Ordering::Release);
    }
}

/// The entry code of the image, sorted, and how much of it there is.
struct Entries {
    count: AtomicUsize,
    /// Written up to the count.
    table: UnsafeCell<[MaybeUninit<EntryCode>; Self::MOST]>,
}

// SAFETY: the table is written once, on the one CPU of early boot, before the count says that there
// is something in it; later it is only read.
unsafe impl Sync for Entries {}

impl Entries {
    const MOST: usize = 256;

    fn get(&self) -> &[EntryCode] {
        let count = self.count.load(Ordering::Acquire);
        // SAFETY: what the count covers was written, and is not written any more.
        unsafe { core::slice::from_raw_parts(self.table.get().cast::<EntryCode>(), count) }
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
                // SAFETY: it lies before the count.
                (Some(other), Some(place)) if unsafe { other.assume_init() }.begin > code.begin => {
                    *place = other;
                }
                _ => break,
            }
            at = before;
        }
        if let (Some(place), true) = (table.get_mut(at), count < Self::MOST) {
            place.write(code);
            self.count.store(count.wrapping_add(1), Ordering::Release);
        }
    }
}

static ENTRY_CODE: Entries = Entries {
    count: AtomicUsize::new(0),
    table: UnsafeCell::new([MaybeUninit::uninit(); Entries::MOST]),
};

/// Notes a piece of entry code.
///
/// # Safety
///
/// As [`Entries::add`]; `name` is a C string.
#[link_section = ".init.text"]
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
#[link_section = ".init.text"]
pub unsafe extern "C" fn unwind_init() {
    // SAFETY: by this function's own condition.
    unsafe { rust_unwind_entry_code(note_entry_code) };
    IMAGE.set_up();
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
    top: u64,
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
        self.stack_info.kind = c_uint::from(!is_done);
        match registers {
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
        // SAFETY: by this function's own condition.
        let kept = unsafe { self.kept() };
        let (start, top) = (kept.start, kept.top);
        // INVARIANT: as they were when the walk was started.
        Kernel {
            task: self.task,
            start,
            top,
            modules: Modules::passing(),
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
    // SAFETY: by this function's own condition.
    let env = unsafe { Kernel::new(task, regs, Modules::passing()) };
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
        state.walk.as_mut_ptr().cast::<Kept>().write(Kept {
            walk,
            start: regs,
            top: env.top,
        });
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

/// Where a walk of a task begins, and the address from which on its frames are of interest.
///
/// # Safety
///
/// `task` is a task.
#[inline(always)]
unsafe fn begin(task: *mut Task) -> (Start, u64) {
    // SAFETY: by this function's own condition.
    if unsafe { rust_unwind_is_current(task) } {
        let start = here();
        let first = match start {
            Start::Here { sp, .. } if cfg!(CONFIG_UNWINDER_ORC) => sp,
            Start::Here { fp, .. } => fp,
            _ => 0,
        };
        (start, first)
    } else {
        // SAFETY: as above.
        let sp = unsafe { rust_unwind_saved_sp(task) };
        (Start::Inactive { sp }, sp)
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
    // SAFETY: by this function's own condition.
    let env = unsafe { Kernel::new(task, core::ptr::null(), Modules::held()) };
    // SAFETY: by this function's own condition.
    let (start, first) = unsafe { begin(task) };
    let verdict = unwind::reliable_addresses::<Stepper, _>(&env, start, first, |address| {
        // SAFETY: by this function's own condition.
        unsafe { consume(cookie, address) }
    });
    match verdict {
        Verdict::Reliable => 0,
        Verdict::Unreliable(_) => -EINVAL,
    }
}
