//! What the core asks of the kernel. One trait, [`Port`], in parts by topic: [`tasks`], [`patches`],
//! [`sites`].
//!
//! Everything is named by handles that the port makes up: pointers to C structures in the kernel,
//! indices in a model. The core copies and compares them, and never looks inside.
//!
//! Nothing here decides: a port stores, looks up, and calls.

pub mod patches;
pub mod sites;
pub mod tasks;

pub use patches::{Patches, State};
pub use sites::Sites;
pub use tasks::{Synchronize, Tasks};

use crate::barrier::Barrier;
use crate::event::Event;
use crate::universe::Universe;

/// The handles.
pub trait Handles: Sized {
    /// A patch (`struct klp_patch`).
    type Patch: Copy + Eq;
    /// What a patch changes in one object, a module or the kernel's image (`struct klp_object`).
    type Object: Copy + Eq;
    /// The replacement of one function (`struct klp_func`).
    type Func: Copy + Eq;
    /// A function that is redirected, with the stack of its replacements.
    type Site: Copy;
    /// A task.
    type Task: Copy;
    /// A kernel module.
    type Module: Copy;
    /// Why the kernel could not do something (an errno).
    type Error: Copy;
    /// Why a stack cannot be trusted.
    type Doubt: Copy;
}

/// The kernel.
pub trait Port: Tasks + Patches + Sites {
    /// Runs `f` under the one lock of the core (`klp_mutex`).
    fn with_lock<R>(&self, f: impl FnOnce() -> R) -> R;

    /// The same if nobody holds it, the caller included; never waits.
    fn try_lock(&self, f: impl FnOnce());

    /// Orders memory accesses as the barrier says.
    fn order(&self, barrier: Barrier);

    /// Where the transition leads, read without the lock.
    fn target(&self) -> Universe;

    /// Sets that.
    fn set_target(&self, target: Universe);

    /// Says which patch is in transition, to those who look without the lock.
    fn show_transition(&self, patch: Option<Self::Patch>);

    /// Has [`crate::Core::tick`] called in a second.
    fn schedule_tick(&self);

    /// Takes note of what happened.
    fn note(&self, event: Event<'_, Self>);
}
