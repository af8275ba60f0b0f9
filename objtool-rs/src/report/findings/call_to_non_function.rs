//! `unsupported call to non-function`.
//!
//! A function calls a symbol that is no function.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "call-to-non-function",
    group: Group::Flow,
    title: "a function calls a symbol that is no function",
    words: &["unsupported call to non-function"],
    what: "The target of a direct call has a symbol, but it is not of type STT_FUNC. The \
           analysis of the file ends here.",
    why: "Only functions are checked to keep the stack in order for their callers. What this \
          call comes back with is unknown.",
    example: "\
func:
        call    helper
        ret
helper:                         # no .type
        ret
        .size   helper, . - helper
",
    fix: "Make the target a function: SYM_FUNC_START_LOCAL and SYM_FUNC_END around it. If the \
          address is what is wanted, see unannotated-intra-function-call.",
};
