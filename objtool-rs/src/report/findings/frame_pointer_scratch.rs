//! `BP used as a scratch register`.
//!
//! The frame pointer's register is used for something else.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "frame-pointer-scratch",
    group: Group::Frame,
    title: "the frame pointer's register is used for something else",
    words: &["BP used as a scratch register"],
    what: "The frame pointer is pushed, never set up as one, and restored at the end: in between \
           the register serves as an ordinary one. Only looked at with --stackval.",
    why: "An interrupt may come while the register holds data. The unwinder then takes that for \
          a frame and either stops or follows it into nowhere. It happens in hand-written crypto \
          code that runs out of registers.",
    example: "\
func:
        push    %rbp
        mov     (%rdi), %rbp    # data, not a frame
        add     %rbp, (%rsi)
        pop     %rbp
        ret
",
    fix: "Use another register. If none is free, set up a frame and keep values in it.",
};
