//! `BUG: why am I validating an ignored function?`.
//!
//! A checked function leads into code that is exempt from checking.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "ignored-function-reached",
    group: Group::Flow,
    title: "a checked function leads into code that is exempt from checking",
    words: &["BUG: why am I validating an ignored function?"],
    what: "A path comes from a checked function to an instruction that STACK_FRAME_NON_STANDARD \
           exempts. It happens when only the cold part of a function is exempt, or only the \
           other part.",
    why: "The exempt code may leave the stack in any state, so the result for the function that \
          leads into it means nothing.",
    example: "\
func:
        test    %rdi, %rdi
        jne     func.cold       # checked, and leads into what is exempt
        ret
func.cold:
        ud2
STACK_FRAME_NON_STANDARD func.cold
",
    fix: "Name the function itself in STACK_FRAME_NON_STANDARD; its cold part follows. Better: \
          let it keep the rules.",
};
