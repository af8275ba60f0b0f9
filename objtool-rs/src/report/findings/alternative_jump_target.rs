//! `can't find alternative jump destination`.
//!
//! A replacement jumps behind its original, where there is nothing.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "alternative-jump-target",
    group: Group::Patching,
    title: "a replacement jumps behind its original, where there is nothing",
    words: &["can't find alternative jump destination"],
    what: "A jump to the end of a replacement means: go on behind the original. But the original \
           is the last instruction of its section. The analysis of the file ends here.",
    why: "Execution would go on with whatever the linker puts there.",
    example: "\
func:
        ALTERNATIVE \"ret\", \"jmp 1f; nop; 1:\", X86_FEATURE_XMM2
                                # nothing more in this section
",
    fix: "End the code behind the alternative with a return or a jump, or replace the jump by \
          what is meant.",
};
