//! Walks that go on: what they show of damaged and interrupted stacks, and where they start.

mod model;

use arch::frame::Frames;
use arch_x86_64::X86_64;
use model::build::{Builder, Outermost, WordKind, STACK};
use model::{addresses, frames, verdict, Kernel, Task};
use unwind::walk::{Partial, ReturnSlot, Stepper};
use unwind::{
    Env, FrameKind, FramePointers, Mode, Orc, Reason, Registers, StackKind, Start, Status, Verdict,
    Walk,
};

/// What a walk that stops at the first doubt says of the same stack.
fn doubt<S>(task: &Task<'_>, start: Start) -> Option<Reason>
where
    S: for<'k> Stepper<Task<'k>> + for<'k> ReturnSlot<Task<'k>> + Partial,
{
    match verdict::<S>(task, start).0.verdict {
        Verdict::Reliable => None,
        Verdict::Unreliable(reason) => Some(reason),
    }
}

fn sleeping(kernel: &Kernel) -> Builder<'_> {
    let mut builder = Builder::new(kernel, Outermost::SystemCall);
    builder.call("f1", 0).call("f4", 3).call("f2", 2).sleep();
    builder
}

/// A kernel thread that was interrupted in f4; where its registers lie.
fn interrupted<'k>(kernel: &'k Kernel, entry: &str) -> (Builder<'k>, u64) {
    let mut builder = Builder::new(kernel, Outermost::KernelThread);
    builder.call("f1", 0).call("f4", 1);
    let pc = builder.current.begin + 0x33;
    match entry {
        "asm_exc_nmi" => builder.exception(entry, pc),
        _ => builder.interrupt(entry, pc),
    };
    let registers = builder.sp;
    builder.call("f2", 0);
    (builder, registers)
}

fn here(builder: &Builder<'_>) -> Start {
    Start::Here {
        pc: builder.pc,
        sp: builder.sp,
        fp: builder.fp,
    }
}

#[test]
fn an_interrupted_task_is_shown_whole() {
    let kernel = Kernel::new();
    for entry in ["asm_common_interrupt", "asm_exc_nmi"] {
        let (builder, registers) = interrupted(&kernel, entry);
        let event = model::event(entry);
        let (by_fp, walk) = frames::<FramePointers>(&builder.task, here(&builder), builder.fp);
        let by_fp_alone = doubt::<FramePointers>(&builder.task, here(&builder));
        assert_eq!(by_fp_alone, Some(Reason::Interrupted(event)));
        assert_eq!(walk.status(), Status::Ended(None));
        assert_eq!(addresses(&by_fp), builder.expected());
        let (by_orc, walk) = frames::<Orc>(&builder.task, here(&builder), builder.sp - 8);
        assert_eq!(walk.status(), Status::Ended(None));
        assert_eq!(doubt::<Orc>(&builder.task, here(&builder)), None);
        // It starts with the function that runs.
        assert_eq!(by_orc[0].address, builder.pc);
        assert_eq!(addresses(&by_orc[1..]), builder.expected());
        for frame in [by_fp[1], by_orc[2]] {
            let expected = FrameKind::Interrupted {
                registers,
                partial: false,
                event,
            };
            assert_eq!(frame.kind, expected);
            let slot = registers + X86_64::REGISTERS.pc;
            assert_eq!(frame.slot, Some(slot));
            let on = match entry {
                "asm_exc_nmi" => StackKind::exception(1),
                _ => StackKind::TASK,
            };
            assert_eq!(frame.stack, on);
        }
    }
}

#[test]
fn what_the_kernels_interface_asks_of_a_frame_is_there() {
    let kernel = Kernel::new();
    let (builder, registers) = interrupted(&kernel, "asm_exc_page_fault");
    let task = &builder.task;
    let mut walk = Walk::<Orc>::start(task, Mode::BestEffort, here(&builder), builder.sp);
    assert_eq!(walk.registers(), None);
    assert_eq!(walk.address(task), Some(builder.expected()[0]));
    assert_eq!(
        walk.address_slot(task),
        Some(builder.nth(WordKind::ReturnAddress, 0))
    );
    assert!(walk.next(task));
    let whole = Registers {
        address: registers,
        partial: false,
    };
    assert_eq!(walk.registers(), Some(whole));
    assert_eq!(walk.address_slot(task), Some(registers + 128));
    // It can be put away and taken up again.
    let mut copy = walk;
    while walk.next(task) {}
    let mut rest = 0;
    while copy.next(task) {
        rest += 1;
    }
    assert_eq!(rest, 2);
    assert!(walk.is_done() && walk.registers().is_none());
    assert_eq!((walk.address(task), walk.address_slot(task)), (None, None));
}

