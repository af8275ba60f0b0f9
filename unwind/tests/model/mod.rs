//! A small kernel to walk: its text with ORC entries and the validator's table, and an environment
//! that answers from it. Stacks are laid out by `build`. Nothing here knows how a walk works.
#![allow(dead_code, reason = "each test uses a part of the model")]

pub mod build;
pub mod plan;

use std::cell::Cell;

use arch::frame::{Event, Origin};
use arch::insn::Reg;
use arch::object::{Base, Rule};
use arch::orc::{Frame as Entry, FrameKind, Orc as _};
use arch_x86_64::{entry, reg, X86_64};
use unwind::orc::table::{Addresses, Blocks, Table};
use unwind::ranges::{self, EntryCode, Range, UnreliableText};
use unwind::walk::{Partial, ReturnSlot, Stepper};
use unwind::{
    reliable, Env, Frame, Lookup, Mode, OrcEnv, Outcome, Recovered, Recovery, Slot, Stack, Stacks,
    Start, TaskKind, Text, TextKind, Vouch, Walk,
};

/// Where the kernel's text begins.
pub const TEXT: u64 = 0xffff_ffff_8100_0000;
/// A copy of the tracer's entry.
pub const TRAMPOLINE: u64 = 0xffff_ffff_c080_0000;
/// Other code made at run time.
pub const GENERATED: u64 = 0xffff_ffff_c090_0000;
/// Size of each function, and of each made piece of code.
pub const SIZE: u64 = 0x100;
/// Behind which offsets of a function a call returns.
pub const SITES: [u64; 4] = [0x20, 0x40, 0x60, 0x80];
/// Where the lookup tables say that they lie.
const TABLE_AT: u64 = TEXT + 0x100_0000;

/// How ORC says where a function's frame ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cfa {
    /// From the frame pointer.
    FramePointer,
    /// From the stack pointer.
    StackPointer,
    /// From what lies at the top of another stack, to which the function has switched.
    Switched,
    /// The caller's frame end is kept in r10.
    R10,
    /// It says that nothing is known.
    Undefined,
    /// There is no entry that means anything.
    Invalid,
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function {
    pub name: &'static str,
    pub begin: u64,
    /// Bytes below its frame record while it calls.
    pub locals: u64,
    pub cfa: Cfa,
}

impl Function {
    /// Where its n-th call returns to.
    pub fn site(&self, n: usize) -> u64 {
        self.begin + SITES[n % SITES.len()]
    }
}

/// The kernel.
pub struct Kernel {
    pub functions: Vec<Function>,
    bytes: Vec<u8>,
    origins: Vec<EntryCode>,
    unreliable: Vec<Range>,
    distances: Vec<i32>,
    entries: Vec<[u8; 6]>,
    firsts: Vec<u32>,
    /// Where tracers send returns to, and where a new task starts.
    hooks: [u64; 2],
    fork: u64,
}

const ENTRIES: [&str; 9] = [
    "entry_SYSCALL_64",
    "asm_exc_page_fault",
    "asm_common_interrupt",
    "asm_exc_nmi",
    "asm_exc_int3",
    "asm_exc_divide_error",
    "ret_from_fork_asm",
    "secondary_startup_64",
    "rewind_stack_and_make_dead",
];

/// Functions with a part to play; ordinary ones follow.
const SPECIAL: [(&str, u64, Cfa); 7] = [
    ("schedule", 0x40, Cfa::StackPointer),
    ("switches_stack", 0x10, Cfa::Switched),
    ("keeps_no_frame", 0x20, Cfa::FramePointer),
    ("says_nothing", 0x20, Cfa::Undefined),
    ("says_nonsense", 0x20, Cfa::Invalid),
    ("keeps_r10", 0x20, Cfa::R10),
    ("ftrace_caller", 0x30, Cfa::FramePointer),
];

/// Names of the ordinary functions.
pub const ORDINARY: [&str; 8] = ["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7"];

/// Where tracers send returns to.
const HOOKS: [&str; 2] = ["return_to_handler", "arch_rethook_trampoline"];

