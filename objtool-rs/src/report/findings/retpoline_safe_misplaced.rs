//! `retpoline_safe hint not an indirect jump/call/ret/nop`.
//!
//! An exemption for a branch stands at an instruction that is none.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "retpoline-safe-misplaced",
    group: Group::Annotation,
    title: "an exemption for a branch stands at an instruction that is none",
    words: &["retpoline_safe hint not an indirect jump/call/ret/nop"],
    what: "The annotation exempts the next instruction from the rules for indirect branches and \
           returns. It is neither of them, nor a nop that may become one. The analysis of the \
           file ends here.",
    why: "The annotation has slipped: it may have been made for a branch that is now reported, \
          or that is gone.",
    example: "\
func:
        ANNOTATE_RETPOLINE_SAFE
        mov     (%rdi), %rax
        jmp     *%rax           # this one was meant
",
    fix: "Move the annotation right before the branch, or remove it.",
};
