//! What the core says while it works: for messages and tracepoints. The words are the port's.

use crate::blocker::Blocker;
use crate::port::Handles;
use crate::universe::Side;

/// How a task was switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its stack was clear.
    Clear,
    /// By itself, at a safe point.
    SafePoint,
    /// Wherever it was.
    Forced,
    /// It is the idle task of a CPU that does not run.
    Offline,
}

/// Something that happened.
pub enum Event<'a, H: Handles> {
    /// A patch is about to be enabled.
    Enabling(H::Patch),
    /// It could not be.
    NotEnabled(H::Patch),
    /// It is not compatible with the system states of others.
    Incompatible(H::Patch),
    /// A module is not marked as one of a livepatch.
    Unmarked(H::Patch),
    /// Stacks cannot be trusted here, so that the transition may not come to an end.
    NoReliableStacks,
    /// Tasks get a side.
    Preparing(H::Patch, Side),
    /// Tasks are asked to switch.
    Starting(H::Patch, Side),
    /// The transition turns round; the side is the one that it no longer leads to.
    Reversing(H::Patch, Side),
    /// A transition that has not started is taken back.
    Cancelling(H::Patch),
    /// Remaining tasks are switched wherever they are.
    Forcing(H::Patch, Side),
    /// Remaining tasks are nudged, for the first time if so.
    Nudging {
        /// Not a repetition.
        is_first: bool,
    },
    /// Every task has switched.
    Completing(H::Patch, Side),
    /// All is done.
    Complete(H::Patch, Side),
    /// A task cannot be switched now.
    Blocked(H::Task, &'a Blocker<H>),
    /// A task was switched, or has switched.
    Switched(H::Task, Side, How),
    /// A callback has refused the patch.
    PrePatchFailed(H::Object),
    /// An object's functions could not be redirected.
    NotPatched(H::Object),
    /// An object's module comes, and is patched.
    Applying(H::Patch, H::Object),
    /// An object's module goes away.
    Reverting(H::Patch, H::Object),
    /// An object's module comes, but the patch could not be fitted to it.
    NotResolved(H::Patch, H::Object, H::Error),
    /// An object's module comes, but its functions could not be redirected.
    NotApplied(H::Patch, H::Object, H::Error),
    /// A module may not come.
    RefusingModule(H::Patch, H::Object),
    /// A patch's module stays, because a forced task may be in its code.
    Pinned(H::Patch),
    /// It no longer does.
    Released(H::Patch),
    /// A task that was forced has left what it should have left.
    Cleared(H::Task),
}
