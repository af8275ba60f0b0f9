//! `another symbol lies over it`.
//!
//! Two functions claim the same bytes, and they are not one function with two names.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "overlapping-symbol",
    group: Group::Symbols,
    title: "another symbol lies over the function",
    words: &["another symbol lies over it"],
    what: "The function's first instruction belongs to another function, whose symbol covers the \
           same bytes but is not just a second name of it. Only `verify` says so.",
    why:
        "It was walked under the other one's name, so what it does on its own is not known, and a \
          stack trace could name the wrong one.",
    example: "\
#         .type   outer, @function
# outer:
#         nop
#         .type   inner, @function
# inner:
#         ret
#         .size   inner, . - inner
#         .size   outer, . - outer    # covers inner, too
",
    fix:
        "Let each function's size end where the next one starts. For a second entry into the same \
          code use SYM_INNER_LABEL, or an alias that covers exactly the same bytes.",
};
