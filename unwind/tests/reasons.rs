//! For every reason not to trust a stack, stacks that have it, and what is near and has not.

mod model;

use std::collections::BTreeSet;

use arch::frame::{Event, Frames, WORD};
use arch_x86_64::X86_64;
use model::build::{Builder, Outermost, WordKind};
use model::{addresses, frames, verdict, Kernel, Task, GENERATED, TRAMPOLINE};
use unwind::{reliable, FrameKind, FramePointers, Orc, Reason, Stack, StackKind, Start, Verdict};

use WordKind::{FramePointer, ReturnAddress};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    FramePointers,
    Orc,
    Both,
}

/// A stack, which steppers see the reason, and the reason.
struct Case<'k> {
    name: &'static str,
    by: By,
    task: Task<'k>,
    start: Start,
    reason: Reason,
}

fn judge(by: By, task: &Task<'_>, start: Start) -> Verdict {
    // Whatever a walk finds out, the task is as before.
    task.running
        .set(task.running.get() && task.runs_when_read.is_none());
    match by {
        By::Orc => verdict::<Orc>(task, start).0.verdict,
        _ => verdict::<FramePointers>(task, start).0.verdict,
    }
}

/// A user task asleep in a system call, in f1, f4 and f2.
fn sleeping(kernel: &Kernel) -> Builder<'_> {
    let mut builder = Builder::new(kernel, Outermost::SystemCall);
    builder.call("f1", 0).call("f4", 3).call("f2", 2).sleep();
    builder
}

/// One that was interrupted in f1, by what `entry` is for, and sleeps there.
fn interrupted<'k>(kernel: &'k Kernel, entry: &str) -> Builder<'k> {
    let mut builder = Builder::new(kernel, Outermost::SystemCall);
    builder.call("f1", 0);
    let pc = builder.current.begin + 0x33;
    builder.interrupt(entry, pc).call("f3", 1).sleep();
    builder
}

fn through<'k>(kernel: &'k Kernel, name: &str) -> Builder<'k> {
    let mut builder = Builder::new(kernel, Outermost::SystemCall);
    builder.call("f1", 0).call(name, 1).call("f2", 2).sleep();
    builder
}

struct Cases<'k>(Vec<Case<'k>>);

impl<'k> Cases<'k> {
    fn add(&mut self, name: &'static str, by: By, builder: Builder<'k>, reason: Reason) {
        let start = builder.inactive();
        self.add_from(name, by, builder.task, start, reason);
    }

    fn add_from(
        &mut self,
        name: &'static str,
        by: By,
        task: Task<'k>,
        start: Start,
        reason: Reason,
    ) {
        self.0.push(Case {
            name,
            by,
            task,
            start,
            reason,
        });
    }

    /// A sleeping task in which one word was changed.
    fn changed(
        &mut self,
        name: &'static str,
        by: By,
        kernel: &'k Kernel,
        word: (WordKind, usize),
        to: impl Fn(u64, &Builder<'k>) -> u64,
        reason: Reason,
    ) {
        let mut builder = sleeping(kernel);
        let at = builder.nth(word.0, word.1);
        let value = to(at, &builder);
        builder.set(word.0, word.1, value);
        self.add(name, by, builder, reason);
    }
}

fn cases(kernel: &Kernel) -> Vec<Case<'_>> {
    let mut cases = Cases(Vec::new());
    use By::{Both, FramePointers as Fp, Orc};

    let builder = sleeping(kernel);
    builder.task.running.set(true);
    cases.add("on a CPU", Both, builder, Reason::Running);
    let mut builder = sleeping(kernel);
    builder.task.runs_when_read = Some(builder.nth(ReturnAddress, 1));
    cases.add("on a CPU in between", Both, builder, Reason::Running);
    for (name, sp) in [("nowhere", 0x1000), ("zero", 0), ("end", u64::MAX - 7)] {
        let builder = sleeping(kernel);
        let start = Start::Inactive { sp };
        cases.add_from(name, Both, builder.task, start, Reason::StartOffStack);
    }

