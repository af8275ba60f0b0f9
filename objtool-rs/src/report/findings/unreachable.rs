//! `unreachable instruction`.
//!
//! No path leads to this instruction.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "unreachable",
    group: Group::Flow,
    title: "no path leads to this instruction",
    words: &["unreachable instruction"],
    what: "After every function, alternative, exception and switch was followed, this \
           instruction had not been reached. Only looked at when nothing else was found in the \
           file.",
    why: "Code that nobody reaches has not been checked. If it does run, control flow was \
          misunderstood: mostly the code is assembly that belongs to no function, or is reached \
          by a jump that can't be followed.",
    example: "\
func:
        jmp     2f
        xor     %eax, %eax      # no way leads here
2:      ret
",
    fix: "In assembly, begin the code that it belongs to with SYM_FUNC_START, or with \
          SYM_CODE_START and an unwind hint. In C, look for inline assembly that jumps or \
          returns on its own, and for undefined behaviour that the compiler turned into nothing. \
          Remove code that is really dead.",
};
