//! `unsupported stack pointer realignment`.
//!
//! The stack pointer is aligned and the caller's frame is lost.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "stack-realignment",
    group: Group::Frame,
    title: "the stack pointer is aligned and the caller's frame is lost",
    words: &["unsupported stack pointer realignment"],
    what: "`and` rounds the stack pointer (or another register of the frame) down while nothing \
           else leads to the caller's frame: no frame pointer, and no register that the CFA was \
           copied to before.",
    why: "By how much the mask moves the stack pointer is only known at run time. Without a \
          second register the way back to the caller's frame is lost.",
    example: "\
func:
        and     $-64, %rsp      # by how much?
        call    other
",
    fix: "Set up a frame pointer first and restore the stack pointer from it (`mov %rbp, %rsp` \
          or `leave`), or copy the CFA as GCC does: `lea 8(%rsp), %r10` before the mask.",
};
