//! Why C objtool has nothing to say about a mutant: hints by which the mutants that neither tool
//! warns about are sorted into kinds.
//!
//! `KINDS.md` beside this file explains each of them. A cause is read off the mutant and off one
//! more run of C objtool, which tells whether it walks the place at all; it is a hint, no proof.

use anyhow::Result;
use iced_x86::{FlowControl, Mnemonic, OpKind, Register};

use super::code::{callee_saved, nops, Insn, Subject, REPLACEMENTS};
use super::operators::{Change, Effect, Operator};
use super::trial::Run;

/// Why there may be no warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// An annotation exempts the function from validation.
    ExemptFunction,
    /// The code belongs to no function.
    OutsideFunction,
    /// Validation does not come by.
    NotWalked,
    /// Code that runs before user space is exempt from the speculation rules.
    InitText,
    /// The path that is walked now is as good as the old one.
    SameState,
    /// A jump to another function with the frame as it was at the entry.
    TailCall,
    /// The addend of a relocation to a function is not looked at.
    AddendUnread,
    /// With `%rbp` on the frame, the depth of `%rsp` counts at returns only.
    DepthBehindRbp,
    /// With `%rbp` on the frame, `%rsp` is followed through constants only.
    RspUnfollowed,
    /// The register is nothing that a function must give back.
    NotCalleeSaved,
    /// What was not saved is not missed.
    UnsavedRegister,
    /// `%rbp` counts only where it points to the frame.
    RbpNotFrame,
    /// The function needs no frame.
    FrameUnneeded,
    /// The instruction is not among those whose effect is followed.
    NotModelled,
    /// The load restores nothing.
    OrdinaryLoad,
    /// Which function is called is the program's affair.
    AnyCallee,
    /// The decoder wants the length only.
    LengthOnly,
    /// The flag's state is lost where the path joins one that was walked before.
    FlagAtJoin,
    /// The flag has the wanted state anyway.
    FlagClear,
    /// The hint's contents are used for ORC only.
    HintUnused,
    /// A hint further down declares the state anew.
    HintResets,
    /// The rule that the annotation is for is not asked for.
    RuleNotAsked,
    /// The code obeys the rule without the annotation.
    AnnotationUnneeded,
    /// Where the function ends does not change what is walked.
    SymbolExtent,
    /// Nothing in the object looks the name up.
    NameUnused,
    /// Nothing refers to the landing pad.
    PadUnneeded,
    /// What is referred to may be.
    PlaceAllowed,
    /// Whether instrumentation is allowed is lost where the path joins one that was walked before.
    InstrumentationAtJoin,
    /// Instrumentation is allowed where the code is.
    InstrumentationAllowed,
    /// It is said of the return or the jump that it is meant to be as it is.
    SaidSafe,
    /// No path on which returns are not safe yet comes by.
    ReturnsSafe,
    /// None of these.
    Unexplained,
}

/// All causes.
#[cfg(test)]
const ALL: [Cause; 32] = [
    Cause::ExemptFunction,
    Cause::OutsideFunction,
    Cause::NotWalked,
    Cause::InitText,
    Cause::SameState,
    Cause::TailCall,
    Cause::AddendUnread,
    Cause::DepthBehindRbp,
    Cause::RspUnfollowed,
    Cause::NotCalleeSaved,
    Cause::UnsavedRegister,
    Cause::RbpNotFrame,
    Cause::FrameUnneeded,
    Cause::NotModelled,
    Cause::OrdinaryLoad,
    Cause::AnyCallee,
    Cause::LengthOnly,
    Cause::FlagAtJoin,
    Cause::FlagClear,
    Cause::HintUnused,
    Cause::HintResets,
    Cause::RuleNotAsked,
    Cause::AnnotationUnneeded,
    Cause::SymbolExtent,
    Cause::NameUnused,
    Cause::PadUnneeded,
    Cause::PlaceAllowed,
    Cause::InstrumentationAtJoin,
    Cause::InstrumentationAllowed,
    Cause::SaidSafe,
    Cause::ReturnsSafe,
    Cause::Unexplained,
];

