//! The `.discard.*` sections in which sources annotate their code.
//!
//! Each entry is a relocation to the instruction that is meant
//! (`include/linux/objtool.h`, `include/linux/compiler.h`). Unwind hints have a file of their own.
//! What the annotations are called in 6.12 stands in [`names`]; later kernels have one section for
//! them all.

use arch::insn::InsnKind;

use super::Model;
use crate::decode::{InsnId, Marks};
use crate::parallel;
use crate::read::{Reloc, SymbolKind};
use crate::report::{Abort, Findings, Message, Place};

/// Names of the annotation sections of Linux 6.12.
pub mod names {
    /// Functions that do not keep the frame rules.
    pub const NON_STANDARD: &str = ".discard.func_stack_frame_non_standard";
    /// Alternatives that are not followed.
    pub const IGNORE_ALTERNATIVES: &str = ".discard.ignore_alts";
    /// Code that needs no landing pad.
    pub const NO_LANDING_PAD: &str = ".discard.noendbr";
    /// Code after an instruction that looks like a dead end and is none.
    pub const REACHABLE: &str = ".discard.reachable";
    /// Indirect branches and returns that are safe.
    pub const RETPOLINE_SAFE: &str = ".discard.retpoline_safe";
    /// Calls that stay inside their function.
    pub const INTRA_FUNCTION_CALLS: &str = ".discard.intra_function_calls";
    /// Instrumentation is allowed from here on.
    pub const INSTRUMENTATION_BEGIN: &str = ".discard.instr_begin";
    /// It is no longer.
    pub const INSTRUMENTATION_END: &str = ".discard.instr_end";
    /// Entry code that must make returns safe.
    pub const VALIDATE_UNRET: &str = ".discard.validate_unret";
    /// Unwind hints.
    pub const UNWIND_HINTS: &str = ".discard.unwind_hints";
}

/// The entries of an annotation section.
fn entries<A>(model: &Model<'_, A>, name: &str) -> Vec<Reloc> {
    let section = model.file.section_by_name(name.as_bytes());
    let table = section.and_then(|id| model.file.section(id).relocs.as_ref());
    table.map_or_else(Vec::new, |table| table.iter().collect())
}

/// The instruction that an entry means, where entries must be relative to a section.
fn insn_by_section<A>(
    model: &Model<'_, A>,
    entry: Reloc,
    annotation: &'static str,
    bad: &'static str,
    findings: &mut Findings,
) -> Result<InsnId, Abort> {
    let symbol = model.file.symbol(entry.symbol);
    if !symbol.is_section() {
        findings.add(Message::UnexpectedRelocSymbol { annotation });
        return Err(Abort);
    }
    model
        .insns
        .at(symbol.section, entry.addend as u64)
        .ok_or_else(|| {
            findings.add(Message::BadAnnotation { annotation: bad });
            Abort
        })
}

/// The instructions that all entries of a section mean. Of long ones they are looked up in parallel.
fn insns_by_section<A: Sync>(
    model: &Model<'_, A>,
    name: &'static str,
    findings: &mut Findings,
) -> Result<Vec<InsnId>, Abort> {
    let entries = entries(model, name);
    let parts = parallel::map_ranges(entries.len(), 1 << 11, |range| {
        let mut findings = Findings::default();
        let entries = entries[range].iter();
        let insns = entries.map(|&entry| insn_by_section(model, entry, name, name, &mut findings));
        (insns.collect::<Result<Vec<_>, Abort>>(), findings)
    });
    let mut all = Vec::with_capacity(entries.len());
    for (insns, mut found) in parts {
        findings.append(found.take_lines());
        all.extend(insns?);
    }
    Ok(all)
}

/// Marks the instructions of functions that are annotated as non-standard.
pub(super) fn ignored_functions<A>(model: &mut Model<'_, A>, findings: &mut Findings) {
    for entry in entries(model, names::NON_STANDARD) {
        let symbol = model.file.symbol(entry.symbol);
        let function = match symbol.kind {
            SymbolKind::Function => Some(entry.symbol),
            SymbolKind::Section => model
                .symbols
                .function_at(symbol.section, entry.addend as u64),
            other => {
                findings.add(Message::UnexpectedIgnoreSymbol {
                    kind: other.number(),
                });
                None
            }
        };
        let Some(function) = function else { continue };
        let insns: Vec<InsnId> = model
            .function_insns(function)
            .map_or_else(Vec::new, Iterator::collect);
        for insn in insns {
            model.insns.get_mut(insn).marks.set(Marks::IGNORE, true);
        }
    }
}

/// Marks instructions whose alternatives are not followed.
pub(super) fn ignored_alternatives<A>(
    model: &mut Model<'_, A>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let name = names::IGNORE_ALTERNATIVES;
    for entry in entries(model, name) {
        let insn = insn_by_section(model, entry, name, name, findings)?;
        mark(model, insn, Marks::IGNORE_ALTERNATIVES);
    }
    Ok(())
}

fn mark<A>(model: &mut Model<'_, A>, insn: InsnId, mark: Marks) {
    model.insns.get_mut(insn).marks.set(mark, true);
}

