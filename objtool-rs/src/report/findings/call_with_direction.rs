//! `call to {}() with DF set`.
//!
//! A function is called while string instructions run downwards.

use super::{Explanation, Group};
use crate::read::SymbolId;
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "call-with-direction",
    group: Group::UserAccess,
    title: "a function is called while string instructions run downwards",
    words: &["call to {}() with DF set"],
    what: "Between `std` and `cld` a function is called. `{dynamic}` stands for a call through a \
           pointer.",
    why: "The ABI has the direction flag clear at every call. A callee that uses `rep movs` \
          copies in the wrong direction, over memory in front of its buffer.",
    example: "\
func:
        std
        call    other
        cld
        ret
",
    fix: "Clear the flag before the call, or don't use it: no path of the kernel is faster with \
          it.",
};

pub(super) fn text(names: &Names<'_>, callee: &Option<SymbolId>) -> String {
    format!("call to {}() with DF set", names.callee(*callee))
}
