//! The reliable stack unwinder: from a task's stack to frames and a verdict.
//!
//! A walk yields typed frames, and ends in a verdict: [`Verdict::Reliable`], or
//! [`Verdict::Unreliable`] with a [`Reason`] and the frame at which it was lost. There is no third
//! way and no silent stop: a walk that merely comes to an end is not reliable, it must end at the
//! one place where its kind of task begins ([`End`]).
//!
//! - [`walk`]: the state of a walk, its frames and its verdict.
//! - [`frame_pointers`], [`orc`]: the two steppers.
//! - [`ends`]: where a walk may end, and the checks of a single address.
//! - [`stack`], [`env`](mod@env): what is asked of the outside: a bounded reader, and oracles.
//! - [`ranges`]: the validator's table and entry code, as tables to look up.
//! - [`reason`]: the words for what went wrong.
//!
//! It never knows of a kernel's symbols, of locks or of files. It is compiled into the kernel:
//! `no_std`, no allocation, no dependency, no path to a panic; it takes no lock and may run in any
//! context.
//!
//! # What the caller must see to
//!
//! - A [`Stacks`] answers for its stacks: their words can be read at any time.
//! - An [`Env`] is about one task, the same in all steps of a walk.
//! - For a verdict the task stays off its CPU during the walk (or is the caller itself). The walk
//!   looks before and after, which shows mistakes; it cannot make up for a missing lock.
//! - Text that is looked up stays: no module goes away during a step.
//!
//! # Not for
//!
//! User space's stacks, and code that runs with a stack of its own making (firmware, guests).
//!
//! # What is asked of a reliable stack trace
//!
//! `Documentation/livepatch/reliable-stacktrace.rst` asks nine things. The tests are those of this
//! crate's `tests/` folder, by file. In booted kernels, `./x kernel test unwind` shows the same of real
//! tasks: 4.1 to 4.5 each by cases of their own (`kernel/overlay/6.12/unwind-test`).
//!
//! | requirement | where it is met | shown by |
//! |---|---|---|
//! | 2: the trace has all functions that the task may return to, or is not reliable | [`reliable`] shows every frame, and says what is missing otherwise | `properties::a_whole_stack_is_reliable_with_exactly_its_frames`, `reasons::whoever_listens_may_stop_a_walk_which_is_not_reliable_then` |
//! | 2: no endless loop and no unsafe access, whatever is on the stack | [`stack::Slot`]s are the only places read; on each stack a walk only rises, each stack comes up once; with ORC, [`walk::MAX_FRAMES`] | `corrupted::damaged_stacks_are_walked_without_harm_and_told`, `properties::any_words_are_walked_without_harm`, `best_effort::registers_cannot_lead_a_walk_in_circles` |
//! | 3: compiled code is checked | with frame pointers [`Text::vouch`] asks the validator's table ([`ranges::UnreliableText`]); with ORC the entries come from it, and say undefined where it could not follow the code | `reasons::each_case_has_its_reason_and_each_reason_a_case`, `properties::the_validators_table_holds_what_it_says` |
//! | 4.1: it is known where a trace ends well | [`ends`]: one place, and for each kind of task its own entry code | `ends::each_kind_of_task_ends_where_it_began`, `ends::only_the_idle_task_may_come_from_text_that_is_gone`, `ends::no_task_may_end_where_another_kind_does` |
//! | 4.2: code that can be walked is identified | [`TextKind::Fixed`]; all else is refused, and so is an address that no call leaves | `reasons::each_case_has_its_reason_and_each_reason_a_case` |
//! | 4.3: interrupts and exceptions | with frame pointers refused by kind ([`Reason::Interrupted`]); with ORC walked, at any instruction | `reasons::orc_is_right_at_every_instruction_of_a_function`, `reasons::a_breakpoint_interrupts_the_instruction_that_it_stands_on`, `reasons::the_frame_where_a_walk_was_lost_is_named` |
//! | 4.4: rewritten return addresses | [`Text::recover`], by the place of the address; without an original, [`Reason::ReturnAddressLost`] | `reasons::rewritten_return_addresses_are_recovered`, `reasons::each_case_has_its_reason_and_each_reason_a_case` |
//! | 4.5: obscured return addresses | the tracer's entry returns to where those it calls choose ([`Reason::TracerEntry`]); other code that does so is made at run time ([`Reason::GeneratedCode`]), or ORC says that nothing is known ([`Reason::OrcUndefined`]), or the validator's table names it | `reasons::each_case_has_its_reason_and_each_reason_a_case`, `reasons::the_tracers_entry_is_walked_but_never_reliable`, `reasons::the_tracers_entry_is_refused_where_it_is_interrupted` |
//! | 4.6: link registers | nothing is taken from a register but behind an interruption, and that only with ORC | `reasons::a_frame_end_in_a_register_is_found_when_it_was_saved` |

#![no_std]
#![forbid(unsafe_code)]

pub mod ends;
pub mod env;
pub mod frame_pointers;
#[doc(hidden)]
pub mod instance;
pub mod orc;
pub mod ranges;
pub mod reason;
pub mod stack;
pub mod walk;

pub use ends::End;
pub use env::{Env, Lookup, OrcEnv, Recovered, Recovery, TaskKind, Text, TextKind, Vouch};
pub use frame_pointers::FramePointers;
pub use orc::Orc;
pub use reason::Reason;
pub use stack::{Slot, Stack, StackKind, Stacks};
pub use walk::{reliable, Frame, FrameKind, Mode, Outcome, Registers, Start, Status, Walk};

/// What a walk over a task's stack concludes. There is no third way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The walk ended exactly where this kind of task must end, and every address on the way lies
    /// in text known to keep the convention
    /// (`Documentation/livepatch/reliable-stacktrace.rst`, section 3).
    Reliable,
    /// Something on the way could not be vouched for.
    Unreliable(Reason),
}