    for entry in [
        "asm_common_interrupt",
        "asm_exc_nmi",
        "asm_exc_page_fault",
        "asm_exc_int3",
        "asm_exc_divide_error",
    ] {
        let reason = Reason::Interrupted(model::event(entry));
        cases.add("interrupted", Fp, interrupted(kernel, entry), reason);
    }
    // The tracer's entry saves registers, too, and leads to them.
    let mut builder = Builder::new(kernel, Outermost::SystemCall);
    builder.call("f1", 0);
    let (pc, sp, fp) = (builder.pc, builder.sp, builder.fp);
    builder.fp = X86_64::encoded(builder.registers(pc, 0x10, sp, fp));
    builder.current = kernel.function("ftrace_caller").clone();
    builder.pc = builder.current.site(0);
    builder.call("f2", 1).sleep();
    let unknown = Reason::Interrupted(Event::Unknown);
    cases.add("the tracer's registers", Fp, builder, unknown);
    let mut builder = interrupted(kernel, "asm_exc_page_fault");
    let registers = builder.nth(WordKind::Registers, 0);
    *builder.task.word(registers + X86_64::REGISTERS.status) = 0;
    cases.add("no segment", Both, builder, Reason::BadRegisters);

    let registers = |offset: u64, value: u64| {
        let mut builder = interrupted(kernel, "asm_exc_page_fault");
        let at = builder.nth(WordKind::Registers, 0);
        *builder.task.word(at + offset) = value;
        (builder, at)
    };
    let layout = X86_64::REGISTERS;
    let (builder, _) = registers(layout.status, 0x33);
    cases.add("user space in the midst", Both, builder, Reason::WrongEnd);
    let (builder, _) = registers(layout.pc, GENERATED + 8);
    cases.add(
        "made code was interrupted",
        Orc,
        builder,
        Reason::GeneratedCode,
    );
    let (builder, _) = registers(layout.pc, 0x1000);
    cases.add(
        "nothing was interrupted",
        Orc,
        builder,
        Reason::AddressNotInText,
    );
    // f4 does not need the stack pointer to be walked.
    let (mut builder, at) = registers(layout.pc, kernel.function("f4").begin + 0x33);
    *builder.task.word(at + layout.sp) = at + 8;
    let falls = Reason::StackPointerNotRising;
    cases.add("a stack in its own registers", Orc, builder.clone(), falls);
    *builder.task.word(at + layout.sp) = 0x7fff_0000;
    let off = Reason::StackPointerOffStack;
    cases.add("a stack pointer of user space", Orc, builder, off);

    // Of the innermost record, which is schedule's, and the next one.
    let changed = FramePointer;
    for n in 0..3 {
        let word = (changed, n);
        let off = Reason::FramePointerOffStack;
        cases.changed("fp is text", Fp, kernel, word, |_, b| b.pc & !7, off);
        cases.changed(
            "fp is user space",
            Fp,
            kernel,
            word,
            |_, _| 0x7fff_0000,
            off,
        );
        cases.changed(
            "fp is just below",
            Fp,
            kernel,
            word,
            |_, _| model::build::STACK - 8,
            off,
        );
        let end = model::build::STACK + model::build::STACK_SIZE;
        cases.changed("fp is at the end", Fp, kernel, word, |_, _| end - 8, off);
        let misaligned = Reason::FramePointerMisaligned;
        cases.changed("fp is odd", Fp, kernel, word, |at, _| at + 12, misaligned);
        let falling = Reason::FramePointerNotRising;
        cases.changed("fp is its own", Fp, kernel, word, |at, _| at, falling);
        cases.changed(
            "fp leads into itself",
            Fp,
            kernel,
            word,
            |at, _| at + 8,
            falling,
        );
        cases.changed("fp falls", Fp, kernel, word, |_, b| b.sp, falling);
        cases.changed("fp is zero", Fp, kernel, word, |_, _| 0, Reason::WrongEnd);
        let past = Reason::FramePointerPastEnd;
        cases.changed(
            "fp is past the end",
            Fp,
            kernel,
            word,
            |_, b| b.task.top + 16,
            past,
        );
    }
    let lead_to_top = |_: u64, b: &Builder<'_>| X86_64::encoded(b.task.top);
    let wrong = Reason::WrongEnd;
    cases.changed(
        "fp leads to the end",
        Fp,
        kernel,
        (changed, 1),
        lead_to_top,
        wrong,
    );

