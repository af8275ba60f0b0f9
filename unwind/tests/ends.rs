//! Where each kind of task must end, with both steppers, and that it may end nowhere else.

mod model;

use model::build::{Builder, Outermost};
use model::{addresses, frames, verdict, Kernel, Task};
use unwind::{End, FrameKind, FramePointers, Orc, Outcome, Reason, Start, TaskKind, Verdict};

const BOTH: [&str; 2] = ["frame pointers", "ORC"];

/// A walk for a verdict, and the addresses that it showed.
fn walk(stepper: &str, task: &Task<'_>, start: Start) -> (Outcome, Vec<u64>) {
    let (outcome, frames) = match stepper {
        "ORC" => verdict::<Orc>(task, start),
        _ => verdict::<FramePointers>(task, start),
    };
    (outcome, addresses(&frames))
}

fn sleeping(kernel: &Kernel, outermost: Outermost) -> Builder<'_> {
    let mut builder = Builder::new(kernel, outermost);
    builder.call("f1", 0).call("f4", 3).call("f2", 2).sleep();
    builder
}

fn end_of(outermost: Outermost) -> End {
    match outermost {
        Outermost::SystemCall | Outermost::EncodedSystemCall => End::SystemCall,
        Outermost::UserEntry => End::UserEntry,
        Outermost::Fork | Outermost::KernelThread | Outermost::Exec => End::Fork,
        Outermost::Startup => End::Startup,
        Outermost::Rewound => End::Rewound,
    }
}

#[test]
fn each_kind_of_task_ends_where_it_began() {
    let kernel = Kernel::new();
    for outermost in Outermost::ALL {
        let builder = sleeping(&kernel, outermost);
        assert_eq!(builder.expected().len(), 5);
        for stepper in BOTH {
            let (outcome, shown) = walk(stepper, &builder.task, builder.inactive());
            let case = format!("{outermost:?} by {stepper}");
            assert_eq!(outcome.verdict, Verdict::Reliable, "{case}");
            assert_eq!(outcome.end, Some(end_of(outermost)), "{case}");
            assert_eq!(outcome.lost_at, None, "{case}");
            assert_eq!(shown, builder.expected(), "{case}");
        }
    }
}

#[test]
fn no_task_may_end_where_another_kind_does() {
    let kernel = Kernel::new();
    let (mut right, mut wrong) = (0, 0);
    for outermost in Outermost::ALL {
        for kind in [TaskKind::User, TaskKind::KernelThread, TaskKind::Idle] {
            let mut builder = sleeping(&kernel, outermost);
            builder.task.kind = kind;
            // Whoever dies may have been either; without registers, ORC sees a kernel thread.
            let also = match outermost {
                Outermost::Rewound | Outermost::Exec => kind == TaskKind::KernelThread,
                Outermost::KernelThread => kind == TaskKind::User,
                _ => false,
            };
            for stepper in BOTH {
                let (outcome, _) = walk(stepper, &builder.task, builder.inactive());
                if kind == outermost.kind() || also {
                    assert_eq!(outcome.verdict, Verdict::Reliable, "{outermost:?} {kind:?}");
                    right += 1;
                } else {
                    let expected = Verdict::Unreliable(Reason::WrongEnd);
                    assert_eq!(
                        outcome.verdict, expected,
                        "{outermost:?} {kind:?} {stepper}"
                    );
                    wrong += 1;
                }
            }
        }
    }
    assert_eq!((right, wrong), (2 * 11, 2 * 13));
}

#[test]
fn only_the_idle_task_may_come_from_text_that_is_gone() {
    let kernel = Kernel::new();
    for outermost in Outermost::ALL {
        let mut builder = sleeping(&kernel, outermost);
        builder.task.gone = Some("f1");
        for stepper in BOTH {
            let (outcome, shown) = walk(stepper, &builder.task, builder.inactive());
            if outermost == Outermost::Startup {
                assert_eq!(outcome.end, Some(End::Startup), "{stepper}");
                assert_eq!(shown, builder.expected(), "{stepper}");
            } else {
                let expected = Verdict::Unreliable(Reason::AddressNotInText);
                assert_eq!(outcome.verdict, expected, "{outermost:?} {stepper}");
            }
        }
    }
}

