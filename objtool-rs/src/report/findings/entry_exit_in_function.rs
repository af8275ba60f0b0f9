//! `unsupported instruction in callable function`.
//!
//! A callable function holds an instruction that leaves the kernel.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "entry-exit-in-function",
    group: Group::Flow,
    title: "a callable function holds an instruction that leaves the kernel",
    words: &["unsupported instruction in callable function"],
    what: "System call entry and exit, far jumps and returns, and returns from interrupt leave \
           the current context altogether. One of them stands in a symbol of type STT_FUNC, and \
           no unwind hint follows.",
    why: "A function must return to its caller. What comes behind such an instruction runs, if \
          at all, with another stack.",
    example: "\
func:
        swapgs
        sysretq
",
    fix: "Entry code is not callable: SYM_CODE_START and SYM_CODE_END, with UNWIND_HINT_* where \
          its stack is known. If the instruction comes back (a far return that reloads the code \
          segment), put UNWIND_HINT_FUNC behind it.",
};
