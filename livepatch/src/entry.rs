//! The core's state, and its ways in. Each takes the lock itself; what is done under it is in the
//! files by topic, as methods of `Locked`.

use core::cell::Cell;

use crate::blocker::Blocker;
use crate::enable::Refused;
use crate::event::{Event, How};
use crate::port::Port;
use crate::universe::{Epoch, Phase, Transition, Universe};

/// The state that is the core's own. All else is the port's.
///
/// There is one in a kernel. Its cells are only used under the port's lock; a port with threads
/// shares it by an `unsafe impl Sync` of its own that promises so.
pub struct Core<P: Port> {
    phase: Cell<Phase<P::Patch>>,
    /// How often a transition was forced.
    epoch: Cell<Epoch>,
    /// A task may be one that was forced and is not known to be clear.
    has_records: Cell<bool>,
    /// A task may be asked to come to a safe point although there is no transition.
    asks: Cell<bool>,
}

impl<P: Port> Default for Core<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Port> Core<P> {
    /// No patch, no transition.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            phase: Cell::new(Phase::Idle),
            epoch: Cell::new(Epoch::START),
            has_records: Cell::new(false),
            asks: Cell::new(false),
        }
    }

    #[inline]
    fn locked<R>(&self, port: &P, f: impl FnOnce(Locked<'_, P>) -> R) -> R {
        port.with_lock(|| f(Locked { core: self, port }))
    }

    /// Enables a patch, which is not known yet (`klp_enable_patch`).
    ///
    /// # Errors
    /// Why not; nothing is left behind then.
    pub fn enable(&self, port: &P, patch: P::Patch) -> Result<(), Refused<P::Error>> {
        Locked::may_enable(port, patch)?;
        match self.locked(port, |locked| locked.enable(patch)) {
            Ok(()) => Ok(()),
            Err(failed) => {
                if failed.was_prepared {
                    port.drop_interface(patch);
                    Self::let_go(port, patch);
                }
                Err(failed.why)
            }
        }
    }

    /// What was written to the patch's `enabled`: reverses its transition, or disables it. A
    /// disabled patch is not enabled again.
    ///
    /// # Errors
    /// The patch is so already, or another transition is going on.
    pub fn set_enabled(
        &self,
        port: &P,
        patch: P::Patch,
        enabled: bool,
    ) -> Result<(), Refused<P::Error>> {
        self.locked(port, |locked| locked.set_enabled(patch, enabled))
    }

    /// Switches all tasks that have not switched, wherever they are. The consistency of these tasks
    /// is the administrator's; that later transitions do not take it for granted is the core's.
    ///
    /// # Errors
    /// The patch is not in transition.
    pub fn force(&self, port: &P, patch: P::Patch) -> Result<(), Refused<P::Error>> {
        self.locked(port, |locked| locked.force(patch))
    }

    /// What is to be done from time to time: goes on with the transition, or looks after tasks that
    /// were forced.
    pub fn tick(&self, port: &P) {
        self.locked(port, |locked| match self.phase.get() {
            Phase::Running { .. } => locked.try_complete(),
            Phase::Prepared(_) => {}
            Phase::Idle => locked.look_after_forced(),
        });
    }

    /// Ends the life of a patch that [`crate::port::Patches::schedule_free`] was called for. Called without the
    /// lock.
    pub fn free(&self, port: &P, patch: P::Patch) {
        port.drop_interface(patch);
        let is_last_use = self.locked(port, |locked| locked.has_no_interface(patch));
        if is_last_use {
            Self::let_go(port, patch);
        }
    }

    /// Lets the module of a patch go that [`crate::port::Patches::schedule_put`] was called for. Called
    /// without the lock.
    pub fn put(port: &P, patch: P::Patch) {
        port.wait_for_unlisted();
        port.note(Event::Released(patch));
        port.put_module(patch);
    }

    /// The same for one that nobody was said to keep.
    fn let_go(port: &P, patch: P::Patch) {
        // Nobody in the lists is in its code, as was seen under the lock; who has left them may be.
        port.wait_for_unlisted();
        port.put_module(patch);
    }

    /// A module comes: patches that change it are applied to it.
    ///
    /// # Errors
    /// One of them does not fit, or does not want to; the module must not come then.
    pub fn module_coming(&self, port: &P, module: P::Module) -> Result<(), P::Error> {
        self.locked(port, |locked| locked.module_coming(module))
    }

    /// A module goes.
    pub fn module_going(&self, port: &P, module: P::Module) {
        self.locked(port, |locked| locked.module_going(module));
    }

    /// Calls `f` for every task that has not switched, with what blocks it. Does not switch any.
    pub fn blockers(&self, port: &P, f: impl FnMut(P::Task, Option<Blocker<P>>)) {
        self.locked(port, |locked| locked.blockers(f));
    }

    /// The how-manieth of the listed patches this is, oldest first, from 1 on: where two replace the
    /// same function, the one with the greater number is called. 0 for one that is not listed.
    pub fn order(&self, port: &P, patch: P::Patch) -> usize {
        self.locked(port, |locked| {
            let (mut count, mut order) = (0_usize, 0);
            locked.each_patch(|listed| {
                count = count.saturating_add(1);
                if listed != patch {
                    return Step::Next;
                }
                order = count;
                Step::Stop
            });
            order
        })
    }

    /// The transition that is going on. For callbacks, which run under the lock.
    #[must_use]
    pub fn transition(&self) -> Option<Transition<P::Patch>> {
        self.phase.get().transition()
    }

    /// A task is at a safe point, in no function that a patch may change, or in one that it does
    /// nothing in any more but return: switches it if it was asked to (`klp_update_patch_state`), and
    /// drops its record. Takes no lock.
    ///
    /// The task is the caller. Without preemption, so that whoever waits for every CPU knows that
    /// the side is stored when the request is gone.
    #[inline]
    pub fn safe_point(port: &P, task: P::Task) {
        let came = port.without_preemption(|| {
            // Its acquiring is the partner of the barriers before requests.
            if !port.take_pending(task) {
                return None;
            }
            // Nothing that it may have been forced out of is left on its stack.
            let was_forced = port.forced_since(task).is_some();
            if was_forced {
                port.set_forced_since(task, None);
            }
            // None, if it was only asked because it had been forced.
            let universe = port.target();
            port.set_universe(task, universe);
            Some((universe, was_forced))
        });
        let Some((universe, was_forced)) = came else {
            return;
        };
        if let Universe::On(side) = universe {
            port.note(Event::Switched(task, side, How::SafePoint));
        }
        if was_forced {
            port.note(Event::Cleared(task));
        }
    }

    /// A kernel thread is where nothing but its own loop is on its stack. Where stacks can't be
    /// looked at this is its safe point. Where they can the look at its stack says more: that the
    /// loop itself is not patched.
    #[inline]
    pub fn thread_safe_point(port: &P, task: P::Task) {
        if !port.has_reliable_stacks() {
            Self::safe_point(port, task);
        }
    }

    /// The caller may wait here for long, but is not at a safe point: switches it if its stack
    /// allows (`__klp_sched_try_switch`).
    ///
    /// It never waits for the lock, which the caller may hold already; there is a next time. Without
    /// the lock it would look at sites that a module, coming or going, makes or frees.
    #[inline]
    pub fn switch_current(&self, port: &P, task: P::Task) {
        if port.is_pending(task) {
            port.try_lock(|| Locked { core: self, port }.switch_current(task));
        }
    }

    /// A task was copied from the one that calls, which nobody can see yet (`klp_copy_process`).
    /// Called while the list of tasks is locked for changes, so that a transition sees both or
    /// none.
    #[inline]
    pub fn fork(port: &P, parent: P::Task, child: P::Task) {
        // The flags were copied earlier; the parent may have switched since. Without a transition it
        // is asked because of its own stack.
        if port.is_pending(parent) && port.target() != Universe::Undefined {
            port.set_pending(child);
        } else {
            port.clear_pending(child);
        }
        port.set_universe(child, port.universe(parent));
        // Its stack is a new one.
        port.set_forced_since(child, None);
    }
}

