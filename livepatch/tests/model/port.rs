//! The model as the core sees it. Every step that the core must not take is refused loudly.

use livepatch::port::{Handles, Patches, Port, Sites, State, Synchronize, Tasks};
use livepatch::{Barrier, Blocker, Code, Epoch, Event, How, Universe, Variant};

use super::{
    invariants, original, text, Error, Frame, Func, Kind, Model, Object, Stage, Untrusted, F, O, P,
    T,
};

impl Handles for Model {
    type Patch = P;
    type Object = O;
    type Func = F;
    /// The number of a function.
    type Site = usize;
    type Task = T;
    type Module = usize;
    type Error = Error;
    type Doubt = Untrusted;
}

impl Model {
    fn p<R>(&self, patch: P, f: impl FnOnce(&super::Patch) -> R) -> R {
        let patches = self.patches.borrow();
        let patch = &patches[patch.0];
        assert!(patch.references.get() > 0, "a patch that is gone is used");
        f(patch)
    }

    fn o<R>(&self, object: O, f: impl FnOnce(&Object) -> R) -> R {
        let objects = self.objects.borrow();
        let object = &objects[object.0];
        assert!(!object.is_gone.get(), "an object that is gone is used");
        f(object)
    }

    fn f<R>(&self, func: F, f: impl FnOnce(&Func) -> R) -> R {
        let funcs = self.funcs.borrow();
        let func = &funcs[func.0];
        assert!(!func.is_gone.get(), "a function that is gone is used");
        f(func)
    }

    fn stage(&self, object: O, from: &[Stage], to: Stage) {
        self.o(object, |object| {
            let stage = object.stage.replace(to);
            assert!(from.contains(&stage), "a callback to {to:?} from {stage:?}");
        });
    }

    fn each(&self, is_idle: bool, mut f: impl FnMut(T)) {
        let count = self.tasks.borrow().len();
        for task in (0..count).map(T) {
            let is_meant = self.task(task, |task| {
                task.is_alive.get() && (task.kind == Kind::Idle) == is_idle
            });
            if is_meant {
                f(task);
            }
        }
    }
}

fn after<T: Copy + PartialEq>(list: &[T], one: T) -> Option<T> {
    let at = list.iter().position(|&other| other == one)?;
    list.get(at + 1).copied()
}

impl Port for Model {
    fn with_lock<R>(&self, f: impl FnOnce() -> R) -> R {
        assert!(!self.is_locked.replace(true), "the lock is taken twice");
        let result = f();
        self.is_locked.set(false);
        result
    }

    fn try_lock(&self, f: impl FnOnce()) {
        if !self.is_locked.get() {
            self.with_lock(f);
        }
    }

    fn order(&self, _: Barrier) {}

    fn target(&self) -> Universe {
        self.target.get()
    }

    fn set_target(&self, target: Universe) {
        self.target.set(target);
    }

    fn show_transition(&self, patch: Option<P>) {
        self.shown.set(patch);
    }

    fn schedule_tick(&self) {
        self.is_tick_due.set(true);
    }

    fn note(&self, event: Event<'_, Self>) {
        let line = match event {
            Event::Preparing(_, side) => format!("preparing {}", side.verb()),
            Event::Starting(_, side) => format!("starting {}", side.verb()),
            Event::Reversing(_, side) => format!("reversing {}", side.verb()),
            Event::Complete(_, side) => format!("complete {}", side.verb()),
            Event::Cancelling(_) => "cancelling".to_owned(),
            Event::Pinned(P(patch)) => format!("pinned {patch}"),
            Event::Released(P(patch)) => format!("released {patch}"),
            Event::Cleared(T(task)) => format!("cleared {task}"),
            Event::Nudging { is_first: true } => "nudging".to_owned(),
            Event::NotEnabled(_) => "not enabled".to_owned(),
            Event::Switched(T(task), _, How::Forced) => format!("switched by force {task}"),
            Event::Switched(task, _, how) => {
                invariants::switched(self, task);
                match how {
                    How::SafePoint => "switched itself",
                    _ => "switched",
                }
                .to_owned()
            }
            Event::Blocked(_, blocker) => match blocker {
                Blocker::Running => "running",
                Blocker::Unreliable(Untrusted) => "unreliable",
                Blocker::InModule { .. } => "in a module that goes",
                Blocker::NotAtSafePoint => "not at a safe point",
                Blocker::Inside { variant, .. } => match variant {
                    Variant::Original => "in the original",
                    Variant::Replacement(_) => "in a replacement",
                    Variant::Retired(_) => "in a retired replacement",
                },
            }
            .to_owned(),
            Event::RefusingModule(..) => "refusing module".to_owned(),
            _ => return,
        };
        self.log.borrow_mut().push(line);
    }
}

