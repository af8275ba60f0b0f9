//! `can't find insn for unwind_hints[{}]`.
//!
//! An unwind hint is for a place where no instruction begins.

use super::{Explanation, Group};
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "no-hint-instruction",
    group: Group::Annotation,
    title: "an unwind hint is for a place where no instruction begins",
    words: &["can't find insn for unwind_hints[{}]"],
    what: "One entry of .discard.unwind_hints, counted from 0, leads into the middle of an \
           instruction, into data, or behind the last instruction. The analysis of the file ends \
           here.",
    why: "The place that the hint was made for is without.",
    example: "\
func:
        ret
        UNWIND_HINT_FUNC        # nothing follows in this section
",
    fix: "Put the hint right before an instruction.",
};

pub(super) fn text(_: &Names<'_>, index: &u64) -> String {
    format!("can't find insn for unwind_hints[{index}]")
}
