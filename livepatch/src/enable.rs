//! Enabling and disabling: from a module's patch to a transition that runs.

use crate::entry::Locked;
use crate::event::Event;
use crate::port::Port;
use crate::universe::{Phase, Side, Transition};

/// Why something that was asked for is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<E> {
    /// The patch has no module, no object, or an object without functions.
    Incomplete,
    /// Its module is not marked as one of a livepatch.
    Unmarked,
    /// There is nowhere to show patches.
    NotReady,
    /// It does not know a state that a patch before it has changed, or only an older version.
    Incompatible,
    /// Its module is going away.
    ModuleGone,
    /// Another transition is going on.
    Busy,
    /// It is that way already.
    Already,
    /// A patch that is disabled is not enabled again.
    Disabled,
    /// The patch is not in transition.
    NotInTransition,
    /// The kernel could not, or a callback would not.
    Failed(E),
}

/// A patch that was not enabled.
pub(crate) struct NotEnabled<E> {
    pub(crate) why: Refused<E>,
    /// Whether its module and what shows it are still to be let go, without the lock.
    pub(crate) was_prepared: bool,
}

impl<P: Port> Locked<'_, P> {
    /// What can be said without the lock.
    pub(crate) fn may_enable(port: &P, patch: P::Patch) -> Result<(), Refused<P::Error>> {
        if !port.is_complete(patch) {
            return Err(Refused::Incomplete);
        }
        if !port.is_marked(patch) {
            port.note(Event::Unmarked(patch));
            return Err(Refused::Unmarked);
        }
        if !port.is_ready() {
            return Err(Refused::NotReady);
        }
        if !port.has_reliable_stacks() {
            port.note(Event::NoReliableStacks);
        }
        Ok(())
    }

    pub(crate) fn enable(self, patch: P::Patch) -> Result<(), NotEnabled<P::Error>> {
        let early = |why| NotEnabled {
            why,
            was_prepared: false,
        };
        if !self.is_compatible(patch) {
            self.port.note(Event::Incompatible(patch));
            return Err(early(Refused::Incompatible));
        }
        if !self.port.get_module(patch) {
            return Err(early(Refused::ModuleGone));
        }
        self.port.prepare(patch);
        self.set_up(patch)
            .map_err(Refused::Failed)
            .and_then(|()| self.begin_enabling(patch))
            .map_err(|why| {
                self.port.unlist(patch);
                self.remove_objects(patch);
                NotEnabled {
                    why,
                    was_prepared: true,
                }
            })
    }

    fn set_up(self, patch: P::Patch) -> Result<(), P::Error> {
        self.port.show_patch(patch)?;
        if self.port.replaces(patch) {
            self.add_nops(patch)?;
        }
        for object in self.objects(patch) {
            self.port.show_object(patch, object)?;
            for func in self.funcs(object) {
                self.port.show_func(object, func)?;
            }
            if self.port.is_loaded(object) {
                self.port.resolve(patch, object)?;
            }
        }
        self.port.list(patch);
        Ok(())
    }

    fn begin_enabling(self, patch: P::Patch) -> Result<(), Refused<P::Error>> {
        if self.phase() != Phase::Idle {
            return Err(Refused::Busy);
        }
        self.port.note(Event::Enabling(patch));
        let transition = Transition {
            patch,
            target: Side::Patched,
        };
        self.prepare(transition);
        for object in self.objects(patch) {
            if !self.port.is_loaded(object) {
                continue;
            }
            let done = self.pre_patch(object).inspect_err(|_| {
                self.port.note(Event::PrePatchFailed(object));
            });
            let done = done.and_then(|()| {
                self.patch_object(object).inspect_err(|_| {
                    self.port.note(Event::NotPatched(object));
                })
            });
            if let Err(why) = done {
                self.port.note(Event::NotEnabled(patch));
                self.cancel(transition);
                return Err(Refused::Failed(why));
            }
        }
        self.start(transition);
        self.port.set_enabled(patch, true);
        self.try_complete();
        Ok(())
    }

    pub(crate) fn set_enabled(
        self,
        patch: P::Patch,
        enabled: bool,
    ) -> Result<(), Refused<P::Error>> {
        if self.port.is_enabled(patch) == enabled {
            return Err(Refused::Already);
        }
        match self.phase() {
            Phase::Running { transition, .. } if transition.patch == patch => {
                self.reverse(transition);
                Ok(())
            }
            _ if enabled => Err(Refused::Disabled),
            Phase::Idle => {
                self.begin_disabling(patch);
                Ok(())
            }
            _ => Err(Refused::Busy),
        }
    }

    fn begin_disabling(self, patch: P::Patch) {
        let transition = Transition {
            patch,
            target: Side::Unpatched,
        };
        self.prepare(transition);
        for object in self.objects(patch) {
            if self.port.is_patched(object) {
                self.port.pre_unpatch(object);
            }
        }
        self.start(transition);
        self.port.set_enabled(patch, false);
        self.try_complete();
    }
}
