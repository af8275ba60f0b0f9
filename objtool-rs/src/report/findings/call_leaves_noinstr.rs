//! `call to {}() leaves .noinstr.text section`.
//!
//! Code that runs before the kernel is ready for instrumentation calls code that may be instrumented.

use super::{Explanation, Group, Names};
use crate::read::SymbolId;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "call-leaves-noinstr",
    group: Group::Flow,
    title: "text that must not be instrumented calls text that may be",
    words: &["call to {}() leaves .noinstr.text section"],
    what: "On this path instrumentation is not allowed (noinstr text, outside of \
           instrumentation_begin() and instrumentation_end()), and the function that is called \
           lies in ordinary text. {dynamic} stands for an indirect call, of which nobody knows \
           where it goes.",
    why: "Tracers, kprobes and sanitizers put code into ordinary functions. In entry code it \
           may run before context tracking, RCU or the right page tables are there, and recurse \
           or crash.",
    example: "\
        .section .noinstr.text, \"ax\"
func:
        call    do_work         # which is ordinary text
        ret
",
    fix: "Mark the callee noinstr or __always_inline, or put the call between \
           instrumentation_begin() and instrumentation_end() where the kernel is ready \
           (Documentation/core-api/entry.rst).",
};

/// The words for who is called.
pub(super) fn text(names: &Names<'_>, callee: &Option<SymbolId>) -> String {
    format!(
        "call to {}() leaves .noinstr.text section",
        names.callee(*callee)
    )
}
