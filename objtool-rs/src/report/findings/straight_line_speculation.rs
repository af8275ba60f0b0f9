//! `missing int3 after ret`.
//!
//! A return or an indirect jump is not followed by a trap.

use super::{Explanation, Group, Names};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "straight-line-speculation",
    group: Group::Speculation,
    title: "nothing stops speculation past an unconditional branch",
    words: &["missing int3 after ret", "missing int3 after indirect jump"],
    what: "The build asks for straight-line speculation to be stopped, and the instruction \
           behind this return or indirect jump is no int3.",
    why: "Some processors run ahead past an unconditional branch as if it were not there, and \
           leave traces of what the code behind it does.",
    example: "\
func:
        ret
next:
        mov     (%rdi), %rax    # may run ahead of the return
",
    fix: "Use RET in assembly, which brings its trap; in C the compiler does it \
           (-mharden-sls=all). A branch that needs none is annotated with ANNOTATE_UNRET_SAFE \
           or ANNOTATE_RETPOLINE_SAFE.",
};

/// The words for a return.
pub(super) fn ret(_: &Names<'_>) -> String {
    EXPLANATION.words[0].to_owned()
}

/// The words for an indirect jump.
pub(super) fn jump(_: &Names<'_>) -> String {
    EXPLANATION.words[1].to_owned()
}
