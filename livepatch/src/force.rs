//! Force with memory: who was forced since when, and the patches that stay because of it.
//!
//! A record is one number on a task: the [`Epoch`] at which it was forced for the first time since
//! it was last known to be clear. From then on it may be in any variant that existed at that time or
//! later, whichever patches came and went, so that no list of patches is needed on the task.
//!
//! A patch that is disabled or replaced gets the number of the last forced transition. The tasks
//! that may be in its code are those with the same number or a smaller one; while there is one, the
//! patch's module stays. A record goes when the task passes a safe point at which it was to switch,
//! or when its stack is seen to be clear, which is looked at every second.

use crate::entry::{Locked, Step};
use crate::event::Event;
use crate::port::Port;
use crate::universe::Epoch;

impl<P: Port> Locked<'_, P> {
    pub(crate) fn remember_forced(self, task: P::Task, now: Epoch) {
        if self.port.forced_since(task).is_none() {
            self.port.set_forced_since(task, Some(now));
        }
    }

    /// Drops the records of tasks that are clear, and lets go of the patches that nobody can be in
    /// any more. Only when there is no transition.
    pub(crate) fn look_after_forced(self) {
        if self.epoch() == Epoch::START {
            return;
        }
        if self.port.has_reliable_stacks() {
            self.port
                .each_task_in_turns(|task| self.clear_if_clear(task));
            self.port.each_idle(|task, is_online| {
                if is_online {
                    self.clear_if_clear(task);
                } else {
                    self.port.set_forced_since(task, None);
                }
            });
        }
        let Some(oldest) = self.oldest_record() else {
            self.release(|_| true);
            return;
        };
        self.release(|at| at < oldest);
        self.port.schedule_tick();
    }

    fn clear_if_clear(self, task: P::Task) {
        let Some(since) = self.port.forced_since(task) else {
            return;
        };
        let is_clear = self.port.while_off_cpu(task, || {
            let is_clear = self.port.with_stack(task, |stack| {
                stack.is_ok_and(|stack| self.is_clear(stack, since))
            });
            if is_clear {
                self.port.set_forced_since(task, None);
            }
            is_clear
        });
        if is_clear == Some(true) {
            self.port.note(Event::Cleared(task));
        }
    }

    /// The smallest number on any task.
    fn oldest_record(self) -> Option<Epoch> {
        let mut oldest = None;
        let mut look = |task| {
            oldest = match (oldest, self.port.forced_since(task)) {
                (Some(oldest), Some(since)) if oldest <= since => Some(oldest),
                (oldest, since) => since.or(oldest),
            };
        };
        self.port.each_task(&mut look);
        self.port.each_idle(|task, _| look(task));
        oldest
    }

    /// Lets go of bare patches that were retired at such a time.
    fn release(self, is_free: impl Fn(Epoch) -> bool) {
        self.each_retired(|patch| {
            if self.port.is_bare(patch) && is_free(self.port.retired_at(patch)) {
                self.port.note(Event::Released(patch));
                self.port.unretire(patch);
                self.port.put_module(patch);
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
