//! `.retpoline_sites`: indirect branches through thunks, to be patched at boot when the CPU needs
//! no thunk (`arch/x86/kernel/alternative.c`, `apply_retpolines`).

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
        ".retpoline_sites",
        "",
        &model.sites.retpolines,
    );
}