impl Tasks for Model {
    fn universe(&self, task: T) -> Universe {
        self.task(task, |task| task.universe.get())
    }

    fn set_universe(&self, task: T, universe: Universe) {
        self.task(task, |task| task.universe.set(universe));
    }

    fn is_pending(&self, task: T) -> bool {
        self.task(task, |task| task.is_pending.get())
    }

    fn set_pending(&self, task: T) {
        self.task(task, |task| task.is_pending.set(true));
    }

    fn clear_pending(&self, task: T) {
        self.task(task, |task| task.is_pending.set(false));
    }

    fn take_pending(&self, task: T) -> bool {
        self.task(task, |task| task.is_pending.replace(false))
    }

    fn without_preemption<R>(&self, f: impl FnOnce() -> R) -> R {
        f()
    }

    fn synchronize(&self, _: Synchronize) {
        assert!(self.is_locked.get());
    }

    fn wait_for_unlisted(&self) {
        assert!(!self.is_locked.get());
        if self.is_hasty {
            return;
        }
        for task in self.tasks.borrow().iter() {
            if !task.is_alive.get() {
                task.frames.borrow_mut().clear();
            }
        }
    }

    fn each_task(&self, f: impl FnMut(T)) {
        self.holds.set(self.holds.get() + 1);
        self.each(false, f);
    }

    fn each_task_in_turns(&self, f: impl FnMut(T)) {
        let left_out = self.left_out.get();
        let mut f = f;
        self.each(false, |task| {
            if left_out != Some(task) {
                f(task);
            }
        });
    }

    fn each_idle(&self, mut f: impl FnMut(T, bool)) {
        self.each(true, |task| {
            f(task, self.task(task, |task| task.is_online.get()));
        });
    }

    fn while_off_cpu<R>(&self, task: T, f: impl FnOnce() -> R) -> Option<R> {
        // What went with its CPU is on it for as long as that is away.
        let is_on_cpu = self.task(task, |task| task.is_on_cpu.get() || !task.is_online.get());
        (!is_on_cpu).then(f)
    }

    fn with_stack<R>(&self, task: T, f: impl FnOnce(Result<&[usize], Untrusted>) -> R) -> R {
        assert!(self.has_stacks.get());
        let stack = self.task(task, |task| {
            if task.is_preempted.get() {
                return Err(Untrusted);
            }
            let frames = task.frames.borrow();
            let address = |frame: &Frame| frame.code.start + 8;
            Ok(frames.iter().rev().map(address).collect::<Vec<_>>())
        });
        match &stack {
            Ok(stack) => f(Ok(stack)),
            Err(doubt) => f(Err(*doubt)),
        }
    }

    fn has_reliable_stacks(&self) -> bool {
        self.has_stacks.get()
    }

    fn forced_since(&self, task: T) -> Option<Epoch> {
        if self.forgets {
            return None;
        }
        self.task(task, |task| task.forced_since.get())
    }

    fn set_forced_since(&self, task: T, since: Option<Epoch>) {
        self.task(task, |task| task.forced_since.set(since));
    }

    fn nudge(&self, task: T) {
        self.task(task, |task| task.nudges.set(task.nudges.get() + 1));
    }

    fn nudge_idle(&self, _: T) {}

    fn watch_reschedules(&self, on: bool) {
        self.is_watching.set(on);
    }
}

