//! `unsupported unwind_hint sp base reg {}`.
//!
//! An unwind hint names a base register that does not exist.

use super::{Explanation, Group};
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "hint-register",
    group: Group::Annotation,
    title: "an unwind hint names a base register that does not exist",
    words: &["unsupported unwind_hint sp base reg {}"],
    what: "A hint says by which register the stack is found, in the encoding of ORC \
           (arch/x86/include/asm/orc_types.h). The number is none of them. The analysis of the \
           file ends here.",
    why: "The stack behind the hint is unknown.",
    example: "\
func:
        UNWIND_HINT type=2 sp_reg=14 sp_offset=8
        ret
",
    fix: "Use UNWIND_HINT_REGS with a base register that it supports, or one of the other \
          UNWIND_HINT_* macros.",
};

pub(super) fn text(_: &Names<'_>, sp_reg: &u8) -> String {
    format!("unsupported unwind_hint sp base reg {sp_reg}")
}
