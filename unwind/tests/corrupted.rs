//! Damaged stacks: nothing is read that is not on a stack, every walk ends, and what the stack and
//! the text can tell is told. What no unwinder can tell is counted apart, by kind.
//!
//! A second, naive follower of frame records says what a walk must conclude; it shares no code with
//! the walk. With `--ignored` there are a million walks instead of some thousands.

mod model;

use std::collections::BTreeMap;

use arch::frame::Frames;
use arch_x86_64::X86_64;
use model::build::{Builder, Outermost, WordKind, INTERRUPT_STACK, STACK, STACK_SIZE};
use model::plan::{build, Built, Random};
use model::{addresses, frames, verdict, Kernel, Task, GENERATED, ORDINARY, SITES, SIZE, TEXT};
use unwind::{FramePointers, Orc, Stack, StackKind, Stacks, TaskKind, Verdict};

/// What a word is replaced with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Damage {
    Bit,
    Random,
    Zero,
    OtherReturnAddress,
    TextWithoutCall,
    EntryCode,
    MadeCode,
    OtherRecord,
    StackAddress,
    UserAddress,
    RegistersAddress,
    OtherWord,
}

impl Damage {
    const ALL: [Self; 12] = [
        Self::Bit,
        Self::Random,
        Self::Zero,
        Self::OtherReturnAddress,
        Self::TextWithoutCall,
        Self::EntryCode,
        Self::MadeCode,
        Self::OtherRecord,
        Self::StackAddress,
        Self::UserAddress,
        Self::RegistersAddress,
        Self::OtherWord,
    ];

    fn value(self, random: &mut Random, builder: &Builder<'_>, old: u64) -> u64 {
        let kernel = builder.task.kernel;
        let function = |random: &mut Random| kernel.function(random.one_of(&ORDINARY)).begin;
        let written = |random: &mut Random, kind| {
            let all = builder.written.iter().filter(|(_, k)| *k == kind);
            let all: Vec<u64> = all.map(|(at, _)| *at).collect();
            random.one_of(&all)
        };
        match self {
            Self::Bit => old ^ 1 << random.below(64),
            Self::Random => random.next(),
            Self::Zero => 0,
            Self::OtherReturnAddress => function(random) + random.one_of(&SITES),
            Self::TextWithoutCall => function(random) + 0x81 + random.below(0x7f),
            Self::EntryCode => TEXT + SIZE * random.below(9) + random.one_of(&SITES),
            Self::MadeCode => GENERATED + random.below(SIZE),
            Self::OtherRecord => written(random, WordKind::FramePointer),
            Self::StackAddress => STACK + STACK_SIZE - 8 * random.below(0x100),
            Self::UserAddress => 0x5555_0000_0000 + random.below(0x1000),
            Self::RegistersAddress => X86_64::encoded(written(random, WordKind::Registers)),
            Self::OtherWord => {
                let all: Vec<u64> = builder.written.iter().map(|(at, _)| *at).collect();
                let at = random.one_of(&all);
                word_at(&builder.task, at).expect("it was written")
            }
        }
    }
}

fn word_at(task: &Task<'_>, address: u64) -> Option<u64> {
    let on = task
        .memory
        .iter()
        .find(|memory| memory.stack.slot(address).is_some())?;
    Some(on.words[((address - on.stack.begin()) / 8) as usize])
}

/// What a sleeping task's frame records say, if they are to be trusted: a follower that knows the
/// model's functions by heart, and nothing of tables, stacks or modes.
struct Naive<'a> {
    task: &'a Task<'a>,
}

