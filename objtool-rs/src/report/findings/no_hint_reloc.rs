//! `can't find reloc for unwind_hints[{}]`.
//!
//! An unwind hint does not say which instruction it is for.

use super::{Explanation, Group};
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "no-hint-reloc",
    group: Group::Annotation,
    title: "an unwind hint does not say which instruction it is for",
    words: &["can't find reloc for unwind_hints[{}]"],
    what: "One entry of .discard.unwind_hints, counted from 0, has no relocation at the field \
           for its instruction. The analysis of the file ends here.",
    why: "The hint is for an unknown place, and the one that it was made for is without.",
    example: "\
func:
        UNWIND_HINT_FUNC
        ret
        .pushsection .discard.unwind_hints
        .long   0               # a number, not a label
        .short  8
        .byte   5, 2, 0
        .balign 4
        .popsection
",
    fix: "Use the UNWIND_HINT_* macros.",
};

pub(super) fn text(_: &Names<'_>, index: &u64) -> String {
    format!("can't find reloc for unwind_hints[{index}]")
}
