//! `unsupported instruction at jump label`.
//!
//! A jump label stands at an instruction that is no nop and no jump.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "jump-label-instruction",
    group: Group::Patching,
    title: "a jump label stands at an instruction that is no nop and no jump",
    words: &["unsupported instruction at jump label"],
    what: "An entry of __jump_table is for an instruction that can't be switched between a nop \
           and a jump. The analysis of the file ends here.",
    why: "When the static key changes, the instruction is overwritten, and with it what it did.",
    example: "\
func:
1:      mov     $1, %eax
2:      ret
        .pushsection __jump_table, \"aw\"
        .long   1b - ., 2b - .
        .quad   key - .
        .popsection
",
    fix: "Use static_branch_likely and static_branch_unlikely, or in assembly the macros of \
          asm/jump_label.h.",
};
