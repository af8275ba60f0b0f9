//! `'naked' return found in MITIGATION_RETHUNK build`.
//!
//! A return does not go through the return thunk.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "naked-return",
    group: Group::Speculation,
    title: "a return does not go through the return thunk",
    words: &["'naked' return found in MITIGATION_RETHUNK build"],
    what: "With --rethunk every return has to be a jump to the return thunk. Here is a `ret`, \
           without ANNOTATE_UNRET_SAFE, and not in init text.",
    why: "On processors that mispredict returns (Retbleed, SRSO) an attacker can steer where it \
          speculates to. The thunk is what the kernel patches to prevent that; a return that \
          bypasses it stays open.",
    example: "\
func:
        ret                     # RET would be a jump to __x86_return_thunk
",
    fix: "In assembly write RET, in inline assembly ASM_RET. C code of a file that lacks it is \
          compiled without -mfunction-return=thunk-extern: look what the Makefile removes from \
          the flags.",
};