impl Cause {
    /// As in tables and in `KINDS.md`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExemptFunction => "exempt-function",
            Self::OutsideFunction => "outside-function",
            Self::NotWalked => "not-walked",
            Self::InitText => "init-text",
            Self::SameState => "same-state",
            Self::TailCall => "tail-call",
            Self::AddendUnread => "addend-unread",
            Self::DepthBehindRbp => "depth-behind-rbp",
            Self::RspUnfollowed => "rsp-unfollowed",
            Self::NotCalleeSaved => "not-callee-saved",
            Self::UnsavedRegister => "unsaved-register",
            Self::RbpNotFrame => "rbp-not-frame",
            Self::FrameUnneeded => "frame-unneeded",
            Self::NotModelled => "not-modelled",
            Self::OrdinaryLoad => "ordinary-load",
            Self::AnyCallee => "any-callee",
            Self::LengthOnly => "length-only",
            Self::FlagAtJoin => "flag-at-join",
            Self::FlagClear => "flag-clear",
            Self::HintUnused => "hint-unused",
            Self::HintResets => "hint-resets",
            Self::RuleNotAsked => "rule-not-asked",
            Self::AnnotationUnneeded => "annotation-unneeded",
            Self::SymbolExtent => "symbol-extent",
            Self::NameUnused => "name-unused",
            Self::PadUnneeded => "pad-unneeded",
            Self::PlaceAllowed => "place-allowed",
            Self::InstrumentationAtJoin => "instrumentation-at-join",
            Self::InstrumentationAllowed => "instrumentation-allowed",
            Self::SaidSafe => "said-safe",
            Self::ReturnsSafe => "returns-safe",
            Self::Unexplained => "unexplained",
        }
    }

    /// Whether such a mutant breaks a rule of stack validation: `yes` is a blind spot of both
    /// tools, `no` breaks nothing, `other` breaks the program but no rule of objtool.
    pub fn violation(self) -> &'static str {
        match self {
            Self::AddendUnread
            | Self::RspUnfollowed
            | Self::UnsavedRegister
            | Self::RbpNotFrame
            | Self::NotModelled
            | Self::LengthOnly
            | Self::FlagAtJoin
            | Self::InstrumentationAtJoin => "yes",
            Self::SameState
            | Self::TailCall
            | Self::DepthBehindRbp
            | Self::NotCalleeSaved
            | Self::OrdinaryLoad
            | Self::AnyCallee
            | Self::SymbolExtent => "other",
            Self::ExemptFunction
            | Self::OutsideFunction
            | Self::NotWalked
            | Self::InitText
            | Self::FrameUnneeded
            | Self::FlagClear
            | Self::HintUnused
            | Self::HintResets
            | Self::RuleNotAsked
            | Self::AnnotationUnneeded
            | Self::NameUnused
            | Self::PadUnneeded
            | Self::PlaceAllowed
            | Self::InstrumentationAllowed
            | Self::SaidSafe
            | Self::ReturnsSafe => "no",
            Self::Unexplained => "?",
        }
    }
}

/// The cause for a mutant on which C objtool says nothing new. `probe` runs C objtool on a file.
///
/// # Errors
/// Those of `probe`.
pub fn of(
    operator: &Operator,
    subject: &Subject,
    change: &Change,
    args: &[String],
    probe: impl Fn(&[u8]) -> Result<Run>,
) -> Result<Cause> {
    if let Some(cause) = of_tables(operator.effect, subject, change, args) {
        return Ok(cause);
    }
    let code = |function| of_code(operator.effect, subject, change, args, function);
    let Some(index) = change.insn else {
        return Ok(code(None));
    };
    // Replacement code runs in the place of what it replaces.
    let home = home(subject, index);
    let Some(function) = home.and_then(|home| subject.insns[home].function) else {
        return Ok(Cause::OutsideFunction);
    };
    if subject.non_standard.contains(&function) {
        return Ok(Cause::ExemptFunction);
    }
    if !is_walked(subject, index, probe)? {
        return Ok(Cause::NotWalked);
    }
    Ok(code(Some(function)))
}

