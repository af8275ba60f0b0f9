//! `can't find call dest at {}`.
//!
//! An annotated call goes to a place where no instruction begins.

use super::{Explanation, Group};
use crate::report::{Names, Place};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "no-intra-function-target",
    group: Group::Annotation,
    title: "an annotated call goes to a place where no instruction begins",
    words: &["can't find call dest at {}"],
    what: "A call with ANNOTATE_INTRA_FUNCTION_CALL leads into the middle of an instruction or \
           out of its section. The analysis of the file ends here.",
    why: "Where it goes on can't be followed.",
    example: "\
func:
        ANNOTATE_INTRA_FUNCTION_CALL
        call    1f + 1
1:      mov     $1, %eax
        ret
",
    fix: "Call a label in front of an instruction of the same function.",
};

pub(super) fn text(names: &Names<'_>, target: &Place) -> String {
    format!("can't find call dest at {}", names.offset(*target))
}
