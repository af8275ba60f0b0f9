//! `recursive UACCESS enable`.
//!
//! Access to user memory is opened where it is open.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "recursive-uaccess",
    group: Group::UserAccess,
    title: "access to user memory is opened where it is open",
    words: &["recursive UACCESS enable"],
    what: "A path leads from one `stac` to another without a `clac` between them.",
    why: "The first close ends both: what follows, and still means to have access, faults. \
          Mostly one of two nested helpers opens on its own.",
    example: "\
func:
        stac
        stac
        clac
        ret
",
    fix: "Between user_access_begin and user_access_end use the unsafe_* accessors, which don't \
          open access themselves. Check the error paths for a missing user_access_end.",
};