    for n in 0..4 {
        let (word, by) = ((ReturnAddress, n), Both);
        let none = Reason::AddressNotInText;
        cases.changed("returns to zero", by, kernel, word, |_, _| 0, none);
        cases.changed("returns to the stack", by, kernel, word, |at, _| at, none);
        cases.changed(
            "returns to user space",
            by,
            kernel,
            word,
            |_, _| 0x5555_1234,
            none,
        );
        let made = Reason::GeneratedCode;
        cases.changed(
            "returns to made code",
            by,
            kernel,
            word,
            |_, _| GENERATED + 0x20,
            made,
        );
        let no_call = Reason::AddressNotAfterCall;
        let into_function = |_: u64, b: &Builder<'_>| b.task.kernel.function("f6").begin + 0x37;
        cases.changed(
            "returns to no call",
            by,
            kernel,
            word,
            into_function,
            no_call,
        );
        // No tracer follows the switch to another task.
        if n == 0 {
            continue;
        }
        let lost = Reason::ReturnAddressLost;
        for hook in ["return_to_handler", "arch_rethook_trampoline"] {
            let to = |_: u64, b: &Builder<'_>| b.task.kernel.function(hook).begin;
            cases.changed("returns to a hook", by, kernel, word, to, lost);
        }
    }
    let keeps_none = Reason::KeepsNoFrame;
    cases.add(
        "keeps no frame",
        Fp,
        through(kernel, "keeps_no_frame"),
        keeps_none,
    );
    let mut builder = sleeping(kernel);
    builder.task.no_table = true;
    cases.add("no table", Fp, builder, Reason::NotVouchedFor);

    cases.changed(
        "ends in the midst",
        Fp,
        kernel,
        (FramePointer, 2),
        |_, _| 0,
        wrong,
    );
    let mut builder = sleeping(kernel);
    let top = builder.task.top;
    *builder.task.word(top + X86_64::REGISTERS.status) = 0x10;
    cases.add("no user space's registers", Fp, builder, Reason::WrongEnd);
    let mut builder = Builder::new(kernel, Outermost::KernelThread);
    // The frame of the entry, some words too far down.
    builder.sp -= 32;
    builder.call("f2", 1).sleep();
    cases.add("ends too early", Orc, builder, Reason::WrongEnd);
    let mut builder = sleeping(kernel);
    builder.set(
        ReturnAddress,
        4,
        kernel.function("ret_from_fork_asm").site(1),
    );
    cases.add("a system call's end at fork", Fp, builder, Reason::WrongEnd);
    let mut builder = Builder::new(kernel, Outermost::KernelThread);
    builder.call("f2", 1).sleep();
    builder.set(ReturnAddress, 2, kernel.function("ret_from_fork_asm").begin);
    cases.add("has run, and never ran", Fp, builder, Reason::WrongEnd);

    // f4 finds its frame by the frame pointer, which f2 has saved.
    let (word, off) = ((FramePointer, 2), Reason::StackPointerOffStack);
    cases.changed("sp is text", Orc, kernel, word, |_, b| b.pc & !7, off);
    let odd = Reason::StackPointerMisaligned;
    cases.changed("sp is odd", Orc, kernel, word, |at, _| at + 4, odd);
    let mut builder = sleeping(kernel);
    // It leads to words that would pass as an address and a frame pointer.
    let low = builder.sp - 0x80;
    *builder.task.word(low + 8) = kernel.function("f6").site(0);
    builder.set(FramePointer, 2, low);
    cases.add("sp falls", Orc, builder, Reason::StackPointerNotRising);

