//! `call to {}() with UACCESS enabled`.
//!
//! A function is called while access to user memory is open.

use super::{Explanation, Group};
use crate::read::SymbolId;
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "call-with-uaccess",
    group: Group::UserAccess,
    title: "a function is called while access to user memory is open",
    words: &["call to {}() with UACCESS enabled"],
    what: "Between `stac` and `clac` (user_access_begin and user_access_end in C) a function is \
           called that is not one of the few that may be. `{dynamic}` stands for a call through \
           a pointer.",
    why: "The callee runs with the protection against stray user accesses (SMAP) switched off. \
          If it schedules, the flag is lost, or leaks into another task.",
    example: "\
func:
        stac
        call    other           # other may do anything
        clac
        ret
",
    fix: "Compute what is needed before user_access_begin. For a call that the compiler made of \
          something that looks harmless (memcpy, a sanitizer's report, an inline function that \
          was not inlined): __always_inline, or move the expression out.\n\n\
          A function that must be called there has to preserve the flag, not sleep, and be \
          notrace; then it belongs on the list of such functions (uaccess_safe_builtin in \
          tools/objtool/check.c; for objtool-rs model/uaccess_safe.rs).",
};

pub(super) fn text(names: &Names<'_>, callee: &Option<SymbolId>) -> String {
    format!("call to {}() with UACCESS enabled", names.callee(*callee))
}