#[test]
fn a_task_that_never_ran_ends_at_once() {
    let kernel = Kernel::new();
    let fork = kernel.function("ret_from_fork_asm").begin;
    for outermost in [Outermost::Fork, Outermost::KernelThread] {
        let mut builder = Builder::new(&kernel, outermost);
        builder.switch_out(fork);
        for stepper in BOTH {
            let (outcome, shown) = walk(stepper, &builder.task, builder.inactive());
            assert_eq!(outcome.end, Some(End::NeverRan), "{stepper}");
            assert_eq!(shown, [fork], "{stepper}");
        }
    }
    // The same words elsewhere are no end.
    let mut builder = Builder::new(&kernel, Outermost::KernelThread);
    builder.call("f1", 0).switch_out(fork);
    for stepper in BOTH {
        let (outcome, _) = walk(stepper, &builder.task, builder.inactive());
        assert_ne!(outcome.verdict, Verdict::Reliable, "{stepper}");
    }
}

#[test]
fn a_realigned_first_function_ends_there_too() {
    let kernel = Kernel::new();
    let top = Builder::new(&kernel, Outermost::Startup).task.top;
    for same in [true, false] {
        let mut builder = Builder::new(&kernel, Outermost::Startup);
        // The return address is pushed a second time before the frame record.
        let callee = kernel.function("f0").clone();
        builder.enter(callee);
        // Another call of the same entry code would do as an address, but is not the same.
        let other = kernel.function("secondary_startup_64").site(3);
        let address = if same { builder.pc } else { other };
        builder.sp -= 8;
        *builder.task.word(top - 16) = address;
        builder.body(0).sleep();
        let (outcome, shown) = walk("frame pointers", &builder.task, builder.inactive());
        if same {
            assert_eq!(outcome.end, Some(End::Startup));
            assert_eq!(shown, builder.expected());
        } else {
            assert_ne!(outcome.verdict, Verdict::Reliable);
        }
    }
}

#[test]
fn a_traced_first_function_ends_there_too() {
    let kernel = Kernel::new();
    for same in [true, false] {
        let mut builder = Builder::new(&kernel, Outermost::KernelThread);
        let (entry, fp) = (builder.pc, builder.fp);
        let traced = kernel.function("f0").clone();
        let inside = traced.begin + 5;
        builder.enter(traced);
        // The tracer's entry: its own return address, then a record for the function's caller and
        // one for the function.
        let mut push = |value| {
            builder.sp -= 8;
            let sp = builder.sp;
            *builder.task.word(sp) = value;
            sp
        };
        push(inside);
        push(if same { fp } else { 0 });
        push(entry);
        let outer = push(fp);
        push(inside);
        let inner = push(outer);
        builder.fp = inner;
        builder.current = kernel.function("ftrace_caller").clone();
        builder.pc = builder.current.site(0);
        builder.call("f3", 1).sleep();
        let (outcome, shown) = walk("frame pointers", &builder.task, builder.inactive());
        if same {
            assert_eq!(outcome.end, Some(End::Fork));
            let site = |name, n| kernel.function(name).site(n);
            let tracer = [site("schedule", 2), site("f3", 1), site("ftrace_caller", 0)];
            assert_eq!(shown, [&tracer[..], &[inside, entry]].concat());
        } else {
            assert_ne!(outcome.verdict, Verdict::Reliable);
        }
    }
}

#[test]
fn user_spaces_registers_are_a_frame_of_their_own() {
    let kernel = Kernel::new();
    for (outermost, is_system_call) in
        [(Outermost::SystemCall, true), (Outermost::UserEntry, false)]
    {
        let builder = sleeping(&kernel, outermost);
        let top = builder.task.top;
        let task = &builder.task;
        let start = builder.inactive();
        let kinds = |frames: Vec<unwind::Frame>| frames.last().map(|frame| frame.kind);
        let (by_fp, _) = frames::<FramePointers>(task, start, builder.sp);
        let (by_orc, _) = frames::<Orc>(task, start, builder.sp);
        assert_eq!((by_fp.len(), by_orc.len()), (6, 6));
        for last in [kinds(by_fp), kinds(by_orc)] {
            match last {
                Some(FrameKind::SystemCall { registers }) if is_system_call => {
                    assert_eq!(registers, top)
                }
                Some(FrameKind::UserEntry { registers, event }) if !is_system_call => {
                    assert_eq!(
                        (registers, event),
                        (top, model::event("asm_exc_page_fault"))
                    );
                }
                other => panic!("{outermost:?}: {other:?}"),
            }
        }
    }
}
