//! `{} size not a multiple of {}`.
//!
//! A patch table does not consist of whole entries.

use super::{Explanation, Group};
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "table-size",
    group: Group::Patching,
    title: "a patch table does not consist of whole entries",
    words: &["{} size not a multiple of {}"],
    what: "The size of .altinstructions, __jump_table or __ex_table is no multiple of the size \
           of an entry. The analysis of the file ends here.",
    why: "Every entry behind the broken one is read wrongly.",
    example: "\
func:
1:      mov     (%rdi), %rax
2:      ret
        .pushsection __ex_table, \"a\"
        .long   1b - ., 2b - .  # the third field is missing
        .popsection
",
    fix: "Make entries with the macros of the kernel that the object is for. If they did, the \
          layout differs between the kernel and this version of objtool-rs: see the README for \
          the versions that are known.",
};

pub(super) fn text(_: &Names<'_>, table: &str, entry: &u64) -> String {
    format!("{table} size not a multiple of {entry}")
}
