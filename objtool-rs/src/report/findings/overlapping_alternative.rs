//! `weirdly overlapping alternative! {} != {}`.
//!
//! Two alternatives overlap and cover different bytes.

use super::{Explanation, Group};
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "overlapping-alternative",
    group: Group::Patching,
    title: "two alternatives overlap and cover different bytes",
    words: &["weirdly overlapping alternative! {} != {}"],
    what: "Several entries of .altinstructions may replace the same instructions, if all of them \
           cover the same bytes. Here an entry begins inside another's original and is longer or \
           shorter. The analysis of the file ends here.",
    why: "Which bytes run depends on the order of patching, and no path through them can be \
          followed.",
    example: "\
func:
1:      nop
2:      nop
        ret
        .pushsection .altinstructions, \"a\"
        altinstr_entry 1b, 3f, X86_FEATURE_XMM2, 2, 1
        altinstr_entry 2b, 3f, X86_FEATURE_XMM2, 1, 1   # inside the first
        .popsection
        .pushsection .altinstr_replacement, \"ax\"
3:      nop
        .popsection
",
    fix: "Use ALTERNATIVE_2 or ALTERNATIVE_3 for several replacements of one place; they make \
          all entries as long as the longest.",
};

pub(super) fn text(_: &Names<'_>, covered: &i64, original_len: &u32) -> String {
    format!("weirdly overlapping alternative! {covered} != {original_len}")
}
