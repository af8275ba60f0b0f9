//! `{}() is missing a __noreturn annotation`.
//!
//! Code stands behind a call to a function that does not return.

use super::{Explanation, Group};
use crate::read::SymbolId;
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "missing-noreturn",
    group: Group::Flow,
    title: "code stands behind a call to a function that does not return",
    words: &["{}() is missing a __noreturn annotation"],
    what: "The callee never returns: its body in this file shows it, or it is on the list of \
           functions that do not. Yet code stands behind the call, and no other path leads \
           there. Only looked at when nothing else was found in the file.",
    why: "The compiler did not know it. It made code that never runs, and it believes things \
          about the caller's paths that are not so. Where the callee is in another file and on \
          no list, the opposite happens: what follows the call is checked although it never \
          runs.",
    example: "\
func:
        push    %rbp
        mov     %rsp, %rbp
        call    func_spins
        pop     %rbp            # never reached
        ret
func_spins:
        jmp     func_spins
",
    fix: "Declare the callee __noreturn where its callers see it. If other files call it, add it \
          to the list of functions that do not return (tools/objtool/noreturns.h; for objtool-rs \
          model/noreturn_list.rs).",
};

pub(super) fn text(names: &Names<'_>, callee: &SymbolId) -> String {
    format!(
        "{}() is missing a __noreturn annotation",
        names.symbol(*callee)
    )
}
