//! What the output has that the input hasn't. One file an emitted section or rewrite.
//!
//! Everything is collected in an [`Output`] and written once, by [`NewFile`]. Sections appear in the
//! order in which C objtool makes them, so that the linked result is the same.

mod call_sites;
mod cfi_sites;
mod ibt_endbr_seal;
mod mcount_loc;
pub(crate) mod orc;
mod output;
mod prefix;
mod retpoline_sites;
mod return_sites;
mod static_call_sites;
mod write;

use std::fs::File;
use std::sync::Arc;

use arch::object::Architecture;
use arch::orc::Orc;

pub use output::{NewData, NewReloc, NewRelocs, NewSection, NewSymbol, Output, Places, SymbolRef};
pub use write::{Begun, NewFile, WriteError};

use crate::check::ibt::LandingPads;
use crate::check::stack::walked::Walked;
use crate::decode::InsnId;
use crate::model::Model;
use crate::read::ElfFile;
use crate::report::{Abort, Findings, Message, Place};

/// What the checks found out that the output needs.
#[derive(Debug, Default)]
pub struct Checked {
    /// The state of the stack at each instruction.
    pub walked: Option<Walked>,
    /// Which landing pads something refers to.
    pub landing_pads: Option<LandingPads>,
    /// The ORC data of each state.
    pub entries: orc::Encoded,
}

/// The changes that depend on the model alone.
#[derive(Debug)]
pub struct Early {
    output: Output,
    findings: Findings,
    /// The sections that are expected to be added by [`collect`], empty.
    expected: Vec<NewSection>,
    /// Where there is padding in front of functions: its first instruction, and the function's.
    padding: Vec<(InsnId, InsnId)>,
}

impl Early {
    /// Begins to write the file, as far as its bytes are known. Where that fails, nothing is begun;
    /// the same will happen to whoever goes on, and he can say so.
    pub fn begin<'d>(
        &mut self,
        file: &Arc<ElfFile<'d>>,
        to: &mut File,
        release: &dyn Fn(),
    ) -> Option<Begun<'d>> {
        let file = Arc::clone(file);
        Begun::new(file, &mut self.output, &self.expected, to, release)
    }
}

/// Collects the changes that do not depend on what the checks find out, so that this can be done
/// while they are at work.
///
/// # Errors
///
/// [`Abort`] after a finding that leaves no right output, and the findings.
pub fn early<A: Architecture>(model: &Model<'_, A>) -> Result<Early, (Abort, Findings)> {
    let options = model.options;
    let mut output = patches(model);
    let mut findings = Findings::default();
    if options.static_call {
        if let Err(abort) = static_call_sites::emit(model, &mut output, &mut findings) {
            return Err((abort, findings));
        }
    }
    if options.retpoline {
        retpoline_sites::emit(model, &mut output, &mut findings);
    }
    if options.cfi {
        cfi_sites::emit(model, &mut output, &mut findings);
    }
    if options.rethunk {
        return_sites::emit(model, &mut output, &mut findings);
        if options.hack_skylake {
            call_sites::emit(model, &mut output, &mut findings);
        }
    }
    if options.mcount {
        mcount_loc::emit(model, &mut output, &mut findings);
    }
    let mut padding = Vec::new();
    if options.prefix != 0 {
        padding = prefix::emit(model, &mut output);
    }
    let mut expected = Vec::new();
    if options.ibt {
        expected.push(ibt_endbr_seal::expected());
    }
    if options.orc {
        expected.extend(orc::expected());
    }
    Ok(Early {
        output,
        findings,
        expected,
        padding,
    })
}

/// Adds the changes that depend on what the checks found out.
///
/// # Errors
///
/// [`Abort`] after a finding that leaves no right output.
pub fn collect<A: Architecture + Orc + Sync>(
    model: &Model<'_, A>,
    early: Result<Early, (Abort, Findings)>,
    checked: &Checked,
    findings: &mut Findings,
) -> Result<Output, Abort> {
    let options = model.options;
    let Early {
        mut output,
        findings: mut others,
        padding,
        ..
    } = early.map_err(|(abort, mut others)| {
        findings.append(others.take_lines());
        abort
    })?;
    findings.append(others.take_lines());
    if let Some(walked) = &checked.walked {
        prefix::spread_states(walked, &padding);
    }
    if let Some(pads) = &checked.landing_pads {
        ibt_endbr_seal::emit(model, pads, &mut output, findings);
    }
    if options.orc {
        if let Some(walked) = &checked.walked {
            // Code without ORC data still needs the other lists: a kernel boots without the one,
            // and is not safe without the others.
            orc::emit(model, walked, &checked.entries, &mut output, findings).ok();
        }
    }
    Ok(output)
}

/// The changes that do not depend on what the checks find out.
pub fn patches<A: Architecture>(model: &Model<'_, A>) -> Output {
    let mut output = Output::new(model.file);
    rewrites(model, &mut output);
    output
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
    if exists(model, findings, name, skip_suffix) || insns.is_empty() {
        return;
    }
    let places = insns.iter().map(|&insn| model.place(insn));
    let section = places_section(model, output, name, places);
    output.add_section(section);
}

/// Whether the file has a section already; then it is left alone, and said so.
fn exists<A>(
    model: &Model<'_, A>,
    findings: &mut Findings,
    section: &'static str,
    suffix: &'static str,
) -> bool {
    let exists = model.file.section_by_name(section.as_bytes()).is_some();
    if exists {
        findings.add(Message::SectionExists { section, suffix });
    }
    exists
}

/// A section with one relocated entry for each place.
fn places_section<A: Architecture>(
    model: &Model<'_, A>,
    output: &mut Output,
    name: &'static str,
    places: impl Iterator<Item = Place>,
) -> NewSection {
    let places = output.places(model.file, places);
    let kind = A::RELOCATIONS.relative32;
    relocated_places(name, SITE, kind, places)
}

/// A section with one relocated entry for each place.
fn relocated_places(name: &'static str, entry: u64, kind: u32, places: Places) -> NewSection {
    let relocs = NewRelocs::Places {
        places,
        kind,
        entry,
    };
    NewSection::relocated(name, entry, relocs.len(), relocs)
}