impl Kernel {
    pub fn new() -> Self {
        let mut functions = Vec::new();
        let mut add = |name, locals, cfa| {
            let begin = TEXT + SIZE * functions.len() as u64;
            functions.push(Function {
                name,
                begin,
                locals,
                cfa,
            });
        };
        for name in ENTRIES {
            add(name, 0, Cfa::StackPointer);
        }
        for (name, locals, cfa) in SPECIAL {
            add(name, locals, cfa);
        }
        for (n, name) in ORDINARY.into_iter().enumerate() {
            let cfa = [Cfa::FramePointer, Cfa::StackPointer][n % 2];
            add(name, 8 * n as u64, cfa);
        }
        for name in HOOKS {
            add(name, 0, Cfa::Undefined);
        }
        // No function reaches the end of the text.
        add("last", 0, Cfa::Undefined);
        let mut kernel = Self {
            bytes: vec![0x90; functions.len() * SIZE as usize],
            functions,
            origins: Vec::new(),
            unreliable: Vec::new(),
            distances: Vec::new(),
            entries: Vec::new(),
            firsts: Vec::new(),
            hooks: [0; 2],
            fork: 0,
        };
        kernel.hooks = HOOKS.map(|name| kernel.function(name).begin);
        kernel.fork = kernel.function("ret_from_fork_asm").begin;
        for function in kernel.functions.clone() {
            kernel.describe(&function);
        }
        let stop = kernel.end();
        let addresses = Addresses::new(TABLE_AT, &kernel.distances);
        let mut firsts = vec![0; Blocks::places(TEXT, stop) as usize];
        Blocks::fill(&mut firsts, &addresses, TEXT, stop).unwrap();
        kernel.firsts = firsts;
        kernel
    }

    pub fn function(&self, name: &str) -> &Function {
        let mut all = self.functions.iter();
        all.find(|function| function.name == name)
            .unwrap_or_else(|| panic!("no function {name}"))
    }

    /// The function at an address of the text.
    pub fn function_at(&self, address: u64) -> Option<&Function> {
        let offset = address.checked_sub(TEXT)?;
        self.functions.get((offset / SIZE) as usize)
    }

    fn end(&self) -> u64 {
        TEXT + self.bytes.len() as u64
    }

    fn describe(&mut self, function: &Function) {
        let (begin, end) = (function.begin, function.begin + SIZE);
        let at = (begin - TEXT) as usize;
        // Where the tracer's entry is called once it is switched on.
        self.bytes[at..at + 5].copy_from_slice(&[0x0f, 0x1f, 0x44, 0x00, 0x00]);
        for site in SITES {
            let call = at + site as usize - 5;
            self.bytes[call..call + 5].copy_from_slice(&[0xe8, 1, 2, 3, 4]);
        }
        let origin = entry::origin(function.name.as_bytes());
        if let Some(origin) = origin {
            self.origins.push(EntryCode { begin, end, origin });
        }
        let keeps = ORDINARY.contains(&function.name)
            || [
                "schedule",
                "switches_stack",
                "ftrace_caller",
                "keeps_r10",
                "says_nothing",
            ]
            .contains(&function.name);
        if !keeps {
            self.unreliable.push(Range {
                distance: (begin - TEXT) as i32,
                size: SIZE as u32,
            });
        }
        let kind = |kind, signal, base, offset, fp| Entry {
            kind,
            signal,
            cfa: Rule::new(base, offset),
            frame_pointer: fp,
        };
        let (sp, fp) = (Base::Reg(reg::RSP), Base::Reg(reg::RBP));
        let none = Rule::UNDEFINED;
        match origin {
            Some(Origin::Fork | Origin::Startup) => {
                self.entry(begin, kind(FrameKind::EndOfStack, false, sp, 0, none));
                return;
            }
            Some(_) => {
                // Before registers are pushed there is what the processor saved; then all.
                self.entry(begin, kind(FrameKind::RegsPartial, true, sp, 0, none));
                self.entry(begin + 8, kind(FrameKind::Regs, true, sp, 0, none));
                return;
            }
            None => {}
        }
        let saved = Rule::new(Base::Cfa, -16);
        let call = |base, offset, fp| kind(FrameKind::Call, false, base, offset, fp);
        let size = 16 + function.locals as i32;
        let body = match function.cfa {
            Cfa::FramePointer => call(fp, 16, saved),
            Cfa::StackPointer => call(sp, size, saved),
            Cfa::Switched => call(Base::StackPointerIndirect, size, saved),
            Cfa::R10 => call(Base::Reg(reg::R10), 0, saved),
            Cfa::Undefined => {
                self.entry(begin, kind(FrameKind::Undefined, false, sp, 0, none));
                return;
            }
            Cfa::Invalid => {
                self.push_entry(begin, [0, 0, 0, 0, 15, 2]);
                return;
            }
        };
        // push %rbp at 5, mov %rsp,%rbp at 6, sub at 9; leave behind the last call, ret at the end.
        self.entry(begin, call(sp, 8, none));
        self.entry(begin + 6, call(sp, 16, saved));
        self.entry(begin + 9, body);
        self.entry(end - 1, call(sp, 8, none));
    }

    fn entry(&mut self, address: u64, entry: Entry) {
        let [a, b, c, d, e, f, ..] = X86_64.encode(&entry).unwrap();
        self.push_entry(address, [a, b, c, d, e, f]);
    }

