//! `return with UACCESS enabled`.
//!
//! The function returns with access to user memory open.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "return-with-uaccess",
    group: Group::UserAccess,
    title: "the function returns with access to user memory open",
    words: &["return with UACCESS enabled"],
    what: "A path leads to the return through `stac` and not through `clac`.",
    why: "The caller, and everything that it calls, runs with the protection against stray user \
          accesses (SMAP) switched off.",
    example: "\
func:
        stac
        mov     (%rdi), %eax
        ret                     # no clac
",
    fix: "Close access on every path, the path from a faulting access (unsafe_get_user's label) \
          included.",
};
