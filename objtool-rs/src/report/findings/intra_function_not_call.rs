//! `intra_function_call not a direct call`.
//!
//! An annotation for a call within the function is not at a call.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "intra-function-not-call",
    group: Group::Annotation,
    title: "an annotation for a call within the function is not at a call",
    words: &["intra_function_call not a direct call"],
    what: "The annotation declares the next instruction to be a call that stays in its function. \
           It is none. The analysis of the file ends here.",
    why: "The annotation has slipped: the call that it was made for is without one.",
    example: "\
func:
        ANNOTATE_INTRA_FUNCTION_CALL
        xor     %eax, %eax      # the call comes only behind this
        call    1f
1:      pop     %rax
        ret
",
    fix: "Move the annotation right before the call.",
};
