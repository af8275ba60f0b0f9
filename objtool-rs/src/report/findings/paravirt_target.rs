//! `no func for pv_ops[]`.
//!
//! Init text stores something into the table of paravirtual operations that is no function.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "paravirt-target",
    group: Group::Flow,
    title: "a paravirtual operation is set to nothing that has a name",
    words: &["no func for pv_ops[]"],
    what: "Init text stores a constant into pv_ops, and no symbol lies where the constant \
           points.",
    why: "Where a call through the table may go is then not known, so calls from text that \
           must not be instrumented can not be checked.",
    example: "\
        .section .init.text, \"ax\"
        movq    $.Lno_symbol, pv_ops+8(%rip)
.Lno_symbol:
        .section .data, \"aw\"
        .globl  pv_ops
pv_ops: .quad   0, 0
        .size   pv_ops, 16
",
    fix: "Give the function a symbol with a size (SYM_FUNC_START in assembly).",
};
