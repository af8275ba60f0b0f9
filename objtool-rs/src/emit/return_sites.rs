//! `.return_sites`: returns through the thunk, to be patched at boot when the CPU needs no thunk
//! or another one (`arch/x86/kernel/alternative.c`, `apply_returns`).

use arch::object::Architecture;

use super::{emit_sites, Output};
use crate::model::Model;
use crate::report::Findings;

pub(super) fn emit<A: Architecture>(
    model: &Model<'_, A>,
    output: &mut Output,
    findings: &mut Findings,
) {
    emit_sites(
        model,
        output,
        findings,
        ".return_sites",
        "",
        &model.sites.returns,
    );
}
