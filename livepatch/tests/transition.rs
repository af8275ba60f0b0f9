//! The transition and what surrounds it, case by case.

mod model;

use livepatch::{Blocker, Refused, Side, Universe, Variant};
use model::{invariants, Error, Kind, Model, Spec, Stage, P, T};

fn stage(model: &Model, patch: P, object: usize) -> Stage {
    let patches = model.patches.borrow();
    let objects = model.objects.borrow();
    let of_patch = patches[patch.0].objects.borrow();
    let found = of_patch
        .iter()
        .find(|&&number| objects[number].number == object);
    objects[*found.expect("the patch has the object")]
        .stage
        .get()
}

fn universe(model: &Model, task: T) -> Universe {
    model.task(task, |task| task.universe.get())
}

/// A module's code: the patch it belongs to, or none.
fn patch_of_call(model: &Model, task: T, function: usize) -> Option<usize> {
    let code = model.call(task, function);
    model.ret(task);
    (code.start >= 0x100_0000).then(|| (code.start - 0x100_0000) >> 16)
}

#[test]
fn tasks_get_old_functions_until_they_switch_and_new_ones_afterwards() {
    let model = Model::new();
    let (held, free) = (model.user_task(), model.user_task());
    model.call(held, 0);
    let patch = model.enable(&[0, 1]);
    assert_eq!(universe(&model, held), Universe::On(Side::Unpatched));
    assert_eq!(universe(&model, free), Universe::On(Side::Patched));
    assert_eq!(patch_of_call(&model, held, 1), None);
    assert_eq!(patch_of_call(&model, free, 1), Some(patch.0));
    assert_eq!(stage(&model, patch, 0), Stage::BeforePatch);
    model.ret(held);
    model.tick();
    assert!(model.is_idle());
    assert_eq!(stage(&model, patch, 0), Stage::Patched);
    assert_eq!(patch_of_call(&model, held, 1), Some(patch.0));
}

#[test]
fn a_cpu_that_is_away_keeps_no_transition_open() {
    let model = Model::new();
    let idle = Model::SECOND_IDLE;
    let held = model.user_task();
    model.call(held, 0);
    model.set_online(idle, false);
    let patch = model.enable(&[0]);
    assert_eq!(universe(&model, idle), Universe::On(Side::Patched));
    // It comes while others are waited for, and is on the new side.
    model.set_online(idle, true);
    assert_eq!(patch_of_call(&model, idle, 0), Some(patch.0));
    model.ret(held);
    model.tick();
    assert!(model.is_idle());
    // The same the other way, and it comes when all is over.
    model.set_online(idle, false);
    model.disable(patch).unwrap();
    assert!(model.is_idle());
    model.set_online(idle, true);
    assert_eq!(patch_of_call(&model, idle, 0), None);
    invariants::check(&model);
}

#[test]
fn the_idle_task_of_a_cpu_that_is_away_is_not_remembered() {
    let model = Model::new();
    let idle = Model::SECOND_IDLE;
    model.call(idle, 0);
    let patch = model.enable(&[0]);
    assert!(!model.is_idle());
    model.force(patch);
    assert!(model.task(idle, |task| task.forced_since.get()).is_some());
    model.set_online(idle, false);
    model.tick();
    assert_eq!(model.task(idle, |task| task.forced_since.get()), None);
}

#[test]
fn each_blocker_is_named() {
    let model = Model::new();
    let tasks: Vec<T> = (0..5).map(|_| model.user_task()).collect();
    model.call(tasks[0], 0);
    model.call(tasks[0], 4);
    model.task(tasks[1], |task| task.is_on_cpu.set(true));
    model.task(tasks[2], |task| task.is_preempted.set(true));
    let first = model.try_enable(Spec {
        functions: vec![0],
        ..Spec::default()
    });
    let first = first.unwrap();
    let held = |task| model.blocker_of(task);
    match held(tasks[0]) {
        Some(Blocker::Inside {
            variant: Variant::Original,
            frame: 1,
            ..
        }) => {}
        _ => panic!("it is in the original, one frame from the innermost"),
    }
    assert!(matches!(held(tasks[1]), Some(Blocker::Running)));
    assert!(matches!(held(tasks[2]), Some(Blocker::Unreliable(_))));
    assert!(held(tasks[3]).is_none());
    for task in &tasks {
        model.task(*task, |task| {
            task.is_on_cpu.set(false);
            task.is_preempted.set(false);
        });
    }
    model.ret(tasks[0]);
    model.ret(tasks[0]);
    model.tick();
    assert!(model.is_idle());
    // In the replacement, when it is the replacement that goes.
    model.call(tasks[4], 0);
    model.disable(first).unwrap();
    match held(tasks[4]) {
        Some(Blocker::Inside {
            variant: variant @ Variant::Replacement(_),
            ..
        }) => assert_eq!(model.patch_of(variant), Some(first)),
        _ => panic!("it is in the replacement"),
    }
}