impl Patches for Model {
    fn first_patch(&self) -> Option<P> {
        self.listed.borrow().first().copied().map(P)
    }

    fn next_patch(&self, patch: P) -> Option<P> {
        after(&self.listed.borrow(), patch.0).map(P)
    }

    fn list(&self, patch: P) {
        self.listed.borrow_mut().push(patch.0);
    }

    fn unlist(&self, patch: P) {
        self.listed.borrow_mut().retain(|&other| other != patch.0);
    }

    fn first_retired(&self) -> Option<P> {
        self.retired.borrow().first().copied().map(P)
    }

    fn next_retired(&self, patch: P) -> Option<P> {
        after(&self.retired.borrow(), patch.0).map(P)
    }

    fn retire(&self, patch: P, at: Epoch) {
        assert!(!self.listed.borrow().contains(&patch.0));
        self.p(patch, |patch| patch.retired_at.set(Some(at)));
        self.retired.borrow_mut().push(patch.0);
    }

    fn retired_at(&self, patch: P) -> Epoch {
        self.p(patch, |patch| {
            patch.retired_at.get().expect("it is retired")
        })
    }

    fn unretire(&self, patch: P) {
        let mut retired = self.retired.borrow_mut();
        assert!(retired.contains(&patch.0));
        retired.retain(|&other| other != patch.0);
    }

    fn is_bare(&self, patch: P) -> bool {
        self.p(patch, |patch| patch.is_bare.get())
    }

    fn set_bare(&self, patch: P) {
        self.p(patch, |patch| assert!(!patch.is_bare.replace(true)));
    }

    fn retired_code(&self, patch: P, at: usize) -> Option<Code> {
        self.p(patch, |patch| {
            let code = patch.code.borrow();
            let found = code
                .iter()
                .find(|(function, _)| original(*function).start == at);
            found.map(|(_, code)| *code)
        })
    }

    fn text(&self, patch: P) -> Code {
        let text = self.p(patch, |_| text(patch));
        match self.is_narrow {
            true => Code { size: 0, ..text },
            false => text,
        }
    }

    fn is_enabled(&self, patch: P) -> bool {
        self.p(patch, |patch| patch.is_enabled.get())
    }

    fn set_enabled(&self, patch: P, enabled: bool) {
        self.p(patch, |patch| patch.is_enabled.set(enabled));
    }

    fn replaces(&self, patch: P) -> bool {
        self.patches.borrow()[patch.0].spec.replaces
    }

    fn state(&self, patch: P, n: usize) -> Option<State> {
        let patches = self.patches.borrow();
        let (id, version) = *patches[patch.0].spec.states.get(n)?;
        Some(State { id, version })
    }

    fn first_object(&self, patch: P) -> Option<O> {
        self.p(patch, |patch| patch.objects.borrow().first().copied())
            .map(O)
    }

    fn next_object(&self, patch: P, object: O) -> Option<O> {
        self.p(patch, |patch| after(&patch.objects.borrow(), object.0))
            .map(O)
    }

    fn first_func(&self, object: O) -> Option<F> {
        self.o(object, |object| object.funcs.borrow().first().copied())
            .map(F)
    }

    fn next_func(&self, object: O, func: F) -> Option<F> {
        self.o(object, |object| after(&object.funcs.borrow(), func.0))
            .map(F)
    }

    fn is_same_object(&self, a: O, b: O) -> bool {
        self.o(a, |a| self.o(b, |b| a.number == b.number))
    }

    fn is_same_name(&self, a: F, b: F) -> bool {
        self.f(a, |a| self.f(b, |b| a.function == b.function))
    }

    fn position(&self, func: F) -> usize {
        // Both are meant to be the same.
        func.0 & 1
    }

    fn is_loaded(&self, object: O) -> bool {
        self.o(object, |object| {
            object.number == 0 || object.is_loaded.get()
        })
    }

    fn is_patched(&self, object: O) -> bool {
        self.o(object, |object| object.is_patched.get())
    }

