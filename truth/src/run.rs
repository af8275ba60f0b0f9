//! A run of a function, instruction by instruction: the record is kept, and the task is walked as
//! if it were stopped there.
//!
//! Not here: what carries the instructions out ([`crate::emulator`]).

use rustc_hash::FxHashMap;

use crate::compare::{self, Answer, Expected, Question, Way, Wrong};
use crate::damage::Asleep;
use crate::image::{Function, Image};
use crate::insn::{self, Insn};
use crate::judge::judge;
use crate::memory::{self, Content, HEAP, HEAP_PAGES, PAGE, STACK, STACK_SIZE};
use crate::random::Random;
use crate::report;
use crate::shadow::{Broken, Call, Flow, Frame, Ran, Shadow};
use crate::snapshot::{Memory, Registers, Snapshot};
use crate::tally::Tally;

const RSP: usize = 4;
const RBP: usize = 5;

/// Registers that carry arguments, in their order.
const ARGUMENTS: [usize; 6] = [7, 6, 2, 1, 8, 9];

/// What is to be done with a function.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The most instructions of a run.
    pub most: u64,
    /// How the stacks are walked.
    pub way: Way,
    /// How many damaged copies of a stack are walked for each call.
    pub damaged: u32,
    /// The record forgets the last call: wrong on purpose.
    pub forget: bool,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Carry the instruction out.
    Go,
    /// End the run.
    End,
    /// Go on here instead.
    To(u64),
    /// Go on here, with these values in rax and rdx.
    With(u64, [u64; 2]),
}

/// One run after the other.
#[derive(Debug)]
pub struct Run<'i> {
    image: &'i Image,
    plan: Plan,
    insns: FxHashMap<u64, Option<Insn>>,
    shadow: Shadow,
    ran: Option<Ran>,
    steps: u64,
    random: Random,
    /// Whether branches are taken or not by chance now and then.
    forced: bool,
    name: String,
    number: u64,
    frames: Vec<Frame>,
    expected: Vec<Expected>,
    stack: Vec<u64>,
    copy: Vec<u64>,
    /// Its own, so that what a run does does not depend on what is damaged.
    noise: Random,
    /// The last instruction went where data said.
    by_data: bool,
    /// Why the run has ended.
    ended: Option<&'static str>,
    /// What came of it all.
    pub tally: Tally,
}

impl<'i> Run<'i> {
    /// Ready for a first run.
    pub fn new(image: &'i Image, plan: Plan) -> Self {
        Self {
            image,
            plan,
            insns: FxHashMap::default(),
            shadow: Shadow::default(),
            ran: None,
            steps: 0,
            random: Random::default(),
            forced: false,
            name: String::new(),
            number: 0,
            frames: Vec::new(),
            expected: Vec::new(),
            stack: vec![0; (STACK_SIZE / 8) as usize],
            copy: Vec::new(),
            noise: Random::default(),
            by_data: false,
            ended: None,
            tally: Tally::default(),
        }
    }

    /// What lies in memory in the run of this number: the first is the plainest.
    pub const fn content(number: u64) -> Content {
        if number == 0 {
            Content::Zero
        } else {
            Content::Mixed
        }
    }

    /// Begins the run of a function of this number: the registers to start with. `stack` takes what lies there.
    pub fn start(&mut self, function: &Function, number: u64, stack: &mut [u64]) -> Registers {
        self.random = Random::of(&[number, function.begin]);
        self.noise = Random::of(&[number, function.begin, 1]);
        self.number = number;
        // Every other run goes where its data leads it.
        self.forced = number % 2 == 1;
        self.name.clone_from(&function.name);
        self.ran = None;
        self.by_data = false;
        self.ended = None;
        self.steps = 0;
        self.tally.runs += 1;
        for word in stack.iter_mut() {
            *word = self.stale();
        }
        let top = self.memory().top();
        let slot = top - 8;
        let first = ((top - STACK) / 8) as usize;
        // No registers of user space lie there: it is a kernel thread.
        stack[first..].fill(0);
        stack[first - 1] = self.image.fork_return;
        let mut registers = [0; 16];
        for register in &mut registers {
            *register = self.random.word();
        }
        for register in ARGUMENTS {
            registers[register] = self.argument();
        }
        registers[RSP] = slot;
        // As the entry code of a new task leaves it (`ENCODE_FRAME_POINTER`, `copy_thread`).
        registers[RBP] = top | 1;
        self.shadow.restart(Call {
            slot,
            returns_to: self.image.fork_return,
            fp: registers[RBP],
            inner: false,
        });
        registers
    }

