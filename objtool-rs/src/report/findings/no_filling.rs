//! `invalid {} size: {}`.
//!
//! An instruction should become a nop or a return, and is too long for it.

use super::{Explanation, Group, Names};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "no-filling",
    group: Group::Patching,
    title: "an instruction can not be replaced, because of its length",
    words: &["invalid {} size: {}"],
    what: "A jump label, an instrumentation call in text that must not be instrumented, or a \
           tracing call was to be replaced by nops or a return, and there is no sequence of its \
           length. Only direct jumps and calls of up to five bytes have one. The instruction \
           stays as it is.",
    why: "What was to be removed is still there and will run.",
    example: "\
        .section .noinstr.text, \"ax\"
func:
        .byte   0x3e            # a prefix, which makes it six bytes
        call    __sanitizer_cov_trace_pc
",
    fix: "Compilers emit these branches without prefixes; look for hand-written code, or for a \
           tool that pads branches.",
};

/// The words for a kind of filling and a length in bytes.
pub(super) fn text(_: &Names<'_>, what: &str, len: &u8) -> String {
    format!("invalid {what} size: {len}")
}
