//! Whether code breaks the frame-pointer discipline, decided apart from objtool-rs.
//!
//! A mutant only counts if it is known to be wrong, and this is where that is known from: a path
//! through the code, from the function's first instruction on, followed one instruction after the
//! other with the values that the processor would have. Nothing is merged or guessed. The rules are
//! those of reliable stack traces (`Documentation/livepatch/reliable-stacktrace.rst`):
//!
//! - At a call `%rbp` points to the caller's saved `%rbp`, with the return address above it, and
//!   `%rsp` is not above that.
//! - At a return, and at a jump to another function, `%rsp` points to the return address again, and
//!   `%rbp` has the value that it came with.
//! - No path leads into another function in any other way.
//!
//! What is followed: stores, loads and arithmetic that concern the stack pointer, copies of it, the
//! caller's `%rbp` and the return address. Both ways of a condition can be taken. A call is only
//! gone on from if the callee is known to return (`returns`). A path is given up, and shows nothing,
//! where the code is not what runs (alternatives), where it ends (traps, calls without return), where
//! it cannot be followed (indirect jumps), and at calls with a stack pointer from elsewhere, because
//! stacks may be switched around a call. So what is found is a violation; what is not found may be
//! one all the same.

use std::collections::{BTreeMap, HashSet, VecDeque};

use iced_x86::{
    Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

use super::operators::Edit;
use super::program::{Function, Place, Program};
use super::returns::returns;

/// Steps after which a function is too much.
const STEPS: usize = 20_000;

/// Words of the stack that matter, and are known, at which a path goes round for ever.
const WORDS: usize = 24;

/// `%rsp` and `%rbp` by number.
const SP: usize = 4;
const FP: usize = 5;

/// Bytes of a word.
const WORD: i64 = 8;

/// What breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A call without a valid frame.
    Call,
    /// A return or a jump to another function with a frame that is not taken down.
    Return,
    /// The stack pointer comes from a frame pointer that is none of this function's.
    StackLost,
    /// Execution goes on inside another function.
    IntoFunction,
}

impl Broken {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Call => "a call without a valid frame",
            Self::Return => "a return with a wrong stack or frame pointer",
            Self::StackLost => "the stack pointer taken from another frame",
            Self::IntoFunction => "execution goes on in another function",
        }
    }
}

/// A path that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// What is broken at its end.
    pub broken: Broken,
    /// The address of its last instruction.
    pub at: u64,
    /// Its instructions.
    pub steps: usize,
}

/// What came of looking at a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It breaks a rule, on this path.
    Broken(Witness),
    /// No path that could be followed does.
    Unbroken,
    /// There are too many paths.
    TooMuch,
}

/// A value, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Value {
    /// The stack pointer at the function's entry, and this many bytes.
    Stack(i64),
    /// The caller's frame pointer.
    CallersFrame,
    /// The return address.
    ReturnAddress,
    /// Anything else.
    Other,
}

/// Registers and the words on the stack that matter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Machine {
    regs: [Value; 16],
    words: BTreeMap<i64, Value>,
}

/// What an instruction leads to.
enum Next {
    /// The next one.
    On,
    /// These addresses.
    To(Vec<u64>),
    /// Nowhere that is followed.
    End,
    /// A rule is broken.
    Broken(Broken),
}

impl Machine {
    fn at_entry() -> Self {
        let mut regs = [Value::Other; 16];
        regs[SP] = Value::Stack(0);
        regs[FP] = Value::CallersFrame;
        Self {
            regs,
            words: BTreeMap::from([(0, Value::ReturnAddress)]),
        }
    }

    fn word(&self, at: i64) -> Value {
        self.words.get(&at).copied().unwrap_or(Value::Other)
    }

    /// Overwrites bytes of the stack.
    fn write(&mut self, at: i64, bytes: i64, value: Value) {
        self.words
            .retain(|&word, _| word + WORD <= at || at + bytes <= word);
        if bytes == WORD && value != Value::Other {
            self.words.insert(at, value);
        }
    }

    fn push(&mut self, value: Value) {
        if let Value::Stack(top) = self.regs[SP] {
            self.write(top - WORD, WORD, value);
            self.regs[SP] = Value::Stack(top - WORD);
        }
    }

    fn pop(&mut self) -> Value {
        match self.regs[SP] {
            Value::Stack(top) => {
                self.regs[SP] = Value::Stack(top + WORD);
                self.word(top)
            }
            _ => Value::Other,
        }
    }

    /// Whether it is on another stack, or on an unknown place of its own.
    fn is_elsewhere(&self) -> bool {
        self.regs[SP] == Value::Other
    }

    fn has_frame(&self) -> bool {
        let frame = Value::Stack(-WORD);
        self.regs[FP] == frame
            && self.word(-WORD) == Value::CallersFrame
            && self.word(0) == Value::ReturnAddress
            && matches!(self.regs[SP], Value::Stack(at) if at <= -WORD)
    }

