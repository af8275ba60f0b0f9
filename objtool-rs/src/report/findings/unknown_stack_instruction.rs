//! `unknown stack-related instruction`.
//!
//! An instruction changes the stack in a way that is not understood.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "unknown-stack-instruction",
    group: Group::Frame,
    title: "an instruction changes the stack in a way that is not understood",
    words: &["unknown stack-related instruction"],
    what: "The decoder says that the instruction writes a register or memory that belongs to the \
           frame, from a source that the stack check has no rule for.",
    why: "What is behind it can't be checked.",
    example: "\
# No known instruction does this; the decoder and the stack check disagree.
",
    fix: "Report it with the instruction: it is a gap in objtool-rs, not in the code.",
};
