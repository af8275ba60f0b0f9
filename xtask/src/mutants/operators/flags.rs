//! Operators on the flags that validation follows: AC (user access, `stac` and `clac`), DF (`std`
//! and `cld`) and their saving by `pushf` and `popf`.

use iced_x86::Mnemonic;

use super::{drop, insns, overwrite, Effect, Operator, Site};
use crate::mutants::code::Subject;

/// Operators of this file.
pub const OPERATORS: &[Operator] = &[
    Operator {
        name: "drop-stac",
        about: "nops in place of stac",
        effect: Effect::Access,
        varied: false,
        partial: false,
        sites: |subject| with(subject, &[Mnemonic::Stac]),
        apply: |subject, site, _| drop(subject, site.0 as usize),
    },
    Operator {
        name: "drop-clac",
        about: "nops in place of clac",
        effect: Effect::Access,
        varied: false,
        partial: false,
        sites: |subject| with(subject, &[Mnemonic::Clac]),
        apply: |subject, site, _| drop(subject, site.0 as usize),
    },
    Operator {
        name: "drop-pushf",
        about: "nops in place of pushf",
        effect: Effect::Depth,
        varied: false,
        partial: false,
        sites: |subject| with(subject, &[Mnemonic::Pushfq, Mnemonic::Pushf]),
        apply: |subject, site, _| drop(subject, site.0 as usize),
    },
    Operator {
        name: "drop-popf",
        about: "nops in place of popf",
        effect: Effect::Depth,
        varied: false,
        partial: false,
        sites: |subject| with(subject, &[Mnemonic::Popfq, Mnemonic::Popf]),
        apply: |subject, site, _| drop(subject, site.0 as usize),
    },
    Operator {
        name: "drop-cld",
        about: "nops in place of cld",
        effect: Effect::Direction,
        varied: false,
        partial: false,
        sites: |subject| with(subject, &[Mnemonic::Cld]),
        apply: |subject, site, _| drop(subject, site.0 as usize),
    },
    Operator {
        name: "insert-std",
        about: "std in place of plain code or a nop in a function",
        effect: Effect::Direction,
        varied: false,
        partial: false,
        sites: |subject| room(subject, 1),
        apply: |subject, site, _| overwrite(subject, site.0 as usize, &[0xfd]),
    },
    Operator {
        name: "insert-cld",
        about: "cld in place of plain code or a nop in a function",
        effect: Effect::Direction,
        varied: false,
        partial: false,
        sites: |subject| room(subject, 1),
        apply: |subject, site, _| overwrite(subject, site.0 as usize, &[0xfc]),
    },
    Operator {
        name: "insert-stac",
        about: "stac in place of plain code or a nop in a function",
        effect: Effect::Access,
        varied: false,
        partial: false,
        sites: |subject| room(subject, 3),
        apply: |subject, site, _| overwrite(subject, site.0 as usize, &[0x0f, 0x01, 0xcb]),
    },
    Operator {
        name: "insert-clac",
        about: "clac in place of plain code or a nop in a function",
        effect: Effect::Access,
        varied: false,
        partial: false,
        sites: |subject| room(subject, 3),
        apply: |subject, site, _| overwrite(subject, site.0 as usize, &[0x0f, 0x01, 0xca]),
    },
];

fn with(subject: &Subject, mnemonics: &[Mnemonic]) -> Vec<Site> {
    insns(subject, |s, i| {
        mnemonics.contains(&s.insns[i].decoded.mnemonic())
    })
}

/// Instructions of at least `len` bytes inside functions that may be overwritten, but not those
/// that change a flag themselves.
fn room(subject: &Subject, len: usize) -> Vec<Site> {
    const FLAGS: [Mnemonic; 4] = [Mnemonic::Stac, Mnemonic::Clac, Mnemonic::Std, Mnemonic::Cld];
    insns(subject, |s, i| {
        let insn = &s.insns[i];
        let nop = insn.is_nop() && insn.relocs.is_empty() && insn.function.is_some();
        insn.len() >= len && (nop || s.is_plain(insn)) && !FLAGS.contains(&insn.decoded.mnemonic())
    })
}