    fn is_as_it_came(&self) -> bool {
        self.regs[SP] == Value::Stack(0)
            && self.regs[FP] == Value::CallersFrame
            && self.word(0) == Value::ReturnAddress
    }

    /// What a call leaves behind: registers that it may change, and the stack below.
    fn after_call(&mut self) {
        for (number, value) in self.regs.iter_mut().enumerate() {
            // %rbx, %rsp, %rbp and %r12 to %r15 are the callee's to give back.
            if !matches!(number, 3 | SP | FP | 12..=15) {
                *value = Value::Other;
            }
        }
        if let Value::Stack(top) = self.regs[SP] {
            self.words.retain(|&word, _| word >= top);
        }
    }
}

/// The judge of one program.
pub struct Oracle<'p> {
    program: &'p Program,
    /// Functions by whether they are known to return.
    returns: Vec<bool>,
}

impl<'p> Oracle<'p> {
    /// Of a program as it was built.
    pub fn new(program: &'p Program) -> Self {
        Self {
            program,
            returns: returns(program),
        }
    }

    /// Whether a function is known to return.
    pub fn returns(&self, function: usize) -> bool {
        self.returns[function]
    }

    /// Looks for a path through a function that breaks a rule, in the program as it is or with a
    /// change made to it.
    pub fn judge(&self, function: usize, edit: Option<&Edit>) -> Answer {
        let function = &self.program.functions[function];
        let mut seen = HashSet::new();
        let mut queue = VecDeque::from([(function.address, Machine::at_entry(), 1)]);
        let mut infos = InstructionInfoFactory::new();
        let mut steps = 0;
        while let Some((address, mut machine, length)) = queue.pop_front() {
            if !seen.insert((address, machine.clone())) {
                continue;
            }
            steps += 1;
            if steps > STEPS {
                return Answer::TooMuch;
            }
            let found = |broken| {
                Answer::Broken(Witness {
                    broken,
                    at: address,
                    steps: length,
                })
            };
            // Filling between functions belongs to none.
            if !function.has(address) && self.is_other(function, address) {
                return found(Broken::IntoFunction);
            }
            if self.program.is_patched(address) || machine.words.len() > WORDS {
                continue;
            }
            let Some(insn) = self.program.decode(address, edit) else {
                continue;
            };
            let to = match self.step(function, &insn, &mut machine, &mut infos) {
                Next::On => vec![insn.next_ip()],
                Next::To(addresses) => addresses,
                Next::End => continue,
                Next::Broken(broken) => return found(broken),
            };
            for address in to {
                queue.push_back((address, machine.clone(), length + 1));
            }
        }
        Answer::Unbroken
    }

    /// Whether an address is in another function that is no part of this one.
    fn is_other(&self, function: &Function, address: u64) -> bool {
        match self.program.place(address) {
            Place::Function(other) | Place::Inside(other) => {
                !is_part(function, &self.program.functions[other])
            }
            _ => false,
        }
    }

    fn step(
        &self,
        function: &Function,
        insn: &Instruction,
        machine: &mut Machine,
        infos: &mut InstructionInfoFactory,
    ) -> Next {
        match insn.flow_control() {
            FlowControl::Next => effect(insn, machine, infos),
            FlowControl::ConditionalBranch => {
                let mut to = vec![insn.next_ip()];
                match self.jump(function, insn.near_branch_target(), machine) {
                    Next::To(target) => to.extend(target),
                    Next::Broken(broken) => return Next::Broken(broken),
                    Next::On | Next::End => {}
                }
                Next::To(to)
            }
            FlowControl::UnconditionalBranch => {
                self.jump(function, insn.near_branch_target(), machine)
            }
            FlowControl::Return => returned(machine),
            FlowControl::Call => self.call(insn.near_branch_target(), machine),
            FlowControl::IndirectCall if machine.is_elsewhere() => Next::End,
            FlowControl::IndirectCall if machine.has_frame() => {
                machine.after_call();
                Next::On
            }
            FlowControl::IndirectCall => Next::Broken(Broken::Call),
            // Where it goes is not known, traps end the path, and the rest is for entry code.
            FlowControl::IndirectBranch
            | FlowControl::Interrupt
            | FlowControl::XbeginXabortXend
            | FlowControl::Exception => Next::End,
        }
    }

    fn jump(&self, function: &Function, target: u64, machine: &Machine) -> Next {
        if function.has(target) {
            return Next::To(vec![target]);
        }
        match self.program.place(target) {
            Place::Return => returned(machine),
            Place::Function(other) if !is_part(function, &self.program.functions[other]) => {
                returned(machine)
            }
            Place::Inside(other) if !is_part(function, &self.program.functions[other]) => {
                Next::Broken(Broken::IntoFunction)
            }
            Place::Function(_) | Place::Inside(_) => Next::To(vec![target]),
            Place::Indirect | Place::TraceEntry | Place::Unknown => Next::End,
        }
    }

