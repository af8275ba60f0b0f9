//! `empty alternative entry`.
//!
//! An alternative replaces nothing.

use super::{Explanation, Group};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "empty-alternative",
    group: Group::Patching,
    title: "an alternative replaces nothing",
    words: &["empty alternative entry"],
    what: "An entry of .altinstructions says that the original is 0 bytes long.",
    why: "Nothing is patched, so the replacement never runs. The macro that made the entry \
          mostly did not do what was meant.",
    example: "\
func:
        ALTERNATIVE \"\", \"\", X86_FEATURE_XMM2
        ret
",
    fix: "Give the original as many bytes as the replacement may need (the macros pad with nops \
          if the replacement is longer), or remove the alternative.",
};
