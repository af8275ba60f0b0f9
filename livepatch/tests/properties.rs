//! Random lives of a system: patches enabled, disabled, replaced, reversed and forced, modules that
//! come and go, steps that fail, tasks that call, return, sleep, fork and exit. After every step the
//! invariants hold, and in the end, when everyone has left the kernel, everything is let go.

mod model;

use std::collections::BTreeMap;
use std::panic::catch_unwind;

use model::{invariants, object_of, Kind, Model, Spec, FUNCTIONS, MODULES, P, T};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

#[derive(Clone, Debug)]
enum Step {
    Enable {
        functions: Vec<usize>,
        replaces: bool,
        fails_at: Option<usize>,
        refuses: Option<usize>,
    },
    Write {
        patch: usize,
        enabled: bool,
    },
    Force {
        patch: usize,
    },
    Tick,
    Free,
    Fork {
        parent: usize,
    },
    Exit {
        task: usize,
        ends: bool,
    },
    Call {
        task: usize,
        function: usize,
    },
    CallHelper {
        task: usize,
    },
    Return {
        task: usize,
    },
    Leave {
        task: usize,
    },
    Reschedule {
        task: usize,
    },
    Cpu {
        task: usize,
        on: bool,
    },
    LeaveOut {
        task: usize,
    },
    Preempt {
        task: usize,
        on: bool,
    },
    Online {
        on: bool,
    },
    Load {
        module: usize,
        fails_at: Option<usize>,
    },
    Unload {
        module: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let failure = || prop_oneof![4 => Just(None), 1 => (0..12_usize).prop_map(Some)];
    prop_oneof![
        4 => (
            prop::collection::btree_set(0..FUNCTIONS, 1..4),
            prop::bool::weighted(0.3),
            failure(),
            prop_oneof![8 => Just(None), 1 => (0..=MODULES).prop_map(Some)],
        )
            .prop_map(|(functions, replaces, fails_at, refuses)| Step::Enable {
                functions: functions.into_iter().collect(),
                replaces,
                fails_at,
                refuses,
            }),
        5 => (any::<usize>(), prop::bool::weighted(0.3))
            .prop_map(|(patch, enabled)| Step::Write { patch, enabled }),
        2 => any::<usize>().prop_map(|patch| Step::Force { patch }),
        6 => Just(Step::Tick),
        3 => Just(Step::Free),
        1 => any::<usize>().prop_map(|parent| Step::Fork { parent }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(task, ends)| Step::Exit { task, ends }),
        8 => (any::<usize>(), 0..FUNCTIONS)
            .prop_map(|(task, function)| Step::Call { task, function }),
        2 => any::<usize>().prop_map(|task| Step::CallHelper { task }),
        5 => any::<usize>().prop_map(|task| Step::Return { task }),
        3 => any::<usize>().prop_map(|task| Step::Leave { task }),
        3 => any::<usize>().prop_map(|task| Step::Reschedule { task }),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(task, on)| Step::Cpu { task, on }),
        1 => any::<usize>().prop_map(|task| Step::LeaveOut { task }),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(task, on)| Step::Preempt { task, on }),
        1 => any::<bool>().prop_map(|on| Step::Online { on }),
        2 => (0..MODULES, failure())
            .prop_map(|(module, fails_at)| Step::Load { module, fails_at }),
        2 => (0..MODULES).prop_map(|module| Step::Unload { module }),
    ]
}

/// A task that is alive and has a CPU to run on, the how-manieth of them.
fn live(model: &Model, number: usize) -> T {
    let tasks = model.tasks.borrow();
    let live: Vec<usize> = (0..tasks.len())
        .filter(|&task| tasks[task].is_alive.get() && tasks[task].is_online.get())
        .collect();
    T(live[number % live.len()])
}

fn listed(model: &Model, number: usize) -> Option<P> {
    let listed = model.listed.borrow();
    Some(P(*listed.get(number % listed.len().max(1))?))
}

/// Whether somebody executes code of a module, which then does not go.
fn is_used(model: &Model, module: usize) -> bool {
    model.tasks.borrow().iter().any(|task| {
        let frames = task.frames.borrow();
        frames
            .iter()
            .any(|frame| object_of(frame.function) == module + 1)
    })
}

