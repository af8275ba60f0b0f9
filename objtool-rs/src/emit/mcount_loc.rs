//! `__mcount_loc`: the calls of the function tracer, to be patched when functions are traced
//! (`kernel/trace/ftrace.c`).

use arch::object::Architecture;

use super::{exists, relocated_places, Output};
use crate::model::Model;
use crate::report::Findings;

const NAME: &str = "__mcount_loc";

/// Size of an address in bytes.
const ADDRESS: u64 = 8;

pub(super) fn emit<A: Architecture>(
    model: &Model<'_, A>,
    output: &mut Output,
    findings: &mut Findings,
) {
    let insns = &model.sites.traces;
    if exists(model, findings, NAME, " section") || insns.is_empty() {
        return;
    }
    let places = insns.iter().map(|&insn| model.place(insn));
    let places = output.places(model.file, places);
    let mut section = relocated_places(NAME, ADDRESS, A::RELOCATIONS.absolute64, places);
    section.addralign = ADDRESS;
    output.add_section(section);
}