    fn set_patched(&self, object: O, patched: bool) {
        self.o(object, |object| object.is_patched.set(patched));
    }

    fn is_dynamic(&self, object: O) -> bool {
        self.o(object, |object| object.is_dynamic)
    }

    fn is_nop(&self, func: F) -> bool {
        self.f(func, |func| func.is_nop)
    }

    fn is_complete(&self, patch: P) -> bool {
        !self.patches.borrow()[patch.0].spec.functions.is_empty()
    }

    fn is_marked(&self, _: P) -> bool {
        true
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn get_module(&self, patch: P) -> bool {
        let patches = self.patches.borrow();
        assert_eq!(patches[patch.0].references.replace(1), 0);
        patches[patch.0].is_used.set(true);
        true
    }

    fn put_module(&self, patch: P) {
        self.p(patch, |p| {
            assert!(!p.is_shown.get(), "somebody may still look at it");
            // The C core would keep those that were forced, for good.
            p.references.set(usize::from(self.forgets));
            p.code.borrow_mut().clear();
        });
        assert!(!self.listed.borrow().contains(&patch.0));
        assert!(!self.retired.borrow().contains(&patch.0));
    }

    fn prepare(&self, _: P) {}

    fn show_patch(&self, patch: P) -> Result<(), Error> {
        self.may_fail()?;
        self.p(patch, |patch| patch.is_shown.set(true));
        Ok(())
    }

    fn show_object(&self, _: P, object: O) -> Result<(), Error> {
        self.may_fail()?;
        self.o(object, |object| {
            let is_alive = object.number == 0 || self.is_module_alive[object.number - 1].get();
            object.is_loaded.set(is_alive);
        });
        Ok(())
    }

    fn show_func(&self, _: O, _: F) -> Result<(), Error> {
        self.may_fail()
    }

    fn resolve(&self, _: P, _: O) -> Result<(), Error> {
        self.may_fail()
    }

    fn forget(&self, _: P, object: O) {
        self.o(object, |object| {
            assert!(!object.is_patched.get(), "its functions are still called");
            object.is_loaded.set(false);
        });
    }

    fn add_object(&self, patch: P, like: O) -> Result<O, Error> {
        self.may_fail()?;
        let number = self.o(like, |like| like.number);
        let mut objects = self.objects.borrow_mut();
        objects.push(Object::new(patch.0, number, true));
        let object = objects.len() - 1;
        self.p(patch, |patch| patch.objects.borrow_mut().push(object));
        Ok(O(object))
    }

    fn add_nop(&self, object: O, like: F) -> Result<(), Error> {
        self.may_fail()?;
        let function = self.f(like, |like| like.function);
        let mut funcs = self.funcs.borrow_mut();
        funcs.push(Func::new(object.0, function, original(function), true));
        let func = funcs.len() - 1;
        self.o(object, |object| object.funcs.borrow_mut().push(func));
        Ok(())
    }

    fn remove_func(&self, func: F) {
        let object = self.f(func, |func| {
            assert!(!func.is_stacked.get());
            func.is_gone.set(true);
            func.object
        });
        self.o(O(object), |object| {
            object.funcs.borrow_mut().retain(|&other| other != func.0);
        });
    }

    fn remove_object(&self, object: O) {
        let patch = self.o(object, |object| {
            assert!(object.funcs.borrow().is_empty());
            assert!(!object.is_patched.get());
            object.is_gone.set(true);
            object.patch
        });
        self.p(P(patch), |patch| {
            patch
                .objects
                .borrow_mut()
                .retain(|&other| other != object.0);
        });
    }

    fn schedule_free(&self, patch: P) {
        self.frees.borrow_mut().push_back(patch.0);
    }

    fn schedule_put(&self, patch: P) {
        self.puts.borrow_mut().push_back(patch.0);
    }

    fn drop_interface(&self, patch: P) {
        assert!(!self.is_locked.get(), "who looks may want the lock");
        self.p(patch, |patch| patch.is_shown.set(false));
    }

    fn is_of_module(&self, object: O, module: usize) -> bool {
        self.o(object, |object| object.number == module + 1)
    }

    fn set_loaded(&self, object: O, _: usize) {
        self.o(object, |object| object.is_loaded.set(true));
    }

    fn set_alive(&self, module: usize, alive: bool) {
        self.is_module_alive[module].set(alive);
    }

    fn pre_patch(&self, object: O) -> Result<(), Error> {
        let patch = self.o(object, |object| object.patch);
        let refuses = self.patches.borrow()[patch].spec.refuses;
        if refuses == Some(self.o(object, |object| object.number)) {
            return Err(Error::Callback);
        }
        self.may_fail()?;
        self.stage(object, &[Stage::Untouched], Stage::BeforePatch);
        Ok(())
    }

    fn post_patch(&self, object: O) {
        // From the last when unpatching was reversed.
        let from = [Stage::BeforePatch, Stage::BeforeUnpatch];
        self.stage(object, &from, Stage::Patched);
    }

    fn pre_unpatch(&self, object: O) {
        self.stage(object, &[Stage::Patched], Stage::BeforeUnpatch);
    }

    fn post_unpatch(&self, object: O) {
        // From the first when patching was cancelled or reversed, or its module went.
        let from = [Stage::BeforePatch, Stage::BeforeUnpatch];
        self.stage(object, &from, Stage::Untouched);
    }

    fn is_armed(&self, object: O) -> bool {
        self.o(object, |object| object.is_armed.get())
    }

    fn set_armed(&self, object: O, armed: bool) {
        self.o(object, |object| object.is_armed.set(armed));
    }
}

impl Sites for Model {
    fn site(&self, func: F) -> Option<usize> {
        let function = self.f(func, |func| func.function);
        self.sites[function].is_there.get().then_some(function)
    }

