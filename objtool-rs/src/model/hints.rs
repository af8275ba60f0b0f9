//! Unwind hints: stack states that assembly states where they can't be worked out.
//!
//! Source of the layout and of the types: `include/linux/objtool_types.h`. What a state means for
//! the walk is the stack check's.

use arch::insn::InsnKind;
use arch::object::{Architecture, Rule};

use super::annotations::{annotated_offset, names};
use super::Model;
use crate::decode::{InsnId, Marks};
use crate::read::Binding;
use crate::report::{Abort, Findings, Message};

/// Type of a hint, as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HintKind(pub u8);

impl HintKind {
    /// Nothing is known here.
    pub const UNDEFINED: Self = Self(0);
    /// The stack ends here.
    pub const END_OF_STACK: Self = Self(1);
    /// As in a callable function.
    pub const CALL: Self = Self(2);
    /// A full set of saved registers lies at the CFA.
    pub const REGS: Self = Self(3);
    /// The frame that the processor pushed lies at the CFA.
    pub const REGS_PARTIAL: Self = Self(4);
    /// As at the start of a callable function.
    pub const FUNCTION: Self = Self(5);
    /// Keep the state of this place.
    pub const SAVE: Self = Self(6);
    /// Take the state of the last place that was kept.
    pub const RESTORE: Self = Self(7);
}

/// The stack state that a hint gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HintState {
    /// Nothing is known, and nothing is checked.
    Undefined,
    /// As at the start of a callable function.
    Function,
    /// Where the CFA lies, and what lies there.
    Explicit {
        /// The CFA.
        cfa: Rule,
        /// What lies there.
        kind: HintKind,
        /// The frame is that of an interrupted context.
        signal: bool,
    },
}

/// Reads all hints.
pub(super) fn read<A: Architecture>(
    model: &mut Model<'_, A>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let layout = A::UNWIND_HINT;
    let Some(section) = model.file.section_by_name(names::UNWIND_HINTS.as_bytes()) else {
        return Ok(());
    };
    let hints = model.file.section(section);
    if hints.relocs.is_none() {
        findings.add(Message::MissingHintRelocs);
        return Err(Abort);
    }
    if !hints.header.size.is_multiple_of(layout.size)
        || hints.data.len() as u64 != hints.header.size
    {
        findings.add(Message::HintSizeMismatch);
        return Err(Abort);
    }
    model.has_hints = true;
    let mut hinted = Vec::new();

    for (index, bytes) in hints.data.chunks_exact(layout.size as usize).enumerate() {
        let index = index as u64;
        let Some((_, reloc)) = model
            .file
            .reloc_at(section, index * layout.size + layout.ip)
        else {
            findings.add(Message::NoHintReloc { index });
            return Err(Abort);
        };
        let offset = annotated_offset(model, reloc, names::UNWIND_HINTS, findings)?;
        let Some(insn) = model
            .insns
            .at(model.file.symbol(reloc.symbol).section, offset)
        else {
            findings.add(Message::NoHintInstruction { index });
            return Err(Abort);
        };

        let byte = |at: u64| bytes[at as usize];
        let kind = HintKind(byte(layout.kind));
        let marks = &mut model.insns.get_mut(insn).marks;
        marks.set(Marks::HINT, true);
        hinted.push(insn);
        let state = match kind {
            HintKind::UNDEFINED => HintState::Undefined,
            HintKind::SAVE => {
                marks.set(Marks::HINT, false);
                model.saves.push(insn);
                continue;
            }
            HintKind::RESTORE => {
                marks.set(Marks::RESTORE, true);
                continue;
            }
            HintKind::FUNCTION => HintState::Function,
            _ => {
                if kind == HintKind::REGS_PARTIAL {
                    check_landing_pad(model, insn, findings);
                }
                let sp_reg = byte(layout.sp_reg);
                let Some(base) = model.arch.hint_base(sp_reg) else {
                    model.warn(findings, insn, Message::UnsupportedHintRegister { sp_reg });
                    return Err(Abort);
                };
                let low = layout.sp_offset as usize;
                let offset = i16::from_le_bytes([bytes[low], bytes[low + 1]]);
                HintState::Explicit {
                    cfa: Rule::new(base, offset.into()),
                    kind,
                    signal: byte(layout.signal) != 0,
                }
            }
        };
        model.hints.insert(insn, state);
    }
    // A later save has taken back the hint of some.
    hinted.retain(|&insn| model.insn(insn).marks.has(Marks::HINT));
    hinted.sort_unstable();
    hinted.dedup();
    model.hinted = hinted;
    model.saves.sort_unstable();
    model.saves.dedup();
    Ok(())
}

/// Where the processor enters, indirect branch tracking wants a landing pad.
fn check_landing_pad<A>(model: &Model<'_, A>, insn: InsnId, findings: &mut Findings) {
    let place = model.place(insn);
    let symbol = model.symbols.at(place.section, place.offset);
    let is_entry = symbol.is_some_and(|id| model.file.symbol(id).binding == Binding::Global);
    let record = model.insn(insn);
    if model.options.ibt
        && is_entry
        && record.kind != InsnKind::LandingPad
        && !record.marks.has(Marks::NO_LANDING_PAD)
    {
        model.warn(findings, insn, Message::HintWithoutPad);
    }
}
