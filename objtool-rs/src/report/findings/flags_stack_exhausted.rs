//! `PUSHF stack exhausted`.
//!
//! Too many pushes of the flags without a pop.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "flags-stack-exhausted",
    group: Group::UserAccess,
    title: "too many pushes of the flags without a pop",
    words: &["PUSHF stack exhausted"],
    what: "Within an alternative, pushes and pops of the flags save and restore whether user \
           access is open. More than 31 of them are nested.",
    why: "What user access is restored to can't be followed any further.",
    example: "\
func:
        ALTERNATIVE \"\", \".rept 32; pushfq; .endr\", X86_FEATURE_XMM2
        ret
",
    fix: "Pop what was pushed. Code that really nests so deep has to be rewritten.",
};
