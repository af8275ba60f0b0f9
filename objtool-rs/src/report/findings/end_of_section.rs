//! `{}: unexpected end of section`.
//!
//! Execution runs over the end of a section.

use super::{Explanation, Group};
use crate::read::SectionId;
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "end-of-section",
    group: Group::Flow,
    title: "execution runs over the end of a section",
    words: &["{}: unexpected end of section"],
    what: "The last instruction of a section neither returns nor jumps, nor is it a call that is \
           known not to return.",
    why: "What comes behind it in the kernel is for the linker to say. See falls-through: the \
          reason mostly is the same.",
    example: "\
func:
        push    %rbp
        mov     %rsp, %rbp
        call    does_not_return # which nobody knows
",
    fix: "Declare the function that is called last as __noreturn and, if another file defines \
          it, add it to the list of functions that do not return (tools/objtool/noreturns.h; for \
          objtool-rs model/noreturn_list.rs). Or end the code with a return or `ud2`.",
};

pub(super) fn text(names: &Names<'_>, section: &SectionId) -> String {
    format!("{}: unexpected end of section", names.section(*section))
}
