//! `{}(): can't find starting instruction`.
//!
//! A function does not begin where an instruction begins.

use super::{Explanation, Group};
use crate::read::SymbolId;
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "no-starting-instruction",
    group: Group::Symbols,
    title: "a function does not begin where an instruction begins",
    words: &["{}(): can't find starting instruction"],
    what: "Decoded from the start of the section, no instruction begins at the symbol's address. \
           Mostly there is data before it that decodes to an instruction which runs into the \
           function.",
    why: "From such a place on, what was decoded is not what the processor will run. Nothing in \
          the file is checked.",
    example: "\
        .byte   0x48            # data, taken for the beginning of an instruction
        .type   func, @function
func:
        push    %rbp
",
    fix: "Move data out of the text section (.rodata, .data). Data that has to be there must \
          fill whole instructions, or be followed by padding that lets the decoder find its way \
          back.",
};

pub(super) fn text(names: &Names<'_>, function: &SymbolId) -> String {
    format!(
        "{}(): can't find starting instruction",
        names.symbol(*function)
    )
}
