//! `return with modified stack frame`.
//!
//! The stack or a saved register is not as it was when it returns.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "return-with-frame",
    group: Group::Frame,
    title: "the stack or a saved register is not as it was when it returns",
    words: &["return with modified stack frame"],
    what: "At a return, the stack pointer is not where it was at the function's first \
           instruction, or a callee-saved register has been saved and not restored.",
    why: "`ret` takes whatever the stack pointer points at for the return address. A push \
          without its pop makes it return into data; a callee-saved register that is not \
          restored corrupts the caller.",
    example: "\
func:
        push    %rbx
        test    %rdi, %rdi
        je      1f
        pop     %rbx
1:      ret                     # on the way by je, rbx is still on the stack
",
    fix: "Balance pushes, pops and adjustments of the stack pointer on every path to the return, \
          and restore registers from where they were saved. Where paths join, the stack must be \
          the same on all of them.\n\n\
          If the code is meant to leave in another way (a stack switch, a trampoline that \
          returns into something else), it is not a plain function: SYM_CODE_START and unwind \
          hints.",
};