fn run(model: &Model, step: &Step) {
    match *step {
        Step::Enable {
            ref functions,
            replaces,
            fails_at,
            refuses,
        } => {
            model.steps_to_failure.set(fails_at);
            let patch = model.load(Spec {
                functions: functions.clone(),
                replaces,
                refuses,
                ..Spec::default()
            });
            if model.core.enable(model, patch).is_err() {
                let left = usize::from(model.forgets);
                assert_eq!(model.references(patch), left, "nothing is left behind");
                assert!(!model.listed.borrow().contains(&patch.0));
            }
            model.steps_to_failure.set(None);
        }
        Step::Write { patch, enabled } => {
            if let Some(patch) = listed(model, patch) {
                let _ = model.core.set_enabled(model, patch, enabled);
            }
        }
        Step::Force { patch } => {
            if let Some(patch) = listed(model, patch) {
                let _ = model.core.force(model, patch);
            }
        }
        Step::Tick => model.tick_alone(),
        Step::Free => {
            model.run_frees();
            model.run_puts();
        }
        Step::Fork { parent } => {
            let parent = live(model, parent);
            let is_user = model.task(parent, |task| task.kind == Kind::User);
            if is_user && model.tasks.borrow().len() < 12 {
                model.fork(parent);
            }
        }
        Step::Exit { task, ends } => {
            let task = live(model, task);
            if model.task(task, |task| task.kind == Kind::User) {
                match ends {
                    true => model.exit(task),
                    // It stays where it is until somebody waits for it.
                    false => model.begin_exit(task),
                }
            }
        }
        Step::Call { task, function } => {
            let task = live(model, task);
            let module = object_of(function);
            let is_there = module == 0 || model.is_module_loaded[module - 1].get();
            if is_there && model.task(task, |task| task.frames.borrow().len() < 4) {
                model.call(task, function);
            }
        }
        Step::CallHelper { task } => {
            model.call_helper(live(model, task));
        }
        Step::Return { task } => model.ret(live(model, task)),
        Step::Leave { task } => model.leave(live(model, task)),
        Step::Reschedule { task } => {
            let task = live(model, task);
            // It is the caller, so that its stack can be looked at.
            let (on_cpu, preempted) =
                model.task(task, |task| (task.is_on_cpu.get(), task.is_preempted.get()));
            model.task(task, |task| {
                task.is_on_cpu.set(false);
                task.is_preempted.set(false);
            });
            model.cond_resched(task);
            model.task(task, |task| {
                task.is_on_cpu.set(on_cpu);
                task.is_preempted.set(preempted);
            });
        }
        Step::LeaveOut { task } => model.left_out.set(Some(live(model, task))),
        Step::Cpu { task, on } => model.task(live(model, task), |task| task.is_on_cpu.set(on)),
        Step::Preempt { task, on } => {
            model.task(live(model, task), |task| task.is_preempted.set(on));
        }
        Step::Online { on } => model.set_online(Model::SECOND_IDLE, on),
        Step::Load { module, fails_at } => {
            if !model.is_module_loaded[module].get() {
                model.steps_to_failure.set(fails_at);
                let _ = model.load_module(module);
                model.steps_to_failure.set(None);
            }
        }
        Step::Unload { module } => {
            if model.is_module_loaded[module].get() && !is_used(model, module) {
                model.unload_module(module);
            }
        }
    }
}

/// Everyone leaves the kernel, and time passes.
fn settle(model: &Model) {
    model.left_out.set(None);
    model.set_online(Model::SECOND_IDLE, true);
    for task in 0..model.tasks.borrow().len() {
        let task = T(task);
        model.task(task, |task| {
            task.is_on_cpu.set(false);
            task.is_preempted.set(false);
        });
        match model.task(task, |task| task.is_alive.get()) {
            true => model.leave(task),
            false => model.exit(task),
        }
    }
    for _ in 0..3 {
        model.tick();
        model.run_frees();
    }
    invariants::check(model);
}

