//! `can't find last new alternative instruction`.
//!
//! A replacement has a length but holds no instruction.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "alternative-last-instruction",
    group: Group::Patching,
    title: "a replacement has a length but holds no instruction",
    words: &["can't find last new alternative instruction"],
    what: "An entry of .altinstructions gives its replacement a length, and no instruction lies \
           within it. The analysis of the file ends here.",
    why: "The replacement can't be followed.",
    example: "\
# No table does this once its replacement was found.
",
    fix: "Report it with the object: it is a mistake in objtool-rs, not in the code.",
};
