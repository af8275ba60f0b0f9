//! `{}(): STT_FUNC at end of section`.
//!
//! A function's symbol stands behind the last instruction.

use super::{Explanation, Group};
use crate::read::SymbolId;
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "function-at-section-end",
    group: Group::Symbols,
    title: "a function's symbol stands behind the last instruction",
    words: &["{}(): STT_FUNC at end of section"],
    what: "A symbol of type STT_FUNC has the section's end for its address, so there is no code \
           that it could name. The analysis of the file ends here.",
    why: "Compilers make such symbols for functions of which nothing is left, because their \
          behaviour is undefined. A call runs into whatever the linker puts next.",
    example: "\
        .text
        nop
        .type   func, @function
func:                           # the section ends here
",
    fix: "Look for undefined behaviour that lets the compiler drop the whole body (an endless \
          loop without effect, __builtin_unreachable on every path). A label that is meant to \
          mark the end must not be a function.",
};

pub(super) fn text(names: &Names<'_>, function: &SymbolId) -> String {
    format!("{}(): STT_FUNC at end of section", names.symbol(*function))
}
