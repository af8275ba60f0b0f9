//! Whatever may be branched to indirectly starts with a landing pad.
//!
//! With indirect branch tracking the processor faults where an indirect branch does not land on
//! one. A function's address that is stored or loaded anywhere may be branched to; landing pads
//! that nobody refers to are listed, to be removed at boot (`apply_seal_endbr()`
//! in the kernel).

use arch::insn::InsnKind;
use arch::object::Architecture;

use crate::decode::{InsnId, Marks};
use crate::model::{find_bytes, Model, Roles};
use crate::parallel;
use crate::read::{Reloc, SectionId};
use crate::report::{Findings, Message, Place};

/// What was found out.
#[derive(Clone, Debug, Default)]
pub struct LandingPads {
    /// Landing pads that something refers to, in order.
    used: Vec<InsnId>,
    /// Number of violations, reported or not.
    pub violations: usize,
}

impl LandingPads {
    /// Landing pads that nothing refers to, in order.
    pub fn unused<'a, A>(&'a self, model: &'a Model<'_, A>) -> impl Iterator<Item = InsnId> + 'a {
        model
            .landing_pads
            .iter()
            .copied()
            .filter(|pad| self.used.binary_search(pad).is_err())
    }
}

/// Sections that refer to code, but not to branch to it indirectly.
const HARMLESS: &[&[u8]] = &[
    b".altinstructions",
    b".ibt_endbr_seal",
    b".kcfi_traps",
    b".orc_unwind_ip",
    b".parainstructions",
    b".retpoline_sites",
    b".smp_locks",
    b".static_call_sites",
    b"__bug_table",
    b"__ex_table",
    b"__jump_table",
    b"__mcount_loc",
    b"_error_injection_whitelist",
    b"_kprobe_blacklist",
];

/// The one annotation that is a reference: it keeps a landing pad.
const NO_SEAL: &[u8] = b".discard.ibt_endbr_noseal";

/// Relocations that are worth a part of the work.
const PART: usize = 1 << 13;

/// Parts after which what was read for them is let go of.
const RELEASE: usize = 16;

/// What a part of the references came to.
#[derive(Default)]
struct Part {
    used: Vec<InsnId>,
    wrong: Vec<Wrong>,
}

/// A reference to a place that is to have a landing pad and has none.
enum Wrong {
    Insn(InsnId, Message),
    Data(Place, Message),
}

/// What all references to code came to; nothing of it is reported yet.
pub struct References {
    parts: Vec<Part>,
}

/// Looks at all references to code. What else is found does not matter to this, so that it can be done
/// while other checks are at work.
///
/// Nothing else reads that much of a file at a time, so `release` ([`analyze`](crate::analyze)) is
/// called on the way.
pub fn references<A: Architecture + Sync>(
    model: &Model<'_, A>,
    release: &(dyn Fn() + Sync),
) -> References {
    let mut parts = Vec::new();
    // Code first.
    for is_code in [true, false] {
        parts.extend(check_sections(model, is_code, release));
    }
    References { parts }
}

impl References {
    /// Reports what is wrong with them.
    pub fn report<A>(self, model: &Model<'_, A>, findings: &mut Findings) -> LandingPads {
        let mut pads = LandingPads::default();
        for part in self.parts {
            pads.used.extend(part.used);
            for wrong in part.wrong {
                pads.violations += 1;
                match wrong {
                    Wrong::Insn(insn, message) => model.warn(findings, insn, message),
                    Wrong::Data(place, message) => findings.add_at(place, message),
                }
            }
        }
        pads.used.sort_unstable();
        pads.used.dedup();
        pads
    }
}

/// Checks the references from code, or those from data.
fn check_sections<A: Architecture + Sync>(
    model: &Model<'_, A>,
    is_code: bool,
    release: &(dyn Fn() + Sync),
) -> Vec<Part> {
    let sections = model.file.section_ids().filter(|&section| {
        let s = model.file.section(section);
        s.is_executable() == is_code && (is_code || !is_harmless(s.name))
    });
    let mut parts = Vec::new();
    for section in sections {
        let relocs = model.file.section(section).relocs.as_ref();
        let count = relocs.map_or(0, |relocs| relocs.len() as usize);
        let starts = (0..count).step_by(PART);
        for start in starts {
            parts.push((parts.len(), section, start..count.min(start + PART)));
        }
    }
    let count: usize = parts.iter().map(|(_, _, relocs)| relocs.len()).sum();
    parallel::map(count > PART, parts, |(number, section, relocs)| {
        let mut part = Part::default();
        if let Some(table) = &model.file.section(section).relocs {
            if is_code {
                for reloc in table.by_offset(relocs) {
                    check_code(model, section, reloc, &mut part);
                }
            } else {
                for index in relocs {
                    check_data(model, section, table.get(index as u32), &mut part);
                }
            }
        }
        part.used.sort_unstable();
        part.used.dedup();
        if number % RELEASE == RELEASE - 1 {
            release();
        }
        part
    })
}

