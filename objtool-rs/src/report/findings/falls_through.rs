//! `{}() falls through to next function {}()`.
//!
//! Execution runs over the end of a function into the next one.

use super::{Explanation, Group};
use crate::read::SymbolId;
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "falls-through",
    group: Group::Flow,
    title: "execution runs over the end of a function into the next one",
    words: &["{}() falls through to next function {}()"],
    what: "A path goes past the last instruction of a function and into another one: it ends \
           with neither a return nor a jump, nor with a call that is known not to return.",
    why: "If it can happen, the next function runs without having been called. More often the \
          call at the end does not return and nobody has said so; then the code behind all calls \
          to it is checked wrongly.",
    example: "\
func:
        push    %rbp
        mov     %rsp, %rbp
        call    does_not_return # which nobody knows
func_next:
        ret
",
    fix: "If the last call does not return: declare the function __noreturn and, if another file \
          defines it, add it to the list of functions that do not return \
          (tools/objtool/noreturns.h; for objtool-rs model/noreturn_list.rs). Otherwise end the \
          function with a return or `ud2`.\n\n\
          In C, look for unreachable() in code that is reachable, and for undefined behaviour \
          that the compiler turned into nothing.",
};

pub(super) fn text(names: &Names<'_>, from: &SymbolId, to: &SymbolId) -> String {
    let (from, to) = (names.symbol(*from), names.symbol(*to));
    format!("{from}() falls through to next function {to}()")
}