/// The core while its lock is held.
pub(crate) struct Locked<'a, P: Port> {
    core: &'a Core<P>,
    pub(crate) port: &'a P,
}

impl<P: Port> Clone for Locked<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Port> Copy for Locked<'_, P> {}

impl<'a, P: Port> Locked<'a, P> {
    #[inline]
    pub(crate) fn phase(self) -> Phase<P::Patch> {
        self.core.phase.get()
    }

    #[inline]
    pub(crate) fn set_phase(self, phase: Phase<P::Patch>) {
        self.core.phase.set(phase);
    }

    #[inline]
    pub(crate) fn epoch(self) -> Epoch {
        self.core.epoch.get()
    }

    #[inline]
    pub(crate) fn set_epoch(self, epoch: Epoch) {
        self.core.epoch.set(epoch);
    }

    #[inline]
    pub(crate) fn has_records(self) -> bool {
        self.core.has_records.get()
    }

    #[inline]
    pub(crate) fn set_has_records(self, on: bool) {
        self.core.has_records.set(on);
    }

    /// Whether tasks may have been asked without a transition.
    #[inline]
    pub(crate) fn asks(self) -> bool {
        self.core.asks.get()
    }

    #[inline]
    pub(crate) fn set_asks(self, on: bool) {
        self.core.asks.set(on);
    }

