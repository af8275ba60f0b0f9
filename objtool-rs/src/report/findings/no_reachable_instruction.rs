//! `can't find reachable insn at {}`.
//!
//! An annotation says that code behind nothing can be reached.

use super::{Explanation, Group};
use crate::report::{Names, Place};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "no-reachable-instruction",
    group: Group::Annotation,
    title: "an annotation says that code behind nothing can be reached",
    words: &["can't find reachable insn at {}"],
    what: "An entry of .discard.reachable takes the dead end back from the instruction before \
           the place that it names, and there is no instruction before it. The analysis of the \
           file ends here.",
    why: "The instruction that was meant is still taken for a dead end, and what follows would \
          go unchecked.",
    example: "\
func:
1:      ret
        .pushsection .discard.reachable
        .long   1b              # the first instruction of its section
        .popsection
",
    fix: "Put the annotation right behind the instruction (`ud2` of a WARN, mostly) behind which \
          execution goes on.",
};

pub(super) fn text(names: &Names<'_>, at: &Place) -> String {
    format!("can't find reachable insn at {}", names.offset(*at))
}
