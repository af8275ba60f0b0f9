//! `return with instrumentation enabled`.
//!
//! instrumentation_begin() without instrumentation_end().

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "return-with-instrumentation",
    group: Group::Flow,
    title: "a function returns with instrumentation still allowed",
    words: &["return with instrumentation enabled"],
    what: "In text that must not be instrumented, a path allows instrumentation and comes to \
           the return without ending it.",
    why: "The caller, which must not be instrumented either, would count as allowed to call \
           anything.",
    example: "\
        .section .noinstr.text, \"ax\"
func:
        annotate .discard.instr_begin   # instrumentation_begin()
        nop
        ret                             # without its end
func_2:
        annotate .discard.instr_end     # instrumentation_end()
        ud2
",
    fix: "End on every path what was begun.",
};
