//! Whatever may be branched to indirectly starts with a landing pad.
//!
//! With indirect branch tracking the processor faults where an indirect branch does not land on
//! one. A function's address that is stored or loaded anywhere may be branched to; landing pads
//! that nobody refers to are listed, to be removed at boot (`apply_seal_endbr()`
//! in the kernel).

use arch::insn::InsnKind;
use arch::object::Architecture;
use rustc_hash::FxHashSet;

use crate::decode::{InsnId, Marks};
use crate::model::{find_bytes, Model, Roles};
use crate::read::{elf, Reloc, SectionId};
use crate::report::{Findings, Message, Place};

/// What was found out.
#[derive(Clone, Debug, Default)]
pub struct LandingPads {
    /// Landing pads at the start of functions that something refers to.
    used: FxHashSet<InsnId>,
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
            .filter(|pad| !self.used.contains(pad))
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

/// Checks all references to code.
pub fn check<A: Architecture>(model: &Model<'_, A>, findings: &mut Findings) -> LandingPads {
    let mut pads = LandingPads::default();
    for insn in model.insns.ids() {
        check_insn(model, insn, &mut pads, findings);
    }
    for section in model.file.section_ids() {
        let s = model.file.section(section);
        if s.header.flags & elf::SHF_EXECINSTR != 0 || is_harmless(s.name) {
            continue;
        }
        for reloc in s.relocs.iter().flat_map(|relocs| relocs.iter()) {
            check_data(model, section, reloc, &mut pads, findings);
        }
    }
    pads
}

fn is_harmless(name: &[u8]) -> bool {
    (name.starts_with(b".discard") && name != NO_SEAL)
        || name.starts_with(b".debug")
        || HARMLESS.contains(&name)
        || find_bytes(name, b"__patchable_function_entries").is_some()
}

/// References from code, other than direct branches.
fn check_insn<A: Architecture>(
    model: &Model<'_, A>,
    insn: InsnId,
    pads: &mut LandingPads,
    findings: &mut Findings,
) {
    let record = model.insn(insn);
    if matches!(
        record.kind,
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
    let section = model.insns.section(insn);
    let mut from = u64::from(record.offset);
    while let Some((_, reloc)) = model.file.reloc_in(section, from, record.end() - from) {
        from = reloc.offset + 1;
        // static_call_update() refers to the trampoline, which is never branched to indirectly.
        if model.has_role(reloc.symbol, Roles::STATIC_CALL_TRAMPOLINE) {
            continue;
        }
        let symbol = model.file.symbol(reloc.symbol);
        let bias = if model.arch.is_branch_relative(reloc.kind) {
            A::BRANCH_FIELD_LEN
        } else {
            0
        };
        let offset = symbol
            .value
            .wrapping_add_signed(reloc.addend.wrapping_add(bias));
        let Some(dest) = model.insns.at(symbol.section, offset) else {
            continue;
        };
        if model.insn(dest).kind == InsnKind::LandingPad {
            pads.used.insert(dest);
            continue;
        }
        // A function's own address inside itself is a place to compare with, not to branch to.
        let own = |insn| model.function_of(insn).map(|f| model.symbols.parent(f));
        let is_self = own(dest).is_some() && own(dest) == own(insn);
        if is_self
            || model.insn(dest).marks.has(Marks::NO_LANDING_PAD)
            || is_range_end(model, symbol.section, offset)
        {
            continue;
        }
        pads.violations += 1;
        let to = Place {
            section: symbol.section,
            offset,
        };
        model.warn(findings, insn, Message::ReferenceToNoPad(to));
    }
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
    pads: &mut LandingPads,
    findings: &mut Findings,
) {
    let symbol = model.file.symbol(reloc.symbol);
    let offset = symbol.value.wrapping_add_signed(reloc.addend);
    let Some(dest) = model.insns.at(symbol.section, offset) else {
        return;
    };
    let record = model.insn(dest);
    if record.kind == InsnKind::LandingPad {
        pads.used.insert(dest);
    } else if !record.marks.has(Marks::NO_LANDING_PAD) {
        pads.violations += 1;
        let from = Place {
            section,
            offset: reloc.offset,
        };
        let to = Place {
            section: symbol.section,
            offset,
        };
        findings.add_at(from, Message::DataReferenceToNoPad(to));
    }
}
