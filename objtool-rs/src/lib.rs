//! Validation of Linux kernel objects at build time, and the annotations that the kernel needs.
//!
//! One direction, a folder a phase:
//!
//! - [`read`]: the mapped file: sections, symbols and relocations by typed index.
//! - [`decode`]: code to compact instruction records.
//! - [`model`]: functions, hints, alternatives, jump tables, call graph, noreturn.
//! - [`check`]: one file a validation.
//! - [`emit`]: one file an output section or rewrite.
//! - [`report`]: findings as values, and their words.
//!
//! [`analyze`] joins them for the bytes of one object, [`run`] into memory. This library opens no file, prints nothing and
//! knows no command line; the binary does.
//!
//! The behaviour follows `tools/objtool/Documentation/objtool.txt` of the kernel tree, and where
//! that is silent the tool itself.

pub mod check;
pub mod decode;
pub mod emit;
pub mod listing;
pub mod model;
pub mod options;
pub mod orc_dump;
mod parallel;
pub mod read;
pub mod report;
mod run;
pub mod stats;
pub mod verify;

pub use options::Options;
pub use run::{analyze, run, Analyzed, Dropping, Open, Outcome, Remains, RunError};