#[test]
fn without_reliable_stacks_safe_points_alone_complete_it() {
    let model = Model::new();
    model.has_stacks.set(false);
    let task = model.user_task();
    let patch = model.enable(&[0]);
    assert!(matches!(
        model.blocker_of(task),
        Some(Blocker::NotAtSafePoint)
    ));
    for _ in 0..20 {
        model.tick();
    }
    let nudges = model.task(task, |task| task.nudges.get());
    assert_eq!(nudges, 1, "after 15 attempts, and not again before 30");
    assert!(!model.is_idle());
    for task in [T(0), T(1), task] {
        model.leave(task);
    }
    model.tick();
    assert!(model.is_idle());
    assert_eq!(stage(&model, patch, 0), Stage::Patched);
}

#[test]
fn a_kernel_thread_switches_in_its_loop_only_where_stacks_say_nothing() {
    for has_stacks in [true, false] {
        let model = Model::new();
        model.has_stacks.set(has_stacks);
        let thread = model.user_task();
        // Its loop is what is patched: the stack would tell.
        model.call(thread, 0);
        model.enable(&[0]);
        livepatch::Core::thread_safe_point(&model, thread);
        let switched = universe(&model, thread) == Universe::On(Side::Patched);
        assert_eq!(switched, !has_stacks);
        assert_eq!(model.task(thread, |task| task.is_pending.get()), has_stacks);
    }
}

#[test]
fn a_transition_is_reversed_both_ways() {
    let model = Model::new();
    let (held, free) = (model.user_task(), model.user_task());
    model.call(held, 0);
    let patch = model.enable(&[0]);
    model.call(free, 0);
    model.disable(patch).unwrap();
    assert_eq!(universe(&model, held), Universe::On(Side::Unpatched));
    assert!(!model.task(held, |task| task.is_pending.get()));
    model.tick();
    assert!(!model.is_idle(), "the other is in the replacement now");
    model.core.set_enabled(&model, patch, true).unwrap();
    model.ret(held);
    model.tick();
    assert!(model.is_idle());
    assert_eq!(stage(&model, patch, 0), Stage::Patched);
    // Again, from the other side; callbacks before unpatching run, and are made up for.
    model.disable(patch).unwrap();
    assert_eq!(stage(&model, patch, 0), Stage::BeforeUnpatch);
    model.core.set_enabled(&model, patch, true).unwrap();
    model.tick();
    assert_eq!(stage(&model, patch, 0), Stage::Patched);
    model.ret(free);
    model.disable(patch).unwrap();
    model.run_frees();
    assert_eq!(model.references(patch), 0);
}

#[test]
fn there_is_one_transition_at_a_time() {
    let model = Model::new();
    let task = model.user_task();
    let other = model.enable(&[3]);
    model.call(task, 0);
    let patch = model.enable(&[0]);
    let busy = model.try_enable(Spec {
        functions: vec![1],
        ..Spec::default()
    });
    assert_eq!(busy.err(), Some(Refused::Busy));
    assert_eq!(model.disable(other), Err(Refused::Busy));
    assert_eq!(
        model.core.force(&model, other),
        Err(Refused::NotInTransition)
    );
    assert_eq!(
        model.core.set_enabled(&model, patch, true),
        Err(Refused::Already)
    );
    invariants::check(&model);
    model.ret(task);
    model.tick();
    assert_eq!(
        model.core.force(&model, patch),
        Err(Refused::NotInTransition)
    );
}

#[test]
fn a_refused_patch_leaves_nothing_behind_wherever_it_fails() {
    let mut failures = 0;
    for step in 0.. {
        let model = Model::new();
        model.enable(&[0, 1, 2]);
        model.steps_to_failure.set(Some(step));
        let refused = model.try_enable(Spec {
            functions: vec![0, 3, 5],
            replaces: true,
            ..Spec::default()
        });
        invariants::check(&model);
        let patches = model.patches.borrow();
        assert!(model.is_idle());
        if refused.is_ok() {
            break;
        }
        assert_eq!(refused.err(), Some(Refused::Failed(Error::Seeded)));
        assert_eq!(patches[1].references.get(), 0);
        assert!(!patches[1].is_shown.get());
        for object in model.objects.borrow().iter().filter(|o| o.patch == 1) {
            assert_eq!(object.stage.get(), Stage::Untouched);
            assert!(object.is_gone.get());
        }
        failures += 1;
    }
    assert!(failures > 15, "{failures} places to fail");
}

