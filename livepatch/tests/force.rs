//! Force with memory: the cases in which a core that forgets breaks consistency later. Each runs
//! with the memory, where the task is held back, and without it, as the C core of 6.12 has it, where
//! it is not.

mod model;

use livepatch::{Blocker, Variant};
use model::{invariants, Model, P, T};

/// Function 0 calls function 1; all patches change both.
const BOTH: &[usize] = &[0, 1];

/// Patches 1 and 2 are forced while a task sleeps, which it does in patch 1's variant in the end.
fn asleep_in_first(model: &Model) -> (T, P, P) {
    let early = model.user_task();
    let sleeper = model.user_task();
    model.call(early, 0);
    let first = model.enable(BOTH);
    model.force(first);
    assert!(model.is_idle());
    model.leave(early);
    model.call(sleeper, 0);
    let second = model.enable(BOTH);
    assert!(!model.is_idle(), "the sleeper is in what is changed");
    model.force(second);
    assert!(model.is_idle());
    (sleeper, first, second)
}

/// Whether the task, going on, mixes its old function with a new one.
fn mixes(model: &Model, sleeper: T) -> bool {
    let caller = model.task(sleeper, |task| task.frames.borrow()[0].code);
    let called = model.call(sleeper, 1);
    model.ret(sleeper);
    // Variants of one patch lie in one module.
    caller.start >> 16 != called.start >> 16
}

fn inside(blocker: Option<Blocker<Model>>, model: &Model) -> Option<P> {
    match blocker {
        Some(Blocker::Inside {
            variant, frame: 0, ..
        }) => model.patch_of(variant),
        _ => panic!("the sleeper is held back by something else"),
    }
}

/// A third patch comes, and waits for the task in code of the first.
fn third_waits(model: &Model, sleeper: T, first: P) {
    model.enable(BOTH);
    assert!(!model.is_idle());
    assert_eq!(inside(model.blocker_of(sleeper), model), Some(first));
    invariants::check(model);
    // It goes on and leaves: that is all it takes.
    model.leave(sleeper);
    model.tick();
    assert!(model.is_idle());
}

#[test]
fn a_third_patch_waits_for_a_task_in_the_first() {
    let model = Model::new();
    let (sleeper, first, _) = asleep_in_first(&model);
    third_waits(&model, sleeper, first);
    assert!(!mixes_after_leaving(&model, sleeper));
}

fn mixes_after_leaving(model: &Model, task: T) -> bool {
    model.call(task, 0);
    mixes(model, task)
}

#[test]
fn without_memory_the_third_patch_is_mixed_with_the_first() {
    let model = Model::forgetful();
    let (sleeper, ..) = asleep_in_first(&model);
    model.enable(BOTH);
    assert!(model.is_idle(), "only the second's variant is looked for");
    assert!(!model.stale_switches.borrow().is_empty());
    assert!(mixes(&model, sleeper));
}

#[test]
fn a_third_patch_waits_for_a_task_in_the_first_which_was_disabled() {
    let model = Model::new();
    let (sleeper, first, _) = asleep_in_first(&model);
    model.disable(first).unwrap();
    assert_eq!(inside(model.blocker_of(sleeper), &model), Some(first));
    model.force(first);
    model.run_frees();
    assert_eq!(model.references(first), 1, "it stays for the sleeper");

    model.enable(BOTH);
    assert!(!model.is_idle());
    match model.blocker_of(sleeper) {
        Some(Blocker::Inside {
            variant: Variant::Retired(patch),
            ..
        }) => assert_eq!(patch, first),
        _ => panic!("the sleeper is in the code of a patch that is disabled"),
    }
    invariants::check(&model);

    model.leave(sleeper);
    model.tick();
    assert!(model.is_idle());
    assert_eq!(model.references(first), 0, "nobody can be in it any more");
    assert!(model.log.borrow().contains(&"released 0".to_owned()));
}

#[test]
fn without_memory_a_disabled_first_patch_is_not_looked_for() {
    let model = Model::forgetful();
    let (sleeper, first, _) = asleep_in_first(&model);
    model.disable(first).unwrap();
    model.force(first);
    model.enable(BOTH);
    assert!(model.is_idle());
    assert!(!model.stale_switches.borrow().is_empty());
    assert!(mixes(&model, sleeper));
}

#[test]
fn a_record_goes_when_the_stack_is_seen_to_be_clear() {
    let model = Model::new();
    let (sleeper, first, _) = asleep_in_first(&model);
    model.disable(first).unwrap();
    model.force(first);
    model.run_frees();
    // It is still there after any time.
    for _ in 0..5 {
        model.tick();
        assert_eq!(model.references(first), 1);
    }
    // On a CPU nothing is known of it.
    model.ret(sleeper);
    model.task(sleeper, |task| task.is_on_cpu.set(true));
    model.tick();
    assert_eq!(model.references(first), 1);
    // Its stack says so; no transition and no way out of the kernel is needed.
    model.task(sleeper, |task| task.is_on_cpu.set(false));
    model.task(sleeper, |task| task.is_preempted.set(true));
    model.tick();
    assert_eq!(model.references(first), 1);
    model.task(sleeper, |task| task.is_preempted.set(false));
    model.tick();
    assert_eq!(model.references(first), 0);
    assert!(model
        .task(sleeper, |task| task.forced_since.get())
        .is_none());
    model.tick();
    assert!(!model.is_tick_due.get(), "nothing is left to look after");
}

