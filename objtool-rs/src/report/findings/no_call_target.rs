//! `can't find call dest symbol at {}`.
//!
//! A call goes to a place that has no symbol.

use super::{Explanation, Group};
use crate::report::{Names, Place};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "no-call-target",
    group: Group::Flow,
    title: "a call goes to a place that has no symbol",
    words: &["can't find call dest symbol at {}"],
    what: "A call is relocated against a section and a distance, and no symbol stands there. The \
           analysis of the file ends here.",
    why: "Without a symbol nothing is known about what is called: whether it keeps its frame, \
          whether it returns.",
    example: "\
        .section .text.other, \"ax\"
        mov     $1, %eax
        ret
        .text
func:
        call    .text.other + 5 # no symbol there
        ret
",
    fix: "Call a function by its symbol. If a tool stripped local symbols before, run it after.",
};

pub(super) fn text(names: &Names<'_>, target: &Place) -> String {
    format!("can't find call dest symbol at {}", names.offset(*target))
}