#[test]
fn text_without_an_entry_is_taken_for_one_that_keeps_its_frame() {
    let kernel = Kernel::new();
    let mut builder = sleeping(&kernel);
    builder.task.missing = Some("f4");
    let (shown, _) = frames::<Orc>(&builder.task, builder.inactive(), builder.sp);
    let doubt = doubt::<Orc>(&builder.task, builder.inactive());
    assert_eq!(doubt, Some(Reason::OrcMissing));
    assert_eq!(addresses(&shown)[..5], builder.expected()[..]);
}

#[test]
fn a_call_to_nowhere_is_left_through_its_return_address() {
    let kernel = Kernel::new();
    let mut builder = Builder::new(&kernel, Outermost::SystemCall);
    builder.call("f1", 0).call("f4", 3);
    let nowhere = kernel.function("f0").clone();
    builder.enter(nowhere);
    let (sp, fp) = (builder.sp, builder.fp);
    let start = Start::Interrupted {
        pc: 0,
        sp,
        fp,
        user: false,
    };
    let (by_fp, _) = frames::<FramePointers>(&builder.task, start, sp);
    let (by_orc, _) = frames::<Orc>(&builder.task, start, sp);
    let expected = Some(Reason::AddressNotInText);
    assert_eq!(doubt::<Orc>(&builder.task, start), expected);
    for shown in [by_fp, by_orc] {
        assert_eq!(addresses(&shown)[..3], builder.expected()[..]);
    }
}

#[test]
fn a_walk_from_registers_goes_on_behind_them() {
    let kernel = Kernel::new();
    let mut builder = Builder::new(&kernel, Outermost::SystemCall);
    builder.call("f1", 0).call("f4", 3);
    let start = |user| Start::Interrupted {
        pc: builder.pc,
        sp: builder.sp,
        fp: builder.fp,
        user,
    };
    let (by_fp, _) = frames::<FramePointers>(&builder.task, start(false), builder.sp);
    assert!(doubt::<FramePointers>(&builder.task, start(false)).is_some());
    let (by_orc, _) = frames::<Orc>(&builder.task, start(false), builder.sp);
    assert_eq!(doubt::<Orc>(&builder.task, start(false)), None);
    for shown in [by_fp, by_orc] {
        assert_eq!(addresses(&shown)[..2], builder.expected()[..]);
    }
    // There is nothing of the kernel's in front of user space's.
    let (by_fp, walk) = frames::<FramePointers>(&builder.task, start(true), 0);
    assert_eq!((by_fp.len(), walk.status()), (0, Status::Ended(None)));
    let (by_orc, walk) = frames::<Orc>(&builder.task, start(true), 0);
    assert_eq!((by_orc.len(), walk.status()), (0, Status::Ended(None)));
}

#[test]
fn a_frame_end_in_a_register_is_asked_of_whoever_has_the_registers() {
    let kernel = Kernel::new();
    let mut builder = Builder::new(&kernel, Outermost::SystemCall);
    builder.call("f1", 0);
    let end = builder.sp;
    builder.call("keeps_r10", 0);
    let start = Start::Interrupted {
        pc: builder.pc,
        sp: builder.sp,
        fp: builder.fp,
        user: false,
    };
    let (shown, walk) = frames::<Orc>(&builder.task, start, 0);
    assert_eq!(
        (shown.len(), walk.status()),
        (0, Status::Lost(Reason::RegisterNotSaved))
    );
    builder.task.r10 = Some(end);
    let (shown, _) = frames::<Orc>(&builder.task, start, 0);
    assert_eq!(doubt::<Orc>(&builder.task, start), None);
    assert_eq!(addresses(&shown)[..2], builder.expected()[..]);
}

