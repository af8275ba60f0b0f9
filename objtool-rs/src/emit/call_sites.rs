//! `.call_sites`: direct calls, to be patched at boot for call depth tracking
//! (`arch/x86/kernel/callthunks.c`).

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
        ".call_sites",
        " section",
        &model.sites.calls,
    );
}
