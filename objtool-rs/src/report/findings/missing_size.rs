//! `{}() is missing an ELF size annotation`.
//!
//! A function's symbol says nothing about where it ends.

use super::{Explanation, Group};
use crate::read::SymbolId;
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "missing-size",
    group: Group::Symbols,
    title: "a function's symbol says nothing about where it ends",
    words: &["{}() is missing an ELF size annotation"],
    what: "A symbol of type STT_FUNC has size 0. Its code is not checked.",
    why: "Without a size nobody knows which instructions belong to the function: not this check, \
          not a stack trace (it prints func+0x1a/0x40 from it), and not live patching.",
    example: "\
        .type   func, @function
func:
        ret                     # no .size
",
    fix: "Use SYM_FUNC_START and SYM_FUNC_END, or add `.size func, . - func`. If it is not \
          callable, SYM_CODE_START and SYM_CODE_END.",
};

pub(super) fn text(names: &Names<'_>, function: &SymbolId) -> String {
    format!(
        "{}() is missing an ELF size annotation",
        names.symbol(*function)
    )
}
