//! `execution runs into bytes that are no instruction`.
//!
//! A path in a linked image comes to bytes that can't be decoded.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "not-code",
    group: Group::Flow,
    title: "execution runs into bytes that are no instruction",
    words: &["execution runs into bytes that are no instruction"],
    what: "A path through a function of a linked image leads to bytes that decode to no \
           instruction. Only `verify` says so; in an object such bytes are an error at once.",
    why: "Either data lies where code should be, or control flow was misunderstood, mostly because \
          a call on the way does not return and that could not be seen.",
    example: "\
# func:
#         call    never_returns
#         .quad   0x0606060606060606      # data behind it
",
    fix: "Keep data out of text. If the bytes lie behind a call that never returns, look at why that \
          is not visible in the function that is called: it has a path to a return.",
};