fn is_harmless(name: &[u8]) -> bool {
    (name.starts_with(b".discard") && name != NO_SEAL)
        || name.starts_with(b".debug")
        || HARMLESS.contains(&name)
        || find_bytes(name, b"__patchable_function_entries").is_some()
}

/// A reference from code, other than a direct branch.
fn check_code<A: Architecture>(
    model: &Model<'_, A>,
    section: SectionId,
    reloc: Reloc,
    part: &mut Part,
) {
    let symbol = model.file.symbol(reloc.symbol);
    // Most that is no branch refers to data.
    if model.insns.range_of(symbol.section).is_empty() {
        return;
    }
    let Some(insn) = model.insns.containing(section, reloc.offset) else {
        return;
    };
    if matches!(
        model.insn(insn).kind,
        InsnKind::Call
            | InsnKind::CallDynamic
            | InsnKind::JumpConditional
            | InsnKind::JumpUnconditional
            | InsnKind::JumpDynamic
            | InsnKind::JumpDynamicConditional
            | InsnKind::Return
            | InsnKind::Nop
    ) {
        return;
    }
    // static_call_update() refers to the trampoline, which is never branched to indirectly.
    if model.has_role(reloc.symbol, Roles::STATIC_CALL_TRAMPOLINE) {
        return;
    }
    let bias = if model.arch.is_branch_relative(reloc.kind) {
        A::BRANCH_FIELD_LEN
    } else {
        0
    };
    let offset = symbol
        .value
        .wrapping_add_signed(reloc.addend.wrapping_add(bias));
    let Some(dest) = model.insns.at(symbol.section, offset) else {
        return;
    };
    if model.insn(dest).kind == InsnKind::LandingPad {
        part.used.push(dest);
        return;
    }
    // A function's own address inside itself is a place to compare with, not to branch to.
    let own = |insn| model.function_of(insn).map(|f| model.symbols.parent(f));
    let is_self = own(dest).is_some() && own(dest) == own(insn);
    if is_self
        || model.insn(dest).marks.has(Marks::NO_LANDING_PAD)
        || is_range_end(model, symbol.section, offset)
    {
        return;
    }
    let to = Place {
        section: symbol.section,
        offset,
    };
    part.wrong
        .push(Wrong::Insn(insn, Message::ReferenceToNoPad(to)));
}

/// The end of a range that starts with a landing pad, or needs none, is a bound, not a target.
fn is_range_end<A>(model: &Model<'_, A>, section: SectionId, offset: u64) -> bool {
    let Some(before) = offset.checked_sub(1) else {
        return false;
    };
    let Some(id) = model.symbols.containing(section, before) else {
        return false;
    };
    let symbol = model.file.symbol(id);
    let Some(first) = model.insns.at(symbol.section, symbol.value) else {
        return false;
    };
    let first = model.insn(first);
    (first.kind == InsnKind::LandingPad || first.marks.has(Marks::NO_LANDING_PAD))
        && offset == symbol.value + model.symbols.len(id)
}

/// References from data.
fn check_data<A: Architecture>(
    model: &Model<'_, A>,
    section: SectionId,
    reloc: Reloc,
    part: &mut Part,
) {
    let symbol = model.file.symbol(reloc.symbol);
    let offset = symbol.value.wrapping_add_signed(reloc.addend);
    let Some(dest) = model.insns.at(symbol.section, offset) else {
        return;
    };
    let record = model.insn(dest);
    if record.kind == InsnKind::LandingPad {
        part.used.push(dest);
    } else if !record.marks.has(Marks::NO_LANDING_PAD) {
        let from = Place {
            section,
            offset: reloc.offset,
        };
        let to = Place {
            section: symbol.section,
            offset,
        };
        part.wrong
            .push(Wrong::Data(from, Message::DataReferenceToNoPad(to)));
    }
}
