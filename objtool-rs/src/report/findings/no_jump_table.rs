//! `can't find switch jump table`.
//!
//! An indirect jump looks like a switch, and its table is empty.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "no-jump-table",
    group: Group::Flow,
    title: "an indirect jump looks like a switch, and its table is empty",
    words: &["can't find switch jump table"],
    what: "A table was found for an indirect jump, but no entry of it leads into the function. \
           The analysis of the file ends here.",
    why: "The cases of the switch can't be followed, so they would go unchecked.",
    example: "\
func:
        jmp     *.Ltable(, %rdi, 8)
        .section .rodata, \"a\"
        .quad   0
.Ltable:
        .quad   func            # the function itself: a pointer, not a case
",
    fix: "In assembly, let the table hold addresses of labels within the function, in a section \
          named .rodata…. In C, report it with the compiler's version: -fno-jump-tables for the \
          file gets the build going.",
};
