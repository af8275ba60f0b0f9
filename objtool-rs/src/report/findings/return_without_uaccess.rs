//! `return with UACCESS disabled from a UACCESS-safe function`.
//!
//! A function called with user access open returns with it closed.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "return-without-uaccess",
    group: Group::UserAccess,
    title: "a function called with user access open returns with it closed",
    words: &["return with UACCESS disabled from a UACCESS-safe function"],
    what: "Functions in the list of those that may be called with user access open must give it \
           back open. On this path it is closed.",
    why: "The caller's next access to user memory faults.",
    example: "\
__asan_load8_noabort:           # on the list
        ALTERNATIVE \"\", \"pushfq; clac\", X86_FEATURE_SMAP
        add     $8, %rsp        # the flag should have been restored
        ret
",
    fix: "Save and restore the flag around what must run without (user_access_save and \
          user_access_restore).",
};
