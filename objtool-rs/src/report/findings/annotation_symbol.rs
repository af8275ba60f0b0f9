//! - `unexpected relocation symbol type in {}`
//! - `unexpected relocation symbol type in .rela.discard.func_stack_frame_non_standard: {}`
//!
//! An annotation refers to its code by the wrong kind of symbol.

use super::{Explanation, Group};
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "annotation-symbol",
    group: Group::Annotation,
    title: "an annotation refers to its code by the wrong kind of symbol",
    words: &[
        "unexpected relocation symbol type in {}",
        "unexpected relocation symbol type in .rela.discard.func_stack_frame_non_standard: {}",
    ],
    what: "Each entry of a .discard.* section is a relocation to the code that it is about. It \
           must be made against the code's section, or, for some annotations, against a local \
           label or a function.",
    why: "An annotation that can't be read is an annotation lost: what it exempts is reported, \
          and what it states is not known. But for non-standard functions, the analysis of the \
          file ends here.",
    example: "\
        .globl  here
here:
        jmp     *%rax
        .pushsection .discard.retpoline_safe
        .long   here            # a global symbol
        .popsection
",
    fix: "Use the annotation's macro, which makes a local label of its own. Local labels become \
          relocations against their section when they begin with `.L` or are numbers.",
};

pub(super) fn by_symbol(_: &Names<'_>, annotation: &str) -> String {
    format!("unexpected relocation symbol type in .rela{annotation}")
}

/// For functions that are exempt, the symbol's type is printed, too.
pub(super) fn by_kind(_: &Names<'_>, kind: &u8) -> String {
    format!(
        "unexpected relocation symbol type in .rela.discard.func_stack_frame_non_standard: {kind}"
    )
}
