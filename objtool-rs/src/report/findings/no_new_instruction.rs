//! `special: can't find new instruction`.
//!
//! A replacement or handler is not the beginning of an instruction.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "no-new-instruction",
    group: Group::Patching,
    title: "a replacement or handler is not the beginning of an instruction",
    words: &["special: can't find new instruction"],
    what: "An entry of .altinstructions, __jump_table or __ex_table leads to an address at which \
           no instruction begins. The analysis of the file ends here.",
    why: "Where execution goes on there, it runs something other than what was written.",
    example: "\
func:
1:      mov     (%rdi), %rax
2:      ret
        .pushsection __ex_table, \"a\"
        .long   1b - ., 2b + 1 - ., 0   # behind the last instruction
        .popsection
",
    fix: "Let the entry name a label in front of an instruction in a text section.",
};