impl Naive<'_> {
    /// The address that was at `slot` before a tracer came.
    fn original(&self, slot: u64, found: u64) -> Option<u64> {
        let hooks = ["return_to_handler", "arch_rethook_trampoline"];
        if !hooks
            .iter()
            .any(|hook| self.task.kernel.function(hook).begin == found)
        {
            return Some(found);
        }
        let mut all = self.task.originals.iter();
        all.find(|(at, _)| *at == slot)
            .map(|(_, original)| *original)
    }

    /// Whether a call in a function that keeps its frame may have left this address.
    fn is_plausible(&self, address: u64) -> bool {
        let Some(function) = self.task.kernel.function_at(address.wrapping_sub(1)) else {
            return false;
        };
        follows_call(address)
            && (ORDINARY.contains(&function.name)
                || [
                    "schedule",
                    "switches_stack",
                    "ftrace_caller",
                    "keeps_r10",
                    "says_nothing",
                ]
                .contains(&function.name))
    }

    fn user_registers(&self) -> bool {
        let status = word_at(self.task, self.task.top + 136).expect("the top is on the stack");
        status >> 19 == 0 && status & 3 == 3 && status & 0xffff > 3
    }

    /// Whether the outermost record is the one of this kind of task.
    fn is_end(&self, caller: u64, address: u64) -> bool {
        if !follows_call(address) {
            return false;
        }
        let top = self.task.top | 1;
        let function = self.task.kernel.function_at(address - 1);
        let name = function.map_or("", |function| function.name);
        let user = self.user_registers();
        match (self.task.kind, name) {
            (TaskKind::User, "entry_SYSCALL_64") => user && (caller == 0 || caller == top),
            (TaskKind::User, name) if name.starts_with("asm_") => user && caller == top,
            (TaskKind::User, "ret_from_fork_asm") => caller == top,
            (TaskKind::KernelThread, "ret_from_fork_asm") => !user && caller == top,
            (TaskKind::Idle, "secondary_startup_64") => caller == 0,
            (TaskKind::User | TaskKind::KernelThread, "rewind_stack_and_make_dead") => caller == 0,
            _ => false,
        }
    }

    /// The return addresses, if all is well.
    fn follow(&self, sp: u64) -> Option<Vec<u64>> {
        let mut shown = Vec::new();
        let mut record = sp + 40;
        let mut left_other_stack = !(INTERRUPT_STACK..INTERRUPT_STACK + STACK_SIZE).contains(&sp);
        loop {
            let (caller, found) = (word_at(self.task, record)?, word_at(self.task, record + 8)?);
            let address = self.original(record + 8, found)?;
            if record == self.task.top - 16 {
                shown.push(address);
                return self.is_end(caller, address).then_some(shown);
            }
            if !self.is_plausible(address) || record > self.task.top - 16 && record > STACK {
                return None;
            }
            shown.push(address);
            let on_task = |at: u64| (STACK..STACK + STACK_SIZE).contains(&at);
            // Registers of the kernel, or of user space but not in front of an entry's call.
            if caller & 1 == 1 || caller & 7 != 0 {
                return None;
            }
            if on_task(record) {
                if !on_task(caller) || caller < record + 16 {
                    return None;
                }
            } else if on_task(caller) {
                if left_other_stack {
                    return None;
                }
                left_other_stack = true;
            } else if caller < record + 16 {
                return None;
            }
            record = caller;
        }
    }
}

/// Whether the model has a call in front of an address: its sites, and the tracer's.
fn follows_call(address: u64) -> bool {
    let offset = address.wrapping_sub(TEXT);
    let within = offset % SIZE;
    offset < 0x100 * SIZE && (SITES.contains(&within) || within == 5 && offset > 5)
}

/// What came of the walks, by kind.
#[derive(Default)]
struct Counts {
    walks: u64,
    by_kind: BTreeMap<String, u64>,
    most_reads: u64,
    most_frames: usize,
}

impl Counts {
    fn add(&mut self, kind: String) {
        self.walks += 1;
        *self.by_kind.entry(kind).or_default() += 1;
    }

    fn told(&self, of: &str) -> u64 {
        let all = self.by_kind.iter().filter(|(kind, _)| kind.starts_with(of));
        all.map(|(_, count)| count).sum()
    }
}

fn is_variant(task: &Task<'_>, record: u64) -> bool {
    [task.top - 24, task.top - 40].contains(&record)
}

