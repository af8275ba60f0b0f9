//! Follows every path through every function and checks the state of the stack on it.
//!
//! # What holds for code that passes
//!
//! - A call is made only with a valid frame: the frame pointer saved and pointing at where it is
//!   saved, the return address above it.
//! - A return, and a sibling call, is made only with the stack and the callee-saved registers as
//!   they were at entry.
//! - However an instruction is reached, the stack is in the same state there; the same holds for
//!   the two streams of an alternative at the same distance from its start.
//! - Functions end: no path runs into the next function or over the end of the section.
//! - Calls, returns and sibling calls are made with user access closed and the direction flag
//!   clear, but for functions that are made for it.
//!
//! - [`state`]: the state of the stack, interned.
//! - [`trail`]: what is left at each instruction.
//! - [`transition`]: what a stack effect does to it.
//! - [`walk`]: the walk over the paths; [`walked`]: what it leaves behind.
//! - [`rules`]: what is checked at calls, returns and jumps on the way.
//! - [`noinstr`]: calls out of text that must not be instrumented.
//! - [`linked`]: what is checked besides when linked code is judged.
//! - `path`: how the walk came to where a rule is broken, for people.

pub mod linked;
pub mod noinstr;
mod path;
pub mod rules;
pub mod state;
pub mod trail;
pub mod transition;
pub mod walk;
pub mod walked;
