//! x86_64: what the generic parts ask of it.
//!
//! - [`reg`]: register numbers.
//! - [`frame`]: frame records, saved registers, call instructions before return addresses.
//! - [`entry`]: its entry code, by symbol.
//! - [`object`]: its object files: tables, relocations, names with a role.
//! - [`orc`]: the layout of its ORC entries.
//! - `decode` (feature `decode`, host only): bytes to instruction records.
//!
//! Not here: anything that another architecture would share.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "decode")]
extern crate std;

#[cfg(feature = "decode")]
mod common;
#[cfg(feature = "decode")]
pub mod decode;
#[cfg(feature = "decode")]
mod disassemble;
pub mod entry;
pub mod frame;
pub mod object;
pub mod orc;
#[cfg(feature = "decode")]
mod orc_text;
pub mod reg;

/// The architecture, as a type.
#[derive(Clone, Copy, Debug, Default)]
pub struct X86_64;
