//! `{}(): not an indirect call target`.
//!
//! The init or exit function of a module would lose its landing pad.

use super::{Explanation, Group, Names};
use crate::read::SymbolId;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "module-entry-sealed",
    group: Group::Speculation,
    title: "the entry of a module is called by nobody",
    words: &["{}(): not an indirect call target"],
    what: "init_module() or cleanup_module() starts with a landing pad, and nothing in the \
           module refers to it.",
    why: "Landing pads that nobody needs are removed when the module is loaded, but these two \
           are called indirectly by the loader.",
    example: "\
        .globl  init_module
        .type   init_module, @function
init_module:                    # and no module_init()
        endbr64
        ret
        .size   init_module, . - init_module
",
    fix: "Use module_init() and module_exit(), which keep a reference.",
};

/// The words for a function.
pub(super) fn text(names: &Names<'_>, function: &SymbolId) -> String {
    format!("{}(): not an indirect call target", names.symbol(*function))
}
