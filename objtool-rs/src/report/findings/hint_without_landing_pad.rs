//! `UNWIND_HINT_IRET_REGS without ENDBR`.
//!
//! A global entry point with the frame that the processor pushed does not start with a landing pad.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "hint-without-landing-pad",
    group: Group::Speculation,
    title: "an entry point has no landing pad",
    words: &["UNWIND_HINT_IRET_REGS without ENDBR"],
    what: "The processor comes here through a descriptor table, as the unwind hint says, and \
           the code does not start with ENDBR.",
    why: "With indirect branch tracking such an entry faults.",
    example: "\
        .globl  entry
entry:
        UNWIND_HINT type=4, sp_reg=5    # UNWIND_HINT_IRET_REGS
        iretq
        .size   entry, . - entry
",
    fix: "Start the entry point with ENDBR, or annotate it with ANNOTATE_NOENDBR when the \
           processor never enters there.",
};