/// Marks instructions that need no landing pad.
pub(super) fn no_landing_pad<A>(
    model: &mut Model<'_, A>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    for entry in entries(model, names::NO_LANDING_PAD) {
        let symbol = model.file.symbol(entry.symbol);
        let offset = symbol.value.wrapping_add_signed(entry.addend);
        let Some(insn) = model.insns.at(symbol.section, offset) else {
            findings.add(Message::BadAnnotation {
                annotation: names::NO_LANDING_PAD,
            });
            return Err(Abort);
        };
        mark(model, insn, Marks::NO_LANDING_PAD);
    }
    Ok(())
}

/// Makes calls that stay inside their function jumps that push.
pub(super) fn intra_function_calls<A>(
    model: &mut Model<'_, A>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let name = names::INTRA_FUNCTION_CALLS;
    for entry in entries(model, name) {
        // The words of the finding name it in the singular.
        let insn = insn_by_section(model, entry, name, ".discard.intra_function_call", findings)?;
        if model.insn(insn).kind != InsnKind::Call {
            model.warn(findings, insn, Message::IntraCallNotCall);
            return Err(Abort);
        }
        let section = model.insns.section(insn);
        let offset = model.insn(insn).branch_target();
        model.insns.get_mut(insn).kind = InsnKind::JumpUnconditional;
        let Some(dest) = model.insns.at(section, offset) else {
            model.warn(
                findings,
                insn,
                Message::NoIntraCallTarget(Place { section, offset }),
            );
            return Err(Abort);
        };
        model.insns.get_mut(insn).set_dest(dest);
    }
    Ok(())
}

/// Takes the dead end back from instructions before code that is annotated as reachable.
pub(super) fn reachable<A>(model: &mut Model<'_, A>, findings: &mut Findings) -> Result<(), Abort> {
    for entry in entries(model, names::REACHABLE) {
        let offset = annotated_offset(model, entry, names::REACHABLE, findings)?;
        let section = model.file.symbol(entry.symbol).section;
        let insn = match model.insns.at(section, offset) {
            Some(insn) => model.insns.prev(insn),
            None if offset == model.file.section(section).header.size => {
                model.insns.last_of(section)
            }
            None => None,
        };
        let Some(insn) = insn else {
            findings.add(Message::NoReachableInstruction(Place { section, offset }));
            return Err(Abort);
        };
        model.insns.get_mut(insn).marks.set(Marks::DEAD_END, false);
    }
    Ok(())
}

/// The offset that an entry means, where entries may be relative to a section or name a local
/// label.
pub(super) fn annotated_offset<A>(
    model: &Model<'_, A>,
    entry: Reloc,
    annotation: &'static str,
    findings: &mut Findings,
) -> Result<u64, Abort> {
    let symbol = model.file.symbol(entry.symbol);
    if symbol.is_section() {
        Ok(entry.addend as u64)
    } else if model.has_role(entry.symbol, super::Roles::LOCAL_LABEL) {
        Ok(symbol.value)
    } else {
        findings.add(Message::UnexpectedRelocSymbol { annotation });
        Err(Abort)
    }
}

/// Marks indirect branches and returns that are safe.
pub(super) fn retpoline_safe<A>(
    model: &mut Model<'_, A>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let name = names::RETPOLINE_SAFE;
    for entry in entries(model, name) {
        let insn = insn_by_section(model, entry, name, name, findings)?;
        if !matches!(
            model.insn(insn).kind,
            InsnKind::JumpDynamic | InsnKind::CallDynamic | InsnKind::Return | InsnKind::Nop
        ) {
            model.warn(findings, insn, Message::RetpolineSafeMisplaced);
            return Err(Abort);
        }
        mark(model, insn, Marks::RETPOLINE_SAFE);
    }
    Ok(())
}

/// Counts where instrumentation begins and ends to be allowed.
pub(super) fn instrumentation<A: Sync>(
    model: &mut Model<'_, A>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    // Where it never ends, it is not counted.
    let end = model
        .file
        .section_by_name(names::INSTRUMENTATION_END.as_bytes());
    if end.is_none() {
        return Ok(());
    }
    for (name, step) in [
        (names::INSTRUMENTATION_END, -1),
        (names::INSTRUMENTATION_BEGIN, 1),
    ] {
        for insn in insns_by_section(model, name, findings)? {
            mark(model, insn, Marks::INSTRUMENTATION);
            let count = model.instrumentation.entry(insn).or_insert(0);
            *count = i8::saturating_add(*count, step);
        }
    }
    Ok(())
}

/// Marks entry code that must make returns safe before it comes to one.
pub(super) fn validate_unret<A>(
    model: &mut Model<'_, A>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    // The words of C objtool's finding name another annotation.
    let (name, bad) = (names::VALIDATE_UNRET, names::INSTRUMENTATION_END);
    for entry in entries(model, name) {
        let insn = insn_by_section(model, entry, name, bad, findings)?;
        model.unret.push(insn);
    }
    model.unret.sort_unstable();
    model.unret.dedup();
    Ok(())
}

impl<A> Model<'_, A> {
    /// Reports a finding about an instruction.
    pub fn warn(&self, findings: &mut Findings, insn: InsnId, message: Message) {
        findings.add_insn(self.place(insn), self.symbol_of(insn), message);
    }
}
