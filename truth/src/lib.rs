//! Ground truth for the unwinder: beside what another unwinder says there is what really happened.
//!
//! Functions of a real kernel run in an emulator. Calls and returns are recorded as they are carried
//! out ([`shadow`]), without a look at frame pointers or ORC. Before *every* instruction the task is
//! walked as if it were stopped there, by the same code that the kernel compiles, and each frame is
//! held against the record: address, place, end, and with ORC the frame pointer too.
//!
//! - [`image`]: a linked kernel, from its file.
//! - [`patch`]: what boot changes in its text.
//! - [`memory`]: the memory that functions run in.
//! - [`insn`]: what has to be known of an instruction.
//! - [`shadow`]: the record.
//! - [`run`]: one run, step by step.
//! - `emulator`: what carries instructions out (feature `emulator`).
//! - [`snapshot`]: what the unwinder sees of a stopped task.
//! - [`compare`], [`judge`]: right, refused, wrong; and what may be refused.
//! - [`damage`]: damaged copies of these stacks.
//! - [`tally`], [`report`], [`summary`]: counts, and words for them.
//! - `proof`: that a wrong walk would be seen (feature `emulator`).
//!
//! # What is asked
//!
//! | the task | by frame pointers | by ORC |
//! |---|---|---|
//! | sleeps in the function that it has just called | right, but where the validator's table names a function on the way | right |
//! | was interrupted at any instruction, and preempted: its registers lie on its stack | right or refused | right |
//! | is interrupted at any instruction, and its registers are at hand | right or refused | right |
//!
//! The first function of each run is entered as a kernel thread's is, from `ret_from_fork_asm`, so
//! that a walk has an end to come to. Each function runs several times: first with zeros in memory,
//! then with a mixture of zeros, small numbers, pointers and noise. Every other run takes branches by
//! chance now and then. Whatever memory is touched comes into being; a call out of the text returns
//! something. All of it depends on the run's number and the function alone.
//!
//! # What it cannot show
//!
//! - Code runs as it was linked, and once more as it is after boot ([`patch`]), on one processor of
//!   these years. Static calls and calls that guests replace are never patched in, and nobody traces:
//!   what tracers do to text and stacks belongs to the tests on booted kernels.
//! - Entry code is not entered: there is no user space, no interrupt, no second CPU, and one stack. A
//!   run ends at an instruction that changes the machine's state, and when it leaves its stack.
//! - The registers of an interruption are laid down as the processor and the entry code would; no
//!   entry code runs for it.
//! - Paths are those that the runs take; how many instructions were stopped at is counted. Branches
//!   that are taken by chance make paths that no data would lead to: what is right there is right
//!   beyond need.
//! - A run that overwrites return addresses or saved frame pointers on its stack, as made-up data
//!   makes it do, ends there. Code that did so on purpose would be overlooked; such runs are counted.
//! - The emulator decodes by itself, but `iced-x86`, which the analyzer rests on, says which
//!   instructions call and return. A call that it took for something else would show as an address
//!   that no call has left.

pub mod compare;
pub mod damage;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod image;
pub mod insn;
pub mod judge;
pub mod memory;
pub mod patch;
#[cfg(feature = "emulator")]
pub mod proof;
pub mod random;
pub mod report;
pub mod run;
pub mod shadow;
pub mod snapshot;
pub mod summary;
pub mod tally;
