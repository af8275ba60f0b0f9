//! Stacks of the model's tasks, laid out word by word from the outermost frame inwards, with the
//! frames that a right walk must show.

use arch::frame::{Frames, WORD};
use arch_x86_64::X86_64;
use unwind::{Stack, StackKind, Start, TaskKind};

use super::{Cfa, Function, Kernel, Memory, Task};

/// Where the task's stack lies, and how large it is.
pub const STACK: u64 = 0xffff_c900_0010_0000;
pub const STACK_SIZE: u64 = 0x4000;
/// The stack for interrupts.
pub const INTERRUPT_STACK: u64 = 0xffff_c900_0000_0000;
/// A stack for exceptions.
pub const EXCEPTION_STACK: u64 = 0xffff_fe00_0000_b000;

const USER_CS: u64 = 0x33;
const KERNEL_CS: u64 = 0x10;
const USER_PC: u64 = 0x5555_0000_1234;
const USER_SP: u64 = 0x7fff_ffff_e000;

/// How a task came to its outermost frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outermost {
    SystemCall,
    /// A system call whose entry leads to its registers.
    EncodedSystemCall,
    UserEntry,
    Fork,
    KernelThread,
    /// A kernel thread that has become a user task, and has no registers of user space yet.
    Exec,
    Startup,
    Rewound,
}

impl Outermost {
    pub const ALL: [Self; 8] = [
        Self::SystemCall,
        Self::EncodedSystemCall,
        Self::UserEntry,
        Self::Fork,
        Self::KernelThread,
        Self::Exec,
        Self::Startup,
        Self::Rewound,
    ];

    fn entry(self) -> &'static str {
        match self {
            Self::SystemCall | Self::EncodedSystemCall => "entry_SYSCALL_64",
            Self::UserEntry => "asm_exc_page_fault",
            Self::Fork | Self::KernelThread | Self::Exec => "ret_from_fork_asm",
            Self::Startup => "secondary_startup_64",
            Self::Rewound => "rewind_stack_and_make_dead",
        }
    }

    /// The kind of task that it is right for.
    pub fn kind(self) -> TaskKind {
        match self {
            Self::KernelThread => TaskKind::KernelThread,
            Self::Startup => TaskKind::Idle,
            _ => TaskKind::User,
        }
    }

    pub fn has_user_registers(self) -> bool {
        !matches!(self, Self::KernelThread | Self::Exec | Self::Startup)
    }
}

/// What a word on the stack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WordKind {
    ReturnAddress,
    FramePointer,
    Registers,
    Local,
    /// Never written.
    Unused,
}

/// A stack that grows.
#[derive(Clone)]
pub struct Builder<'k> {
    pub task: Task<'k>,
    on: usize,
    pub sp: u64,
    pub fp: u64,
    /// Where the innermost function goes on.
    pub pc: u64,
    /// The function that runs.
    pub current: Function,
    /// Addresses that a walk must show, outermost first.
    expected: Vec<u64>,
    /// What was written where.
    pub written: Vec<(u64, WordKind)>,
    garbage: u64,
}

impl<'k> Builder<'k> {
    pub fn new(kernel: &'k Kernel, outermost: Outermost) -> Self {
        let top = STACK + STACK_SIZE - X86_64::REGISTERS.size;
        let encoded = X86_64::encoded(top);
        let current = kernel.function(outermost.entry()).clone();
        let mut builder = Self {
            task: Task {
                kernel,
                memory: vec![Memory {
                    stack: Stack::new(StackKind::TASK, STACK, STACK + STACK_SIZE, 0),
                    words: vec![0; (STACK_SIZE / WORD) as usize],
                }],
                kind: outermost.kind(),
                top,
                running: false.into(),
                runs_when_read: None,
                originals: Vec::new(),
                no_table: false,
                not_ready: false,
                gone: None,
                breakpoint: None,
                has_run: None,
                missing: None,
                r10: None,
                outside: 0.into(),
                reads: 0.into(),
            },
            on: 0,
            sp: STACK + STACK_SIZE,
            fp: match outermost {
                Outermost::SystemCall | Outermost::Startup | Outermost::Rewound => 0,
                _ => encoded,
            },
            pc: current.site(1),
            current,
            expected: Vec::new(),
            written: Vec::new(),
            garbage: 0x1234_5678,
        };
        if outermost.has_user_registers() {
            builder.registers(USER_PC, USER_CS, USER_SP, 0x7fff_0000_0000);
        } else {
            builder.registers(0, 0, 0, 0);
        }
        assert_eq!(builder.sp, top);
        builder
    }

    fn write(&mut self, value: u64, kind: WordKind) {
        self.sp -= WORD;
        let sp = self.sp;
        *self.task.memory[self.on].word(sp) = value;
        self.written.push((sp, kind));
    }

    /// A word that is no address.
    fn garbage(&mut self) -> u64 {
        // A linear congruential generator.
        self.garbage = self
            .garbage
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.garbage >> 33
    }

    fn locals(&mut self, size: u64) {
        for _ in 0..size / WORD {
            let value = self.garbage();
            self.write(value, WordKind::Local);
        }
    }

    /// Pushes a set of registers, and returns where they lie.
    pub fn registers(&mut self, pc: u64, cs: u64, sp: u64, fp: u64) -> u64 {
        let layout = X86_64::REGISTERS;
        for word in (0..layout.size / WORD).rev() {
            let offset = word * WORD;
            let value = match offset {
                o if o == layout.pc => pc,
                o if o == layout.status => cs,
                o if o == layout.sp => sp,
                o if o == layout.fp => fp,
                _ => self.garbage(),
            };
            self.write(value, WordKind::Registers);
        }
        self.sp
    }

