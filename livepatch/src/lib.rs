//! The per-task livepatch consistency core.
//!
//! # The model
//!
//! A patch replaces functions. A call of a replaced function goes to a *site*, which holds the
//! *variants* that patches have put there, newest on top, above the original. While nothing changes
//! everybody gets the topmost one.
//!
//! Enabling or disabling a patch is a *transition*. Its functions belong together: a task must never
//! call a new one on behalf of an old one. So every task has a side, and switches from the one to
//! the other as a whole, at a time when it is in none of the functions that change:
//!
//! ```text
//!               prepare          start                    every task has switched
//!      Idle ────────────▶ Prepared ────▶ Running ──────────────────────────────▶ Idle
//!                            │            │  ▲  │ reverse: back to the other side
//!        a callback refuses  │            └──┘  │ force: the rest is switched where it is
//!      Idle ◀────────────────┘ cancel           ▼ and remembered
//! ```
//!
//! A task switches in one of three ways:
//!
//! - by itself at a *safe point*, on its way out of the kernel or in the idle loop
//!   ([`Core::safe_point`]). What is on its stack there a kernel must not let be patched, but for a
//!   function that only returns after the safe point, and that the scheduler can't keep from it;
//! - by the core, while it is off its CPU and its stack is reliable, shows no variant that it could
//!   not stay in, and nothing of a module that goes with the transition ([`Core::tick`]);
//! - by itself where it may wait for long, by the same look at its own stack
//!   ([`Core::switch_current`]).
//!
//! While it runs, [`choose`] looks at its side and takes the topmost variant or the one below.
//!
//! A patch is listed while it is enabled, or replaced and awaiting the transition's end. It is freed
//! when its transition to disabled has ended, nobody looks at what it is shown by any more, and no
//! task may be in its code.
//!
//! # Force
//!
//! Forcing switches the tasks that are left wherever they are. What they do from there on is at the
//! administrator's risk, for this one transition. They are remembered, so that it stays at that:
//! later transitions look on their stacks for every variant that they may still be in, and the code
//! of patches that they may be in stays. When such a task is seen to be in
//! nothing that it would not get now, or has come to a safe point, it is a task as any other again.
//!
//! # The parts
//!
//! - [`entry`]: the state, and the ways in; `transition`, `enable`, `modules`: what is done.
//! - `check`: what is looked for on a stack. `force`: who is remembered.
//! - `patching`, `replace`, `callbacks`, `states`: sites, atomic replacement, order and compatibility.
//! - [`handler`], [`barrier`]: what runs without the lock, and what orders it.
//! - [`port`]: what is asked of the kernel. [`event`], [`blocker`]: what is said to people.
//!
//! It never walks a stack itself, never touches a kernel's lock, and knows no function's name. It is
//! compiled into the kernel: `no_std`, no allocation, no dependency, no path to a panic.
//!
//! # What the tests show, and what not
//!
//! `tests/force.rs`, `transition.rs` and `properties.rs` run the core on a model of a kernel, the
//! last one through random lives with invariants after every step. `tests/loom.rs` runs it on C11's
//! memory model, through every order of what is done under the lock and what tasks do without it.
//! It takes away each barrier and each wait in turn and sees that it goes wrong:
//!
//! ```text
//! cargo test --release -p livepatch --test loom      # every order: some minutes
//! ```
//!
//! It does not show
//!
//! - dependencies between loads, which order them in the kernel's model and not in C11's: there is
//!   a barrier in each place instead;
//! - what becomes of a call while text is being changed: that it reaches the handler, or no longer
//!   does, is the tracer's, and the model takes it as ordered;
//! - the way from the handler's choice to the function's first instruction: a call of the model's is
//!   in its variant at once. In the kernel a task may be preempted in between, and its stack must not be
//!   called reliable then, which is the unwinder's part;
//! - forks, which the lock of the task list keeps apart from going over tasks, and
//!   [`Core::switch_current`], which the core's lock does;
//! - atomic replacement and the functions that do nothing: what it takes off the sites, nobody is
//!   given any more, and what is on top stays;
//! - what is looked for on the stacks of those who were forced: the model has their records, which
//!   whoever takes a request writes, and looks at no stack there;
//! - modules that come and go, whose sites are made and freed under the lock;
//! - idle tasks, which do as others do, but for those of CPUs that do not run, which do nothing;
//! - more than two tasks at a time, or more than a call or two for each;
//! - interrupts: a handler that interrupts another one on the same CPU does what one on another CPU
//!   may do.

#![no_std]
#![forbid(unsafe_code)]

pub mod barrier;
pub mod blocker;
mod callbacks;
mod check;
pub mod enable;
pub mod entry;
pub mod event;
mod force;
pub mod handler;
#[doc(hidden)]
pub mod instance;
mod modules;
mod patching;
pub mod port;
mod replace;
mod states;
mod transition;
pub mod universe;

pub use barrier::Barrier;
pub use blocker::{Blocker, Variant};
pub use enable::Refused;
pub use entry::Core;
pub use event::{Event, How};
pub use handler::{choose, Choice};
pub use port::Port;
pub use universe::{Code, Epoch, Phase, Side, Transition, Universe};
