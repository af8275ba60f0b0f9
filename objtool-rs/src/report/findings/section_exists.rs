//! `file already has {}, skipping`.
//!
//! The file has the section already that would be written.

use super::{Explanation, Group};
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "section-exists",
    group: Group::Output,
    title: "the file has the section already that would be written",
    words: &["file already has {}, skipping"],
    what: "objtool-rs was to make a section (.static_call_sites, .retpoline_sites, \
           .return_sites, .call_sites), and the input has one.",
    why: "The section stays as it is. If the object changed in between, it lists the wrong \
          places, and they are what the kernel patches.",
    example: "\
func:
        jmp     __x86_indirect_thunk_rax
        .section .retpoline_sites, \"a\"
        .long   0
",
    fix: "Run objtool-rs once on each object as the compiler made it: rebuild it. In sources, \
          don't make these sections by hand.",
};

pub(super) fn text(_: &Names<'_>, section: &str, suffix: &str) -> String {
    format!("file already has {section}{suffix}, skipping")
}