#[test]
fn frames_below_the_wanted_one_are_passed_over() {
    let kernel = Kernel::new();
    let builder = sleeping(&kernel);
    for n in 0..4 {
        // The stack pointer while the n-th function called.
        let first = builder.nth(WordKind::FramePointer, n);
        let (by_fp, _) = frames::<FramePointers>(&builder.task, builder.inactive(), first);
        assert_eq!(addresses(&by_fp)[..5 - n], builder.expected()[n..], "{n}");
        let (by_orc, _) = frames::<Orc>(&builder.task, builder.inactive(), first);
        assert_eq!(addresses(&by_orc)[..5 - n], builder.expected()[n..], "{n}");
    }
    // One that is nowhere is never found.
    let (by_fp, _) = frames::<FramePointers>(&builder.task, builder.inactive(), 0x1000);
    let (by_orc, _) = frames::<Orc>(&builder.task, builder.inactive(), 0x1000);
    assert!(by_fp.is_empty() && by_orc.is_empty());
}

#[test]
fn a_stack_that_ran_over_is_walked_from_the_page_above() {
    let kernel = Kernel::new();
    let mut builder = Builder::new(&kernel, Outermost::SystemCall);
    builder.call("f1", 0).call("f4", 3);
    let start = Start::Interrupted {
        pc: kernel.function("f0").site(1),
        sp: STACK - 16,
        fp: builder.fp,
        user: false,
    };
    // f0 finds its frame by the frame pointer, which is f4's.
    let (shown, _) = frames::<Orc>(&builder.task, start, STACK - 16);
    let doubt = doubt::<Orc>(&builder.task, start);
    assert_eq!(doubt, Some(Reason::StartOffStack));
    assert_eq!(addresses(&shown)[..2], builder.expected()[..]);
}

#[test]
fn registers_cannot_lead_a_walk_in_circles() {
    // A saved stack pointer that means nothing hides that the next frame lies below.
    let kernel = Kernel::new();
    let mut builder = Builder::new(&kernel, Outermost::SystemCall);
    builder.call("f1", 0).call("f4", 0);
    let below = builder.clone();
    let pc = builder.current.begin + 0x33;
    builder.interrupt("asm_exc_page_fault", pc);
    let registers = builder.sp;
    builder.call("f2", 0).sleep();
    let inner = builder.nth(WordKind::FramePointer, 1);
    let layout = X86_64::REGISTERS;
    *builder.task.word(registers + layout.sp) = 0;
    *builder.task.word(registers + layout.fp) = inner;
    assert!(inner < registers && registers < below.sp);
    let (shown, walk) = frames::<Orc>(&builder.task, builder.inactive(), builder.sp);
    assert_eq!(walk.status(), Status::Lost(Reason::StackPointerNotRising));
    assert!(shown.len() < 6, "{shown:?}");
}

#[test]
fn registers_with_a_stack_pointer_below_are_the_end_of_a_walk() {
    let kernel = Kernel::new();
    let (mut builder, registers) = interrupted(&kernel, "asm_common_interrupt");
    *builder.task.word(registers + X86_64::REGISTERS.sp) = builder.sp;
    let (shown, walk) = frames::<Orc>(&builder.task, here(&builder), builder.sp - 8);
    assert_eq!(walk.status(), Status::Lost(Reason::StackPointerNotRising));
    assert_eq!(shown.len(), 2);
}

#[test]
fn a_running_task_is_not_walked_by_orc_even_for_its_best() {
    let kernel = Kernel::new();
    let builder = sleeping(&kernel);
    builder.task.running.set(true);
    assert!(builder.task.is_running());
    let (shown, walk) = frames::<Orc>(&builder.task, builder.inactive(), builder.sp);
    assert_eq!(
        (shown.len(), walk.status()),
        (0, Status::Lost(Reason::Running))
    );
    // Frame pointers can be followed as long as they lead upwards.
    let (shown, _) = frames::<FramePointers>(&builder.task, builder.inactive(), builder.sp);
    assert_eq!(addresses(&shown)[..5], builder.expected()[..]);
}

#[test]
fn the_state_of_a_walk_is_small() {
    // The kernel's own is 112 bytes, on the stack of whoever walks.
    let sizes = (size_of::<Walk<FramePointers>>(), size_of::<Walk<Orc>>());
    assert!(sizes.0 <= 128 && sizes.1 <= 136, "{sizes:?}");
}
