//! `return with DF set`.
//!
//! The function returns while string instructions run downwards.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "return-with-direction",
    group: Group::UserAccess,
    title: "the function returns while string instructions run downwards",
    words: &["return with DF set"],
    what: "A path leads to the return through `std` and not through `cld`.",
    why: "The ABI has the direction flag clear at every return. The caller's next `rep movs` \
          copies in the wrong direction.",
    example: "\
func:
        std
        rep     movsb
        ret                     # no cld
",
    fix: "Clear the flag on every path to the return.",
};
