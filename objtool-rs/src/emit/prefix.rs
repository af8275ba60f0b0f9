//! `__pfx_` symbols over the padding in front of functions.
//!
//! The padding is code once call depth tracking or FineIBT patches it in, so a stack trace must
//! be able to name it.

use arch::insn::InsnKind;

use super::{NewSymbol, Output};
use crate::check::stack::walked::Walked;
use crate::decode::InsnId;
use crate::model::Model;
use crate::read::SymbolId;

pub(super) fn emit<A>(model: &Model<'_, A>, walked: Option<&Walked>, output: &mut Output) {
    for section in model.file.section_ids() {
        if !model.file.section(section).is_executable() {
            continue;
        }
        for &function in model.symbols.of_section(section) {
            if !model.file.symbol(function).is_function() {
                continue;
            }
            if let Some(padding) = padding(model, function) {
                if let Some(walked) = walked {
                    spread_state(model, walked, padding, function);
                }
                let before = model.options.prefix.into();
                output.add_symbol(model.file, NewSymbol::Prefix { function, before });
            }
        }
    }
}

/// The first of the nops that end at the function's start, if they are exactly as much padding as
/// is wanted.
fn padding<A>(model: &Model<'_, A>, function: SymbolId) -> Option<InsnId> {
    let symbol = model.file.symbol(function);
    let wanted = u64::from(model.options.prefix);
    let mut insn = model.insns.at(symbol.section, symbol.value);
    while let Some(prev) = insn.and_then(|insn| model.insns.prev(insn)) {
        let record = model.insn(prev);
        if record.kind != InsnKind::Nop {
            return None;
        }
        let before = symbol.value - u64::from(record.offset);
        if before >= wanted {
            return (before == wanted).then_some(prev);
        }
        insn = Some(prev);
    }
    None
}

/// The stack in the padding is as at the function's start.
fn spread_state<A>(model: &Model<'_, A>, walked: &Walked, padding: InsnId, function: SymbolId) {
    let symbol = model.file.symbol(function);
    let Some(first) = model.insns.at(symbol.section, symbol.value) else {
        return;
    };
    if let Some(state) = walked.trail.state(first) {
        for id in padding.0..first.0 {
            walked.trail.set_state(InsnId(id), state);
        }
    }
}
