//! `can't find jump dest instruction at {}`.
//!
//! A jump goes to a place where no instruction begins.

use super::{Explanation, Group};
use crate::report::{Names, Place};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "no-jump-target",
    group: Group::Flow,
    title: "a jump goes to a place where no instruction begins",
    words: &["can't find jump dest instruction at {}"],
    what: "A direct jump leads into the middle of an instruction, into data, or out of the \
           section. The analysis of the file ends here.",
    why: "What runs after the jump is not what was decoded.",
    example: "\
func:
        jmp     1f + 1          # into the second byte
1:      mov     $1, %eax
        ret
",
    fix: "Jump to a label in front of an instruction. If it was an offset that was meant to be \
          patched or relocated, make it a relocation against a symbol.",
};

pub(super) fn text(names: &Names<'_>, target: &Place) -> String {
    format!(
        "can't find jump dest instruction at {}",
        names.offset(*target)
    )
}
