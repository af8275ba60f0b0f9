//! `{}(): can't find parent function`.
//!
//! A cold part has no function that it could be a part of.

use super::{Explanation, Group};
use crate::read::SymbolId;
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "no-parent-function",
    group: Group::Symbols,
    title: "a cold part has no function that it could be a part of",
    words: &["{}(): can't find parent function"],
    what: "Compilers move unlikely code of `func` to `func.cold`, and the two are joined by \
           name. Here there is a function named `….cold` without its other half. The file is not \
           checked.",
    why: "A cold part continues with the frame that the other part set up. Alone, its stack \
          can't be known.",
    example: "\
        .type   func.cold, @function
func.cold:
        ud2                     # and no func anywhere
        .size   func.cold, . - func.cold
",
    fix: "Don't end names of your own with `.cold`. If a tool renamed or dropped the symbol of \
          the other part (objcopy, a prefix for symbols), let it treat both alike.",
};

pub(super) fn text(names: &Names<'_>, function: &SymbolId) -> String {
    format!("{}(): can't find parent function", names.symbol(*function))
}
