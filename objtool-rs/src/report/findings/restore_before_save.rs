//! `objtool isn't smart enough to handle this CFI save/restore combo`.
//!
//! An unwind hint restores a state that is not saved yet.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "restore-before-save",
    group: Group::Frame,
    title: "an unwind hint restores a state that is not saved yet",
    words: &["objtool isn't smart enough to handle this CFI save/restore combo"],
    what: "The path comes to UNWIND_HINT_RESTORE, straight from the instruction before, and has \
           not passed the UNWIND_HINT_SAVE that belongs to it.",
    why: "The state to be restored is not known yet, so nothing behind the hint can be checked.",
    example: "\
func:
        jmp     1f              # past the save
        UNWIND_HINT_SAVE
        nop
1:      nop
        UNWIND_HINT_RESTORE
        ret
",
    fix: "Move the save to where every path to the restore passes it. Where that is impossible, \
          state the stack at the restore with UNWIND_HINT_FUNC or another explicit hint.",
};
