//! Operators on which register is saved, restored or kept: wrong pushes and pops, and code that
//! clobbers `%rbp` or `%rsp`.

use iced_x86::{Mnemonic, OpKind, Register};

use super::{insns, overwrite, Change, Effect, Operator, Site};
use crate::mutants::code::{callee_saved, show, Insn, Subject};
use crate::mutants::image::Edit;
use crate::mutants::rng::Rng;

/// Operators of this file.
pub const OPERATORS: &[Operator] = &[
    Operator {
        name: "push-wrong-register",
        about: "a push of another register",
        effect: Effect::Saved,
        varied: true,
        partial: false,
        sites: |subject| insns(subject, |s, i| is(&s.insns[i], Mnemonic::Push)),
        apply: other_register,
    },
    Operator {
        name: "pop-wrong-register",
        about: "a pop to another register",
        effect: Effect::Saved,
        varied: true,
        partial: false,
        sites: |subject| insns(subject, |s, i| is(&s.insns[i], Mnemonic::Pop)),
        apply: other_register,
    },
    Operator {
        name: "swap-pops",
        about: "two neighbouring pops change places",
        effect: Effect::Saved,
        varied: false,
        partial: false,
        sites: |subject| insns(subject, |s, i| swapped(s, i, Mnemonic::Pop).is_some()),
        apply: |subject, site, _| swapped(subject, site.0 as usize, Mnemonic::Pop),
    },
    Operator {
        name: "swap-pushes",
        about: "two neighbouring pushes change places",
        effect: Effect::Saved,
        varied: false,
        partial: false,
        sites: |subject| insns(subject, |s, i| swapped(s, i, Mnemonic::Push).is_some()),
        apply: |subject, site, _| swapped(subject, site.0 as usize, Mnemonic::Push),
    },
    Operator {
        name: "clobber-rbp",
        about: "plain code overwritten by an instruction that changes %rbp",
        effect: Effect::Rbp,
        varied: true,
        partial: false,
        sites: |subject| insns(subject, |s, i| has_room(s, &s.insns[i])),
        apply: |subject, site, rng| clobber(subject, site, rng, RBP_CLOBBERS, Register::RBP),
    },
    Operator {
        name: "clobber-rsp",
        about: "plain code overwritten by an instruction that changes %rsp",
        effect: Effect::Rsp,
        varied: true,
        partial: false,
        sites: |subject| insns(subject, |s, i| has_room(s, &s.insns[i])),
        apply: |subject, site, rng| clobber(subject, site, rng, RSP_CLOBBERS, Register::RSP),
    },
    Operator {
        name: "move-spill",
        about: "a load from the stack reads another slot",
        effect: Effect::Spill,
        varied: true,
        partial: false,
        sites: |subject| insns(subject, |s, i| reloads(&s.insns[i])),
        apply: move_spill,
    },
];

/// Instructions that change `%rbp`, the shortest first.
const RBP_CLOBBERS: &[&[u8]] = &[
    &[0x5d],                         // pop %rbp
    &[0x31, 0xed],                   // xor %ebp,%ebp
    &[0x48, 0x95],                   // xchg %rax,%rbp
    &[0x48, 0x89, 0xc5],             // mov %rax,%rbp
    &[0x48, 0x8b, 0x28],             // mov (%rax),%rbp
    &[0x48, 0xff, 0xc5],             // inc %rbp
    &[0x48, 0x83, 0xc5, 0x08],       // add $8,%rbp
    &[0x48, 0x8d, 0x6d, 0x08],       // lea 8(%rbp),%rbp
    &[0x48, 0x8b, 0x6c, 0x24, 0x08], // mov 8(%rsp),%rbp
    &[0x48, 0x8d, 0x6c, 0x24, 0x08], // lea 8(%rsp),%rbp
];

/// Instructions that change `%rsp`, the shortest first.
const RSP_CLOBBERS: &[&[u8]] = &[
    &[0x5c],                         // pop %rsp
    &[0x48, 0x94],                   // xchg %rax,%rsp
    &[0x48, 0x89, 0xc4],             // mov %rax,%rsp
    &[0x48, 0x01, 0xc4],             // add %rax,%rsp
    &[0x48, 0x29, 0xdc],             // sub %rbx,%rsp
    &[0x48, 0x8b, 0x20],             // mov (%rax),%rsp
    &[0x48, 0x83, 0xe4, 0xf0],       // and $-16,%rsp
    &[0x48, 0x8d, 0x60, 0x08],       // lea 8(%rax),%rsp
    &[0x48, 0x8d, 0x64, 0x24, 0xf8], // lea -8(%rsp),%rsp
];

