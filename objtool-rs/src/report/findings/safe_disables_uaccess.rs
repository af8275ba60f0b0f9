//! `UACCESS-safe disables UACCESS`.
//!
//! A function that is called with user access open closes it.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "safe-disables-uaccess",
    group: Group::UserAccess,
    title: "a function that is called with user access open closes it",
    words: &["UACCESS-safe disables UACCESS"],
    what: "A function in the list of those that may be called with user access open executes \
           `clac` without having saved the flag first.",
    why: "Its caller goes on as if access were open.",
    example: "\
__asan_load8_noabort:           # on the list
        clac
        stac
        ret
",
    fix: "Use user_access_save and user_access_restore, which keep the flag, or take the \
          function off the list if it should not be there.",
};