    let circle = |builder: &mut Builder<'_>| {
        let memory = &mut builder.task.memory[1];
        let (begin, end) = (memory.stack.begin(), memory.stack.end());
        memory.stack = Stack::new(StackKind::INTERRUPT, begin, end, end - 64);
    };
    let mut builder = through(kernel, "switches_stack");
    circle(&mut builder);
    cases.add("stacks in a circle", Fp, builder, Reason::StackRevisited);
    let mut builder = Builder::new(kernel, Outermost::SystemCall);
    builder
        .call("f4", 0)
        .call("switches_stack", 0)
        .call("f2", 0);
    let other = builder.sp;
    builder.sleep();
    // On the task's stack again, f4's frame pointer leads back to the other one.
    builder.set(FramePointer, 3, other);
    cases.add("stacks in a circle", Orc, builder, Reason::StackRevisited);

    let mut builder = sleeping(kernel);
    builder.task.not_ready = true;
    cases.add("too early", Orc, builder, Reason::OrcNotReady);
    let mut builder = sleeping(kernel);
    builder.task.missing = Some("f4");
    cases.add("no entry", Orc, builder, Reason::OrcMissing);
    let undefined = Reason::OrcUndefined;
    cases.add("undefined", Orc, through(kernel, "says_nothing"), undefined);
    let invalid = Reason::OrcInvalid;
    cases.add("invalid", Orc, through(kernel, "says_nonsense"), invalid);
    let unsaved = Reason::RegisterNotSaved;
    cases.add("no r10", Orc, through(kernel, "keeps_r10"), unsaved);
    cases.0
}

