//! `.ibt_endbr_seal`: landing pads that nothing refers to, to be removed at boot
//! (`apply_seal_endbr()` in the kernel).

use arch::object::Architecture;

use super::{emit_sites, NewRelocs, NewSection, Output, SITE};
use crate::check::ibt::LandingPads;
use crate::decode::InsnId;
use crate::model::Model;
use crate::report::{Findings, Message};

/// Functions that the module loader calls indirectly.
const MODULE_ENTRIES: [&[u8]; 2] = [b"init_module", b"cleanup_module"];

pub(super) fn emit<A: Architecture>(
    model: &Model<'_, A>,
    pads: &LandingPads,
    output: &mut Output,
    findings: &mut Findings,
) {
    let unused: Vec<InsnId> = pads.unused(model).collect();
    if model.options.module && model.file.section_by_name(NAME.as_bytes()).is_none() {
        for &insn in &unused {
            let symbol = model.function_of(insn).filter(|&id| {
                let symbol = model.file.symbol(id);
                symbol.value == u64::from(model.insn(insn).offset)
                    && MODULE_ENTRIES.contains(&symbol.name)
            });
            if let Some(symbol) = symbol {
                findings.add(Message::ModuleEntrySealed(symbol));
            }
        }
    }
    emit_sites(model, output, findings, NAME, "", &unused);
}

/// The section as long as nothing is known of it.
pub(super) fn expected() -> NewSection {
    NewSection::relocated(NAME, SITE, 0, NewRelocs::List(Vec::new()))
}

const NAME: &str = ".ibt_endbr_seal";