    fn memory(&self) -> Memory<'_> {
        Memory {
            begin: STACK,
            words: &self.stack,
        }
    }

    /// What earlier calls may have left on the stack: it must mislead nobody.
    fn stale(&mut self) -> u64 {
        match self.random.below(4) {
            0 => STACK + 8 * self.random.below(STACK_SIZE / 8),
            1 => {
                let function = self.random.one_of(&self.image.functions);
                function.begin + self.random.below(function.end - function.begin)
            }
            2 => 0,
            _ => self.random.word(),
        }
    }

    fn argument(&mut self) -> u64 {
        match self.random.below(8) {
            0..=4 => HEAP + PAGE * self.random.below(HEAP_PAGES),
            5 => self.random.below(64),
            _ => memory::mixed(&mut self.random, self.image, HEAP),
        }
    }

    /// Before the instruction at `pc`. `read` fills in the words of the stack from an index on.
    pub fn step(
        &mut self,
        pc: u64,
        registers: &Registers,
        read: impl FnOnce(usize, &mut [u64]),
    ) -> Action {
        match self.try_step(pc, registers, read) {
            Ok(action) => action,
            Err(end) => self.end(end),
        }
    }

    fn try_step(
        &mut self,
        pc: u64,
        registers: &Registers,
        read: impl FnOnce(usize, &mut [u64]),
    ) -> Result<Action, &'static str> {
        let sp = registers[RSP];
        let image = self.image;
        let called = self.ran.is_some_and(|ran| ran.flow == Flow::Call);
        if let Some(ran) = self.ran.take() {
            // A retpoline's return goes where data says, too.
            let inner = self.shadow.last().is_some_and(|call| call.inner);
            let by_data = std::mem::take(&mut self.by_data) || ran.flow == Flow::Return && inner;
            if by_data && !self.may_lead(&ran, pc) {
                return Err("went where no function begins");
            }
            // A repeated instruction is stopped at each time.
            let repeats = ran.pc == pc && ran.flow == Flow::Other;
            let step = self
                .shadow
                .step(&ran, pc, sp, |from, to| is_inner(image, from, to));
            step.map_err(broken)?;
            if repeats {
                return self.go(pc, registers);
            }
        }
        if self.shadow.depth() == 0 {
            return Err(if pc == image.fork_return {
                "returned"
            } else {
                "left its stack"
            });
        }
        // Room for what stopping it puts on the stack.
        if sp < STACK + 512 || sp >= self.memory().top() || !sp.is_multiple_of(8) {
            return Err("left its stack");
        }
        let index = ((sp - STACK) / 8) as usize;
        read(index, &mut self.stack[index..]);
        self.ask(pc, called, registers)?;
        self.go(pc, registers)
    }

    /// Whether data may lead from an instruction to `pc`: made-up data leads into the midst of
    /// functions, where nobody ever goes.
    fn may_lead(&self, ran: &Ran, pc: u64) -> bool {
        let image = self.image;
        let table = ran.flow == Flow::Other && is_inner(image, ran.pc, pc);
        table || image.has_symbol(pc) || !image.is_text(pc)
    }

    /// Lets the instruction at `pc` have its way.
    fn go(&mut self, pc: u64, registers: &Registers) -> Result<Action, &'static str> {
        self.steps += 1;
        if self.steps > self.plan.most {
            return Err("ran for long");
        }
        let image = self.image;
        let insn = *self
            .insns
            .entry(pc)
            .or_insert_with(|| insn::decode(image, pc));
        let insn = insn.ok_or("no instruction")?;
        let next = pc + insn.len;
        let (flow, action) = match insn.way {
            insn::Way::Run(flow) => (flow, Action::Go),
            insn::Way::Indirect(flow) => {
                self.by_data = true;
                (flow, Action::Go)
            }
            insn::Way::Branch(target) => {
                if self.forced && self.random.chance(15) {
                    let to = if self.random.chance(50) { target } else { next };
                    (Flow::Other, Action::To(to))
                } else {
                    (Flow::Other, Action::Go)
                }
            }
            insn::Way::MakeUp => {
                let values = [self.random.word() >> 32, self.random.word() >> 32];
                (Flow::Other, Action::With(next, values))
            }
            insn::Way::Skip => (Flow::Other, Action::To(next)),
            insn::Way::End(why) => return Err(why),
        };
        self.ran = Some(Ran {
            pc,
            next,
            flow,
            sp: registers[RSP],
            fp: registers[RBP],
        });
        Ok(action)
    }

    /// The run has come to `pc`, where there is no code, with the stack's words as `read` says: a
    /// function outside of the kernel, that returns something.
    pub fn outside(
        &mut self,
        pc: u64,
        registers: &Registers,
        word: impl FnOnce(u64) -> Option<u64>,
    ) -> Action {
        let image = self.image;
        let sp = registers[RSP];
        self.by_data = false;
        let Some(ran) = self.ran.take() else {
            return self.end("no instruction");
        };
        let step = self
            .shadow
            .step(&ran, pc, sp, |from, to| is_inner(image, from, to));
        if let Err(why) = step {
            return self.end(broken(why));
        }
        let back = self.shadow.last().filter(|call| call.slot == sp);
        match (back, word(sp)) {
            (Some(back), Some(word)) if back.returns_to == word => {
                self.ran = Some(Ran {
                    pc,
                    next: pc,
                    flow: Flow::Return,
                    sp,
                    fp: registers[RBP],
                });
                let values = [self.argument(), self.argument()];
                Action::With(word, values)
            }
            _ => self.end("left the text"),
        }
    }

    fn end(&mut self, why: &'static str) -> Action {
        if self.ended.is_none() {
            self.ended = Some(why);
            *self.tally.ends.entry(why).or_default() += 1;
        }
        Action::End
    }

    /// The emulator cannot go on.
    pub fn fault(&mut self, why: &'static str) {
        self.end(why);
    }

    /// Whether the run is over.
    pub const fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Walks the task as if it were stopped before the instruction at `pc`.
    fn ask(&mut self, pc: u64, called: bool, registers: &Registers) -> Result<(), &'static str> {
        let (image, way) = (self.image, self.plan.way);
        let memory = Memory {
            begin: STACK,
            words: &self.stack,
        };
        let frames = self
            .shadow
            .frames(|slot| memory.word(slot), &mut self.frames);
        frames.map_err(broken)?;
        if self.plan.forget && self.frames.len() > 1 {
            self.frames.remove(0);
        }
        self.tally.stops += 1;
        self.tally.deepest = self.tally.deepest.max(self.frames.len());
        if self.tally.places.insert(pc) {
            if let Some(function) = image.function_at(pc) {
                self.tally.functions.insert(function.begin);
            }
        }

        let mut snapshot = Snapshot::new(image, memory, registers);
        self.expected.clear();
        self.expected
            .extend(self.frames.iter().copied().map(Expected::from));
        let mut asked = Vec::with_capacity(3);
        let from_registers = snapshot.interrupted(pc);
        let mut answer = compare::ask(&snapshot, way, from_registers, &self.expected);
        if way == Way::Orc && answer == Answer::Right {
            let other = compare::other_frame_pointer(&snapshot, from_registers, &self.expected);
            answer = other.map_or(answer, |n| Answer::Wrong(Wrong::FramePointer(n)));
        }
        asked.push((Question::FromRegisters, answer));
        // Nobody sleeps at a call within a function, or in an instruction: neither is one.
        let is_call = self.shadow.last().is_some_and(|call| !call.inner);
        if called && is_call && !image.embedded.contains(&pc) {
            let start = snapshot.sleep();
            let answer = compare::ask(&snapshot, way, start, &self.expected);
            asked.push((Question::AsleepAtCall, answer));
            // What is damaged is a stack that is walked rightly.
            if answer == Answer::Right && self.plan.damaged > 0 {
                let asleep = Asleep {
                    image,
                    way,
                    registers,
                    expected: &self.expected,
                    saved: self.shadow.saved(),
                };
                self.copy.clone_from(&self.stack);
                for _ in 0..self.plan.damaged {
                    let outcome = asleep.damage(&mut self.copy, &mut self.noise);
                    *self.tally.damaged.entry(outcome).or_default() += 1;
                }
            }
        }
        let handler = *self.random.one_of(&image.interruptions);
        let (start, saved) = snapshot.preempt(pc, handler);
        self.expected
            .splice(0..0, preempted(pc, handler, saved, registers));
        let answer = compare::ask(&snapshot, way, start, &self.expected);
        asked.push((Question::Preempted, answer));

        let skip = |question| {
            if question == Question::Preempted {
                0
            } else {
                2
            }
        };
        for (question, answer) in asked {
            let expected = &self.expected[skip(question)..];
            let lost_in = match answer {
                // A return address may already belong to the next function.
                Answer::Refused(_, at) => image.function_at(at.wrapping_sub(u64::from(at != pc))),
                Answer::Right | Answer::Wrong(_) => None,
            };
            let lost_in = lost_in.map_or("", |function| function.name.as_str());
            let sentence = judge(way, question, answer, expected, lost_in);
            self.tally.take(question, sentence, lost_in);
            if sentence.is_failure() && self.tally.wants((pc, question)) {
                let mut snapshot = Snapshot::new(image, memory, registers);
                let start = match question {
                    Question::FromRegisters => snapshot.interrupted(pc),
                    Question::AsleepAtCall => snapshot.sleep(),
                    Question::Preempted => snapshot.preempt(pc, handler).0,
                };
                let about = report::Failure {
                    image,
                    run: (&self.name, self.number),
                    pc,
                    question,
                    answer,
                    expected,
                    shown: &compare::frames(&snapshot, way, start).1,
                    registers,
                };
                self.tally
                    .failures
                    .insert((pc, question), about.to_string());
            }
        }
        Ok(())
    }
}

/// The frames that an interrupted and preempted task has in front of its own.
fn preempted(pc: u64, handler: u64, saved: u64, registers: &Registers) -> [Expected; 2] {
    let layout = <arch_x86_64::X86_64 as arch::frame::Frames>::REGISTERS;
    let frame = |address, slot, registers, fp| Expected {
        address,
        slot,
        registers,
        fp,
        made_up: false,
    };
    [
        frame(handler, saved - 8, None, saved | 1),
        frame(pc, saved + layout.pc, Some(saved), registers[RBP]),
    ]
}

/// Whether a call from one address to the other stays in its function.
fn is_inner(image: &Image, from: u64, to: u64) -> bool {
    let function = image.function_at(from);
    function.is_some_and(|f| f.begin < to && to < f.end) && !image.has_symbol(to)
}

const fn broken(broken: Broken) -> &'static str {
    match broken {
        Broken::ReturnedElsewhere | Broken::Overwritten => "overwrote its stack",
        Broken::NotPushed => "call without a stack",
    }
}