    /// Whether the transition is about this patch.
    pub(crate) fn is_in_transition(self, patch: P::Patch) -> bool {
        self.phase()
            .transition()
            .is_some_and(|transition| transition.patch == patch)
    }

    /// Calls `f` for every listed patch, oldest first, until it says to stop. `f` may take the one
    /// that it is given out of the list.
    pub(crate) fn each_patch(self, mut f: impl FnMut(P::Patch) -> Step) {
        let mut next = self.port.first_patch();
        while let Some(patch) = next {
            next = self.port.next_patch(patch);
            if f(patch) == Step::Stop {
                return;
            }
        }
    }

    /// The same for retired patches.
    pub(crate) fn each_retired(self, mut f: impl FnMut(P::Patch) -> Step) {
        let mut next = self.port.first_retired();
        while let Some(patch) = next {
            next = self.port.next_retired(patch);
            if f(patch) == Step::Stop {
                return;
            }
        }
    }

    /// The objects of a patch. The one that was given last may be taken out.
    pub(crate) fn objects(self, patch: P::Patch) -> impl Iterator<Item = P::Object> + 'a {
        let port = self.port;
        let mut next = port.first_object(patch);
        core::iter::from_fn(move || {
            let object = next?;
            next = port.next_object(patch, object);
            Some(object)
        })
    }

    /// The same for the functions of an object.
    pub(crate) fn funcs(self, object: P::Object) -> impl Iterator<Item = P::Func> + 'a {
        let port = self.port;
        let mut next = port.first_func(object);
        core::iter::from_fn(move || {
            let func = next?;
            next = port.next_func(object, func);
            Some(func)
        })
    }

    /// The functions of a patch that are on their sites.
    pub(crate) fn patched_funcs(self, patch: P::Patch) -> impl Iterator<Item = P::Func> + 'a {
        let port = self.port;
        let mut object = port.first_object(patch);
        let mut is_begun = false;
        let mut func = None;
        core::iter::from_fn(move || loop {
            if let Some(found) = func {
                func = port.next_func(object?, found);
                return Some(found);
            }
            if is_begun {
                object = port.next_object(patch, object?);
            }
            is_begun = true;
            func = match object? {
                object if port.is_patched(object) => port.first_func(object),
                _ => None,
            };
        })
    }
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// To the next.
    Next,
    /// No further.
    Stop,
}
