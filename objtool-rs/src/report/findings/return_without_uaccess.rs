//! `return with UACCESS disabled from a UACCESS-safe function`.
//!
//! A function that is called with user access open returns with it closed.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "return-without-uaccess",
    group: Group::UserAccess,
    title: "a function that is called with user access open returns with it closed",
    words: &["return with UACCESS disabled from a UACCESS-safe function"],
    what: "Functions in the list of those that may be called with user access open must give it \
           back open. On this path it is closed.",
    why: "The caller's next access to user memory faults.",
    example: "\
__asan_load8:                   # on the list
        clac
        ret
",
    fix: "Save and restore the flag around what must run without (user_access_save and \
          user_access_restore).",
};
