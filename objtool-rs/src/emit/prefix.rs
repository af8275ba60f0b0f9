//! `__pfx_` symbols over the padding in front of functions.
//!
//! The padding is code once call depth tracking or FineIBT patches it in, so a stack trace must
//! be able to name it.

use arch::insn::InsnKind;

use super::{NewSymbol, Output};
use crate::check::stack::walked::Walked;
use crate::decode::InsnId;
use crate::model::Model;
use crate::parallel;
use crate::read::SymbolId;

/// Adds the symbols; the result is where the padding is: its first instruction, and the function's.
pub(super) fn emit<A>(model: &Model<'_, A>, output: &mut Output) -> Vec<(InsnId, InsnId)> {
    let mut all = Vec::new();
    for section in model.file.section_ids() {
        if !model.file.section(section).is_executable() {
            continue;
        }
        for &function in model.symbols.of_section(section) {
            if !model.file.symbol(function).is_function() {
                continue;
            }
            if let Some(padding) = padding(model, function) {
                all.push(padding);
                let before = model.options.prefix.into();
                output.add_symbol(model.file, NewSymbol::Prefix { function, before });
            }
        }
    }
    all
}

/// The first of the nops that end at the function's start, if they are exactly as much padding as
/// is wanted, and the function's first instruction.
fn padding<A>(model: &Model<'_, A>, function: SymbolId) -> Option<(InsnId, InsnId)> {
    let symbol = model.file.symbol(function);
    let before = symbol.value.checked_sub(model.options.prefix.into())?;
    let first = model.insns.at(symbol.section, symbol.value)?;
    let start = model.insns.at(symbol.section, before)?;
    let is_nop = |id: u32| model.insn(InsnId(id)).kind == InsnKind::Nop;
    (start.0..first.0).all(is_nop).then_some((start, first))
}

/// The stack in the padding is as at the function's start.
pub(super) fn spread_states(walked: &Walked, padding: &[(InsnId, InsnId)]) {
    parallel::map_ranges(padding.len(), 1 << 13, |range| {
        for &(start, first) in &padding[range] {
            if let Some(state) = walked.trail.state(first) {
                for id in start.0..first.0 {
                    walked.trail.set_state(InsnId(id), state);
                }
            }
        }
    });
}
