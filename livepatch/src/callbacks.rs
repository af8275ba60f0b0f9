//! The order of callbacks: what undoes a step runs if, and only if, the step was done.
//!
//! | | before | after |
//! |---|---|---|
//! | patching | `pre_patch`, may refuse | `post_patch`, when every task has switched |
//! | unpatching | `pre_unpatch`, only after `post_patch` | `post_unpatch`, only after `pre_patch` |

use crate::entry::Locked;
use crate::port::Port;

impl<P: Port> Locked<'_, P> {
    pub(crate) fn pre_patch(self, object: P::Object) -> Result<(), P::Error> {
        let done = self.port.pre_patch(object);
        self.port.set_armed(object, done.is_ok());
        done
    }

    pub(crate) fn post_unpatch(self, object: P::Object) {
        if self.port.is_armed(object) {
            self.port.post_unpatch(object);
        }
        self.port.set_armed(object, false);
    }
}
