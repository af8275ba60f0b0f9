//! Operators on the frame: what a function does to `%rsp` and `%rbp` on its way in and out.

use iced_x86::{Mnemonic, OpKind, Register};

use super::{drop, insns, overwrite, Change, Effect, Operator, Site};
use crate::mutants::code::{show_bytes, Insn, Subject};
use crate::mutants::image::Edit;
use crate::mutants::rng::Rng;

/// Operators of this file.
pub const OPERATORS: &[Operator] = &[
    Operator {
        name: "drop-push",
        about: "nops in place of a push",
        effect: Effect::Depth,
        varied: false,
        partial: false,
        sites: |subject| insns(subject, |s, i| pushed(&s.insns[i]).is_some()),
        apply: |subject, site, _| {
            let index = site.0 as usize;
            let register = pushed(&subject.insns[index]);
            drop(subject, index).map(|change| Change { register, ..change })
        },
    },
    Operator {
        name: "drop-pop",
        about: "nops in place of a pop",
        effect: Effect::Depth,
        varied: false,
        partial: false,
        sites: |subject| insns(subject, |s, i| popped(&s.insns[i]).is_some()),
        apply: |subject, site, _| {
            let index = site.0 as usize;
            let register = popped(&subject.insns[index]);
            drop(subject, index).map(|change| Change { register, ..change })
        },
    },
    Operator {
        name: "drop-mov-rsp-rbp",
        about: "nops in place of mov %rsp,%rbp",
        effect: Effect::Frame,
        varied: false,
        partial: false,
        sites: |subject| insns(subject, |s, i| sets_frame(&s.insns[i])),
        apply: |subject, site, _| drop(subject, site.0 as usize),
    },
    Operator {
        name: "drop-frame-setup",
        about: "nops in place of push %rbp; mov %rsp,%rbp",
        effect: Effect::Frame,
        varied: false,
        partial: false,
        sites: |subject| insns(subject, |s, i| setup(s, i).is_some()),
        apply: |subject, site, _| {
            let index = site.0 as usize;
            let mov = setup(subject, index)?;
            let mut change = drop(subject, index)?;
            let second = drop(subject, mov)?;
            change.what = format!("{}; {}", change.what, second.what);
            change.edits.extend(second.edits);
            Some(change)
        },
    },
    Operator {
        name: "drop-leave",
        about: "nops in place of leave",
        effect: Effect::Depth,
        varied: false,
        partial: false,
        sites: |subject| {
            insns(subject, |s, i| {
                s.insns[i].decoded.mnemonic() == Mnemonic::Leave
            })
        },
        apply: |subject, site, _| drop(subject, site.0 as usize),
    },
    Operator {
        name: "drop-stack-adjust",
        about: "nops in place of add, sub, and or lea to %rsp",
        effect: Effect::Depth,
        varied: false,
        partial: false,
        sites: |subject| insns(subject, |s, i| adjusts(&s.insns[i])),
        apply: |subject, site, _| drop(subject, site.0 as usize),
    },
    Operator {
        name: "change-stack-adjust",
        about: "another constant in an add, sub, and or lea to %rsp",
        effect: Effect::Depth,
        varied: true,
        partial: true,
        sites: |subject| insns(subject, |s, i| adjusts(&s.insns[i])),
        apply: change_adjust,
    },
    Operator {
        name: "insert-push",
        about: "a push in place of plain code",
        effect: Effect::Depth,
        varied: true,
        partial: false,
        sites: |subject| insns(subject, |s, i| s.is_plain(&s.insns[i])),
        apply: |subject, site, rng| {
            let (byte, register) = *rng.choose(&[
                (0x50, Register::RAX),
                (0x53, Register::RBX),
                (0x55, Register::RBP),
            ])?;
            let change = overwrite(subject, site.0 as usize, &[byte])?;
            Some(Change {
                register: Some(register),
                ..change
            })
        },
    },
    Operator {
        name: "insert-stack-adjust",
        about: "add $8 or sub $8 to %rsp in place of plain code",
        effect: Effect::Depth,
        varied: true,
        partial: false,
        sites: |subject| {
            insns(subject, |s, i| {
                s.is_plain(&s.insns[i]) && s.insns[i].len() >= 4
            })
        },
        apply: |subject, site, rng| {
            let modrm = if rng.one_in(2) { 0xc4 } else { 0xec };
            overwrite(subject, site.0 as usize, &[0x48, 0x83, modrm, 0x08])
        },
    },
];

/// The register that a `push` saves; `Register::None` for a push of something else.
fn pushed(insn: &Insn) -> Option<Register> {
    (insn.decoded.mnemonic() == Mnemonic::Push).then(|| insn.decoded.op0_register())
}

/// The register that a `pop` restores; `Register::None` for a pop to somewhere else.
fn popped(insn: &Insn) -> Option<Register> {
    (insn.decoded.mnemonic() == Mnemonic::Pop).then(|| insn.decoded.op0_register())
}

fn sets_frame(insn: &Insn) -> bool {
    insn.decoded.mnemonic() == Mnemonic::Mov
        && insn.decoded.op0_kind() == OpKind::Register
        && insn.decoded.op0_register() == Register::RBP
        && insn.decoded.op1_kind() == OpKind::Register
        && insn.decoded.op1_register() == Register::RSP
}

/// The `mov %rsp,%rbp` that belongs to a `push %rbp`: it follows within a few instructions, as
/// the compiler may schedule others in between.
fn setup(subject: &Subject, index: usize) -> Option<usize> {
    if pushed(&subject.insns[index]) != Some(Register::RBP) {
        return None;
    }
    let section = subject.insns[index].section;
    (index + 1..(index + 6).min(subject.insns.len()))
        .take_while(|&later| subject.insns[later].section == section)
        .find(|&later| sets_frame(&subject.insns[later]))
}

/// Whether an instruction moves `%rsp` by arithmetic.
fn adjusts(insn: &Insn) -> bool {
    matches!(
        insn.decoded.mnemonic(),
        Mnemonic::Add | Mnemonic::Sub | Mnemonic::And | Mnemonic::Lea
    ) && insn.decoded.op0_kind() == OpKind::Register
        && insn.decoded.op0_register() == Register::RSP
        && insn.relocs.is_empty()
}

/// The constant of such an instruction stands in its last byte or its last four.
fn change_adjust(subject: &Subject, site: Site, rng: &mut Rng) -> Option<Change> {
    let index = site.0 as usize;
    let insn = &subject.insns[index];
    let offsets = super::super::code::constant(insn, subject.bytes(insn))?;
    let mut bytes = subject.bytes(insn).to_vec();
    let field = &mut bytes[offsets.clone()];
    let delta = *rng.choose(&[8_i32, -8, 16, -16, 1, 64])?;
    match field.len() {
        1 => field[0] = field[0].wrapping_add(delta as u8),
        4 => {
            let value = i32::from_le_bytes([field[0], field[1], field[2], field[3]]);
            field.copy_from_slice(&value.wrapping_add(delta).to_le_bytes());
        }
        _ => return None,
    }
    let at = subject.at(insn);
    Some(Change::of_insn(
        subject,
        index,
        vec![Edit::new(at, &bytes)],
        format!(
            "{} -> {}",
            super::show(&insn.decoded),
            show_bytes(&bytes, insn.offset())
        ),
    ))
}