#[test]
fn a_callback_that_refuses_takes_the_objects_before_it_back() {
    let model = Model::new();
    let refused = model.try_enable(Spec {
        functions: vec![0, 2, 4],
        refuses: Some(1),
        ..Spec::default()
    });
    assert_eq!(refused.err(), Some(Refused::Failed(Error::Callback)));
    invariants::check(&model);
    assert!(model.log.borrow().contains(&"cancelling".to_owned()));
}

#[test]
fn replaced_patches_go_and_their_other_functions_become_the_originals() {
    let model = Model::new();
    let task = model.user_task();
    let first = model.enable(&[0, 2]);
    let second = model.enable(&[1]);
    let third = model.try_enable(Spec {
        functions: vec![1],
        replaces: true,
        ..Spec::default()
    });
    let third = third.unwrap();
    model.run_frees();
    invariants::check(&model);
    assert_eq!(*model.listed.borrow(), [third.0]);
    assert_eq!(model.core.order(&model, third), 1);
    assert_eq!((model.references(first), model.references(second)), (0, 0));
    for (function, patch) in [(0, None), (1, Some(third.0)), (2, None)] {
        assert_eq!(patch_of_call(&model, task, function), patch);
    }
}

#[test]
fn a_replacement_can_be_reversed() {
    let model = Model::new();
    let task = model.user_task();
    let first = model.enable(&[0]);
    model.call(task, 0);
    let second = model
        .try_enable(Spec {
            functions: vec![1],
            replaces: true,
            ..Spec::default()
        })
        .unwrap();
    assert_eq!(model.core.order(&model, first), 1);
    assert_eq!(model.core.order(&model, second), 2);
    model.disable(second).unwrap();
    model.tick();
    model.run_frees();
    invariants::check(&model);
    assert_eq!((model.references(first), model.references(second)), (1, 0));
    assert_eq!(patch_of_call(&model, task, 0), Some(first.0));
}

#[test]
fn states_must_be_known_in_no_older_version() {
    let try_after = |replaces, states: &[(usize, u32)]| {
        let model = Model::new();
        let spec = |replaces, states: &[(usize, u32)]| Spec {
            functions: vec![0],
            replaces,
            states: states.to_vec(),
            ..Spec::default()
        };
        model.try_enable(spec(false, &[(7, 2), (8, 1)])).unwrap();
        model.try_enable(spec(replaces, states)).map(|_| ())
    };
    let refused = Err(Refused::Incompatible);
    assert_eq!(try_after(true, &[(7, 2), (8, 1)]), Ok(()));
    assert_eq!(try_after(true, &[(8, 3), (7, 3)]), Ok(()));
    assert_eq!(try_after(true, &[(7, 2)]), refused);
    assert_eq!(try_after(true, &[(7, 1), (8, 1)]), refused);
    assert_eq!(try_after(false, &[]), Ok(()));
    assert_eq!(try_after(false, &[(7, 1)]), refused);
}

#[test]
fn a_module_is_patched_when_it_comes_and_let_go_when_it_goes() {
    let model = Model::new();
    let task = model.user_task();
    model.unload_module(0);
    let patch = model.enable(&[0, 2]);
    assert_eq!(stage(&model, patch, 1), Stage::Untouched);
    model.load_module(0).unwrap();
    assert_eq!(stage(&model, patch, 1), Stage::Patched);
    assert_eq!(patch_of_call(&model, task, 2), Some(patch.0));
    model.unload_module(0);
    assert_eq!(stage(&model, patch, 1), Stage::Untouched);
    invariants::check(&model);
}

#[test]
fn a_module_that_comes_in_a_transition_is_part_of_it() {
    let model = Model::new();
    let task = model.user_task();
    model.unload_module(0);
    model.call(task, 0);
    let patch = model.enable(&[0, 2]);
    model.load_module(0).unwrap();
    assert_eq!(stage(&model, patch, 1), Stage::BeforePatch);
    assert_eq!(patch_of_call(&model, task, 2), None);
    model.ret(task);
    model.tick();
    assert_eq!(stage(&model, patch, 1), Stage::Patched);
    assert_eq!(patch_of_call(&model, task, 2), Some(patch.0));
}

#[test]
fn a_module_that_does_not_fit_is_refused_wherever_it_fails() {
    let mut failures = 0;
    for step in 0.. {
        let model = Model::new();
        model.unload_module(0);
        let patches = [model.enable(&[0, 2]), model.enable(&[2, 3])];
        model.steps_to_failure.set(Some(step));
        let refused = model.load_module(0);
        invariants::check(&model);
        if refused.is_ok() {
            break;
        }
        for patch in patches {
            assert_eq!(stage(&model, patch, 1), Stage::Untouched);
        }
        assert!(!model.is_module_alive[0].get());
        failures += 1;
    }
    assert!(failures > 5, "{failures} places to fail");
}

