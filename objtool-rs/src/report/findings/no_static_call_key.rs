//! `static_call: can't find static_call_key symbol: {}`.
//!
//! A static call is made without its key in sight.

use super::{Explanation, Group};
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "no-static-call-key",
    group: Group::Output,
    title: "a static call is made without its key in sight",
    words: &["static_call: can't find static_call_key symbol: {}"],
    what: "A call to the trampoline `__SCT__name` is listed together with the key `__SCK__name`, \
           and the object doesn't refer to such a symbol. Only modules may do without. Nothing \
           is written.",
    why: "Without its key the call can't be listed, and would go to the function that was there \
          first for ever.",
    example: "\
func:
        jmp     __SCT__name     # and no __SCK__name
",
    fix: "Call by static_call(name)(…) with DECLARE_STATIC_CALL in view: it refers to the key. \
          If a symbol prefix or objcopy renames one of the two, let it rename both.",
};

pub(super) fn text(_: &Names<'_>, key: &str) -> String {
    format!("static_call: can't find static_call_key symbol: {key}")
}
