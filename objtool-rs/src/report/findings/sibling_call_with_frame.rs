//! `sibling call from callable instruction with modified stack frame`.
//!
//! Another function is jumped to with the frame still in place.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "sibling-call-with-frame",
    group: Group::Frame,
    title: "another function is jumped to with the frame still in place",
    words: &["sibling call from callable instruction with modified stack frame"],
    what: "A jump leaves the function: to another function, to code in another file, or through \
           a register or memory without being a recognised switch. It counts as a sibling call, \
           and the stack is not as it was at entry.",
    why: "The target returns straight to this function's caller, so it must find the stack as \
          this function found it. Otherwise it returns into data, and no stack trace through it \
          is right.",
    example: "\
func:
        push    %rbx
        jmp     other           # other returns with rbx for a return address
",
    fix: "Take the frame down before the jump, or make it a call followed by a return. If the \
          target belongs to this function, give it a local label in the same file, so that the \
          jump can be followed.\n\n\
          An indirect jump of a switch whose table was not recognised looks the same: see \
          no-jump-table.",
};
