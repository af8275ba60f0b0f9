//! `Failed UNRET validation`.
//!
//! Whether returns are made safe in time is not known, because the path ends in the unknown.

use super::{Explanation, Group, Names};
use crate::read::SymbolId;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "unret-unknown",
    group: Group::Speculation,
    title: "a path from kernel entry can not be followed",
    words: &[
        "Failed UNRET validation",
        "unresolved jump target after linking?!?",
        "Unresolved function after linking!?: {}",
        "teh end!",
    ],
    what: "A path from VALIDATE_UNRET_BEGIN leads to a jump or call whose target is not in the \
           file, or to the end of its section.",
    why: "What was not followed was not checked.",
    example: "\
        annotate .discard.validate_unret        # VALIDATE_UNRET_BEGIN
        nop
        jmp     elsewhere       # not in this object
",
    fix: "The check needs the whole linked object (vmlinux.o): run it with --link on that. In \
           assembly, make sure that the path ends with a jump, a return or a trap.",
};

/// The words for the annotated place.
pub(super) fn failed(_: &Names<'_>) -> String {
    EXPLANATION.words[0].to_owned()
}

/// The words for a jump.
pub(super) fn jump(_: &Names<'_>) -> String {
    EXPLANATION.words[1].to_owned()
}

/// The words for a call.
pub(super) fn function(names: &Names<'_>, callee: &SymbolId) -> String {
    format!(
        "Unresolved function after linking!?: {}",
        names.symbol(*callee)
    )
}

/// The words for the end of a section.
pub(super) fn end(_: &Names<'_>) -> String {
    EXPLANATION.words[3].to_owned()
}