    fn new_site(&self, func: F) -> Result<usize, Error> {
        self.may_fail()?;
        let function = self.f(func, |func| func.function);
        assert!(!self.sites[function].is_there.replace(true));
        Ok(function)
    }

    fn attach(&self, site: usize, _: F) -> Result<(), Error> {
        assert!(!self.sites[site].stack.borrow().is_empty());
        self.may_fail()?;
        assert!(!self.sites[site].is_attached.replace(true));
        Ok(())
    }

    fn detach(&self, site: usize, _: F) {
        assert!(self.sites[site].is_attached.replace(false));
    }

    fn free_site(&self, site: usize) {
        let site = &self.sites[site];
        assert!(site.stack.borrow().is_empty() && !site.is_attached.get());
        assert!(site.is_there.replace(false));
    }

    fn link(&self, _: usize, func: F) {
        self.f(func, |func| assert!(!func.is_stacked.get()));
    }

    fn push(&self, site: usize, func: F) {
        self.sites[site].stack.borrow_mut().insert(0, func.0);
    }

    fn pop(&self, site: usize, func: F) {
        let site = &self.sites[site];
        let mut stack = site.stack.borrow_mut();
        assert!(
            stack.len() > 1 || !site.is_attached.get(),
            "a handler would find nothing"
        );
        stack.retain(|&other| other != func.0);
    }

    fn top(&self, site: usize) -> Option<F> {
        self.sites[site].stack.borrow().first().copied().map(F)
    }

    fn below(&self, site: usize, func: F) -> Option<F> {
        after(&self.sites[site].stack.borrow(), func.0).map(F)
    }

    fn is_in_transition(&self, func: F) -> bool {
        self.f(func, |func| func.is_in_transition.get())
    }

    fn set_in_transition(&self, func: F, on: bool) {
        self.f(func, |func| func.is_in_transition.set(on));
    }

    fn is_stacked(&self, func: F) -> bool {
        self.f(func, |func| func.is_stacked.get())
    }

    fn set_stacked(&self, func: F, on: bool) {
        self.f(func, |func| func.is_stacked.set(on));
    }

    fn original(&self, func: F) -> Code {
        original(self.f(func, |func| func.function))
    }

    fn replacement(&self, func: F) -> Code {
        self.f(func, |func| func.code)
    }
}
