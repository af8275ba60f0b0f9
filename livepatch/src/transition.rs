//! The transition: prepared, started, tried until every task has switched, reversed, forced,
//! cancelled, completed.

use crate::barrier::Barrier;
use crate::blocker::Blocker;
use crate::check::Sought;
use crate::enable::Refused;
use crate::entry::Locked;
use crate::event::{Event, How};
use crate::port::{Port, Synchronize};
use crate::universe::{Phase, Side, Transition, Universe};

/// Every so many attempts the tasks that are left are nudged; an attempt is made every second.
const ATTEMPTS_BEFORE_NUDGE: u32 = 15;

impl<P: Port> Locked<'_, P> {
    /// Calls `f` for every task, the idle ones included.
    pub(crate) fn each_task(self, mut f: impl FnMut(P::Task)) {
        self.port.each_task(&mut f);
        self.port.each_idle(|task, _| f(task));
    }

    /// Gives all tasks the side where the transition begins, and puts the patch's functions into it.
    pub(crate) fn prepare(self, transition: Transition<P::Patch>) {
        let Transition { patch, target } = transition;
        self.ask_no_more();
        self.set_phase(Phase::Prepared(transition));
        self.port.show_transition(Some(patch));
        // Without effect until tasks are asked to switch.
        self.port.set_target(Universe::On(target));
        self.port.note(Event::Preparing(patch, target));
        self.each_task(|task| {
            self.port.set_universe(task, Universe::On(target.other()));
        });
        self.port.order(Barrier::Sides);
        // When patching they are not on their sites yet, when unpatching they are.
        self.set_in_transition(patch, true);
    }

    fn set_in_transition(self, patch: P::Patch, on: bool) {
        for object in self.objects(patch) {
            for func in self.funcs(object) {
                self.port.set_in_transition(func, on);
            }
        }
    }

    /// Asks all tasks that are not there to switch.
    pub(crate) fn start(self, transition: Transition<P::Patch>) {
        let Transition { patch, target } = transition;
        self.port.note(Event::Starting(patch, target));
        self.port.order(Barrier::Start);
        self.each_task(|task| {
            if !self.port.is_on(task, target) {
                self.port.set_pending(task);
            }
        });
        self.watch_reschedules(true);
        self.set_phase(Phase::Running {
            transition,
            attempts: 0,
        });
    }

    /// A task that waits is no place to switch at where stacks are not looked at.
    fn watch_reschedules(self, on: bool) {
        if self.port.has_reliable_stacks() {
            self.port.watch_reschedules(on);
        }
    }

    /// Turns a running transition round.
    pub(crate) fn reverse(self, transition: Transition<P::Patch>) {
        let Transition { patch, target } = transition;
        self.port.note(Event::Reversing(patch, target));
        self.each_task(|task| self.port.clear_pending(task));
        // Who has taken a request stores a side yet; it must be the one that we know of.
        self.port.synchronize(Synchronize::Reverse);
        let target = target.other();
        self.port.set_enabled(patch, target == Side::Patched);
        self.port.set_target(Universe::On(target));
        self.start(Transition { patch, target });
    }

    /// Takes back a transition to patched of which no task knows yet.
    pub(crate) fn cancel(self, transition: Transition<P::Patch>) {
        self.port.note(Event::Cancelling(transition.patch));
        let back = Transition {
            patch: transition.patch,
            target: Side::Unpatched,
        };
        self.port.set_target(Universe::On(back.target));
        self.complete(back);
    }

    /// Switches the tasks that can be switched. If all have switched, ends the transition.
    pub(crate) fn try_complete(self) {
        let Phase::Running {
            transition,
            attempts,
        } = self.phase()
        else {
            return;
        };
        let mut is_complete = true;
        let sought = self.sought(transition);
        self.port.each_task_in_turns(|task| {
            self.try_switch(&sought, task);
        });
        self.port.each_idle(|task, is_online| {
            if !is_online {
                // It sits in the code that takes a CPU down, and begins anew with the CPU.
                if !self.port.is_on(task, transition.target) {
                    self.switch(transition, task);
                    let switched = Event::Switched(task, transition.target, How::Offline);
                    self.port.note(switched);
                }
            } else if !self.try_switch(&sought, task) {
                is_complete = false;
                self.port.nudge_idle(task);
            }
        });
        // Whoever is there now, which may be others than above; a child has the side of its parent.
        self.port
            .each_task(|task| is_complete &= self.port.is_on(task, transition.target));
        if !is_complete {
            if attempts > 0 && attempts % ATTEMPTS_BEFORE_NUDGE == 0 {
                self.nudge(attempts == ATTEMPTS_BEFORE_NUDGE);
            }
            self.set_phase(Phase::Running {
                transition,
                attempts: attempts.saturating_add(1),
            });
            self.port.schedule_tick();
            return;
        }
        self.watch_reschedules(false);
        self.complete(transition);
        if transition.target == Side::Unpatched {
            self.retire(transition.patch);
        } else if self.port.replaces(transition.patch) {
            self.retire_older(transition.patch);
        }
        self.look_after_forced();
    }

    fn nudge(self, is_first: bool) {
        self.port.note(Event::Nudging { is_first });
        self.port.each_task_in_turns(|task| {
            // It may switch meanwhile, and is nudged in vain.
            if self.port.is_pending(task) {
                self.port.nudge(task);
            }
        });
    }

    fn switch(self, transition: Transition<P::Patch>, task: P::Task) {
        if !self.port.is_on(task, transition.target) {
            self.port.clear_pending(task);
            self.port
                .set_universe(task, Universe::On(transition.target));
        }
    }

    /// Switches the task if it has not switched and can be. Whether it is switched.
    fn try_switch(self, sought: &Sought<P>, task: P::Task) -> bool {
        let transition = sought.transition;
        if self.port.is_on(task, transition.target) {
            return true;
        }
        if self.switch_if_clear(sought, task) {
            let switched = Event::Switched(task, transition.target, How::Clear);
            self.port.note(switched);
            return true;
        }
        self.try_harder(transition, task)
    }

    /// What is true of most tasks: the task is off its CPU, was not forced, and its stack is to be
    /// trusted and nowhere near what the transition takes away. Then it is switched.
    #[inline]
    fn switch_if_clear(self, sought: &Sought<P>, task: P::Task) -> bool {
        sought.has_stacks
            && self.port.while_off_cpu(task, || {
                let is_clear = self.port.forced_since(task).is_none()
                    && self.port.is_clear_of(task, sought.span)
                    && sought
                        .other
                        .map_or(true, |other| self.port.is_clear_of(task, other));
                if is_clear {
                    self.switch(sought.transition, task);
                }
                is_clear
            }) == Some(true)
    }

    /// The same for the others, with what blocks the task.
    #[cold]
    #[inline(never)]
    fn try_harder(self, transition: Transition<P::Patch>, task: P::Task) -> bool {
        let blocker = self.look(transition, task, true);
        match &blocker {
            Some(blocker) => self.port.note(Event::Blocked(task, blocker)),
            None => {
                let switched = Event::Switched(task, transition.target, How::Clear);
                self.port.note(switched);
            }
        }
        blocker.is_none()
    }

    /// What blocks the task. If nothing does and it is to be switched, it is before it can go on.
    fn look(
        self,
        transition: Transition<P::Patch>,
        task: P::Task,
        switches: bool,
    ) -> Option<Blocker<P>> {
        if !self.port.has_reliable_stacks() {
            return Some(Blocker::NotAtSafePoint);
        }
        let looked = self.port.while_off_cpu(task, || {
            let since = self.port.forced_since(task);
            let blocker = self.port.with_stack(task, |stack| match stack {
                Ok(stack) => self.stack_blocks(transition, stack, since),
                Err(doubt) => Some(Blocker::Unreliable(doubt)),
            });
            if blocker.is_none() && switches {
                self.switch(transition, task);
            }
            blocker
        });
        match looked {
            Some(blocker) => blocker,
            None => Some(Blocker::Running),
        }
    }

    pub(crate) fn switch_current(self, task: P::Task) {
        if let Phase::Running { transition, .. } = self.phase() {
            // Reversals and others hold the lock; the request may be gone by now.
            if self.port.is_pending(task) {
                self.try_switch(&self.sought(transition), task);
            }
        }
    }

    pub(crate) fn blockers(self, mut f: impl FnMut(P::Task, Option<Blocker<P>>)) {
        let Some(transition) = self.phase().transition() else {
            return;
        };
        let mut look = |task| {
            if !self.port.is_on(task, transition.target) {
                f(task, self.look(transition, task, false));
            }
        };
        self.port.each_task_in_turns(&mut look);
        self.port.each_idle(|task, _| look(task));
    }

    pub(crate) fn force(self, patch: P::Patch) -> Result<(), Refused<P::Error>> {
        match self.phase() {
            Phase::Running { transition, .. } if transition.patch == patch => {
                self.port.note(Event::Forcing(patch, transition.target));
                self.force_tasks(transition);
                Ok(())
            }
            _ => Err(Refused::NotInTransition),
        }
    }

    fn force_tasks(self, transition: Transition<P::Patch>) {
        let now = self.epoch().next();
        self.set_epoch(now);
        self.each_task(|task| {
            // One that takes the request itself is at a safe point.
            if self.port.take_pending(task) {
                self.remember_forced(task, now);
                self.port
                    .set_universe(task, Universe::On(transition.target));
                let switched = Event::Switched(task, transition.target, How::Forced);
                self.port.note(switched);
            }
        });
    }

    /// Every task has switched, or none was ever asked to.
    fn complete(self, transition: Transition<P::Patch>) {
        let Transition { patch, target } = transition;
        self.port.note(Event::Completing(patch, target));
        match target {
            Side::Patched => {
                let replaces = self.port.replaces(patch);
                if replaces {
                    self.unpatch_replaced(patch);
                    self.unpatch_nops(patch);
                }
                self.set_in_transition(patch, false);
                self.port.synchronize(Synchronize::Patched);
                if replaces {
                    self.remove_nops(patch);
                }
            }
            Side::Unpatched => {
                self.unpatch_objects(patch);
                self.port.synchronize(Synchronize::Unpatched);
                self.set_in_transition(patch, false);
            }
        }
        self.each_task(|task| self.port.set_universe(task, Universe::Undefined));
        for object in self.objects(patch) {
            if self.port.is_loaded(object) {
                match target {
                    Side::Patched => self.port.post_patch(object),
                    Side::Unpatched => self.post_unpatch(object),
                }
            }
        }
        self.port.note(Event::Complete(patch, target));
        self.port.set_target(Universe::Undefined);
        self.port.show_transition(None);
        self.set_phase(Phase::Idle);
    }
}
