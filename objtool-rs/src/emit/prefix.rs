//! `__pfx_` symbols over the padding in front of functions.
//!
//! The padding is code once call depth tracking or FineIBT patches it in, so a stack trace must
//! be able to name it.

use arch::insn::InsnKind;

use super::{NewSymbol, Output};
use crate::model::Model;
use crate::read::SymbolId;

pub(super) fn emit<A>(model: &Model<'_, A>, output: &mut Output) {
    for section in model.file.section_ids() {
        if !model.file.section(section).is_executable() {
            continue;
        }
        for &function in model.symbols.of_section(section) {
            if model.file.symbol(function).is_function() && is_padded(model, function) {
                let name = [b"__pfx_", model.file.symbol(function).name].concat();
                let before = model.options.prefix.into();
                output.add_symbol(
                    model.file,
                    NewSymbol::Prefix {
                        function,
                        name,
                        before,
                    },
                );
            }
        }
    }
}

/// Whether exactly the wanted padding of nops ends at the function's start.
fn is_padded<A>(model: &Model<'_, A>, function: SymbolId) -> bool {
    let symbol = model.file.symbol(function);
    let wanted = u64::from(model.options.prefix);
    let mut insn = model.insns.at(symbol.section, symbol.value);
    while let Some(prev) = insn.and_then(|insn| model.insns.prev(insn)) {
        let record = model.insn(prev);
        if record.kind != InsnKind::Nop {
            return false;
        }
        let before = symbol.value - u64::from(record.offset);
        if before >= wanted {
            return before == wanted;
        }
        insn = Some(prev);
    }
    false
}
