//! `unannotated intra-function call`.
//!
//! A call goes to a place that is not the beginning of a function.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "unannotated-intra-function-call",
    group: Group::Flow,
    title: "a call goes to a place that is not the beginning of a function",
    words: &["unannotated intra-function call"],
    what: "A direct call leads to an address at which no symbol stands, mostly within the same \
           function. The analysis of the file ends here.",
    why: "Such a call is no call of a function: it pushes an address to be used in another way. \
          Taken for a call, the stack would be believed to be back in order behind it.",
    example: "\
func:
        call    1f              # pushes its own address
1:      pop     %rax
        ret
",
    fix: "Put ANNOTATE_INTRA_FUNCTION_CALL right before the call. If a function was meant, give \
          it a symbol: SYM_FUNC_START or SYM_FUNC_START_LOCAL.",
};
