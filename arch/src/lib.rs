//! What generic code asks of a processor architecture: traits and plain types.
//!
//! This crate knows nothing of any particular architecture: no register name, no instruction
//! name, no relocation number stands here. It knows nothing of files, kernels or operating
//! systems either. The architectures are crates beside this one, and each implements the traits.
//!
//! - [`frame`]: how stacks are laid out: frame records, saved registers, where a stack begins.
//! - [`insn`]: an instruction as the analyzer sees it: what it does to control flow and to the
//!   stack, and nothing else.
//! - [`object`]: how object files of an architecture's kernel are read and written: relocation
//!   classes, layouts of the annotation tables, names with a role.
//! - [`orc`]: what an unwinder is told about each instruction.
//!
//! It is compiled into the kernel: `no_std`, no allocation, no dependency, no path to a panic.

#![no_std]
#![forbid(unsafe_code)]

pub mod frame;
pub mod insn;
pub mod object;
pub mod orc;
