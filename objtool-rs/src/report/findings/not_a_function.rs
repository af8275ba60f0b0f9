//! `code that is no function lies over it`.
//!
//! A function's symbol covers code of a symbol without a type.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "not-a-function",
    group: Group::Symbols,
    title: "code that is no function lies over the function",
    words: &["code that is no function lies over it"],
    what: "A function's first instruction belongs to a symbol that is no function, so no path was \
           walked from it as from a function's start. Only `verify` says so.",
    why: "Assembly without a function type follows rules of its own, and none of them is a frame. \
          What was not walked is not trusted.",
    example: "\
#         .type   func, @function
# func:
# code:                           # the same bytes, no type
#         ret
#         .size   func, 1
#         .size   code, 1
",
    fix: "Give each piece of assembly one symbol with a size: SYM_FUNC_START for functions, \
          SYM_CODE_START for what is none.",
};