#[test]
fn only_those_who_did_not_switch_by_themselves_are_remembered() {
    let model = Model::new();
    let idle_tasks = 2;
    let (held, free) = (model.user_task(), model.user_task());
    model.call(held, 0);
    let patch = model.enable(BOTH);
    model.force(patch);
    let remembered = |task| model.task(task, |task| task.forced_since.get().is_some());
    assert!(remembered(held) && !remembered(free));
    assert!((0..idle_tasks).all(|task| !remembered(T(task))));
    // Nor does a child inherit what its parent's stack is blamed for.
    assert!(!remembered(model.fork(held)));
}

#[test]
fn a_task_may_stay_in_the_function_that_it_gets() {
    let model = Model::new();
    let (sleeper, ..) = asleep_in_first(&model);
    // It has gone on to the second's variant, where it sleeps for good.
    model.leave(sleeper);
    model.call(sleeper, 0);
    model.task(sleeper, |task| {
        task.forced_since.set(Some(livepatch::Epoch(1)))
    });
    model.tick();
    assert!(
        model
            .task(sleeper, |task| task.forced_since.get())
            .is_none(),
        "what it is in is what it would get"
    );
}

#[test]
fn replaced_patches_stay_for_those_who_were_forced_out_of_them() {
    let model = Model::new();
    let sleeper = model.user_task();
    let first = model.enable(BOTH);
    model.call(sleeper, 0);
    let second = model
        .try_enable(model::Spec {
            functions: vec![2],
            replaces: true,
            ..model::Spec::default()
        })
        .unwrap();
    model.force(second);
    model.run_frees();
    assert_eq!((model.references(first), model.references(second)), (1, 1));
    invariants::check(&model);
    model.leave(sleeper);
    model.tick();
    assert_eq!((model.references(first), model.references(second)), (0, 1));
}

#[test]
fn a_patch_that_came_after_is_not_kept_by_an_older_release() {
    let model = Model::new();
    let sleeper = model.user_task();
    // Retired before anyone was forced.
    let clean = model.enable(&[4]);
    model.disable(clean).unwrap();
    let first = model.enable(BOTH);
    model.call(sleeper, 0);
    model.disable(first).unwrap();
    model.force(first);
    model.run_frees();
    assert_eq!((model.references(clean), model.references(first)), (0, 1));
    // One that nobody was forced out of, but that came while a record stands, stays too.
    let later = model.enable(&[5]);
    model.disable(later).unwrap();
    model.run_frees();
    assert_eq!(model.references(later), 1);
    model.ret(sleeper);
    model.tick();
    assert_eq!((model.references(first), model.references(later)), (0, 0));
}

/// One task forced out of a patch that is gone but for its code, and always on a CPU from then on.
fn running_record(model: &Model) -> (T, P) {
    let runner = model.user_task();
    let patch = model.enable(BOTH);
    model.call(runner, 0);
    model.disable(patch).unwrap();
    model.force(patch);
    model.run_frees();
    model.ret(runner);
    model.task(runner, |task| task.is_on_cpu.set(true));
    model.tick();
    (runner, patch)
}

#[test]
fn the_record_of_a_task_that_never_sleeps_goes_on_its_way_out() {
    for has_stacks in [true, false] {
        let model = Model::new();
        model.has_stacks.set(has_stacks);
        let runner = if has_stacks {
            running_record(&model)
        } else {
            let runner = model.user_task();
            let patch = model.enable(BOTH);
            (0..3).for_each(|task| model.leave(T(task)));
            model.tick();
            model.call(runner, 0);
            model.disable(patch).unwrap();
            model.force(patch);
            model.run_frees();
            (runner, patch)
        };
        let (runner, patch) = runner;
        for _ in 0..5 {
            model.tick();
            assert_eq!(model.references(patch), 1);
            invariants::check(&model);
        }
        assert!(model.task(runner, |task| task.is_pending.get()));
        // An interrupt in user mode is enough, whatever it was to the scheduler.
        (0..3).for_each(|task| model.leave(T(task)));
        model.tick();
        assert_eq!(model.references(patch), 0);
        assert!(model
            .log
            .borrow()
            .contains(&format!("cleared {}", runner.0)));
        assert!(!model.is_tick_due.get());
        invariants::check(&model);
    }
}

