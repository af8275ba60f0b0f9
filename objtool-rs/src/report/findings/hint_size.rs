//! `struct unwind_hint size mismatch`.
//!
//! The unwind hints do not consist of whole entries.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "hint-size",
    group: Group::Annotation,
    title: "the unwind hints do not consist of whole entries",
    words: &["struct unwind_hint size mismatch"],
    what: "The size of .discard.unwind_hints is no multiple of the size of a hint. The analysis \
           of the file ends here.",
    why: "The hints were made with another layout than the one they are read with, so each of \
          them would be read wrongly.",
    example: "\
func:
1:      ret
        .pushsection .discard.unwind_hints
        .long   1b - .          # the other fields are missing
        .popsection
",
    fix: "Use the UNWIND_HINT_* macros of the kernel that the object is for. If they did, this \
          version of objtool-rs does not know that kernel's layout: see the README for the \
          versions that are known.",
};
