//! `no corresponding CFI save for CFI restore`.
//!
//! An unwind hint restores a stack state that no hint saved.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "restore-without-save",
    group: Group::Frame,
    title: "an unwind hint restores a stack state that no hint saved",
    words: &["no corresponding CFI save for CFI restore"],
    what: "UNWIND_HINT_RESTORE takes the stack state of the last UNWIND_HINT_SAVE before it in \
           the same function, and there is none.",
    why: "The state behind the hint is unknown.",
    example: "\
func:
        nop
        UNWIND_HINT_RESTORE     # of what?
        ret
",
    fix: "Put UNWIND_HINT_SAVE before it, in the same function and at a lower address, where the \
          stack is as it will be again at the restore.",
};