    /// The running function calls another, which sets its frame up and is about to call from its
    /// n-th site.
    pub fn call(&mut self, name: &str, n: usize) -> &mut Self {
        let callee = self.task.kernel.function(name).clone();
        self.enter(callee);
        self.body(n)
    }

    /// The running function calls another.
    pub fn enter(&mut self, callee: Function) -> &mut Self {
        self.expected.push(self.pc);
        self.write(self.pc, WordKind::ReturnAddress);
        self.current = callee;
        self
    }

    /// The running function sets its frame up and gets to its n-th call.
    pub fn body(&mut self, n: usize) -> &mut Self {
        self.record();
        self.locals(self.current.locals);
        if self.current.cfa == Cfa::Switched {
            self.switch();
        }
        self.pc = self.current.site(n);
        self
    }

    /// push %rbp; mov %rsp,%rbp
    pub fn record(&mut self) -> &mut Self {
        self.push_frame_pointer();
        self.fp = self.sp;
        self
    }

    /// push %rbp
    pub fn push_frame_pointer(&mut self) {
        self.write(self.fp, WordKind::FramePointer);
    }

    /// Goes over to the stack for interrupts.
    fn switch(&mut self) {
        self.add_stack(StackKind::INTERRUPT, INTERRUPT_STACK, STACK_SIZE, self.sp);
        let from = self.sp;
        self.sp = INTERRUPT_STACK + STACK_SIZE;
        self.write(from, WordKind::Local);
    }

    fn add_stack(&mut self, kind: StackKind, begin: u64, size: u64, next: u64) {
        self.task.memory.push(Memory {
            stack: Stack::new(kind, begin, begin + size, next),
            words: vec![0; (size / WORD) as usize],
        });
        self.on = self.task.memory.len() - 1;
    }

    /// The running function is interrupted at `pc`, and the entry goes on to its call.
    pub fn interrupt(&mut self, entry: &str, pc: u64) -> &mut Self {
        let (sp, fp) = (self.sp, self.fp);
        self.expected.push(pc);
        self.sp &= !15;
        self.entry_registers(entry, pc, sp, fp)
    }

    /// The same, on the stack for exceptions.
    pub fn exception(&mut self, entry: &str, pc: u64) -> &mut Self {
        let (sp, fp) = (self.sp, self.fp);
        self.expected.push(pc);
        self.add_stack(StackKind::exception(1), EXCEPTION_STACK, 0x2000, sp);
        self.sp = EXCEPTION_STACK + 0x2000;
        self.entry_registers(entry, pc, sp, fp)
    }

    /// The running function is interrupted at `pc`, and before the entry has saved anything it is
    /// interrupted, too, on another stack. Where the second set of registers lies.
    pub fn interrupt_entry(&mut self, entry: &str, pc: u64) -> u64 {
        self.expected.push(pc);
        let (sp, layout) = (self.sp, X86_64::REGISTERS);
        for word in (layout.partial / WORD..layout.size / WORD).rev() {
            let value = match word * WORD {
                o if o == layout.pc => pc,
                o if o == layout.status => KERNEL_CS,
                o if o == layout.sp => sp,
                _ => self.garbage(),
            };
            self.write(value, WordKind::Registers);
        }
        let first = self.task.kernel.function(entry).begin;
        self.exception("asm_exc_nmi", first);
        self.sp
    }

    fn entry_registers(&mut self, entry: &str, pc: u64, sp: u64, fp: u64) -> &mut Self {
        let at = self.registers(pc, KERNEL_CS, sp, fp);
        self.fp = X86_64::encoded(at);
        self.current = self.task.kernel.function(entry).clone();
        self.pc = self.current.site(1);
        self
    }

    /// A tracer has rewritten the return address that was pushed last, to its hook.
    pub fn hook(&mut self, name: &str) -> &mut Self {
        let hook = self.task.kernel.function(name).begin;
        let slot = self.sp;
        let original = *self.task.word(slot);
        *self.task.word(slot) = hook;
        self.task.originals.push((slot, original));
        self
    }

    /// The task sleeps; the saved stack pointer.
    pub fn sleep(&mut self) -> u64 {
        self.call("schedule", 2);
        self.switch_out(self.pc)
    }

    /// What a task that is switched out leaves, which goes on at `pc`.
    pub fn switch_out(&mut self, pc: u64) -> u64 {
        self.expected.push(pc);
        self.write(pc, WordKind::ReturnAddress);
        self.write(self.fp, WordKind::FramePointer);
        self.locals(X86_64::INACTIVE.record);
        self.sp
    }

    /// The addresses that a walk must show, innermost first.
    pub fn expected(&self) -> Vec<u64> {
        self.expected.iter().rev().copied().collect()
    }

    pub fn inactive(&self) -> Start {
        Start::Inactive { sp: self.sp }
    }

    /// Where the n-th word of a kind lies, counted from the innermost.
    pub fn nth(&self, kind: WordKind, n: usize) -> u64 {
        let mut all = self.written.iter().rev().filter(|(_, k)| *k == kind);
        all.nth(n).expect("there are that many").0
    }

    /// Changes the n-th word of a kind, counted from the innermost.
    pub fn set(&mut self, kind: WordKind, n: usize, value: u64) -> &mut Self {
        let at = self.nth(kind, n);
        *self.task.word(at) = value;
        self
    }
}
