//! Modules that come and go while patches for them are there.

use crate::entry::{Locked, Step};
use crate::event::Event;
use crate::port::Port;

impl<P: Port> Locked<'_, P> {
    fn object_of(self, patch: P::Patch, module: P::Module) -> Option<P::Object> {
        self.objects(patch)
            .find(|object| self.port.is_of_module(*object, module))
    }

    pub(crate) fn module_coming(self, module: P::Module) -> Result<(), P::Error> {
        // Patches that come later look for it themselves.
        self.port.set_alive(module, true);
        let mut failed = None;
        self.each_patch(|patch| {
            let Some(object) = self.object_of(patch, module) else {
                return Step::Next;
            };
            match self.apply(patch, object, module) {
                Ok(()) => Step::Next,
                Err(why) => {
                    failed = Some((patch, object, why));
                    Step::Stop
                }
            }
        });
        let Some((patch, object, why)) = failed else {
            return Ok(());
        };
        self.port.note(Event::RefusingModule(patch, object));
        self.port.set_alive(module, false);
        self.port.forget(patch, object);
        self.revert(module, Some(patch));
        Err(why)
    }

    fn apply(self, patch: P::Patch, object: P::Object, module: P::Module) -> Result<(), P::Error> {
        self.port.set_loaded(object, module);
        if let Err(why) = self.port.resolve(patch, object) {
            self.port.note(Event::NotResolved(patch, object, why));
            return Err(why);
        }
        self.port.note(Event::Applying(patch, object));
        if let Err(why) = self.pre_patch(object) {
            self.port.note(Event::PrePatchFailed(object));
            return Err(why);
        }
        if let Err(why) = self.patch_object(object) {
            self.port.note(Event::NotApplied(patch, object, why));
            self.post_unpatch(object);
            return Err(why);
        }
        // In a transition that is called at its end.
        if !self.is_in_transition(patch) {
            self.port.post_patch(object);
        }
        Ok(())
    }

    pub(crate) fn module_going(self, module: P::Module) {
        self.port.set_alive(module, false);
        self.revert(module, None);
    }

    /// Takes the patches before `limit` off a module in which nobody is any more.
    fn revert(self, module: P::Module, limit: Option<P::Patch>) {
        self.each_patch(|patch| {
            if limit == Some(patch) {
                return Step::Stop;
            }
            let object = self.object_of(patch, module);
            if let Some(object) = object.filter(|object| self.port.is_loaded(*object)) {
                // In a transition it was called at its beginning, or is not due.
                if !self.is_in_transition(patch) {
                    self.port.pre_unpatch(object);
                }
                self.port.note(Event::Reverting(patch, object));
                self.unpatch_object(object);
                self.post_unpatch(object);
                self.port.forget(patch, object);
            }
            Step::Next
        });
    }
}
