//! Ground truth for the unwinder.
pub mod compare;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod image;
pub mod insn;
pub mod judge;
pub mod memory;
pub mod random;
pub mod report;
pub mod run;
pub mod shadow;
pub mod snapshot;
pub mod tally;
