//! `static_call: trampoline name malformed: {}`.
//!
//! A static call goes to something that has no trampoline's name.

use super::{Explanation, Group};
use crate::read::SymbolId;
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "malformed-trampoline",
    group: Group::Output,
    title: "a static call goes to something that has no trampoline's name",
    words: &["static_call: trampoline name malformed: {}"],
    what: "The key of a static call is found by the name of its trampoline: `__SCT__name` \
           belongs to `__SCK__name`. This one has another form. Nothing is written.",
    why: "Without its key the call can't be listed, and would never be patched.",
    example: "\
# Only names that begin with __SCT__ count as trampolines.
",
    fix: "Report it with the object: it is a mistake in objtool-rs, not in the code.",
};

pub(super) fn text(names: &Names<'_>, trampoline: &SymbolId) -> String {
    format!(
        "static_call: trampoline name malformed: {}",
        names.symbol(*trampoline)
    )
}
