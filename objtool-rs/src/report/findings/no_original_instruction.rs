//! `special: can't find orig instruction`.
//!
//! A patched place is not the beginning of an instruction.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "no-original-instruction",
    group: Group::Patching,
    title: "a patched place is not the beginning of an instruction",
    words: &["special: can't find orig instruction"],
    what: "An entry of .altinstructions, __jump_table or __ex_table is for an address at which \
           no instruction begins. The analysis of the file ends here.",
    why: "Patching there would tear an instruction apart, and a fault at an instruction would \
          not find its handler.",
    example: "\
func:
1:      mov     (%rdi), %rax
2:      ret
        .pushsection __ex_table, \"a\"
        .long   1b + 1 - ., 2b - ., 0   # one byte off
        .popsection
",
    fix: "Let the entry name a label in front of the instruction; the macros (ALTERNATIVE, \
          _ASM_EXTABLE, static_branch_*) do.",
};