/// Walks one damaged stack in each way.
fn walk_damaged(built: &Built<'_>, single: Option<(u64, WordKind, Damage)>, counts: &mut Counts) {
    let builder = &built.builder;
    let (task, start) = (&builder.task, builder.inactive());
    let (expected, sp) = (builder.expected(), builder.sp);
    let words: usize = task.memory.iter().map(|memory| memory.words.len()).sum();
    task.reads.set(0);

    let (by_fp, frames_fp) = verdict::<FramePointers>(task, start);
    let shown = addresses(&frames_fp);
    let naive = Naive { task };
    // The two other places of an outermost record are tested elsewhere.
    let strange = frames_fp
        .iter()
        .any(|f| f.slot.is_some_and(|slot| is_variant(task, slot - 8)));
    if !strange {
        let judged = naive.follow(sp);
        let agreed = match by_fp.verdict {
            Verdict::Reliable => judged.as_ref() == Some(&shown),
            Verdict::Unreliable(_) => judged.is_none(),
        };
        assert!(
            agreed,
            "{:?} {:?}: {:x?} but {judged:x?}",
            built.outermost, by_fp, shown
        );
    }
    let (by_orc, frames_orc) = verdict::<Orc>(task, start);
    for (stepper, outcome, shown) in [
        ("frame pointers", by_fp, shown),
        ("ORC", by_orc, addresses(&frames_orc)),
    ] {
        counts.most_frames = counts.most_frames.max(shown.len());
        let kind = match outcome.verdict {
            Verdict::Unreliable(reason) => format!("{stepper}: told: {reason}"),
            Verdict::Reliable if shown == expected => format!("{stepper}: of no matter"),
            Verdict::Reliable => {
                // What it shows is at least what calls leave.
                for frame in &shown {
                    let inside = task.kernel.function_at(frame - 1).is_some();
                    assert!(inside, "{stepper} {frame:#x}");
                }
                match single {
                    Some((at, word, damage)) => {
                        let entry = builder.written.contains(&(at + 8, WordKind::Registers));
                        let value = word_at(task, at).expect("it was changed");
                        let right = cannot_be_told(word, value, entry);
                        assert!(right, "{stepper}: {word:?} at {at:#x} = {value:#x} by {damage:?} is to be told: {:?} {shown:x?} instead of {expected:x?}", built.outermost);
                        format!("{stepper}: cannot be told: {word:?} by {damage:?}")
                    }
                    None => format!("{stepper}: cannot be told: several words"),
                }
            }
        };
        counts.add(kind);
    }
    let (best, _) = frames::<FramePointers>(task, start, sp);
    counts.most_frames = counts.most_frames.max(best.len());
    counts.add("frame pointers, best effort".into());
    let (best, _) = frames::<Orc>(task, start, sp);
    counts.most_frames = counts.most_frames.max(best.len());
    counts.add("ORC, best effort".into());
    // Each frame moves on by a word at least, and looks at a few.
    assert!(counts.most_frames <= words, "{}", counts.most_frames);
    counts.most_reads = counts.most_reads.max(task.reads.get());
    assert!(task.reads.get() <= 4 * 12 * words as u64);
}

/// Whether a word with another value than `value` can be told from `value` by nothing: damage that
/// leaves a reliable walk with other frames must be so.
fn cannot_be_told(word: WordKind, value: u64, entry: bool) -> bool {
    let on_stack = [STACK, INTERRUPT_STACK]
        .iter()
        .any(|begin| value % 8 == 0 && (*begin..begin + STACK_SIZE).contains(&value));
    match word {
        // It, too, is where a call returns to; entry code's only in front of registers.
        WordKind::ReturnAddress => {
            let is_entry = value.wrapping_sub(TEXT) < SIZE * 9;
            follows_call(value) && (entry || !is_entry)
        }
        // It leads to words that look like a frame.
        WordKind::FramePointer => on_stack,
        // Where the kernel was interrupted, any instruction may be it, and any register's value.
        WordKind::Registers => true,
        // What another stack was entered from.
        WordKind::Local => on_stack,
        WordKind::Unused => false,
    }
}

/// Makes up stacks, damages them, and walks each in four ways, until there were so many walks.
fn run(walks: u64, seed: u64) -> Counts {
    let kernel = Kernel::new();
    let mut random = Random::new(seed);
    let mut counts = Counts::default();
    while counts.walks < walks {
        let outermost = random.one_of(&Outermost::ALL);
        let mut built = build(&kernel, outermost, &random.steps());
        for _ in 0..64 {
            let several = random.below(4) == 0;
            let mut undo = Vec::new();
            let mut single = None;
            for _ in 0..if several { 2 + random.below(3) } else { 1 } {
                let (at, kind) = match random.below(16) {
                    0 => {
                        let at = STACK + STACK_SIZE - 8 - 8 * random.below(STACK_SIZE / 8);
                        let is = built.builder.written.iter().find(|(a, _)| *a == at);
                        (at, is.map_or(WordKind::Unused, |(_, kind)| *kind))
                    }
                    _ => random.one_of(&built.builder.written),
                };
                let damage = random.one_of(&Damage::ALL);
                let old = *built.builder.task.word(at);
                let value = damage.value(&mut random, &built.builder, old);
                undo.push((at, old));
                *built.builder.task.word(at) = value;
                single = (!several).then_some((at, kind, damage));
            }
            walk_damaged(&built, single, &mut counts);
            for (at, old) in undo.into_iter().rev() {
                *built.builder.task.word(at) = old;
            }
        }
    }
    counts
}

