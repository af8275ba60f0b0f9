//! `unsupported stack register modification`.
//!
//! Arithmetic on the register that the frame is found by.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "stack-register-change",
    group: Group::Frame,
    title: "arithmetic on the register that the frame is found by",
    words: &["unsupported stack register modification"],
    what: "The CFA is known as a distance from a register, and an instruction adds to that \
           register, or makes it the sum of another one and a constant, in a way that is no step \
           of setting up or taking down a frame.",
    why: "The distance to the caller's frame can't be followed any further, so neither the rest \
          of the function nor a stack trace through it can be trusted.",
    example: "\
func:
        push    %rbp
        mov     %rsp, %rbp
        lea     8(%rax), %rbp   # the frame pointer leaves its frame
        pop     %rbp
        ret
",
    fix: "Leave the frame pointer alone between setting it up and restoring it; compute in \
          another register. Code that has to do this takes an unwind hint at the next \
          instruction.",
};