    fn push_entry(&mut self, address: u64, entry: [u8; 6]) {
        let place = TABLE_AT + 4 * self.distances.len() as u64;
        self.distances.push((address as i64 - place as i64) as i32);
        self.entries.push(entry);
    }

    fn bytes_before(&self, address: u64) -> Option<[u8; 8]> {
        let end = usize::try_from(address.checked_sub(TEXT)?).ok()?;
        let bytes = self.bytes.get(end.checked_sub(8)?..end)?;
        bytes.try_into().ok()
    }

    /// Where copies come from: the tracer's entry.
    pub fn template(&self, address: u64) -> Option<u64> {
        let offset = address.checked_sub(TRAMPOLINE)?;
        (offset < SIZE).then(|| self.function("ftrace_caller").begin + offset)
    }
}

/// A stack and what is on it.
#[derive(Clone, Debug)]
pub struct Memory {
    pub stack: Stack,
    pub words: Vec<u64>,
}

impl Memory {
    pub fn word(&mut self, address: u64) -> &mut u64 {
        assert!(self.stack.slot(address).is_some(), "{address:#x}");
        let index = (address - self.stack.begin()) / 8;
        &mut self.words[index as usize]
    }
}

/// A task with its stacks, the kernel that it runs, and what tracers know of it.
#[derive(Clone)]
pub struct Task<'k> {
    pub kernel: &'k Kernel,
    pub memory: Vec<Memory>,
    pub kind: TaskKind,
    pub top: u64,
    pub running: Cell<bool>,
    /// The task is put on a CPU when this word is read.
    pub runs_when_read: Option<u64>,
    /// Slots of rewritten return addresses, and the originals.
    pub originals: Vec<(u64, u64)>,
    /// There is no table of the validator's.
    pub no_table: bool,
    /// ORC is not set up.
    pub not_ready: bool,
    /// Text that was needed at start-up only, and is gone: this function.
    pub gone: Option<&'static str>,
    /// A breakpoint stands here.
    pub breakpoint: Option<u64>,
    /// Whether the instruction at a breakpoint has been run, where that is known.
    pub has_run: Option<(u64, bool)>,
    /// Text without an ORC entry: this function.
    pub missing: Option<&'static str>,
    /// Registers that a walk starts from.
    pub r10: Option<u64>,
    /// Reads that were not on a stack, and reads in all.
    pub outside: Cell<u64>,
    pub reads: Cell<u64>,
}

impl Task<'_> {
    fn is_gone(&self, address: u64) -> bool {
        let function = self.kernel.function_at(address);
        self.gone.is_some() && function.map(|function| function.name) == self.gone
    }

    /// The word at an address, to be changed.
    pub fn word(&mut self, address: u64) -> &mut u64 {
        let mut all = self.memory.iter_mut();
        all.find(|memory| memory.stack.slot(address).is_some())
            .unwrap_or_else(|| panic!("no stack at {address:#x}"))
            .word(address)
    }
}

impl Stacks for Task<'_> {
    fn stack_at(&self, address: u64) -> Option<Stack> {
        let mut all = self.memory.iter().map(|memory| memory.stack);
        all.find(|stack| stack.contains(address, 1))
    }

    fn read(&self, slot: Slot) -> u64 {
        self.reads.set(self.reads.get() + 1);
        let address = slot.address();
        if self.runs_when_read == Some(address) {
            self.running.set(true);
        }
        let mut all = self.memory.iter();
        let on = all.find(|memory| {
            let (begin, end) = (memory.stack.begin(), memory.stack.end());
            address % 8 == 0 && begin <= address && address.checked_add(8).is_some_and(|e| e <= end)
        });
        match on {
            Some(memory) => memory.words[((address - memory.stack.begin()) / 8) as usize],
            None => {
                self.outside.set(self.outside.get() + 1);
                0
            }
        }
    }
}