/// Registers that a push or pop may name instead, with their number in the encoding.
const REGISTERS: &[(u8, Register)] = &[
    (0, Register::RAX),
    (1, Register::RCX),
    (3, Register::RBX),
    (5, Register::RBP),
    (6, Register::RSI),
    (4, Register::R12),
    (7, Register::R15),
];

/// Whether an instruction is the short form of a push or pop of a register.
fn is(insn: &Insn, mnemonic: Mnemonic) -> bool {
    insn.decoded.mnemonic() == mnemonic
        && insn.decoded.op0_kind() == OpKind::Register
        && insn.decoded.op0_register().is_gpr64()
        && insn.len() <= 2
}

/// Another register in the same instruction length: registers below `%r8` take no prefix, the
/// others a byte.
fn other_register(subject: &Subject, site: Site, rng: &mut Rng) -> Option<Change> {
    let index = site.0 as usize;
    let insn = &subject.insns[index];
    let old = insn.decoded.op0_register();
    let mut bytes = subject.bytes(insn).to_vec();
    let high = bytes.len() == 2;
    let fitting: Vec<_> = REGISTERS
        .iter()
        .filter(|(_, register)| (register.number() >= 8) == high && *register != old)
        .collect();
    let (number, _) = **rng.choose(&fitting)?;
    let opcode = bytes.last_mut()?;
    *opcode = (*opcode & 0xf8) | number;
    let change = overwrite(subject, index, &bytes)?;
    Some(Change {
        register: Some(old),
        ..change
    })
}

fn swapped(subject: &Subject, index: usize, mnemonic: Mnemonic) -> Option<Change> {
    let first = &subject.insns[index];
    let second = subject.next(index)?;
    if !is(first, mnemonic)
        || !is(second, mnemonic)
        || first.decoded.op0_register() == second.decoded.op0_register()
    {
        return None;
    }
    // With `%rbp`, the frame is at stake; with a register that calls may change, nothing is.
    let registers = [first.decoded.op0_register(), second.decoded.op0_register()];
    let free = registers.iter().find(|&&register| !callee_saved(register));
    let register = if registers.contains(&Register::RBP) {
        Register::RBP
    } else {
        *free.unwrap_or(&registers[0])
    };
    let bytes = [subject.bytes(second), subject.bytes(first)].concat();
    Some(Change {
        register: Some(register),
        ..Change::of_insn(
            subject,
            index,
            vec![Edit::new(subject.at(first), &bytes)],
            format!(
                "{0}; {1} -> {1}; {0}",
                show(&first.decoded),
                show(&second.decoded)
            ),
        )
    })
}

/// Whether a clobber fits that is not the instruction itself: the one-byte ones are pops.
fn has_room(subject: &Subject, insn: &Insn) -> bool {
    subject.is_plain(insn) && (insn.len() > 1 || insn.decoded.mnemonic() != Mnemonic::Pop)
}

fn clobber(
    subject: &Subject,
    site: Site,
    rng: &mut Rng,
    clobbers: &[&[u8]],
    register: Register,
) -> Option<Change> {
    let index = site.0 as usize;
    let room = subject.insns[index].len();
    let fitting = clobbers.partition_point(|bytes| bytes.len() <= room);
    let bytes = rng.choose(&clobbers[..fitting])?;
    let change = overwrite(subject, index, bytes)?;
    Some(Change {
        register: Some(register),
        ..change
    })
}

/// Whether an instruction loads a 64-bit register from the stack.
fn reloads(insn: &Insn) -> bool {
    insn.decoded.mnemonic() == Mnemonic::Mov
        && insn.decoded.op0_kind() == OpKind::Register
        && insn.decoded.op0_register().is_gpr64()
        && insn.decoded.op1_kind() == OpKind::Memory
        && matches!(insn.decoded.memory_base(), Register::RSP | Register::RBP)
        && insn.decoded.memory_index() == Register::None
        && insn.decoded.memory_displ_size() == 1
        && insn.relocs.is_empty()
}

fn move_spill(subject: &Subject, site: Site, rng: &mut Rng) -> Option<Change> {
    let index = site.0 as usize;
    let insn = &subject.insns[index];
    let mut bytes = subject.bytes(insn).to_vec();
    let displacement = bytes.last_mut()?;
    *displacement = displacement.wrapping_add(if rng.one_in(2) { 8 } else { 0xf8 });
    let change = overwrite(subject, index, &bytes)?;
    Some(Change {
        register: Some(insn.decoded.op0_register()),
        ..change
    })
}
