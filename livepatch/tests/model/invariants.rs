//! What must hold after every step, whatever the core decided.

use livepatch::Universe;

use super::{text, Frame, Model, P, T, TEXT};

/// Looks at everything.
pub fn check(model: &Model) {
    assert_eq!(*model.stale_switches.borrow(), [""; 0]);
    consistency(model);
    lifetime(model);
    stacks(model);
    idle(model);
}

/// Frames in functions that can be replaced.
fn replaceable(frames: &[Frame]) -> impl Iterator<Item = &Frame> {
    frames.iter().filter(|frame| !frame.is_helper)
}

/// A task that was not forced, and does not exit, is in no variant of a function but the one that it
/// would get now: whatever it calls next fits to where it comes from.
pub fn consistency(model: &Model) {
    for (number, task) in model.tasks.borrow().iter().enumerate() {
        // Nobody can look at one that exits.
        if task.forced_since.get().is_some() || !task.is_alive.get() {
            continue;
        }
        for frame in replaceable(&task.frames.borrow()) {
            let now = model.resolved(T(number), frame.function);
            assert_eq!(
                frame.code, now,
                "task {number} is in a stale variant of function {}",
                frame.function
            );
        }
    }
}

/// The core has switched a task: in all that the transition changes, it is in what it gets now,
/// whatever it was forced through before. [`check`] tells.
pub fn switched(model: &Model, T(number): T) {
    let funcs = model.funcs.borrow();
    let changes = |function| {
        let mut funcs = funcs.iter().filter(|func| !func.is_gone.get());
        funcs.any(|func| func.function == function && func.is_in_transition.get())
    };
    for frame in model.tasks.borrow()[number].frames.borrow().iter() {
        // The core cannot know in the place of which of its patch's functions a helper was called.
        let is_other = match frame.is_helper {
            true => model.is_retired(frame.code),
            false => frame.code != model.resolved(T(number), frame.function),
        };
        let is_stale = is_other && changes(frame.function);
        if is_stale {
            let said = format!("task {number} is switched where it is");
            model.stale_switches.borrow_mut().push(said);
        }
    }
}

/// The module of a patch is there while a task is in its code, or while anything of it is in use.
pub fn lifetime(model: &Model) {
    let patches = model.patches.borrow();
    for task in model.tasks.borrow().iter() {
        for frame in task.frames.borrow().iter() {
            let Some(offset) = frame.code.start.checked_sub(TEXT) else {
                continue;
            };
            let patch = offset / (text(P(1)).start - TEXT);
            assert!(
                patches[patch].references.get() > 0,
                "a task is in the code of patch {patch}, which is gone"
            );
        }
    }
    for &patch in model.listed.borrow().iter() {
        assert!(patches[patch].references.get() > 0);
    }
}

/// Each site has the replacements of listed patches, newest first, and redirects while it has any.
pub fn stacks(model: &Model) {
    let funcs = model.funcs.borrow();
    let objects = model.objects.borrow();
    let listed = model.listed.borrow();
    for (function, site) in model.sites.iter().enumerate() {
        let mut wanted: Vec<(usize, usize)> = Vec::new();
        for (number, func) in funcs.iter().enumerate() {
            if func.function == function && func.is_stacked.get() {
                let patch = objects[func.object].patch;
                let age = listed.iter().position(|&listed| listed == patch);
                wanted.push((age.expect("only listed patches are stacked"), number));
            }
        }
        wanted.sort_by(|a, b| b.cmp(a));
        let wanted: Vec<usize> = wanted.into_iter().map(|(_, func)| func).collect();
        assert_eq!(*site.stack.borrow(), wanted, "function {function}");
        assert_eq!(site.is_attached.get(), !wanted.is_empty());
        assert_eq!(site.is_there.get(), !wanted.is_empty());
    }
}

/// Without a transition nothing of one is left, and each listed patch is applied wherever it can be.
fn idle(model: &Model) {
    if !model.is_idle() {
        return;
    }
    assert_eq!(model.target.get(), Universe::Undefined);
    assert_eq!(model.shown.get(), None);
    assert!(!model.is_watching.get());
    for task in model
        .tasks
        .borrow()
        .iter()
        .filter(|task| task.is_alive.get())
    {
        assert_eq!(task.universe.get(), Universe::Undefined);
        // But for those who are asked because they were forced.
        assert!(!task.is_pending.get() || task.forced_since.get().is_some());
    }
    for func in model
        .funcs
        .borrow()
        .iter()
        .filter(|func| !func.is_gone.get())
    {
        assert!(!func.is_in_transition.get());
    }
    let patches = model.patches.borrow();
    let objects = model.objects.borrow();
    let funcs = model.funcs.borrow();
    for &patch in model.listed.borrow().iter() {
        assert!(patches[patch].is_enabled.get());
        for &object in patches[patch].objects.borrow().iter() {
            let object = &objects[object];
            let is_there = object.number == 0 || model.is_module_loaded[object.number - 1].get();
            assert_eq!(object.is_patched.get(), is_there);
            for &func in object.funcs.borrow().iter() {
                assert_eq!(funcs[func].is_stacked.get(), is_there);
            }
        }
    }
}
