//! `bad {} entry`.
//!
//! An annotation is for a place where no instruction begins.

use super::{Explanation, Group};
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "bad-annotation",
    group: Group::Annotation,
    title: "an annotation is for a place where no instruction begins",
    words: &["bad {} entry"],
    what: "An entry of a .discard.* section leads into the middle of an instruction, into data, \
           or out of its section. The analysis of the file ends here.",
    why: "What was to be annotated is not.",
    example: "\
func:
1:      mov     $1, %eax
        ret
        .pushsection .discard.ignore_alts
        .long   1b + 1
        .popsection
",
    fix: "Put the annotation's macro right before the instruction that it is about.",
};

pub(super) fn text(_: &Names<'_>, annotation: &str) -> String {
    format!("bad {annotation} entry")
}
