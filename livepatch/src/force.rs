//! Force with memory: who was forced since when, and the patches that stay because of it.
//!
//! A record is one number on a task: the [`Epoch`] at which it was forced for the first time since
//! it was last known to be clear. From then on it may be in any variant that existed at that time or
//! later, whichever patches came and went, so that no list of patches is needed on the task.
//!
//! A patch that is disabled or replaced gets the number of the last forced transition. The tasks
//! that may be in its code are those with the same number or a smaller one; while there is one, the
//! patch's module stays. A task that exits leaves all lists while it is still in code that may be a
//! patch's, and its record with it, so that such tasks are waited for before any module is let go,
//! also that of a patch that was never forced.
//!
//! A record goes in one of two ways. The task's stack, which is looked at every second while it is off
//! its CPU, is seen to be clear; or the task comes to a safe point. It is asked to come to one as it is in
//! a transition, so that a task that is always running when it is looked at, or whose stack never says
//! enough, loses its record on its next way out of the kernel. Where stacks are not looked at this is the
//! only way.

use crate::entry::{Locked, Step};
use crate::event::Event;
use crate::port::{Port, Synchronize};
use crate::universe::Epoch;

/// The smaller of two numbers.
fn older(a: Option<Epoch>, b: Option<Epoch>) -> Option<Epoch> {
    match (a, b) {
        (Some(a), Some(b)) if a <= b => Some(a),
        (a, b) => b.or(a),
    }
}

impl<P: Port> Locked<'_, P> {
    pub(crate) fn remember_forced(self, task: P::Task, now: Epoch) {
        self.set_has_records(true);
        if self.port.forced_since(task).is_none() {
            self.port.set_forced_since(task, Some(now));
        }
    }

    /// Drops the records of tasks that are clear, and lets go of the patches that nobody can be in
    /// any more. Only when there is no transition.
    pub(crate) fn look_after_forced(self) {
        if !self.has_records() {
            return;
        }
        let mut seen = None;
        self.port.each_task_in_turns(|task| {
            seen = older(seen, self.look_after(task));
        });
        self.port.each_idle(|task, is_online| {
            if is_online {
                seen = older(seen, self.look_after(task));
            } else {
                // What it had on its stack went with its CPU, and so does what it was asked.
                self.port.set_forced_since(task, None);
                self.port.clear_pending(task);
            }
        });
        // Somebody may have been left out. All are held and looked at only when it depends on that
        // whether something is let go.
        if seen.is_some() && !self.may_release(seen) {
            self.port.schedule_tick();
            return;
        }
        let oldest = self.oldest_record();
        self.set_has_records(oldest.is_some());
        self.release(oldest);
        if oldest.is_some() {
            self.port.schedule_tick();
        }
    }

    /// Drops the record of a task that is clear; asks any other to come to a safe point. What is left.
    fn look_after(self, task: P::Task) -> Option<Epoch> {
        let since = self.port.forced_since(task)?;
        let is_clear = self.port.has_reliable_stacks()
            && self.port.while_off_cpu(task, || {
                let is_clear = self.port.with_stack(task, |stack| {
                    stack.is_ok_and(|stack| self.is_clear(stack, since))
                });
                if is_clear {
                    self.port.set_forced_since(task, None);
                    self.port.clear_pending(task);
                }
                is_clear
            }) == Some(true);
        if is_clear {
            self.port.note(Event::Cleared(task));
            return None;
        }
        self.set_asks(true);
        self.port.set_pending(task);
        Some(since)
    }

    /// Takes back what tasks were asked without a transition, before there is one: they would take it
    /// for their request to switch, at a time when nobody may.
    pub(crate) fn ask_no_more(self) {
        if self.asks() {
            self.set_asks(false);
            self.each_task(|task| self.port.clear_pending(task));
            self.port.synchronize(Synchronize::Asked);
        }
    }

    /// The smallest number on any task.
    fn oldest_record(self) -> Option<Epoch> {
        let mut oldest = None;
        if self.has_records() {
            self.each_task(|task| oldest = older(oldest, self.port.forced_since(task)));
        }
        oldest
    }

    /// Whether nobody can be in a patch that is gone but for its code, if this is the smallest number.
    fn is_free(self, patch: P::Patch, oldest: Option<Epoch>) -> bool {
        let is_left = |oldest| self.port.retired_at(patch) < oldest;
        self.port.is_bare(patch) && oldest.map_or(true, is_left)
    }

    /// Whether a patch could be let go of if the smallest number were this.
    fn may_release(self, oldest: Option<Epoch>) -> bool {
        let mut may_release = false;
        self.each_retired(|patch| {
            may_release = self.is_free(patch, oldest);
            if may_release {
                Step::Stop
            } else {
                Step::Next
            }
        });
        may_release
    }

    /// Lets go of the patches that nobody can be in, if this is the smallest number.
    fn release(self, oldest: Option<Epoch>) {
        self.each_retired(|patch| {
            if self.is_free(patch, oldest) {
                self.port.unretire(patch);
                self.port.schedule_put(patch);
            }
            Step::Next
        });
    }

    /// A patch's transition to disabled has ended: what it consists of goes, but for its code.
    pub(crate) fn retire(self, patch: P::Patch) {
        self.port.unlist(patch);
        self.remove_objects(patch);
        self.port.retire(patch, self.epoch());
        self.port.schedule_free(patch);
    }

    /// The same for all that were replaced by `patch`.
    pub(crate) fn retire_older(self, patch: P::Patch) {
        self.each_patch(|old| {
            if old == patch {
                return Step::Stop;
            }
            self.retire(old);
            Step::Next
        });
    }

    /// Nobody looks at the patch any more. Whether its code may go, too; it is not known here then.
    pub(crate) fn has_no_interface(self, patch: P::Patch) -> bool {
        let at = self.port.retired_at(patch);
        if self.oldest_record().is_some_and(|oldest| oldest <= at) {
            self.port.set_bare(patch);
            self.port.note(Event::Pinned(patch));
            self.port.schedule_tick();
            return false;
        }
        self.port.unretire(patch);
        true
    }
}
