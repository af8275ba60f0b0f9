//! `undefined stack state`.
//!
//! A stack operation follows after the stack pointer was lost.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "undefined-stack",
    group: Group::Frame,
    title: "a stack operation follows after the stack pointer was lost",
    words: &["undefined stack state"],
    what: "The stack pointer, or the frame pointer that stood in for it, was loaded with a value \
           that nothing is known about, and then an instruction of the same function uses the \
           stack.",
    why: "From here on nobody can say where the return address is: not this check, and not an \
          unwinder.",
    example: "\
func:
        mov     %rdi, %rsp      # a stack from somewhere
        push    %rax
        ret
",
    fix: "Put an unwind hint behind the switch that says what the new stack looks like, or use \
          the pattern that is understood: store the old stack pointer at the top of the new \
          stack, switch, and pop it back (see call_on_stack in \
          arch/x86/include/asm/irq_stack.h).",
};
