//! `relocation to !ENDBR: {}`.
//!
//! The address of code without a landing pad is taken.

use super::{Explanation, Group, Names};
use crate::report::Place;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "reference-without-landing-pad",
    group: Group::Speculation,
    title: "something may be branched to indirectly and has no landing pad",
    words: &["relocation to !ENDBR: {}", "data relocation to !ENDBR: {}"],
    what: "The address of this code is loaded or stored, so it may be branched to indirectly, \
           but it does not start with ENDBR.",
    why: "With indirect branch tracking the processor faults on such a branch.",
    example: "\
        .section .data, \"aw\"
        .quad   func
        .section .text, \"ax\"
func:                           # no ENDBR
        ret
",
    fix: "In assembly use SYM_FUNC_START or SYM_TYPED_FUNC_START, or write ENDBR. If it is \
           never branched to indirectly, say so with ANNOTATE_NOENDBR.",
};

/// The words for a reference from code.
pub(super) fn code(names: &Names<'_>, to: &Place) -> String {
    format!("relocation to !ENDBR: {}", names.place(*to))
}

/// The words for a reference from data.
pub(super) fn data(names: &Names<'_>, to: &Place) -> String {
    format!("data relocation to !ENDBR: {}", names.place(*to))
}
