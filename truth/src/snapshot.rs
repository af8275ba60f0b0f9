//! What the unwinder sees of an emulated task at one instruction: its stack, and what would lie on
//! it if the task were stopped there, as the kernel would answer.
//!
//! Not here: what the walk must conclude ([`crate::compare`]).

use std::cell::Cell;

use arch::frame::{Frames, Origin, WORD};
use arch::insn::Reg;
use arch_x86_64::{reg, X86_64};
use unwind::{
    Env, Lookup, OrcEnv, Recovered, Recovery, Slot, Stack, StackKind, Stacks, Start, TaskKind,
    Text, TextKind, Vouch,
};

use crate::image::Image;

/// The kernel's code segment, as the processor saves it.
const KERNEL_CS: u64 = 0x10;

/// The most words that stopping a task puts on its stack: the registers, the frame of the switch,
/// and one to align them.
const MOST_WORDS: usize = 32;

/// The general registers, by number (rax, rcx, rdx, ...).
pub type Registers = [u64; 16];

/// The stack of the emulated task.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    /// Its lowest address.
    pub begin: u64,
    /// Its words.
    pub words: &'a [u64],
}

impl Memory<'_> {
    /// The address behind its highest word.
    pub fn end(&self) -> u64 {
        self.begin + WORD * self.words.len() as u64
    }

    /// The word at an address.
    pub fn word(&self, address: u64) -> Option<u64> {
        let offset = address.checked_sub(self.begin)?;
        self.words
            .get(usize::try_from(offset / WORD).ok()?)
            .copied()
    }

    /// Where the registers of user space lie, or would.
    pub fn top(&self) -> u64 {
        self.end() - X86_64::REGISTERS.size
    }
}

/// A task that was stopped.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    image: &'a Image,
    memory: Memory<'a>,
    registers: &'a Registers,
    /// What stopping it has put on the stack, from `put_at` on.
    put: [u64; MOST_WORDS],
    put_at: u64,
    put_end: u64,
    reads: Cell<u64>,
    outside: Cell<u64>,
}

impl<'a> Snapshot<'a> {
    /// A task whose registers are known to whoever walks, and of which nothing else was saved.
    pub fn new(image: &'a Image, memory: Memory<'a>, registers: &'a Registers) -> Self {
        Self {
            image,
            memory,
            registers,
            put: [0; MOST_WORDS],
            put_at: 0,
            put_end: 0,
            reads: Cell::new(0),
            outside: Cell::new(0),
        }
    }

    /// How many words were read.
    pub fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// How many words were read that are not on the stack.
    pub fn outside(&self) -> u64 {
        self.outside.get()
    }

    /// The word at an address, if it lies on the stack.
    pub fn word(&self, address: u64) -> Option<u64> {
        if !address.is_multiple_of(WORD) {
            return None;
        }
        if (self.put_at..self.put_end).contains(&address) {
            return Some(self.put[((address - self.put_at) / WORD) as usize]);
        }
        self.memory.word(address)
    }

    /// The start of a walk for [`Snapshot::new`], stopped before the instruction at `pc`.
    pub fn interrupted(&self, pc: u64) -> Start {
        Start::Interrupted {
            pc,
            sp: self.registers[usize::from(X86_64::SP.0)],
            fp: self.registers[usize::from(X86_64::FP.0)],
            user: false,
        }
    }

    /// Has the task sleep in the function that it has just called, before that did anything.
    pub fn sleep(&mut self) -> Start {
        let sp = self.registers[usize::from(X86_64::SP.0)];
        let layout = X86_64::INACTIVE;
        // The return address is there already.
        self.put_end = sp;
        self.put_at = sp + WORD - layout.size;
        let start = self.put_at;
        self.set(
            start + layout.record,
            self.registers[usize::from(X86_64::FP.0)],
        );
        Start::Inactive { sp: start }
    }

