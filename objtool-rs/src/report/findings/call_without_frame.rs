//! `call without frame pointer save/setup`.
//!
//! A function is called before the frame is set up.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "call-without-frame",
    group: Group::Frame,
    title: "a function is called before the frame is set up",
    words: &["call without frame pointer save/setup"],
    what: "A function calls another while the frame pointer is not saved on the stack and \
           pointing at where it is saved, with the return address above it. Only looked at with \
           --stackval.",
    why: "The unwinder goes from frame to frame by the frame pointer. In a call made without a \
          frame it still is the caller's, so the caller of this function is missing from every \
          stack trace taken below it: an oops misleads, and a live patch may be applied while \
          the missing function is running.",
    example: "\
func:
        call    other           # rbp is still the caller's
        ret
",
    fix: "Put FRAME_BEGIN before the call and FRAME_END before the return (asm/frame.h). If the \
          code is not callable from C, start it with SYM_CODE_START and describe its stack with \
          the UNWIND_HINT_* macros.\n\n\
          In C it is mostly an asm() statement that holds a call: give it ASM_CALL_CONSTRAINT as \
          an output operand, so that the compiler sets up the frame first. A Makefile that takes \
          -fno-omit-frame-pointer away has the same effect.",
};