#[test]
fn each_case_has_its_reason_and_each_reason_a_case() {
    let kernel = Kernel::new();
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for case in cases(&kernel) {
        let by = match case.by {
            By::Both => vec![By::FramePointers, By::Orc],
            one => vec![one],
        };
        for by in by {
            let verdict = judge(by, &case.task, case.start);
            let expected = Verdict::Unreliable(case.reason);
            assert_eq!(verdict, expected, "{} by {by:?}", case.name);
            seen.insert(format!("{:?}", case.reason));
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
    // These have tests of their own.
    for reason in [Reason::TooDeep, Reason::TracerEntry] {
        seen.insert(format!("{reason:?}"));
    }
    let all: BTreeSet<String> = Reason::ALL.iter().map(|r| format!("{r:?}")).collect();
    assert_eq!(seen, all);
}

#[test]
fn a_running_task_is_not_even_looked_at() {
    let kernel = Kernel::new();
    let builder = sleeping(&kernel);
    builder.task.running.set(true);
    let by_fp = verdict::<FramePointers>(&builder.task, builder.inactive());
    let by_orc = verdict::<Orc>(&builder.task, builder.inactive());
    assert!(by_fp.1.is_empty() && by_orc.1.is_empty());
    assert_eq!(builder.task.reads.get(), 0);
}

#[test]
fn the_frame_where_a_walk_was_lost_is_named() {
    let kernel = Kernel::new();
    let (outcome, frames) =
        verdict::<FramePointers>(&interrupted(&kernel, "asm_exc_page_fault").task, {
            interrupted(&kernel, "asm_exc_page_fault").inactive()
        });
    let at = outcome.lost_at.expect("it is unreliable");
    let event = model::event("asm_exc_page_fault");
    assert!(
        matches!(at.kind, FrameKind::Interrupted { event: e, partial: false, .. } if e == event),
        "{at:?}"
    );
    assert_eq!(at.address, kernel.function("f1").begin + 0x33);
    assert_eq!(usize::from(at.number), frames.len());

    let builder = through(&kernel, "says_nothing");
    let (outcome, frames) = verdict::<Orc>(&builder.task, builder.inactive());
    let at = outcome.lost_at.expect("it is unreliable");
    assert_eq!(at.address, kernel.function("says_nothing").site(1));
    // It could be shown; it is the step from it that failed.
    assert_eq!(addresses(&frames).last(), Some(&at.address));
}

#[test]
fn interruptions_do_not_keep_orc_from_a_verdict() {
    let kernel = Kernel::new();
    for entry in ["asm_common_interrupt", "asm_exc_page_fault", "asm_exc_int3"] {
        let builder = interrupted(&kernel, entry);
        let (outcome, frames) = verdict::<Orc>(&builder.task, builder.inactive());
        assert_eq!(outcome.verdict, Verdict::Reliable);
        assert_eq!(addresses(&frames), builder.expected());
        let event = model::event(entry);
        let is_it = |kind| matches!(kind, FrameKind::Interrupted { event: e, .. } if e == event);
        assert_eq!(frames.iter().filter(|frame| is_it(frame.kind)).count(), 1);
    }
}

#[test]
fn orc_is_right_at_every_instruction_of_a_function() {
    let kernel = Kernel::new();
    // How much of its frame f4 has made, by the offset where it is interrupted.
    for (offset, steps) in [(0, 0), (5, 0), (6, 1), (9, 2), (0x33, 2), (0xff, 0)] {
        for name in ["f4", "f5"] {
            let mut builder = Builder::new(&kernel, Outermost::KernelThread);
            builder.call("f1", 0);
            let callee = kernel.function(name).clone();
            let pc = callee.begin + offset;
            builder.enter(callee);
            match steps {
                0 => {}
                1 => {
                    let fp = builder.fp;
                    builder.record();
                    builder.fp = fp;
                }
                _ => {
                    builder.body(0);
                }
            }
            builder.interrupt("asm_common_interrupt", pc);
            builder.call("f2", 0).sleep();
            let (outcome, frames) = verdict::<Orc>(&builder.task, builder.inactive());
            assert_eq!(outcome.verdict, Verdict::Reliable, "{name}+{offset:#x}");
            assert_eq!(addresses(&frames), builder.expected(), "{name}+{offset:#x}");
            // With frame pointers, the same stack is refused.
            let (outcome, _) = verdict::<FramePointers>(&builder.task, builder.inactive());
            assert!(matches!(
                outcome.verdict,
                Verdict::Unreliable(Reason::Interrupted(_))
            ));
        }
    }
}

#[test]
fn a_breakpoint_interrupts_the_instruction_that_it_stands_on() {
    let kernel = Kernel::new();
    let f4 = kernel.function("f4").begin;
    // f4 pushes the frame pointer at 5, a single byte, and has made its frame at 0x33. The saved
    // address is behind the breakpoint, whether the instruction was run or not; the breakpoint may
    // have been taken away since. Where the two differ on the stack, one has to be told which it is.
    for (offset, has_run, is_there, known, reliable) in [
        (5, false, true, None, false),
        (5, false, false, None, false),
        (5, false, true, Some((f4 + 5, false)), true),
        (5, false, false, Some((f4 + 5, false)), true),
        (5, true, true, None, false),
        (5, true, false, None, false),
        (5, true, true, Some((f4 + 5, true)), true),
        (5, true, false, Some((f4 + 5, true)), true),
        // What is known of another breakpoint.
        (5, true, true, Some((f4 + 4, false)), false),
        (5, false, true, Some((f4 + 6, true)), false),
        (0x33, false, true, None, true),
        (0x33, false, false, None, true),
        (0x33, true, true, None, true),
        (0x33, true, true, Some((f4 + 0x33, true)), true),
    ] {
        let mut builder = Builder::new(&kernel, Outermost::KernelThread);
        builder.call("f1", 0);
        let callee = kernel.function("f4").clone();
        let at = callee.begin + offset;
        builder.enter(callee);
        if offset == 0x33 {
            builder.body(0);
        } else if has_run {
            builder.push_frame_pointer();
        }
        builder.task.breakpoint = is_there.then_some(at);
        builder.task.has_run = known;
        builder.interrupt("asm_exc_int3", at + 1);
        builder.call("f2", 0).sleep();
        let (outcome, frames) = verdict::<Orc>(&builder.task, builder.inactive());
        let case = format!("{offset:#x} {has_run} {is_there} {known:?}");
        if reliable {
            assert_eq!(outcome.verdict, Verdict::Reliable, "{case}");
            assert_eq!(addresses(&frames), builder.expected(), "{case}");
        } else {
            let why = Reason::Interrupted(Event::Breakpoint);
            assert_eq!(outcome.verdict, Verdict::Unreliable(why), "{case}");
        }
    }
}

#[test]
fn rewritten_return_addresses_are_recovered() {
    let kernel = Kernel::new();
    for hook in ["return_to_handler", "arch_rethook_trampoline"] {
        let mut builder = Builder::new(&kernel, Outermost::UserEntry);
        builder.call("f1", 0);
        for name in ["f4", "f5"] {
            builder
                .enter(kernel.function(name).clone())
                .hook(hook)
                .body(1);
        }
        builder.sleep();
        let by_fp = verdict::<FramePointers>(&builder.task, builder.inactive());
        let by_orc = verdict::<Orc>(&builder.task, builder.inactive());
        for (outcome, frames) in [by_fp, by_orc] {
            assert_eq!(outcome.verdict, Verdict::Reliable, "{hook}");
            assert_eq!(addresses(&frames), builder.expected());
        }
    }
}

#[test]
fn the_tracers_entry_is_walked_but_never_reliable() {
    let kernel = Kernel::new();
    let mut builder = through(&kernel, "ftrace_caller");
    let original = kernel.function("ftrace_caller");
    let copy = TRAMPOLINE + (original.site(1) - original.begin);
    builder.set(ReturnAddress, 2, copy);
    let mut expected = builder.expected();
    let at = expected.iter().position(|&a| a == original.site(1));
    expected[at.expect("it is there")] = copy;
    let start = builder.inactive();
    let by_fp = verdict::<FramePointers>(&builder.task, start);
    let by_orc = verdict::<Orc>(&builder.task, start);
    for (outcome, shown) in [by_fp, by_orc] {
        let refused = Verdict::Unreliable(Reason::TracerEntry);
        assert_eq!(outcome.verdict, refused);
        let lost_at = outcome.lost_at.expect("a frame");
        assert_eq!(
            (lost_at.kind, lost_at.address),
            (FrameKind::Trampoline, copy)
        );
        assert!(expected.starts_with(&addresses(&shown)), "{shown:x?}");
    }
    // By the best effort all of it is shown, with ORC by the entries of the original.
    let Start::Inactive { sp } = start else {
        panic!("it is asleep");
    };
    let (by_fp, _) = frames::<FramePointers>(&builder.task, start, sp);
    let (by_orc, _) = frames::<Orc>(&builder.task, start, sp);
    for frames in [by_fp, by_orc] {
        let calls: Vec<u64> = addresses(&frames).into_iter().filter(|a| *a != 0).collect();
        assert_eq!(calls, expected);
    }
}

#[test]
fn the_tracers_entry_is_refused_where_it_is_interrupted() {
    // Whoever it called may have chosen where it goes on, and what is on the stack does not say so.
    let kernel = Kernel::new();
    let mut builder = Builder::new(&kernel, Outermost::SystemCall);
    builder
        .call("f1", 0)
        .enter(kernel.function("ftrace_caller").clone())
        .body(0);
    builder.interrupt("asm_common_interrupt", TRAMPOLINE + 0x33);
    builder.call("f3", 1).sleep();
    let (outcome, _) = verdict::<Orc>(&builder.task, builder.inactive());
    assert_eq!(outcome.verdict, Verdict::Unreliable(Reason::TracerEntry));
}

#[test]
fn a_switched_stack_is_left_where_it_was_entered() {
    let kernel = Kernel::new();
    let builder = through(&kernel, "switches_stack");
    let by_fp = verdict::<FramePointers>(&builder.task, builder.inactive());
    let by_orc = verdict::<Orc>(&builder.task, builder.inactive());
    for (outcome, frames) in [by_fp, by_orc] {
        assert_eq!(outcome.verdict, Verdict::Reliable);
        assert_eq!(addresses(&frames), builder.expected());
    }
}

#[test]
fn a_frame_end_in_a_register_is_found_when_it_was_saved() {
    let kernel = Kernel::new();
    let mut builder = Builder::new(&kernel, Outermost::SystemCall);
    builder.call("f1", 0);
    let end = builder.sp;
    builder.call("keeps_r10", 0);
    let pc = builder.current.begin + 0x33;
    builder.interrupt("asm_exc_page_fault", pc);
    let registers = builder.nth(WordKind::Registers, 0);
    let r10 = X86_64::register_offset(arch_x86_64::reg::R10).expect("it is saved");
    *builder.task.word(registers + r10) = end;
    builder.call("f2", 0).sleep();
    let (outcome, frames) = verdict::<Orc>(&builder.task, builder.inactive());
    assert_eq!(outcome.verdict, Verdict::Reliable);
    assert_eq!(addresses(&frames), builder.expected());
}

#[test]
fn registers_that_an_entry_had_not_saved_yet_are_those_of_what_interrupted_it() {
    let kernel = Kernel::new();
    let mut builder = Builder::new(&kernel, Outermost::SystemCall);
    builder.call("f1", 0);
    let end = builder.sp;
    builder.call("keeps_r10", 0);
    let pc = builder.current.begin + 0x33;
    let second = builder.interrupt_entry("asm_exc_page_fault", pc);
    let r10 = X86_64::register_offset(arch_x86_64::reg::R10).expect("it is saved");
    *builder.task.word(second + r10) = end;
    builder.call("f2", 0).sleep();
    let (outcome, frames) = verdict::<Orc>(&builder.task, builder.inactive());
    assert_eq!(outcome.verdict, Verdict::Reliable);
    assert_eq!(addresses(&frames), builder.expected());
    let partial =
        |frame: &&unwind::Frame| matches!(frame.kind, FrameKind::Interrupted { partial: true, .. });
    assert_eq!(frames.iter().filter(partial).count(), 1);
}

#[test]
fn whoever_listens_may_stop_a_walk_which_is_not_reliable_then() {
    let kernel = Kernel::new();
    let builder = sleeping(&kernel);
    for most in 0..6 {
        let mut left = most;
        let outcome = reliable::<Orc, _>(&builder.task, builder.inactive(), builder.sp, |_| {
            left -= 1;
            left >= 0
        });
        let expected = match most {
            5.. => Verdict::Reliable,
            _ => Verdict::Unreliable(Reason::TooDeep),
        };
        assert_eq!(outcome.verdict, expected, "{most}");
    }
}

#[test]
fn a_walk_takes_so_many_frames_and_no_more() {
    // As many records as fit on a stack that is larger than any.
    let kernel = Kernel::new();
    let count = usize::from(unwind::walk::MAX_FRAMES) + 10;
    let mut builder = Builder::new(&kernel, Outermost::SystemCall);
    let size = (count as u64 + 10) * 0x10;
    let (begin, end) = (0xffff_c900_1000_0000, 0xffff_c900_1000_0000 + size);
    builder.task.memory.push(model::Memory {
        stack: Stack::new(StackKind::ENTRY, begin, end, 0),
        words: vec![0; (size / WORD) as usize],
    });
    for n in 0..count as u64 {
        *builder.task.word(begin + n * 16) = begin + (n + 1) * 16;
        *builder.task.word(begin + n * 16 + 8) = kernel.function("f0").site(0);
    }
    let start = Start::Here {
        pc: kernel.function("f0").site(0),
        sp: begin,
        fp: begin,
    };
    let (outcome, frames) = verdict::<Orc>(&builder.task, start);
    assert_eq!(outcome.verdict, Verdict::Unreliable(Reason::TooDeep));
    assert_eq!(frames.len(), usize::from(unwind::walk::MAX_FRAMES));
    // With frame pointers each takes its part of the stack, which is an end.
    let (outcome, frames) = verdict::<FramePointers>(&builder.task, start);
    assert_ne!(outcome.verdict, Verdict::Reliable);
    assert!(
        (count..=count + 1).contains(&frames.len()),
        "{}",
        frames.len()
    );
}

#[test]
fn a_task_may_judge_itself_from_any_instruction() {
    let kernel = Kernel::new();
    let mut builder = Builder::new(&kernel, Outermost::SystemCall);
    builder.call("f1", 0).call("f4", 3).call("f3", 2);
    let mut expected = builder.expected();
    // Behind a call and elsewhere, f3's frame is the same.
    for pc in [builder.pc, builder.pc + 3] {
        let start = Start::Here {
            pc,
            sp: builder.sp,
            fp: builder.fp,
        };
        let (outcome, frames) = verdict::<Orc>(&builder.task, start);
        assert_eq!(outcome.verdict, Verdict::Reliable, "{pc:#x}");
        assert_eq!(addresses(&frames), expected, "{pc:#x}");
        let (outcome, frames) = verdict::<FramePointers>(&builder.task, start);
        assert_eq!(outcome.verdict, Verdict::Reliable, "{pc:#x}");
        assert_eq!(addresses(&frames), expected, "{pc:#x}");
    }
    // Where there is no code, nobody stands.
    let nowhere = Start::Here {
        pc: 0x1000,
        sp: builder.sp,
        fp: builder.fp,
    };
    expected.clear();
    let (outcome, frames) = verdict::<Orc>(&builder.task, nowhere);
    let why = Verdict::Unreliable(Reason::AddressNotInText);
    assert_eq!((outcome.verdict, addresses(&frames)), (why, expected));
}
