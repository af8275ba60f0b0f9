//! System states: what a patch has changed beyond code, so that the next one can deal with it
//! (`Documentation/livepatch/system-state.rst`).

use crate::entry::{Locked, Step};
use crate::port::{Port, State};

impl<'a, P: Port> Locked<'a, P> {
    /// Whether the patch can deal with the states of all that are listed: it knows each in the same
    /// or an older version. One that replaces nothing need not know those that it leaves alone.
    pub(crate) fn is_compatible(self, patch: P::Patch) -> bool {
        let mut is_compatible = true;
        self.each_patch(|old| {
            is_compatible = self.states(old).all(|old| {
                match self.states(patch).find(|state| state.id == old.id) {
                    Some(state) => state.version >= old.version,
                    None => !self.port.replaces(patch),
                }
            });
            if is_compatible {
                Step::Next
            } else {
                Step::Stop
            }
        });
        is_compatible
    }

    fn states(self, patch: P::Patch) -> impl Iterator<Item = State> + 'a {
        let port = self.port;
        let mut next = 0_usize;
        core::iter::from_fn(move || {
            let state = port.state(patch, next)?;
            next = next.saturating_add(1);
            Some(state)
        })
    }
}
