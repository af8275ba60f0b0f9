//! `unsupported relocation in alternatives section`.
//!
//! A replacement holds a relocation that can't be copied.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "alternative-reloc",
    group: Group::Patching,
    title: "a replacement holds a relocation that can't be copied",
    words: &["unsupported relocation in alternatives section"],
    what: "Replacements are copied over their originals when the kernel starts, so a relative \
           address in them changes its meaning unless the patching code adjusts it.",
    why: "An address that is not adjusted leads elsewhere once it is copied.",
    example: "\
# On x86_64 no relocation is refused: the kernel adjusts what it copies.
",
    fix: "Keep relative references out of the replacement, but for a call or jump as its first \
          instruction.",
};
