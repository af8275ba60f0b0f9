//! Operators that send a jump somewhere else: into the middle of an instruction, into another
//! function, past the end of the section.
//!
//! Jumps whose distance stands in the instruction are changed there; those with a relocation get
//! another addend.

use iced_x86::FlowControl;

use super::{insns, pick, Change, Effect, Operator, Site};
use crate::mutants::code::{constant, show, show_bytes, Insn, Subject, REPLACEMENTS};
use crate::mutants::image::Edit;
use crate::mutants::rng::Rng;

/// Operators of this file.
pub const OPERATORS: &[Operator] = &[
    Operator {
        name: "jcc-into-insn",
        about: "a conditional jump into the middle of an instruction",
        effect: Effect::Path,
        varied: true,
        partial: true,
        sites: |subject| insns(subject, conditional),
        apply: |subject, site, rng| retarget(subject, site, rng, into_insn),
    },
    Operator {
        name: "jcc-other-function",
        about: "a conditional jump into another function",
        effect: Effect::Path,
        varied: true,
        partial: true,
        sites: |subject| insns(subject, conditional),
        apply: |subject, site, rng| retarget(subject, site, rng, other_function),
    },
    Operator {
        name: "jcc-function-start",
        about: "a conditional jump to the start of another function",
        effect: Effect::TailCall,
        varied: true,
        partial: true,
        sites: |subject| insns(subject, conditional),
        apply: |subject, site, rng| retarget(subject, site, rng, function_start),
    },
    Operator {
        name: "jcc-elsewhere",
        about: "a conditional jump to another place in its function",
        effect: Effect::Path,
        varied: true,
        partial: true,
        sites: |subject| insns(subject, conditional),
        apply: |subject, site, rng| retarget(subject, site, rng, elsewhere),
    },
    Operator {
        name: "jmp-into-insn",
        about: "a jump into the middle of an instruction",
        effect: Effect::Path,
        varied: true,
        partial: true,
        sites: |subject| insns(subject, unconditional),
        apply: |subject, site, rng| retarget(subject, site, rng, into_insn),
    },
    Operator {
        name: "jmp-other-function",
        about: "a jump into another function",
        effect: Effect::Path,
        varied: true,
        partial: true,
        sites: |subject| insns(subject, unconditional),
        apply: |subject, site, rng| retarget(subject, site, rng, other_function),
    },
    Operator {
        name: "jmp-function-start",
        about: "a jump to the start of another function",
        effect: Effect::TailCall,
        varied: true,
        partial: true,
        sites: |subject| insns(subject, unconditional),
        apply: |subject, site, rng| retarget(subject, site, rng, function_start),
    },
    Operator {
        name: "jmp-elsewhere",
        about: "a jump to another place in its function",
        effect: Effect::Path,
        varied: true,
        partial: true,
        sites: |subject| insns(subject, unconditional),
        apply: |subject, site, rng| retarget(subject, site, rng, elsewhere),
    },
    Operator {
        name: "jump-out-of-section",
        about: "a jump past the end of its section",
        effect: Effect::Path,
        varied: true,
        partial: true,
        sites: |subject| insns(subject, |s, i| conditional(s, i) || unconditional(s, i)),
        apply: |subject, site, rng| {
            let insn = &subject.insns[site.0 as usize];
            let end = subject.image.sections[insn.section].size as i64;
            let target = end + rng.below(64) as i64;
            aim(subject, site.0 as usize, target)
        },
    },
    Operator {
        name: "jump-relocation",
        about: "another addend in the relocation of a jump to another section",
        effect: Effect::Addend,
        varied: true,
        partial: true,
        sites: |subject| {
            insns(subject, |s, i| {
                let insn = &s.insns[i];
                insn.relocs.len() == 1 && is_jump(insn) && other_section(s, insn).is_some()
            })
        },
        apply: |subject, site, rng| {
            let index = site.0 as usize;
            let insn = &subject.insns[index];
            let addend = other_section(subject, insn)?;
            let delta = *rng.choose(&[1_i64, -1, 2, 3, 7, -5, 0x40, 0x10_0000])?;
            Some(Change::of_insn(
                subject,
                index,
                vec![subject
                    .image
                    .with_addend(insn.section, insn.relocs.start, addend + delta)],
                format!(
                    "{}: addend {addend:+} -> {:+}",
                    show(&insn.decoded),
                    addend + delta
                ),
            ))
        },
    },
];