fn report(counts: &Counts) -> String {
    let mut out = format!(
        "{} walks, at most {} frames and {} words read for four walks\n",
        counts.walks, counts.most_frames, counts.most_reads
    );
    for (kind, count) in &counts.by_kind {
        out += &format!("{count:9}  {kind}\n");
    }
    out
}

/// The damage that must have come up for the figures to mean anything.
fn assert_all_kinds_came_up(counts: &Counts) {
    for kind in [
        "frame pointers: told: a frame pointer is off the stack",
        "frame pointers: told: a frame pointer is not aligned",
        "frame pointers: told: a frame pointer goes down",
        "frame pointers: told: an address on the stack is not in kernel text",
        "frame pointers: told: an address on the stack does not follow a call",
        "frame pointers: told: the walk ended where",
        "frame pointers: told: text that keeps no frame",
        "frame pointers: told: interrupted in the kernel",
        "frame pointers: told: code that was made",
        "frame pointers: of no matter",
        "frame pointers: cannot be told",
        "ORC: told: a stack pointer is off the stack",
        "ORC: told: an address on the stack is not in kernel text",
        "ORC: told: an address on the stack does not follow a call",
        "ORC: told: the walk ended where",
        "ORC: of no matter",
        "ORC: cannot be told",
    ] {
        assert!(counts.told(kind) > 0, "{kind}: {}", report(counts));
    }
}

#[test]
fn damaged_stacks_are_walked_without_harm_and_told() {
    let counts = run(20_000, 1);
    assert_all_kinds_came_up(&counts);
}

/// Long: `cargo test --release -p unwind --test corrupted -- --ignored --nocapture`; `SEED=n` for
/// others.
#[test]
#[ignore = "a million walks: for release builds"]
#[allow(clippy::print_stdout, reason = "the figures are what one runs it for")]
fn a_million_walks_over_damaged_stacks() {
    let seed = std::env::var("SEED").map_or(2, |seed| seed.parse().expect("SEED is a number"));
    let counts = run(1_000_000, seed);
    assert_all_kinds_came_up(&counts);
    println!("{}", report(&counts));
}

#[test]
fn the_naive_follower_can_say_no() {
    let kernel = Kernel::new();
    let built = build(&kernel, Outermost::SystemCall, &[(0, 1, 1), (0, 2, 2)]);
    let judge = |built: &Built<'_>| {
        let naive = Naive {
            task: &built.builder.task,
        };
        naive.follow(built.builder.sp)
    };
    assert_eq!(judge(&built), Some(built.builder.expected()));
    for (kind, value) in [
        (WordKind::FramePointer, 0),
        (WordKind::FramePointer, STACK),
        (WordKind::ReturnAddress, TEXT + 0x37),
        (WordKind::ReturnAddress, 0),
    ] {
        let mut built = build(&kernel, Outermost::SystemCall, &[(0, 1, 1), (0, 2, 2)]);
        built.builder.set(kind, 1, value);
        assert_eq!(judge(&built), None, "{kind:?} {value:#x}");
    }
}

#[test]
fn a_read_outside_would_be_seen() {
    let kernel = Kernel::new();
    let task = build(&kernel, Outermost::SystemCall, &[]).builder.task;
    // A stack that is said to be larger than it is.
    let larger = Stack::new(StackKind::TASK, STACK - 8, STACK + STACK_SIZE + 8, 0);
    for (address, expected) in [
        (STACK, 0),
        (STACK + STACK_SIZE - 8, 0),
        (STACK - 8, 1),
        (STACK + STACK_SIZE, 2),
    ] {
        task.read(larger.slot(address).expect("it is said to lie there"));
        assert_eq!(task.outside.get(), expected, "{address:#x}");
    }
}
