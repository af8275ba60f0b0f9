//! Whether the program keeps the rules. One file a validation.
//!
//! Checks read the model and report; none changes it, and what one finds out for another is in its
//! result.

pub mod ibt;
pub mod reachable;
pub mod retpoline;
pub mod sls;
pub mod stack;
pub mod unret;
