//! What the output has that the input hasn't. One file an emitted section or rewrite.
//!
//! Everything is collected in an [`Output`] and written once, by [`write`]. Sections appear in the
//! order in which C objtool makes them, so that the linked result is the same.

mod call_sites;
mod output;
mod prefix;
mod retpoline_sites;
mod return_sites;
mod static_call_sites;
mod write;

use arch::object::Architecture;

pub use output::{NewReloc, NewSection, NewSymbol, Output, SymbolRef};
pub use write::{write, WriteError};

use crate::decode::InsnId;
use crate::model::Model;
use crate::report::{Abort, Findings, Message};

/// Collects all changes that the options ask for.
///
/// # Errors
///
/// [`Abort`] after a finding that leaves no right output.
pub fn collect<A: Architecture>(
    model: &Model<'_, A>,
    findings: &mut Findings,
) -> Result<Output, Abort> {
    let options = model.options;
    let mut output = Output::new(model.file);
    rewrites(model, &mut output);
    if options.static_call {
        static_call_sites::emit(model, &mut output, findings)?;
    }
    if options.retpoline {
        retpoline_sites::emit(model, &mut output, findings);
    }
    if options.rethunk {
        return_sites::emit(model, &mut output, findings);
        if options.hack_skylake {
            call_sites::emit(model, &mut output, findings);
        }
    }
    if options.prefix != 0 {
        prefix::emit(model, &mut output);
    }
    Ok(output)
}

fn rewrites<A: Architecture>(model: &Model<'_, A>, output: &mut Output) {
    for &reloc in &model.rewrites.void_relocs {
        output.void_reloc(reloc, A::RELOCATIONS.none);
    }
    for &(insn, bytes) in &model.rewrites.code {
        output.patch(model.place(insn), bytes);
    }
}

/// Size of an entry of the sections that list places in code: a 32-bit distance.
const SITE: u64 = 4;

/// Makes a section with one relocated entry for each instruction, unless the file has it or there
/// are none.
fn emit_sites<A: Architecture>(
    model: &Model<'_, A>,
    output: &mut Output,
    findings: &mut Findings,
    name: &'static str,
    skip_suffix: &'static str,
    insns: &[InsnId],
) {
    if model.file.section_by_name(name.as_bytes()).is_some() {
        findings.add(Message::SectionExists {
            section: name,
            suffix: skip_suffix,
        });
        return;
    }
    if insns.is_empty() {
        return;
    }
    let mut section = NewSection::new(name, SITE, insns.len());
    for (index, &insn) in insns.iter().enumerate() {
        let place = model.place(insn);
        section.relocs.push(NewReloc {
            offset: index as u64 * SITE,
            symbol: output.section_symbol(model.file, place.section),
            kind: A::RELOCATIONS.relative32,
            addend: place.offset as i64,
        });
    }
    output.add_section(section);
}