impl Text for Task<'_> {
    fn kind(&self, address: u64) -> TextKind {
        let within = |begin: u64| address.wrapping_sub(begin) < SIZE;
        if self.is_gone(address) {
            TextKind::Gone
        } else if (TEXT..self.kernel.end()).contains(&address) {
            TextKind::Fixed
        } else if within(TRAMPOLINE) {
            TextKind::Trampoline
        } else if within(GENERATED) {
            TextKind::Generated
        } else {
            TextKind::None
        }
    }

    fn origin(&self, address: u64) -> Option<Origin> {
        ranges::origin(&self.kernel.origins, address)
    }

    fn is_fork_return(&self, address: u64) -> bool {
        address == self.kernel.fork
    }

    fn vouch(&self, address: u64) -> Vouch {
        let base = ranges::Base::Image(TEXT);
        let table = UnreliableText::new(base, &self.kernel.unreliable);
        match (self.no_table, table.contains(address)) {
            (true, _) => Vouch::Unknown,
            (_, true) => Vouch::KeepsNot,
            _ => Vouch::Keeps,
        }
    }

    fn template(&self, address: u64) -> Option<u64> {
        self.kernel.template(address)
    }

    fn bytes_before(&self, address: u64) -> Option<[u8; 8]> {
        assert!(!self.is_gone(address.wrapping_sub(1)), "{address:#x}");
        let original = self.kernel.template(address.wrapping_sub(1));
        let mut bytes = self
            .kernel
            .bytes_before(original.map_or(address, |a| a + 1))?;
        if self.breakpoint == Some(address.wrapping_sub(1)) {
            bytes[7] = 0xcc;
        }
        Some(bytes)
    }

    fn recover(&self, _: &mut Recovery, address: u64, slot: u64) -> Recovered {
        if !self.kernel.hooks.contains(&address) {
            return Recovered::Same;
        }
        match self.originals.iter().find(|(at, _)| *at == slot) {
            Some((_, original)) => Recovered::Original(*original),
            None => Recovered::Lost(address),
        }
    }

    fn recover_interrupted(&self, cursor: &mut Recovery, address: u64, slot: u64) -> Recovered {
        if address == self.kernel.hooks[1] {
            self.recover(cursor, address, slot)
        } else {
            Recovered::Same
        }
    }
}

impl Env for Task<'_> {
    type Arch = X86_64;

    fn task_kind(&self) -> TaskKind {
        self.kind
    }

    fn top(&self) -> u64 {
        self.top
    }

    fn is_running(&self) -> bool {
        self.running.get()
    }

    fn start_register(&self, register: Reg) -> Option<u64> {
        self.r10.filter(|_| register == reg::R10)
    }
}

impl OrcEnv for Task<'_> {
    type Format = X86_64;

    fn orc(&self, address: u64) -> Lookup<[u8; 6]> {
        if self.not_ready {
            return Lookup::NotReady;
        }
        let function = self.kernel.function_at(address);
        if self.missing.is_some() && function.map(|f| f.name) == self.missing {
            return Lookup::Missing;
        }
        let addresses = Addresses::new(TABLE_AT, &self.kernel.distances);
        let table = Table::new(addresses, &self.kernel.entries).unwrap();
        let blocks = Blocks::new(TEXT, self.kernel.end(), &self.kernel.firsts);
        match table.find_in(&blocks, address) {
            Some(entry) => Lookup::Found(entry),
            None => Lookup::Missing,
        }
    }

    fn has_run(&self, address: u64) -> Option<bool> {
        let (at, has_run) = self.has_run?;
        (at == address).then_some(has_run)
    }
}

/// A walk for a verdict, and the frames that it showed.
pub fn verdict<S>(task: &Task<'_>, start: Start) -> (Outcome, Vec<Frame>)
where
    S: for<'k> Stepper<Task<'k>> + for<'k> ReturnSlot<Task<'k>> + Partial,
{
    let first = match start {
        Start::Inactive { sp } | Start::Here { sp, .. } | Start::Interrupted { sp, .. } => sp,
    };
    let mut frames = Vec::new();
    let was_running = task.running.get();
    let outcome = reliable::<S, _>(task, start, first, |frame| {
        frames.push(*frame);
        true
    });
    if task.running.get() == was_running {
        // Whoever asks for addresses alone is told the same.
        let (mut shown, reads) = (Vec::new(), task.reads.get());
        let verdict =
            Walk::<S>::start(task, Mode::Reliable, start, first).conclude(task, |address| {
                shown.push(address);
                true
            });
        assert_eq!((verdict, shown), (outcome.verdict, addresses(&frames)));
        task.reads.set(reads);
    }
    assert_eq!(task.outside.get(), 0, "read what is on no stack");
    (outcome, frames)
}

/// A best-effort walk: its frames, and the walk itself, behind them.
pub fn frames<S>(task: &Task<'_>, start: Start, first: u64) -> (Vec<Frame>, Walk<S>)
where
    S: for<'k> Stepper<Task<'k>> + for<'k> ReturnSlot<Task<'k>> + Partial,
{
    let mut frames = Vec::new();
    let mut walk = Walk::<S>::start(task, Mode::BestEffort, start, first);
    while !walk.is_done() {
        frames.push(walk.frame(task));
        walk.next(task);
    }
    assert_eq!(task.outside.get(), 0, "read what is on no stack");
    (frames, walk)
}

/// The addresses of frames.
pub fn addresses(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|frame| frame.address).collect()
}

/// The event that an entry of the model is for.
pub fn event(entry: &str) -> Event {
    match entry::origin(entry.as_bytes()) {
        Some(Origin::Event(event)) => event,
        other => panic!("{entry} is no event: {other:?}"),
    }
}
