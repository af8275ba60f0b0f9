//! Sites: functions that are redirected, each with the stack of its replacements, newest on top.
//!
//! The stacks are read by the handler without any lock. Whoever changes them holds the core's.

use super::Handles;
use crate::universe::Code;

/// Sites.
pub trait Sites: Handles {
    /// The site of the function that `func` replaces, if it is redirected.
    fn site(&self, func: Self::Func) -> Option<Self::Site>;
    /// Makes one with an empty stack, which does not redirect yet.
    fn new_site(&self, func: Self::Func) -> Result<Self::Site, Self::Error>;
    /// Begins to redirect.
    fn attach(&self, site: Self::Site, func: Self::Func) -> Result<(), Self::Error>;
    /// No longer redirects; nobody is in the handler for this site when it returns.
    fn detach(&self, site: Self::Site, func: Self::Func);
    /// Frees a site with an empty stack, which does not redirect.
    fn free_site(&self, site: Self::Site);

    /// Says what will be below a replacement that nobody sees yet: all that is on the stack.
    fn link(&self, site: Self::Site, func: Self::Func);
    /// Puts it on top. [`crate::Barrier::Push`] stands between the two.
    fn push(&self, site: Self::Site, func: Self::Func);
    /// Takes one out, wherever it is. Handlers that still hold it must still find what is below.
    fn pop(&self, site: Self::Site, func: Self::Func);
    /// The one on top.
    fn top(&self, site: Self::Site) -> Option<Self::Func>;
    /// The one below.
    fn below(&self, site: Self::Site, func: Self::Func) -> Option<Self::Func>;

    /// Whether the transition is about this replacement.
    fn is_in_transition(&self, func: Self::Func) -> bool;
    /// Sets that.
    fn set_in_transition(&self, func: Self::Func, on: bool);
    /// Whether the replacement is on its site's stack.
    fn is_stacked(&self, func: Self::Func) -> bool;
    /// Sets that.
    fn set_stacked(&self, func: Self::Func, on: bool);

    /// The function that is replaced.
    fn original(&self, func: Self::Func) -> Code;
    /// What replaces it; the original for one that does nothing.
    fn replacement(&self, func: Self::Func) -> Code;
}
