//! Every interleaving of what runs without the core's lock, with the core's own code on both sides:
//! tasks that call functions and switch by themselves, while patches are enabled, disabled and
//! reversed.
//!
//! Function 0 calls function 1, and every patch replaces both: a task that gets them from two
//! patches has mixed variants. What the model stands for, and what it leaves out, is said in
//! `interleavings/port.rs` and in the crate's documentation.

#[path = "interleavings/port.rs"]
mod port;

use std::panic::{catch_unwind, AssertUnwindSafe};

use livepatch::port::Synchronize;
use livepatch::Barrier;
use loom::thread;
use port::{address, Seed, View};

/// What is done, by the thread that has the lock and by a task.
#[derive(Clone, Copy, Debug)]
struct Scenario {
    patches: fn(&View),
    task: fn(&View),
    has_stacks: bool,
    /// How many patches are enabled before.
    enabled: usize,
    /// Whether the last of them is disabled before, by force, so that all tasks are remembered and
    /// asked to leave the kernel.
    forced: bool,
}

/// Patch 1 comes on top.
const ENABLE: Scenario = Scenario {
    patches: |view| {
        view.enable(1);
        view.tick();
    },
    task: |task| {
        task.pass(|_| ());
        task.leave();
        task.pass(|_| ());
        task.leave();
    },
    has_stacks: false,
    enabled: 1,
    forced: false,
};

/// Patch 0 goes, and its module with it.
const DISABLE: Scenario = Scenario {
    patches: |view| {
        view.write(0, false);
        view.tick();
    },
    task: |task| {
        task.pass(|_| ());
        task.leave();
        task.pass(|_| ());
        task.leave();
    },
    has_stacks: false,
    enabled: 1,
    forced: false,
};

/// Patch 1 goes from above patch 0, so that its sites stay.
const UNSTACK: Scenario = Scenario {
    patches: |view| {
        view.write(1, false);
        view.tick();
    },
    enabled: 2,
    ..DISABLE
};

/// Patch 0 is to go, and is called back.
const REVERSE: Scenario = Scenario {
    patches: |view| {
        view.write(0, false);
        view.write(0, true);
        view.tick();
    },
    task: |task| {
        task.leave();
        task.pass(|_| ());
        task.leave();
    },
    has_stacks: false,
    enabled: 1,
    forced: false,
};

/// Patch 0 is to come, and is called back; its sites and its module go.
const WITHDRAW: Scenario = Scenario {
    patches: |view| {
        view.enable(0);
        view.write(0, false);
        view.tick();
    },
    task: |task| {
        task.pass(|_| ());
        task.leave();
    },
    enabled: 0,
    ..DISABLE
};

/// The task sleeps in the first function, and its stack is looked at.
const SLEEP: Scenario = Scenario {
    patches: |view| {
        view.enable(1);
        view.tick();
    },
    task: |task| {
        let mut stack = task.run();
        let outer = task.call(0);
        stack.push(address(outer, 0));
        drop(stack);
        let stack = task.run();
        let inner = task.call(1);
        assert_eq!(outer, inner, "seen: variants are mixed");
        drop(stack);
    },
    has_stacks: true,
    enabled: 1,
    forced: false,
};

/// Patch 1 comes on top, by force: whoever takes a task's request, it is not forgotten in a function
/// that it should have left.
const FORCE: Scenario = Scenario {
    patches: |view| {
        view.enable(1);
        view.force(1);
        view.tick();
    },
    task: |task| {
        let me = 0;
        if task.call(0) == Some(0) {
            let is_left_behind = task.is_patched(1) && task.call(0) == Some(1);
            assert!(
                !is_left_behind || task.is_forced(me),
                "seen: a forced task is forgotten"
            );
        }
        task.leave();
    },
    ..DISABLE
};

/// A task that was forced has been asked to leave the kernel, and does so when the next patch comes.
const ASKED: Scenario = Scenario {
    patches: |view| {
        view.enable(1);
        view.tick();
    },
    task: |task| {
        task.leave();
        task.pass(|_| ());
        task.leave();
    },
    has_stacks: false,
    enabled: 1,
    forced: true,
};

/// Goes through the scenario in every order; says what was seen, if anything.
fn explore(
    scenario: Scenario,
    tasks: usize,
    bound: Option<usize>,
    seed: Seed,
) -> Result<(), String> {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    let run = AssertUnwindSafe(|| {
        builder.check(move || {
            let view = View::new(scenario.enabled, tasks, scenario.has_stacks, seed);
            if scenario.forced {
                view.force_away(scenario.enabled - 1);
            }
            let threads: Vec<_> = (0..tasks)
                .map(|task| {
                    let task = view.of_task(task);
                    thread::spawn(move || (scenario.task)(&task))
                })
                .collect();
            (scenario.patches)(&view);
            for thread in threads {
                thread.join().unwrap();
            }
            // Now that all are out of the kernel or asleep, nothing is in the way.
            for task in 0..tasks {
                view.of_task(task).leave();
            }
            view.tick();
            assert!(view.is_idle(), "seen: a transition that does not end");
            // The first look asks those who are remembered to leave.
            for task in 0..tasks {
                view.of_task(task).leave();
                assert!(!view.is_forced(task), "seen: a record that stays");
            }
            for task in 0..tasks {
                view.of_task(task).pass(|_| ());
            }
        });
    });
    catch_unwind(run).map_err(|panic| {
        panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|&said| said.to_owned()))
            .unwrap_or_default()
    })
}

/// How often a thread may be stopped where it need not stop. With optimization there is time for
/// every order there is; without, for most of them.
const BOUND: Option<usize> = if cfg!(debug_assertions) {
    Some(2)
} else {
    None
};

