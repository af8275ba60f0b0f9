//! - `indirect jump found in MITIGATION_RETPOLINE build`
//! - `indirect call found in MITIGATION_RETPOLINE build`
//!
//! An indirect branch does not go through a retpoline thunk.

use super::{Explanation, Group};
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "indirect-branch",
    group: Group::Speculation,
    title: "an indirect branch does not go through a retpoline thunk",
    words: &[
        "indirect jump found in MITIGATION_RETPOLINE build",
        "indirect call found in MITIGATION_RETPOLINE build",
    ],
    what: "With --retpoline every indirect jump and call has to go through a retpoline thunk. \
           Here is one through a register or memory, without ANNOTATE_RETPOLINE_SAFE, and not in \
           init text.",
    why: "An attacker who trains the branch predictor decides where the processor speculates to \
          (Spectre v2). The thunk is what the kernel patches to prevent that.",
    example: "\
func:
        jmp     *%rax           # JMP_NOSPEC rax would go through the thunk
",
    fix: "In assembly use JMP_NOSPEC and CALL_NOSPEC. C code of a file that lacks them is \
          compiled without -mindirect-branch=thunk-extern: look what the Makefile removes from \
          the flags.\n\n\
          A branch that is never reached after boot, or whose target is fixed by patching, may \
          be exempt: ANNOTATE_RETPOLINE_SAFE right before it, with the reason in a comment.",
};

pub(super) fn jump(_: &Names<'_>) -> String {
    EXPLANATION.words[0].to_owned()
}

pub(super) fn call(_: &Names<'_>) -> String {
    EXPLANATION.words[1].to_owned()
}
