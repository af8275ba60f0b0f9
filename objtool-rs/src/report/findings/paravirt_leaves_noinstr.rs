//! `pv_ops[{}]: {}`.
//!
//! A call from text that must not be instrumented goes through a table to a function that may be.

use super::{Explanation, Group, Names};
use crate::read::SymbolId;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "paravirt-leaves-noinstr",
    group: Group::Flow,
    title: "a paravirtual operation may be instrumented",
    words: &["pv_ops[{}]: {}"],
    what: "Text that must not be instrumented calls a paravirtual operation, and one of the \
           functions that the operation may be set to lies in other text. The line names the \
           operation by its place in pv_ops and the function.",
    why: "A tracer or sanitizer in that function runs where the kernel is not ready for it.",
    example: "\
        .section .noinstr.text, \"ax\"
func:
        call    *pv_ops         # may go to a function in .text
        ret
        .section .text, \"ax\"
func_2:
        ret
        .section .data, \"aw\"
        .globl  pv_ops
pv_ops: .quad   func_2
        .size   pv_ops, 8
",
    fix: "Mark the function noinstr, or call it between instrumentation_begin() and \
           instrumentation_end().",
};

/// The words for an operation and what it may be set to.
pub(super) fn text(names: &Names<'_>, operation: &usize, target: &SymbolId) -> String {
    format!("pv_ops[{operation}]: {}", names.symbol(*target))
}
