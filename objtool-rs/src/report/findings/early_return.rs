//! `RET before UNTRAIN`.
//!
//! A path from kernel entry comes to a return, or an indirect branch, before predictions from user space are gone.

use super::{Explanation, Group, Names};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "early-return",
    group: Group::Speculation,
    title: "entry code returns before returns are safe",
    words: &["RET before UNTRAIN", "early indirect call"],
    what: "From a place that is annotated with VALIDATE_UNRET_BEGIN a path comes to a return, \
           or to an indirect branch, before VALIDATE_UNRET_END.",
    why: "User space can train the predictor so that the first return in the kernel runs ahead \
           to where it wants (retbleed, SRSO).",
    example: "\
        annotate .discard.validate_unret        # VALIDATE_UNRET_BEGIN
        nop
        ret                     # returns are not safe yet
",
    fix: "Put UNTRAIN_RET (or UNTRAIN_RET_VM) before the first call that returns.",
};

/// The words for a return.
pub(super) fn ret(_: &Names<'_>) -> String {
    EXPLANATION.words[0].to_owned()
}

/// The words for an indirect branch.
pub(super) fn indirect(_: &Names<'_>) -> String {
    EXPLANATION.words[1].to_owned()
}