    /// Has the task interrupted before the instruction at `pc`, and preempted by the handler, whose
    /// call returns to `handler` in entry code. Also returns where the registers lie.
    pub fn preempt(&mut self, pc: u64, handler: u64) -> (Start, u64) {
        let sp = self.registers[usize::from(X86_64::SP.0)];
        let (layout, inactive) = (X86_64::REGISTERS, X86_64::INACTIVE);
        // The processor aligns the stack before it saves anything (Intel SDM volume 3, 6.14.2).
        let saved = (sp & !15) - layout.size;
        self.put_end = sp;
        self.put_at = saved - inactive.size;
        for number in 0..16 {
            if let Some(offset) = X86_64::register_offset(Reg(number)) {
                self.set(saved + offset, self.registers[usize::from(number)]);
            }
        }
        self.set(saved + layout.pc, pc);
        self.set(saved + layout.status, KERNEL_CS);
        self.set(saved + layout.sp, sp);
        let start = self.put_at;
        let record = start + inactive.record;
        self.set(record + X86_64::RECORD.caller, X86_64::encoded(saved));
        self.set(record + X86_64::RECORD.return_address, handler);
        (Start::Inactive { sp: start }, saved)
    }

    fn set(&mut self, address: u64, value: u64) {
        self.put[((address - self.put_at) / WORD) as usize] = value;
    }
}

impl Stacks for Snapshot<'_> {
    fn stack_at(&self, address: u64) -> Option<Stack> {
        let (begin, end) = (self.memory.begin, self.memory.end());
        let on = (begin..end).contains(&address);
        on.then(|| Stack::new(StackKind::TASK, begin, end, 0))
    }

    fn read(&self, slot: Slot) -> u64 {
        self.reads.set(self.reads.get() + 1);
        let word = self.word(slot.address());
        if word.is_none() {
            self.outside.set(self.outside.get() + 1);
        }
        word.unwrap_or(u64::MAX)
    }
}

impl Text for Snapshot<'_> {
    fn kind(&self, address: u64) -> TextKind {
        if self.image.is_text(address) {
            TextKind::Fixed
        } else {
            TextKind::None
        }
    }

    fn origin(&self, address: u64) -> Option<Origin> {
        self.image.origin(address)
    }

    fn is_fork_return(&self, address: u64) -> bool {
        address == self.image.fork
    }

    fn vouch(&self, address: u64) -> Vouch {
        if self.image.unreliable().contains(address) {
            Vouch::KeepsNot
        } else {
            Vouch::Keeps
        }
    }

    fn template(&self, _: u64) -> Option<u64> {
        None
    }

    fn bytes_before(&self, address: u64) -> Option<[u8; 8]> {
        self.image.bytes_before(address)
    }

    fn recover(&self, _: &mut Recovery, _: u64, _: u64) -> Recovered {
        Recovered::Same
    }

    fn recover_interrupted(&self, _: &mut Recovery, _: u64, _: u64) -> Recovered {
        Recovered::Same
    }
}

impl Env for Snapshot<'_> {
    type Arch = X86_64;

    fn task_kind(&self) -> TaskKind {
        TaskKind::KernelThread
    }

    fn top(&self) -> u64 {
        self.memory.top()
    }

    fn is_running(&self) -> bool {
        false
    }

    fn start_register(&self, register: Reg) -> Option<u64> {
        self.registers.get(usize::from(register.0)).copied()
    }
}

impl OrcEnv for Snapshot<'_> {
    type Format = X86_64;

    fn orc(&self, address: u64) -> Lookup<[u8; 6]> {
        let Some(tables) = &self.image.orc else {
            return Lookup::NotReady;
        };
        match tables.find(address) {
            Some(entry) => Lookup::Found(entry),
            None => Lookup::Missing,
        }
    }

    /// Where a breakpoint's entry code has interrupted, its instruction is one that came before, and all
    /// registers are from behind it.
    fn has_run(&self, _: u64) -> Option<bool> {
        Some(true)
    }
}

const _: () = assert!(reg::RSP.0 == 4 && reg::RBP.0 == 5);