    fn call(&self, target: u64, machine: &mut Machine) -> Next {
        let goes_on = match self.program.place(target) {
            // It gives back everything, the caller's registers included.
            Place::TraceEntry => return Next::On,
            Place::Function(callee) => self.returns[callee],
            Place::Indirect => true,
            Place::Return | Place::Inside(_) | Place::Unknown => return Next::End,
        };
        if machine.is_elsewhere() {
            return Next::End;
        }
        if !machine.has_frame() {
            return Next::Broken(Broken::Call);
        }
        if !goes_on {
            return Next::End;
        }
        machine.after_call();
        Next::On
    }
}

/// Whether a function is the other part of one that the compiler split.
pub fn is_part(function: &Function, other: &Function) -> bool {
    let stem = |name: &str| name.split(".cold").next().unwrap_or(name).to_owned();
    let own: HashSet<_> = function.names.iter().map(|name| stem(name)).collect();
    other.names.iter().any(|name| own.contains(&stem(name)))
}

fn returned(machine: &Machine) -> Next {
    if machine.is_as_it_came() {
        Next::End
    } else {
        Next::Broken(Broken::Return)
    }
}

/// What an instruction does that is no branch.
fn effect(insn: &Instruction, machine: &mut Machine, infos: &mut InstructionInfoFactory) -> Next {
    match insn.code() {
        Code::Push_r64 => {
            let value = machine.regs[number(insn.op0_register())];
            machine.push(value);
            Next::On
        }
        Code::Pushq_imm8 | Code::Pushq_imm32 | Code::Push_rm64 | Code::Pushfq => {
            machine.push(Value::Other);
            Next::On
        }
        Code::Pop_r64 => {
            let value = machine.pop();
            set(machine, insn.op0_register(), value)
        }
        Code::Popfq => {
            machine.pop();
            Next::On
        }
        Code::Leaveq => {
            let Value::Stack(frame) = machine.regs[FP] else {
                return Next::Broken(Broken::StackLost);
            };
            machine.regs[FP] = machine.word(frame);
            machine.regs[SP] = Value::Stack(frame + WORD);
            Next::On
        }
        Code::Mov_rm64_r64 | Code::Mov_r64_rm64 => moved(insn, machine),
        Code::Lea_r64_m => {
            let value = address(insn, machine).map_or(Value::Other, Value::Stack);
            set(machine, insn.op0_register(), value)
        }
        Code::Add_rm64_imm8 | Code::Add_rm64_imm32 | Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32
            if insn.op0_kind() == OpKind::Register =>
        {
            let by = insn.immediate(1) as i64;
            let by = if insn.mnemonic() == Mnemonic::Add {
                by
            } else {
                -by
            };
            let value = match machine.regs[number(insn.op0_register())] {
                Value::Stack(at) => Value::Stack(at + by),
                _ => Value::Other,
            };
            set(machine, insn.op0_register(), value)
        }
        _ => other_effect(insn, machine, infos),
    }
}

/// Gives a register a value.
fn set(machine: &mut Machine, register: Register, value: Value) -> Next {
    let register = number(register);
    machine.regs[register] = value;
    match (register, value) {
        (SP, Value::CallersFrame | Value::ReturnAddress) => Next::Broken(Broken::StackLost),
        _ => Next::On,
    }
}

fn moved(insn: &Instruction, machine: &mut Machine) -> Next {
    let value = match insn.op1_kind() {
        OpKind::Register => machine.regs[number(insn.op1_register())],
        _ => match address(insn, machine) {
            Some(at) => machine.word(at),
            None => Value::Other,
        },
    };
    if insn.op0_kind() == OpKind::Register {
        return set(machine, insn.op0_register(), value);
    }
    if let Some(at) = address(insn, machine) {
        machine.write(at, WORD, value);
    }
    Next::On
}

/// Every other instruction, by what it writes.
fn other_effect(
    insn: &Instruction,
    machine: &mut Machine,
    infos: &mut InstructionInfoFactory,
) -> Next {
    let writes = |access| {
        matches!(
            access,
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        )
    };
    let info = infos.info(insn);
    if info.used_memory().iter().any(|used| writes(used.access())) {
        if let Some(at) = address(insn, machine) {
            machine.write(at, insn.memory_size().size() as i64, Value::Other);
        }
    }
    for used in info.used_registers() {
        let register = used.register().full_register();
        if writes(used.access()) && register.is_gpr64() {
            machine.regs[number(register)] = Value::Other;
        }
    }
    Next::On
}

/// The place on the stack that an instruction's memory operand is, where it is one.
fn address(insn: &Instruction, machine: &Machine) -> Option<i64> {
    let base = insn.memory_base();
    if insn.memory_index() != Register::None || !base.is_gpr64() {
        return None;
    }
    match machine.regs[number(base)] {
        Value::Stack(at) => Some(at.wrapping_add(insn.memory_displacement64() as i64)),
        _ => None,
    }
}

fn number(register: Register) -> usize {
    register.number()
}
