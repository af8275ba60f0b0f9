//! `recursive STD`.
//!
//! The direction flag is set where it is set.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "recursive-direction-set",
    group: Group::UserAccess,
    title: "the direction flag is set where it is set",
    words: &["recursive STD"],
    what: "A path leads from one `std` to another without a `cld` between them.",
    why: "The first clear ends both: what follows, and still means to run downwards, runs \
          upwards.",
    example: "\
func:
        std
        std
        cld
        ret
",
    fix: "Set and clear the flag once, on the same paths.",
};
