//! Atomic replacement: a patch that takes the place of all others in one transition
//! (`Documentation/livepatch/cumulative-patches.rst`).
//!
//! For each function of theirs that it does not replace itself, it gets one that does nothing, so
//! that the original is what the transition leads to. When the transition is complete, those go
//! together with the patches that were replaced.

use crate::entry::{Locked, Step};
use crate::port::Port;

impl<P: Port> Locked<'_, P> {
    pub(crate) fn add_nops(self, patch: P::Patch) -> Result<(), P::Error> {
        let mut result = Ok(());
        self.each_patch(|old| {
            result = self
                .objects(old)
                .try_for_each(|old| self.add_object_nops(patch, old));
            if result.is_ok() {
                Step::Next
            } else {
                Step::Stop
            }
        });
        result
    }

    fn add_object_nops(self, patch: P::Patch, old: P::Object) -> Result<(), P::Error> {
        let known = self
            .objects(patch)
            .find(|object| self.port.is_same_object(*object, old));
        let object = match known {
            Some(object) => object,
            None => self.port.add_object(patch, old)?,
        };
        for func in self.funcs(old) {
            if !self.funcs(object).any(|known| self.is_same(known, func)) {
                self.port.add_nop(object, func)?;
            }
        }
        Ok(())
    }

    /// Whether both replace the same function of an object: the only symbol of a name is also the
    /// first.
    fn is_same(self, a: P::Func, b: P::Func) -> bool {
        let position = |func| self.port.position(func).max(1);
        self.port.is_same_name(a, b) && position(a) == position(b)
    }

    /// Takes the replaced patches off the sites; they stay listed.
    ///
    /// Nobody gets their functions any more: whatever they replace has one of `patch` on top, and
    /// every task has switched to those. A handler that ran before a task was forced may still go
    /// through what is taken off here; it finds what it needs there, and the patches stay.
    pub(crate) fn unpatch_replaced(self, patch: P::Patch) {
        self.each_patch(|old| {
            if old == patch {
                return Step::Stop;
            }
            self.port.set_enabled(old, false);
            self.unpatch_objects(old);
            Step::Next
        });
    }

    /// Takes the functions that do nothing off the sites.
    ///
    /// Each is the only one on its site, now that the replaced ones are gone, unless the patch has the
    /// same function by another name. Then a handler may still look at it.
    pub(crate) fn unpatch_nops(self, patch: P::Patch) {
        for object in self.objects(patch) {
            for func in self.funcs(object) {
                if self.port.is_nop(func) && self.port.is_stacked(func) {
                    self.unpatch_func(func);
                }
            }
        }
    }

    /// Takes them out of the patch. No handler looks at them any more.
    pub(crate) fn remove_nops(self, patch: P::Patch) {
        for object in self.objects(patch) {
            for func in self.funcs(object) {
                if self.port.is_nop(func) {
                    self.port.remove_func(func);
                }
            }
            if self.port.is_dynamic(object) {
                self.port.set_patched(object, false);
                self.port.remove_object(object);
            }
        }
    }
}
