//! - `can't find orig reloc`
//! - `can't find new reloc`
//! - `can't find key reloc`
//!
//! A field of a patch table has no relocation.

use super::{Explanation, Group};
use crate::report::Names;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "no-table-reloc",
    group: Group::Patching,
    title: "a field of a patch table has no relocation",
    words: &[
        "can't find orig reloc",
        "can't find new reloc",
        "can't find key reloc",
    ],
    what: "A field of .altinstructions, __jump_table or __ex_table holds a place in the code, \
           and in an unlinked object only a relocation can say which. It has none. The analysis \
           of the file ends here.",
    why: "The entry is for an unknown place: the one that it was made for will not be patched, \
          or have no handler.",
    example: "\
func:
        ret
        .pushsection __ex_table, \"a\"
        .long   0, 0, 0         # no symbol, so no relocation
        .popsection
",
    fix: "Make entries with the macros, or with expressions that name a symbol (`1b - .`). An \
          entry that is resolved at assembly time must be in the same section as its target, \
          which a table never is.",
};

pub(super) fn text(_: &Names<'_>, which: &str) -> String {
    format!("can't find {which} reloc")
}
