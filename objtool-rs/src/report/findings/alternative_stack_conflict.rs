//! `stack layout conflict in alternatives: {}`.
//!
//! An alternative changes the stack elsewhere than its original.

use super::{Explanation, Group};
use crate::report::{Names, Place};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "alternative-stack-conflict",
    group: Group::Patching,
    title: "an alternative changes the stack elsewhere than its original",
    words: &["stack layout conflict in alternatives: {}"],
    what: "At the same distance from the start, original and replacement (or two replacements) \
           leave the stack in different states. The finding stands at the original, the place in \
           its text is the one that differs.",
    why: "An unwinder can't know which of the streams was patched in; there is one state for \
          each address. It has to fit all of them.",
    example: "\
func:
        ALTERNATIVE \"nop; nop\", \"push %rax; pop %rax\", X86_FEATURE_XMM2
        ret                     # after one byte CFA = rsp+8 or rsp+16
",
    fix: "Move the stack changes to the same offsets with nops, or take the push and pop out of \
          the alternative. A replacement that calls must call something that keeps the stack as \
          it is.",
};

pub(super) fn text(names: &Names<'_>, at: &Place) -> String {
    format!(
        "stack layout conflict in alternatives: {}",
        names.place(*at)
    )
}