#[test]
fn enabling_is_consistent_in_every_order() {
    assert_eq!(explore(ENABLE, 1, BOUND, Seed::None), Ok(()));
}

#[test]
fn disabling_is_consistent_in_every_order() {
    assert_eq!(explore(DISABLE, 1, BOUND, Seed::None), Ok(()));
}

#[test]
fn disabling_one_of_several_is_consistent_in_every_order() {
    assert_eq!(explore(UNSTACK, 1, BOUND, Seed::None), Ok(()));
}

#[test]
fn reversing_is_consistent_in_every_order() {
    assert_eq!(explore(REVERSE, 1, BOUND, Seed::None), Ok(()));
}

#[test]
fn withdrawing_is_consistent_in_every_order() {
    assert_eq!(explore(WITHDRAW, 1, BOUND, Seed::None), Ok(()));
}

#[test]
fn looking_at_stacks_is_consistent_in_every_order() {
    assert_eq!(explore(SLEEP, 1, BOUND, Seed::None), Ok(()));
}

#[test]
fn forcing_is_consistent_in_every_order() {
    assert_eq!(explore(FORCE, 1, BOUND, Seed::None), Ok(()));
}

#[test]
fn who_was_asked_before_is_consistent_in_every_order() {
    assert_eq!(explore(ASKED, 1, BOUND, Seed::None), Ok(()));
}

#[test]
fn two_tasks_are_consistent_in_many_orders() {
    for scenario in [ENABLE, UNSTACK, REVERSE, SLEEP] {
        let bound = if cfg!(debug_assertions) { 1 } else { 2 };
        assert_eq!(explore(scenario, 2, Some(bound), Seed::None), Ok(()));
    }
}

const MIXED: &str = "seen: variants are mixed";
const SIDELESS: &str = "seen: a task without a side";
const ENDLESS: &str = "seen: a transition that does not end";
const FORGOTTEN: &str = "seen: a forced task is forgotten";
const FREED: &str = "Concurrent read and write accesses to `UnsafeCell`";
/// The same of a part that is atomic.
const FREED_ATOMIC: &str = "Causality violation: Concurrent read and write accesses.";

/// Each mistake, where it shows, and as what.
const MISTAKES: &[(Seed, Scenario, &[&str])] = &[
    (Seed::Without(Barrier::Sides), DISABLE, &[SIDELESS]),
    (Seed::Without(Barrier::Push), ENABLE, &[MIXED]),
    // What the C core lacks; it has its like for the next two.
    (Seed::Without(Barrier::Start), ENABLE, &[MIXED]),
    (Seed::Without(Barrier::Start), DISABLE, &[MIXED]),
    (Seed::Without(Barrier::Start), REVERSE, &[ENDLESS, MIXED]),
    (Seed::Without(Barrier::Stack), ENABLE, &[MIXED]),
    (Seed::Without(Barrier::Side), DISABLE, &[SIDELESS]),
    (
        Seed::WithoutWait(Synchronize::Reverse),
        REVERSE,
        &[ENDLESS, MIXED, SIDELESS],
    ),
    (Seed::WithoutWait(Synchronize::Patched), ENABLE, &[SIDELESS]),
    (
        Seed::WithoutWait(Synchronize::Unpatched),
        UNSTACK,
        &[MIXED, FREED],
    ),
    (
        Seed::WithoutWait(Synchronize::Asked),
        ASKED,
        &[MIXED, SIDELESS, ENDLESS],
    ),
    (Seed::AskedStays, ASKED, &[MIXED, SIDELESS, ENDLESS]),
    (Seed::ForceForgets, FORCE, &[FORGOTTEN]),
    (Seed::SwitchPreempted, REVERSE, &[MIXED, ENDLESS, SIDELESS]),
    (Seed::HandlerPreempted, ENABLE, &[SIDELESS]),
    (Seed::HandlerPreempted, DISABLE, &[FREED]),
    (Seed::HandlerPreempted, WITHDRAW, &[FREED_ATOMIC]),
    (
        Seed::WithoutWait(Synchronize::Reverse),
        WITHDRAW,
        &[ENDLESS, MIXED, SIDELESS],
    ),
    (Seed::RequestUnordered, ENABLE, &[MIXED, ENDLESS, SIDELESS]),
    (Seed::Year2016, REVERSE, &[MIXED, ENDLESS, SIDELESS]),
    (Seed::Year2016, ENABLE, &[MIXED, ENDLESS, SIDELESS]),
];

#[test]
fn each_mistake_is_seen() {
    for &(seed, scenario, wanted) in MISTAKES {
        let seen = explore(scenario, 1, Some(3), seed).expect_err(&format!("{seed:?} goes unseen"));
        assert!(
            wanted.iter().any(|wanted| seen.contains(wanted)),
            "{seed:?} is seen as: {seen}"
        );
    }
    // Nobody is forgotten when there is a new one.
    for barrier in Barrier::ALL {
        let is_tried = |(seed, ..): &(Seed, Scenario, &[&str])| *seed == Seed::Without(barrier);
        assert!(MISTAKES.iter().any(is_tried), "{barrier:?}");
    }
    for wait in Synchronize::ALL {
        let is_tried = |(seed, ..): &(Seed, Scenario, &[&str])| *seed == Seed::WithoutWait(wait);
        assert!(MISTAKES.iter().any(is_tried), "{wait:?}");
    }
}

/// What the bug of 2016 consisted of is not each a bug: with preemption off and everyone waited for,
/// a request that is taken late is taken by the same one, and for the same target.
#[test]
fn taking_a_request_late_alone_does_no_harm() {
    for scenario in [ENABLE, DISABLE, UNSTACK, REVERSE] {
        assert_eq!(explore(scenario, 1, Some(3), Seed::RequestNotTaken), Ok(()));
    }
}