/// Causes that do not depend on which code is meant.
fn of_tables(effect: Effect, subject: &Subject, change: &Change, args: &[String]) -> Option<Cause> {
    let asked = |option: &str| args.iter().any(|arg| arg == option);
    let section = subject.image.sections[change.section].name.as_str();
    match effect {
        Effect::Extent => Some(Cause::SymbolExtent),
        Effect::Name => Some(Cause::NameUnused),
        Effect::Annotation => Some(match section {
            ".discard.noendbr" | ".discard.ibt_endbr_noseal" if !asked("--ibt") => {
                Cause::RuleNotAsked
            }
            ".discard.instr_begin" | ".discard.instr_end" if !asked("--noinstr") => {
                Cause::RuleNotAsked
            }
            ".discard.validate_unret" if !asked("--unret") => Cause::RuleNotAsked,
            _ => Cause::AnnotationUnneeded,
        }),
        Effect::Hint => Some(Cause::HintUnused),
        Effect::LandingPad => Some(Cause::PadUnneeded),
        Effect::Reference => Some(Cause::PlaceAllowed),
        Effect::Instrumentation if !asked("--noinstr") => Some(Cause::RuleNotAsked),
        Effect::Instrumentation => Some(match section {
            ".discard.instr_end" => Cause::InstrumentationAtJoin,
            ".discard.instr_begin" => Cause::AnnotationUnneeded,
            _ => Cause::InstrumentationAllowed,
        }),
        Effect::Trap if is_said_safe(subject, change.insn?.checked_sub(1)?) => {
            Some(Cause::SaidSafe)
        }
        Effect::Untrained => Some(Cause::ReturnsSafe),
        _ => None,
    }
}

/// Whether an annotation says of a return or indirect jump that it is meant.
fn is_said_safe(subject: &Subject, index: usize) -> bool {
    let Some(section) = subject.image.section(".discard.retpoline_safe") else {
        return false;
    };
    let insn = &subject.insns[index];
    let place = Some((insn.section, insn.offset()));
    let mut said = subject.image.sections[section].relocs.iter();
    said.any(|reloc| subject.image.target(reloc) == place)
}

/// Causes in code that is validated.
fn of_code(
    effect: Effect,
    subject: &Subject,
    change: &Change,
    args: &[String],
    function: Option<usize>,
) -> Cause {
    // ORC data say where the frame is, whatever rbp holds.
    let needs_frames = args.iter().any(|arg| arg == "--stackval");
    let facts = function.map_or_else(Facts::default, |function| Facts::of(subject, function));
    let register = change.register.unwrap_or(Register::None);
    match effect {
        Effect::Frame | Effect::Rbp if !needs_frames => Cause::RuleNotAsked,
        Effect::Saved if register == Register::RBP && !needs_frames => Cause::RuleNotAsked,
        Effect::Frame if !facts.calls => Cause::FrameUnneeded,
        Effect::Depth if facts.frame => Cause::DepthBehindRbp,
        Effect::Saved if register == Register::RBP && !facts.calls => Cause::RbpNotFrame,
        Effect::Saved if !callee_saved(register) => Cause::NotCalleeSaved,
        Effect::Saved if register != Register::RBP => Cause::UnsavedRegister,
        Effect::Spill => Cause::OrdinaryLoad,
        Effect::Rbp if is_followed(change) => Cause::RbpNotFrame,
        Effect::Rbp => Cause::NotModelled,
        Effect::Rsp if facts.frame => Cause::RspUnfollowed,
        Effect::Rsp if !is_followed(change) => Cause::NotModelled,
        Effect::Path | Effect::Patching => Cause::SameState,
        Effect::Addend if changes_symbol_addend(subject, change) => Cause::AddendUnread,
        Effect::Addend => Cause::SameState,
        Effect::TailCall => Cause::TailCall,
        Effect::Callee => Cause::AnyCallee,
        Effect::Speculation
            if subject.image.sections[change.section]
                .name
                .starts_with(".init.text") =>
        {
            Cause::InitText
        }
        Effect::Decoding => Cause::LengthOnly,
        Effect::Direction if change.what.ends_with("std") => Cause::FlagAtJoin,
        Effect::Direction => Cause::FlagClear,
        _ if hint_follows(subject, change, function) => Cause::HintResets,
        _ => Cause::Unexplained,
    }
}

/// Whether an unwind hint stands behind the place in the same function.
fn hint_follows(subject: &Subject, change: &Change, function: Option<usize>) -> bool {
    let Some(hints) = subject.image.section(".discard.unwind_hints") else {
        return false;
    };
    let mut hints = subject.image.sections[hints].relocs.iter();
    hints.any(|reloc| {
        let Some((section, offset)) = subject.image.target(reloc) else {
            return false;
        };
        let hinted = subject.find(section, offset);
        section == change.section
            && offset > change.offset
            && hinted.is_some_and(|hinted| subject.insns[hinted].function == function)
    })
}

