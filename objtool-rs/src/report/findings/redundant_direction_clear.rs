//! `redundant CLD`.
//!
//! The direction flag is cleared where it is clear.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "redundant-direction-clear",
    group: Group::UserAccess,
    title: "the direction flag is cleared where it is clear",
    words: &["redundant CLD"],
    what: "A path leads to `cld` in a function without having passed `std`.",
    why: "The ABI has the flag clear at every call already. Code that clears it expects \
          something else, or lacks the `std` that belongs to it.",
    example: "\
func:
        cld
        rep     movsb
        ret
",
    fix: "Remove it; only entry code, which is not a function, has to clear the flag.",
};