fn all_is_let_go(model: &Model) {
    settle(model);
    assert!(model.is_idle(), "nobody is in the way");
    while let Some(patch) = listed(model, 0) {
        model.disable(patch).unwrap();
        settle(model);
        assert!(model.is_idle());
    }
    assert!(model.retired.borrow().is_empty());
    assert!(!model.is_tick_due.get());
    for patch in model.patches.borrow().iter() {
        assert_eq!(patch.references.get(), 0, "every module may go");
    }
    for func in model.funcs.borrow().iter() {
        let objects = model.objects.borrow();
        let is_gone = func.is_gone.get() && objects[func.object].is_gone.get();
        let was_used = model.patches.borrow()[objects[func.object].patch]
            .is_used
            .get();
        assert!(is_gone || !was_used, "nothing is left behind");
    }
}

/// A life of a system.
fn live_through(model: &Model, steps: &[Step]) {
    for _ in 0..3 {
        model.user_task();
    }
    for step in steps {
        run(model, step);
        invariants::check(model);
    }
}

/// Some mistakes show in one life of thousands. Without optimization these take minutes.
const LIVES: u32 = if cfg!(debug_assertions) {
    2_000
} else {
    50_000
};

proptest! {
    #![proptest_config(ProptestConfig { cases: LIVES, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_after_every_step(steps in prop::collection::vec(step(), 1..120)) {
        let model = Model::new();
        live_through(&model, &steps);
        all_is_let_go(&model);
    }
}

/// The same lives every time.
fn lives(count: usize) -> impl Iterator<Item = Vec<Step>> {
    let mut runner = TestRunner::deterministic();
    let lives = prop::collection::vec(step(), 60..120);
    (0..count).map(move |_| lives.new_tree(&mut runner).unwrap().current())
}

#[test]
fn everything_that_can_happen_happens() {
    let mut seen = BTreeMap::new();
    for steps in lives(400) {
        let model = Model::new();
        live_through(&model, &steps);
        all_is_let_go(&model);
        for line in model.log.borrow().iter() {
            let words = line.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
            *seen.entry(words.to_owned()).or_insert(0) += 1;
        }
    }
    for wanted in [
        "starting patching",
        "starting unpatching",
        "complete patching",
        "complete unpatching",
        "reversing patching",
        "reversing unpatching",
        "cancelling",
        "not enabled",
        "refusing module",
        "switched",
        "running",
        "unreliable",
        "in the original",
        "in a replacement",
        "in a retired replacement",
        "in a module that goes",
        "switched itself",
        "pinned",
        "released",
        "cleared",
    ] {
        let count = seen.get(wanted).copied().unwrap_or(0);
        assert!(count >= 5, "`{wanted}` was seen {count} times: {seen:?}");
    }
}

/// In how many lives a task is in code that is gone.
fn lives_that_lose_code(of: fn() -> Model) -> usize {
    let loses_code = |steps: &Vec<Step>| {
        catch_unwind(|| live_through(&of(), steps)).is_err_and(|panic| {
            let said = panic.downcast_ref::<String>();
            said.is_some_and(|said| said.ends_with("which is gone"))
        })
    };
    lives(200).filter(loses_code).count()
}

/// That they can be broken, and are when a patch's functions alone are looked for.
#[test]
fn without_a_look_at_whole_modules_they_do_not_hold() {
    assert!(lives_that_lose_code(Model::narrow) > 0, "it must show");
}

/// That they are when nobody waits for those who exit.
#[test]
fn without_a_wait_for_tasks_that_exit_they_do_not_hold() {
    assert!(lives_that_lose_code(Model::hasty) > 0, "it must show");
}

/// That the invariants can be broken, and are when those who were forced are forgotten.
#[test]
fn without_memory_they_do_not_hold() {
    let mut broken = 0;
    for steps in lives(200) {
        let model = Model::forgetful();
        for _ in 0..3 {
            model.user_task();
        }
        let is_stale = |step| {
            run(&model, step);
            !model.stale_switches.borrow().is_empty()
        };
        broken += usize::from(steps.iter().any(is_stale));
    }
    assert!(broken > 0, "forgetting must show");
}
