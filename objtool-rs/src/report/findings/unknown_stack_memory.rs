//! `unknown stack-related memory operation`.
//!
//! Memory is written from the stack in a way that is not understood.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "unknown-stack-memory",
    group: Group::Frame,
    title: "memory is written from the stack in a way that is not understood",
    words: &["unknown stack-related memory operation"],
    what: "The decoder says that the instruction writes memory outside the frame, and it is not \
           a pop.",
    why: "What is behind it can't be checked.",
    example: "\
# No known instruction does this; the decoder and the stack check disagree.
",
    fix: "Report it with the instruction: it is a gap in objtool-rs, not in the code.",
};