#[test]
fn what_was_asked_without_a_transition_is_not_taken_for_one() {
    let model = Model::new();
    let (runner, patch) = running_record(&model);
    assert!(model.task(runner, |task| task.is_pending.get()));
    // A child has a stack of its own, and nothing to be asked for.
    let child = model.fork(runner);
    assert!(!model.task(child, |task| task.is_pending.get()));
    // It is on a CPU when the next patch comes, and blocks it for that alone.
    let next = model.enable(&[4]);
    assert!(matches!(model.blocker_of(runner), Some(Blocker::Running)));
    model.leave(runner);
    model.tick();
    assert!(model.is_idle());
    assert_eq!((model.references(patch), model.references(next)), (0, 1));
    // Refused before it began, it leaves nobody with a request either.
    let model = Model::new();
    let (runner, _) = running_record(&model);
    let refused = model.try_enable(model::Spec {
        functions: vec![4],
        refuses: Some(model::object_of(4)),
        ..model::Spec::default()
    });
    assert!(refused.is_err());
    assert!(!model.task(runner, |task| task.is_pending.get()));
    invariants::check(&model);
}

#[test]
fn all_tasks_are_held_only_when_something_can_be_let_go() {
    let model = Model::new();
    let (runner, patch) = running_record(&model);
    let before = model.holds.get();
    for _ in 0..100 {
        model.tick();
    }
    assert_eq!(model.holds.get(), before, "nothing can be let go of");
    // Missed by the look that holds nobody, it is found by the one that holds all.
    model.left_out.set(Some(runner));
    model.tick();
    assert!(model.holds.get() > before);
    assert_eq!(model.references(patch), 1);
    model.left_out.set(None);
    model.leave(runner);
    model.tick();
    assert_eq!(model.references(patch), 0);
}

#[test]
fn a_forced_task_in_a_helper_keeps_the_module() {
    let model = Model::new();
    let sleeper = model.user_task();
    let patch = model.enable(BOTH);
    model.call(sleeper, 0);
    assert!(model.call_helper(sleeper));
    model.disable(patch).unwrap();
    assert!(matches!(
        model.blocker_of(sleeper),
        Some(Blocker::InModule { frame: 0, patch: of }) if of == patch
    ));
    model.force(patch);
    model.run_frees();
    for _ in 0..3 {
        model.tick();
        invariants::check(&model);
        assert_eq!(model.references(patch), 1);
    }
    model.ret(sleeper);
    model.tick();
    assert_eq!(model.references(patch), 0);
}

#[test]
fn a_third_patch_waits_for_a_task_in_a_helper_of_the_first_which_was_disabled() {
    let model = Model::new();
    let (sleeper, first, _) = asleep_in_first(&model);
    assert!(model.call_helper(sleeper));
    model.disable(first).unwrap();
    model.force(first);
    model.run_frees();
    // One that changes other functions does not care.
    let other = model.enable(&[4]);
    assert!(model.is_idle());
    model.disable(other).unwrap();
    third_waits(&model, sleeper, first);
}

#[test]
fn nobody_can_be_in_what_replaced_a_function_of_a_module_that_was_not_there() {
    let model = Model::new();
    let sleeper = model.user_task();
    model.unload_module(1);
    let patch = model.enable(&[3, 5]);
    model.call(sleeper, 3);
    assert!(model.call_helper(sleeper));
    model.disable(patch).unwrap();
    model.force(patch);
    model.run_frees();
    // It changes 5 alone, whose module did not come in between.
    model.enable(&[5]);
    assert!(model.is_idle());
    model.load_module(1).unwrap();
    invariants::check(&model);
    assert_eq!(model.references(patch), 1);
}

/// When a task exits.
#[derive(Clone, Copy, PartialEq)]
enum Exits {
    Unforced,
    BeforeFree,
    AfterFree,
}

/// A task exits while it is in a patch's code: before the patch is disabled, or after it was forced out of
/// it, before or after nobody looks at the patch any more.
fn exits_in_what_is_gone(is_hasty: bool, exits: Exits) {
    let model = match is_hasty {
        true => Model::hasty(),
        false => Model::new(),
    };
    let sleeper = model.user_task();
    let patch = model.enable(BOTH);
    model.call(sleeper, 0);
    if exits == Exits::Unforced {
        model.begin_exit(sleeper);
        model.disable(patch).unwrap();
    } else {
        model.disable(patch).unwrap();
        model.force(patch);
    }
    if exits == Exits::BeforeFree {
        model.begin_exit(sleeper);
    }
    model.run_frees();
    model.begin_exit(sleeper);
    model.tick();
    assert_eq!(model.references(patch), 0, "nobody else is in it");
    invariants::check(&model);
}

#[test]
fn a_task_that_exits_is_waited_for_before_code_goes() {
    for exits in [Exits::Unforced, Exits::BeforeFree, Exits::AfterFree] {
        exits_in_what_is_gone(false, exits);
    }
}

#[test]
#[should_panic(expected = "a task is in the code of patch 0, which is gone")]
fn a_task_that_exits_is_seen_to_lose_its_code() {
    exits_in_what_is_gone(true, Exits::AfterFree);
}

#[test]
#[should_panic(expected = "a task is in the code of patch 0, which is gone")]
fn a_task_that_exits_early_is_seen_to_lose_its_code() {
    exits_in_what_is_gone(true, Exits::BeforeFree);
}

#[test]
#[should_panic(expected = "a task is in the code of patch 0, which is gone")]
fn a_task_that_exits_without_force_is_seen_to_lose_its_code() {
    exits_in_what_is_gone(true, Exits::Unforced);
}