/// What a function does that matters here.
#[derive(Default)]
struct Facts {
    /// It points `%rbp` to its frame.
    frame: bool,
    /// It calls something other than the function tracer.
    calls: bool,
}

impl Facts {
    fn of(subject: &Subject, function: usize) -> Self {
        let mut facts = Self::default();
        let code = subject.insns.iter();
        for insn in code.filter(|insn| insn.function == Some(function)) {
            let decoded = &insn.decoded;
            facts.frame |= decoded.mnemonic() == Mnemonic::Mov
                && decoded.op0_kind() == OpKind::Register
                && decoded.op0_register() == Register::RBP
                && decoded.op1_kind() == OpKind::Register
                && decoded.op1_register() == Register::RSP;
            facts.calls |= matches!(
                decoded.flow_control(),
                FlowControl::Call | FlowControl::IndirectCall
            ) && subject.reloc_name(insn) != Some("__fentry__");
        }
        facts
    }
}

/// Whether an instruction that was put in place is one that objtool's decoder turns into a stack
/// operation: moves between registers, `lea`, `pop`, loads from the stack.
fn is_followed(change: &Change) -> bool {
    let Some(edit) = change.edits.last() else {
        return false;
    };
    match edit.bytes.as_slice() {
        // pop %rbp, pop %rsp
        [0x5c | 0x5d, ..] => true,
        // mov reg,reg; lea
        [0x48, 0x89 | 0x8d, ..] => true,
        // mov disp(%rsp),reg
        [0x48, 0x8b, modrm, 0x24, ..] => modrm & 7 == 4,
        // and $imm,%rsp
        [0x48, 0x83, 0xe4, ..] => true,
        _ => false,
    }
}

/// Whether the relocation that is changed refers to a symbol rather than to a section.
fn changes_symbol_addend(subject: &Subject, change: &Change) -> bool {
    let relocs = &subject.image.sections[change.section].relocs;
    let mut changed = relocs
        .iter()
        .filter(|reloc| change.edits.iter().any(|edit| edit.at == reloc.at + 16));
    changed.any(|reloc| !subject.image.symbols[reloc.symbol].name.is_empty())
}

/// Where an instruction runs: where it stands, or, for replacement code, the place it is copied
/// to.
fn home(subject: &Subject, index: usize) -> Option<usize> {
    let insn = &subject.insns[index];
    if subject.image.sections[insn.section].name != REPLACEMENTS {
        return Some(index);
    }
    let table = subject.image.section(".altinstructions")?;
    let relocs = &subject.image.sections[table].relocs;
    let entries = relocs.iter().filter(|reloc| reloc.offset % 14 == 4);
    // The entry whose replacement starts last before the instruction holds it.
    let entry = entries
        .filter(|reloc| {
            subject
                .image
                .target(reloc)
                .is_some_and(|(section, start)| section == insn.section && start <= insn.offset())
        })
        .max_by_key(|reloc| subject.image.target(reloc))?;
    let original = relocs
        .iter()
        .find(|reloc| reloc.offset + 4 == entry.offset)?;
    let (section, offset) = subject.image.target(original)?;
    subject.find(section, offset)
}

/// Whether C objtool's walk comes by an instruction: a far return in its place is an error
/// wherever a function is walked.
fn is_walked(
    subject: &Subject,
    index: usize,
    probe: impl Fn(&[u8]) -> Result<Run>,
) -> Result<bool> {
    const FAR_RETURN: u8 = 0xcb;
    let insn: &Insn = &subject.insns[index];
    let at = subject.at(insn);
    let mut data = subject.image.data.clone();
    data[at] = FAR_RETURN;
    data[at + 1..at + insn.len()].copy_from_slice(&nops(insn.len() - 1));
    let run = probe(&data)?;
    let place = subject.place(insn.section, insn.offset());
    let mut lines = run.lines.iter();
    Ok(lines.any(|line| {
        line.place == place && line.message == "unsupported instruction in callable function"
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_explained_with_its_verdict() {
        let text = include_str!("KINDS.md");
        for cause in ALL {
            let head = format!("### {} ({})\n", cause.name(), cause.violation());
            let verdict = if cause == Cause::Unexplained {
                format!("### {}\n", cause.name())
            } else {
                head
            };
            assert!(text.contains(&verdict), "KINDS.md has no {verdict:?}");
        }
        assert_eq!(text.matches("\n### ").count(), ALL.len());
    }
}
