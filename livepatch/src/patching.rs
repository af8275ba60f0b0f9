//! Redirecting functions: what is pushed, attached, detached and popped, in which order.

use crate::barrier::Barrier;
use crate::entry::Locked;
use crate::port::Port;

impl<P: Port> Locked<'_, P> {
    /// Redirects all functions of an object.
    ///
    /// # Errors
    /// One could not be; none is then.
    pub(crate) fn patch_object(self, object: P::Object) -> Result<(), P::Error> {
        for func in self.funcs(object) {
            if let Err(why) = self.patch_func(func) {
                self.unpatch_object(object);
                return Err(why);
            }
        }
        self.port.set_patched(object, true);
        Ok(())
    }

    pub(crate) fn unpatch_object(self, object: P::Object) {
        for func in self.funcs(object) {
            if self.port.is_stacked(func) {
                self.unpatch_func(func);
            }
        }
        self.port.set_patched(object, false);
    }

    pub(crate) fn unpatch_objects(self, patch: P::Patch) {
        for object in self.objects(patch) {
            if self.port.is_patched(object) {
                self.unpatch_object(object);
            }
        }
    }

    fn patch_func(self, func: P::Func) -> Result<(), P::Error> {
        match self.port.site(func) {
            Some(site) => self.push(site, func),
            None => {
                let site = self.port.new_site(func)?;
                // Something must be on the stack when the first handler looks.
                self.push(site, func);
                if let Err(why) = self.port.attach(site, func) {
                    self.port.pop(site, func);
                    self.port.free_site(site);
                    return Err(why);
                }
            }
        }
        self.port.set_stacked(func, true);
        Ok(())
    }

    fn push(self, site: P::Site, func: P::Func) {
        self.port.link(site, func);
        self.port.order(Barrier::Push);
        self.port.push(site, func);
    }

    pub(crate) fn unpatch_func(self, func: P::Func) {
        if let Some(site) = self.port.site(func) {
            let is_only =
                self.port.top(site) == Some(func) && self.port.below(site, func).is_none();
            if is_only {
                self.port.detach(site, func);
                self.port.pop(site, func);
                self.port.free_site(site);
            } else {
                self.port.pop(site, func);
            }
        }
        self.port.set_stacked(func, false);
    }

    /// Takes all functions and objects out of a patch.
    pub(crate) fn remove_objects(self, patch: P::Patch) {
        for object in self.objects(patch) {
            for func in self.funcs(object) {
                self.port.remove_func(func);
            }
            self.port.remove_object(object);
        }
    }
}
