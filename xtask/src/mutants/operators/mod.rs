//! The operators: each knows the places in an object where it applies, and how to break one.
//!
//! A new operator is an entry in one of the tables beside this file. Which places are taken in a
//! run is `plan`'s affair.

mod actions;
mod annotations;
mod flags;
mod flow;
mod frame;
mod jumps;
mod registers;
mod symbols;

use iced_x86::Register;

use super::code::{nops, show, show_bytes, Subject};
use super::image::Edit;
use super::rng::Rng;

/// A place in an object, as an operator numbers them; what the two numbers mean is its own affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site(pub u32, pub u32);

/// What an operator does harm to. Where no tool warns, `causes` asks this for the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// How far `%rsp` is below the frame.
    Depth,
    /// Whether `%rbp` points to the frame.
    Frame,
    /// Which register is saved or restored.
    Saved,
    /// What is loaded from the stack.
    Spill,
    /// The contents of `%rbp`.
    Rbp,
    /// The contents of `%rsp`.
    Rsp,
    /// The way through the code.
    Path,
    /// The addend of a jump's relocation.
    Addend,
    /// A jump that leaves the function.
    TailCall,
    /// What is called.
    Callee,
    /// Returns and indirect branches that the CPU may speculate through.
    Speculation,
    /// Whether the code decodes.
    Decoding,
    /// Whether user memory may be accessed: the flag AC.
    Access,
    /// The direction of string instructions: the flag DF.
    Direction,
    /// The stack's state that an unwind hint declares.
    Hint,
    /// Code that is patched, or jumped to, through a table.
    Patching,
    /// What a `.discard` section says.
    Annotation,
    /// Where a function starts and ends.
    Extent,
    /// A name that has a meaning.
    Name,
    /// Where indirect branches land.
    LandingPad,
    /// Which code's address is taken.
    Reference,
    /// Whether code may be instrumented.
    Instrumentation,
    /// Whether returns are safe in entry code.
    Untrained,
    /// What stops the processor behind a return or an indirect jump.
    Trap,
}

/// A way of breaking an object in one place.
pub struct Operator {
    /// As in a mutant's name.
    pub name: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    /// What it does harm to.
    pub effect: Effect,
    /// Whether a place can be broken in more than one way, by the generator's choice.
    pub varied: bool,
    /// Whether `sites` may list places where it turns out not to apply.
    pub partial: bool,
    /// The places where it applies.
    pub sites: fn(&Subject) -> Vec<Site>,
    /// Breaks a place; none where it turns out not to apply, whatever the generator says.
    pub apply: fn(&Subject, Site, &mut Rng) -> Option<Change>,
}

/// What an operator does to an object.
#[derive(Clone, Debug)]
pub struct Change {
    /// The section that is broken.
    pub section: usize,
    /// The offset in it.
    pub offset: u64,
    /// The bytes to put in place.
    pub edits: Vec<Edit>,
    /// Before and after, in words.
    pub what: String,
    /// The instruction that is broken or annotated.
    pub insn: Option<usize>,
    /// The register that is saved, restored or clobbered.
    pub register: Option<Register>,
}

impl Change {
    /// At a place that is no instruction.
    fn at(section: usize, offset: u64, edits: Vec<Edit>, what: String) -> Self {
        Self {
            section,
            offset,
            edits,
            what,
            insn: None,
            register: None,
        }
    }

    /// At an instruction, by its index.
    fn of_insn(subject: &Subject, index: usize, edits: Vec<Edit>, what: String) -> Self {
        let insn = &subject.insns[index];
        Self {
            insn: Some(index),
            ..Self::at(insn.section, insn.offset(), edits, what)
        }
    }
}

/// The operators for objects that are validated one by one, and those for linked objects, of which
/// more is asked.
pub fn with_actions() -> Vec<&'static Operator> {
    all().into_iter().chain(actions::OPERATORS).collect()
}

/// The operators for objects that are validated one by one, in the order of the table that is
/// printed.
pub fn all() -> Vec<&'static Operator> {
    [
        frame::OPERATORS,
        registers::OPERATORS,
        jumps::OPERATORS,
        flow::OPERATORS,
        flags::OPERATORS,
        annotations::OPERATORS,
        symbols::OPERATORS,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The places of an operator where it really applies.
pub fn applicable(operator: &Operator, subject: &Subject) -> Vec<Site> {
    let mut sites = (operator.sites)(subject);
    if operator.partial {
        sites.retain(|&site| (operator.apply)(subject, site, &mut Rng::new(0)).is_some());
    }
    sites
}

/// The sites that are instructions for which `wanted` holds.
fn insns(subject: &Subject, wanted: impl Fn(&Subject, usize) -> bool) -> Vec<Site> {
    (0..subject.insns.len())
        .filter(|&index| wanted(subject, index))
        .map(|index| Site(index as u32, 0))
        .collect()
}

/// Puts `bytes` over an instruction, nops over the rest of it, and turns relocations on it into
/// `R_X86_64_NONE`. None where they do not fit.
fn overwrite(subject: &Subject, index: usize, bytes: &[u8]) -> Option<Change> {
    let insn = &subject.insns[index];
    let room = insn.len().checked_sub(bytes.len())?;
    let mut edits = subject.image.silence(insn.section, insn.relocs.clone());
    let after = [bytes, &nops(room)].concat();
    let what = format!(
        "{} -> {}",
        show(&insn.decoded),
        show_bytes(&after, insn.offset())
    );
    edits.push(Edit::new(subject.at(insn), &after));
    Some(Change::of_insn(subject, index, edits, what))
}

/// Puts nops over an instruction.
fn drop(subject: &Subject, index: usize) -> Option<Change> {
    overwrite(subject, index, &[])
}

/// The position of the first place at or behind one of the generator's choice, going round, for
/// which `wanted` holds.
fn pick(rng: &mut Rng, len: usize, wanted: impl Fn(usize) -> bool) -> Option<usize> {
    let start = rng.below(len);
    (start..len).chain(0..start).find(|&index| wanted(index))
}
