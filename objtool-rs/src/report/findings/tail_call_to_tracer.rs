//! `tail call to __fentry__ !?!?`.
//!
//! The call of the function tracer is not a call.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "tail-call-to-tracer",
    group: Group::Flow,
    title: "a tracing call is a jump",
    words: &["tail call to __fentry__ !?!?"],
    what: "A function jumps to the tracer entry instead of calling it.",
    why: "Tracing calls are patched as five-byte calls at run time; a jump there would not \
           come back.",
    example: "\
func:
        jmp     __fentry__
",
    fix: "Compilers never emit this; look for hand-written assembly.",
};
