//! `missing .rela.discard.unwind_hints section`.
//!
//! The unwind hints do not say which instructions they are for.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "missing-hint-relocs",
    group: Group::Annotation,
    title: "the unwind hints do not say which instructions they are for",
    words: &["missing .rela.discard.unwind_hints section"],
    what: "The file has a section .discard.unwind_hints and no relocations for it. The analysis \
           of the file ends here.",
    why: "A hint's instruction is given by a relocation. Without, no hint can be used, and the \
          code that needs them can't be checked.",
    example: "\
func:
        ret
        .pushsection .discard.unwind_hints
        .long   0               # a number, not a label
        .short  8
        .byte   5, 2, 0
        .balign 4
        .popsection
",
    fix: "Use the UNWIND_HINT_* macros. If a tool (strip, objcopy) ran over the object, let it \
          keep relocations.",
};
