//! `CFI missing`.
//!
//! An instruction counts as reached and has no stack state.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "missing-state",
    group: Group::Frame,
    title: "an instruction counts as reached and has no stack state",
    words: &["CFI missing"],
    what: "The walk came to an instruction that it had marked as reached before, and found no \
           state there to compare with.",
    why: "The instruction was not compared, so a mismatch there would go unseen.",
    example: "\
# No code does this; the walk contradicts itself.
",
    fix: "Report it with the object: it is a mistake in objtool-rs, not in the code.",
};
