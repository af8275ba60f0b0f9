//! `redundant UACCESS disable`.
//!
//! Access to user memory is closed where it is closed.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "redundant-uaccess-disable",
    group: Group::UserAccess,
    title: "access to user memory is closed where it is closed",
    words: &["redundant UACCESS disable"],
    what: "A path leads to `clac` without having passed `stac`.",
    why: "Harmless on its own, but the code is not what its author thought: on another path \
          access may be open where it should not be.",
    example: "\
func:
        clac
        ret
",
    fix: "Open and close on the same paths. Look for an error path that jumps to the common exit \
          past user_access_begin.",
};