fn is_jump(insn: &Insn) -> bool {
    matches!(
        insn.decoded.flow_control(),
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
    )
}

fn conditional(subject: &Subject, index: usize) -> bool {
    let insn = &subject.insns[index];
    insn.decoded.flow_control() == FlowControl::ConditionalBranch && own_target(subject, insn)
}

fn unconditional(subject: &Subject, index: usize) -> bool {
    let insn = &subject.insns[index];
    insn.decoded.flow_control() == FlowControl::UnconditionalBranch && own_target(subject, insn)
}

/// Whether the jump holds its own target, in text where it stands.
fn own_target(subject: &Subject, insn: &Insn) -> bool {
    insn.relocs.is_empty() && subject.image.sections[insn.section].name != REPLACEMENTS
}

/// The addend of a jump to code of this object in another section.
fn other_section(subject: &Subject, insn: &Insn) -> Option<i64> {
    let reloc = subject.image.sections[insn.section]
        .relocs
        .get(insn.relocs.start)?;
    let (section, _) = subject.image.target(reloc)?;
    (section != insn.section && subject.is_text(section)).then_some(reloc.addend)
}

/// Chooses a target for a jump: given the jump, a candidate instruction and the generator, the
/// offset to jump to.
type Target = fn(&Subject, &Insn, &Insn, &mut Rng) -> Option<u64>;

fn into_insn(_: &Subject, _: &Insn, candidate: &Insn, rng: &mut Rng) -> Option<u64> {
    let inside = candidate.len().checked_sub(1).filter(|&len| len > 0)?;
    Some(candidate.offset() + 1 + rng.below(inside) as u64)
}

fn other_function(subject: &Subject, jump: &Insn, candidate: &Insn, _: &mut Rng) -> Option<u64> {
    let function = candidate.function?;
    let start = subject.image.symbols[function].value;
    (jump.function.is_some() && jump.function != Some(function) && candidate.offset() != start)
        .then(|| candidate.offset())
}

fn function_start(subject: &Subject, jump: &Insn, candidate: &Insn, _: &mut Rng) -> Option<u64> {
    let function = candidate.function?;
    let start = subject.image.symbols[function].value;
    (jump.function.is_some() && jump.function != Some(function) && candidate.offset() == start)
        .then_some(start)
}

fn elsewhere(_: &Subject, jump: &Insn, candidate: &Insn, _: &mut Rng) -> Option<u64> {
    (jump.function.is_some()
        && candidate.function == jump.function
        && candidate.offset() != jump.end())
    .then(|| candidate.offset())
}

fn retarget(subject: &Subject, site: Site, rng: &mut Rng, target: Target) -> Option<Change> {
    let index = site.0 as usize;
    let jump = &subject.insns[index];
    let field = constant(jump, subject.bytes(jump))?;
    let section = &subject.insns[subject.by_section[jump.section].clone()];
    // A short jump reaches 128 bytes back and 127 ahead.
    let near = if field.len() == 1 {
        let from = section.partition_point(|insn| insn.offset() + 128 < jump.end());
        let to = section.partition_point(|insn| insn.offset() <= jump.end() + 127);
        &section[from..to]
    } else {
        section
    };
    let mut inner = rng.clone();
    let reaches = |candidate: usize, rng: &mut Rng| {
        let offset = target(subject, jump, &near[candidate], rng)?;
        aim(subject, index, offset as i64)
    };
    let candidate = pick(rng, near.len(), |candidate| {
        reaches(candidate, &mut inner.clone()).is_some()
    })?;
    reaches(candidate, &mut inner)
}

/// Makes a jump go to another offset of its section, where the distance fits.
fn aim(subject: &Subject, index: usize, target: i64) -> Option<Change> {
    let jump = &subject.insns[index];
    if target == jump.decoded.near_branch_target() as i64 {
        return None;
    }
    let distance = target - jump.end() as i64;
    let field = constant(jump, subject.bytes(jump))?;
    let mut bytes = subject.bytes(jump).to_vec();
    match field.len() {
        1 => bytes[field].copy_from_slice(&i8::try_from(distance).ok()?.to_le_bytes()),
        4 => bytes[field].copy_from_slice(&i32::try_from(distance).ok()?.to_le_bytes()),
        _ => return None,
    }
    Some(Change::of_insn(
        subject,
        index,
        vec![Edit::new(subject.at(jump), &bytes)],
        format!(
            "{} -> {}",
            show(&jump.decoded),
            show_bytes(&bytes, jump.offset())
        ),
    ))
}
