//! `__mcount_loc`: the calls of the function tracer, to be patched when functions are traced
//! (`kernel/trace/ftrace.c`).

use arch::object::Architecture;

use super::{exists, NewReloc, NewSection, Output};
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
    let mut section = NewSection::relocated(NAME, ADDRESS, insns.len());
    section.addralign = ADDRESS;
    for (index, &insn) in insns.iter().enumerate() {
        let place = model.place(insn);
        section.relocate(NewReloc {
            offset: index as u64 * ADDRESS,
            symbol: output.section_symbol(model.file, place.section),
            kind: A::RELOCATIONS.absolute64,
            addend: place.offset as i64,
        });
    }
    output.add_section(section);
}
