//! Patches: what belongs to which, their flags, and what is done with their modules.

use super::Handles;
use crate::universe::{Code, Epoch};

/// A state of the system that a patch changes (`struct klp_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Which one.
    pub id: usize,
    /// Version of the change.
    pub version: u32,
}

/// Patches. All but [`Patches::drop_interface`] and [`Patches::put_module`] is done under the core's lock.
pub trait Patches: Handles {
    /// The first of the patches that are enabled, or replaced and awaiting the end of the
    /// transition, oldest first.
    fn first_patch(&self) -> Option<Self::Patch>;
    /// The one after it.
    fn next_patch(&self, patch: Self::Patch) -> Option<Self::Patch>;
    /// Puts a patch at the end of that list.
    fn list(&self, patch: Self::Patch);
    /// Takes it out.
    fn unlist(&self, patch: Self::Patch);

    /// The first of the patches that are disabled, but whose code somebody may be in.
    fn first_retired(&self) -> Option<Self::Patch>;
    /// The one after it.
    fn next_retired(&self, patch: Self::Patch) -> Option<Self::Patch>;
    /// Puts a patch, which is not listed any more, among those.
    fn retire(&self, patch: Self::Patch, at: Epoch);
    /// When that was.
    fn retired_at(&self, patch: Self::Patch) -> Epoch;
    /// Takes it out.
    fn unretire(&self, patch: Self::Patch);
    /// Whether nothing but the module's code is left of a retired patch.
    fn is_bare(&self, patch: Self::Patch) -> bool;
    /// Says so.
    fn set_bare(&self, patch: Self::Patch);
    /// The code with which a retired patch replaced the function at this address.
    fn retired_code(&self, patch: Self::Patch, original: usize) -> Option<Code>;
    /// All code of the patch's module: what goes with it, its functions and what they call of their
    /// own.
    fn text(&self, patch: Self::Patch) -> Code;

    /// Whether the patch is enabled, or on its way to be.
    fn is_enabled(&self, patch: Self::Patch) -> bool;
    /// Sets that.
    fn set_enabled(&self, patch: Self::Patch, enabled: bool);
    /// Whether the patch replaces all others.
    fn replaces(&self, patch: Self::Patch) -> bool;
    /// The patch's n-th state.
    fn state(&self, patch: Self::Patch, n: usize) -> Option<State>;

    /// The patch's first object.
    fn first_object(&self, patch: Self::Patch) -> Option<Self::Object>;
    /// The one after it.
    fn next_object(&self, patch: Self::Patch, object: Self::Object) -> Option<Self::Object>;
    /// The object's first function.
    fn first_func(&self, object: Self::Object) -> Option<Self::Func>;
    /// The one after it.
    fn next_func(&self, object: Self::Object, func: Self::Func) -> Option<Self::Func>;

    /// Whether both are the same module, or both the image.
    fn is_same_object(&self, a: Self::Object, b: Self::Object) -> bool;
    /// Whether both are for a function of the same name.
    fn is_same_name(&self, a: Self::Func, b: Self::Func) -> bool;
    /// The how-manieth symbol of its name the function is, counted from 1; 0 for the only one.
    fn position(&self, func: Self::Func) -> usize;

    /// Whether the object is there: the image, or a module that is loaded.
    fn is_loaded(&self, object: Self::Object) -> bool;
    /// Whether its functions are on the stacks of their sites.
    fn is_patched(&self, object: Self::Object) -> bool;
    /// Sets that.
    fn set_patched(&self, object: Self::Object, patched: bool);
    /// Whether the object only exists for functions that do nothing.
    fn is_dynamic(&self, object: Self::Object) -> bool;
    /// Whether the function does nothing but let the original run.
    fn is_nop(&self, func: Self::Func) -> bool;

    /// Whether the patch has objects, and each of them functions; and a module.
    fn is_complete(&self, patch: Self::Patch) -> bool;
    /// Whether its module is marked as one of a livepatch.
    fn is_marked(&self, patch: Self::Patch) -> bool;
    /// Whether there is somewhere to show patches.
    fn is_ready(&self) -> bool;
    /// Takes a reference to the patch's module.
    fn get_module(&self, patch: Self::Patch) -> bool;
    /// Gives it back. The last that is done with a patch.
    fn put_module(&self, patch: Self::Patch);

    /// Sets up what has not failed yet when it fails later: lists, flags, objects, functions.
    fn prepare(&self, patch: Self::Patch);
    /// Shows the patch.
    fn show_patch(&self, patch: Self::Patch) -> Result<(), Self::Error>;
    /// Shows the object and finds out whether it is loaded.
    fn show_object(&self, patch: Self::Patch, object: Self::Object) -> Result<(), Self::Error>;
    /// Shows the function and says whether it can be one.
    fn show_func(&self, object: Self::Object, func: Self::Func) -> Result<(), Self::Error>;
    /// Finds the object's functions and writes its relocations; forgets all of it where that fails.
    fn resolve(&self, patch: Self::Patch, object: Self::Object) -> Result<(), Self::Error>;
    /// Undoes that: the object goes away, or does not come after all.
    fn forget(&self, patch: Self::Patch, object: Self::Object);
    /// Adds an object like this one, without functions.
    fn add_object(
        &self,
        patch: Self::Patch,
        like: Self::Object,
    ) -> Result<Self::Object, Self::Error>;
    /// Adds a function that does nothing in the place of this one.
    fn add_nop(&self, object: Self::Object, like: Self::Func) -> Result<(), Self::Error>;
    /// Takes the function out of its object, and frees it if it was added.
    fn remove_func(&self, func: Self::Func);
    /// Takes the object, which has no functions any more, out of its patch, as above.
    fn remove_object(&self, object: Self::Object);

    /// Has [`crate::Core::free`] called, by someone who holds no lock.
    fn schedule_free(&self, patch: Self::Patch);
    /// Has [`crate::Core::put`] called, by someone who holds no lock.
    fn schedule_put(&self, patch: Self::Patch);
    /// Takes away what the patch is shown by, and waits until nobody looks any more. Without the
    /// core's lock, which those who look may want.
    fn drop_interface(&self, patch: Self::Patch);

    /// Whether the object is what is changed in this module.
    fn is_of_module(&self, object: Self::Object, module: Self::Module) -> bool;
    /// Says that the object's module is loaded.
    fn set_loaded(&self, object: Self::Object, module: Self::Module);
    /// Whether patches that come from now on may use the module.
    fn set_alive(&self, module: Self::Module, alive: bool);

    /// The patch's own steps; all but the first cannot fail. An object without one has done it.
    fn pre_patch(&self, object: Self::Object) -> Result<(), Self::Error>;
    /// As above.
    fn post_patch(&self, object: Self::Object);
    /// As above.
    fn pre_unpatch(&self, object: Self::Object);
    /// As above.
    fn post_unpatch(&self, object: Self::Object);
    /// Whether [`Patches::post_unpatch`] is due.
    fn is_armed(&self, object: Self::Object) -> bool;
    /// Sets that.
    fn set_armed(&self, object: Self::Object, armed: bool);
}