#[test]
fn children_stand_where_their_parents_do() {
    let model = Model::new();
    let parent = model.user_task();
    model.call(parent, 0);
    model.enable(&[0]);
    let child = model.fork(parent);
    assert_eq!(universe(&model, child), Universe::On(Side::Unpatched));
    assert!(model.task(child, |task| task.is_pending.get()));
    model.leave(child);
    let grandchild = model.fork(child);
    assert_eq!(universe(&model, grandchild), Universe::On(Side::Patched));
    assert!(!model.task(grandchild, |task| task.is_pending.get()));
}

#[test]
fn the_idle_tasks_switch_too() {
    let model = Model::new();
    let idle = T(0);
    assert_eq!(model.task(idle, |task| task.kind), Kind::Idle);
    model.task(idle, |task| task.is_on_cpu.set(true));
    model.enable(&[0]);
    assert!(!model.is_idle());
    livepatch::Core::safe_point(&model, idle);
    model.tick();
    assert!(model.is_idle());
}

#[test]
fn one_who_reschedules_switches_if_its_stack_allows() {
    let model = Model::new();
    let (inside, outside) = (model.user_task(), model.user_task());
    model.call(inside, 0);
    for task in [inside, outside] {
        model.task(task, |task| task.is_on_cpu.set(true));
    }
    model.enable(&[0]);
    for task in [inside, outside] {
        model.task(task, |task| task.is_on_cpu.set(false));
        model.cond_resched(task);
    }
    assert_eq!(universe(&model, inside), Universe::On(Side::Unpatched));
    assert_eq!(universe(&model, outside), Universe::On(Side::Patched));
    // From within the core, whose lock is taken, nothing happens.
    model.ret(inside);
    model.is_locked.set(true);
    model.cond_resched(inside);
    assert_eq!(universe(&model, inside), Universe::On(Side::Unpatched));
    model.is_locked.set(false);
    model.cond_resched(inside);
    assert_eq!(universe(&model, inside), Universe::On(Side::Patched));
}

#[test]
fn a_task_that_is_left_out_is_waited_for() {
    let model = Model::new();
    let task = model.user_task();
    model.left_out.set(Some(task));
    model.enable(&[0]);
    assert!(!model.is_idle(), "it has not switched");
    model.left_out.set(None);
    model.tick();
    assert!(model.is_idle());
}

/// A task in what a replacement calls at its end, which holds no place on the stack any more.
fn in_helper(model: &Model) -> (T, P) {
    let task = model.user_task();
    let patch = model.enable(&[0, 1]);
    model.call(task, 0);
    assert!(model.call_helper(task));
    (task, patch)
}

#[test]
fn a_patch_does_not_go_while_a_task_is_in_its_module() {
    let model = Model::new();
    let (task, patch) = in_helper(&model);
    // What comes on top takes nothing away from under it.
    let above = model.enable(&[0]);
    assert!(model.is_idle());
    model.disable(above).unwrap();
    assert!(model.is_idle());
    model.disable(patch).unwrap();
    assert!(!model.is_idle());
    assert!(matches!(
        model.blocker_of(task),
        Some(Blocker::InModule { frame: 0, patch: of }) if of == patch
    ));
    model.run_frees();
    invariants::check(&model);
    model.ret(task);
    model.tick();
    model.run_frees();
    assert_eq!(model.references(patch), 0);
}

#[test]
fn nor_when_another_replaces_it() {
    let model = Model::new();
    let (task, patch) = in_helper(&model);
    // Of other functions, so that nothing else is in the way.
    let replacement = model
        .try_enable(Spec {
            functions: vec![4],
            replaces: true,
            ..Spec::default()
        })
        .unwrap();
    assert!(!model.is_idle());
    assert!(matches!(
        model.blocker_of(task),
        Some(Blocker::InModule { frame: 0, patch: of }) if of == patch
    ));
    model.ret(task);
    model.tick();
    model.run_frees();
    assert!(model.is_idle());
    assert_eq!(
        (model.references(patch), model.references(replacement)),
        (0, 1)
    );
}

#[test]
fn with_a_look_at_functions_alone_it_is_gone_under_the_task() {
    let model = Model::narrow();
    let (_, patch) = in_helper(&model);
    model.disable(patch).unwrap();
    model.run_frees();
    assert!(model.is_idle());
    assert_eq!(model.references(patch), 0);
}
