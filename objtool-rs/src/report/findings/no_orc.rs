//! `unknown unwind hint type {}`.
//!
//! ORC has no way to say where the frame is here.

use arch::object::Base;

use super::{Explanation, Group, Names};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "no-orc",
    group: Group::Frame,
    title: "the state of the stack can not be put into ORC",
    words: &[
        "unknown unwind hint type {}",
        "unknown CFA base reg {}",
        "unknown BP base reg {}",
    ],
    what: "The CFA, or the saved frame pointer, is relative to something that ORC has no number \
           for, or an unwind hint has an unknown type. The number is that of the register; \
           negative ones are -1 for unknown, -2 for the CFA, -3 and -4 for what the stack and \
           frame pointer point at.",
    why: "An unwinder could not get past this instruction, so no ORC data is written at all.",
    example: "\
func:
        lea     8(%rsp), %r11   # not a register for this
        and     $-16, %rsp
        nop
        lea     -8(%r11), %rsp
        ret
",
    fix: "In assembly, base the frame on %rsp, %rbp, %r10, %r13, %rdi or %rdx, or put an \
           unwind hint there. From a compiler it is a shape that is not supported.",
};

/// The words for a hint.
pub(super) fn hint(_: &Names<'_>, kind: &u8) -> String {
    format!("unknown unwind hint type {kind}")
}

/// The words for the CFA.
pub(super) fn cfa(_: &Names<'_>, base: &Base) -> String {
    format!("unknown CFA base reg {}", base.number())
}

/// The words for the frame pointer.
pub(super) fn frame_pointer(_: &Names<'_>, base: &Base) -> String {
    format!("unknown BP base reg {}", base.number())
}
