//! What findings say, word for word as C objtool says it.
//!
//! Build logs, and the tools that read them, know these words, so they are part of the interface
//! (`tools/objtool/Documentation/objtool.txt` explains them). Where a finding lies is not part of
//! its message.

use arch::object::Rule;

use super::Names;
use crate::read::{SectionId, SymbolId};

/// A place in the code or data: a section and an offset in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The section.
    pub section: SectionId,
    /// Offset in it.
    pub offset: u64,
}

/// The state of a DRAP register, for a mismatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrapState {
    /// Whether the frame is realigned.
    pub active: bool,
    /// Number of the register.
    pub reg: i32,
    /// Where it is saved, relative to the frame pointer.
    pub offset: i32,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the text that each prints says what it is")]
pub enum Message {
    // Decoding and symbols.
    EncodingNote {
        note: &'static str,
        place: Place,
        hex_prefix: bool,
    },
    NoParentFunction(SymbolId),
    FunctionAtSectionEnd(SymbolId),
    NoStartingInstruction(SymbolId),
    MissingSize(SymbolId),
    // Annotations.
    UnexpectedRelocSymbol {
        annotation: &'static str,
    },
    UnexpectedIgnoreSymbol {
        kind: u8,
    },
    BadAnnotation {
        annotation: &'static str,
    },
    NoReachableInstruction(Place),
    IntraCallNotCall,
    NoIntraCallTarget(Place),
    RetpolineSafeMisplaced,
    MissingHintRelocs,
    HintSizeMismatch,
    NoHintReloc {
        index: u64,
    },
    NoHintInstruction {
        index: u64,
    },
    UnsupportedHintRegister {
        sp_reg: u8,
    },
    // Alternatives, jump labels, exception table.
    TableSize {
        table: &'static str,
        entry: u64,
    },
    NoTableReloc {
        which: &'static str,
    },
    NoOriginalInstruction,
    NoNewInstruction,
    EmptyAlternative,
    OverlappingAlternative {
        covered: i64,
        original_len: u32,
    },
    UnsupportedAlternativeReloc,
    NoAlternativeJumpTarget,
    NoLastAlternativeInstruction,
    UnsupportedJumpLabel,
    // Control flow.
    NoJumpTarget(Place),
    IntraFunctionCall,
    CallToNonFunction,
    NoCallTarget(Place),
    NoJumpTable,
    // The walk.
    FallsThrough {
        from: SymbolId,
        to: SymbolId,
    },
    ValidatingIgnored,
    NoSave,
    UnsupportedRestore,
    EndOfSection(SectionId),
    NotCode,
    CoveredBySymbol,
    NotAFunction,
    UndefinedState,
    UnsupportedStackRegisterChange,
    UnsupportedRealignment,
    UnknownStackInstruction,
    UnknownStackMemoryOperation,
    PushFlagsExhausted,
    MissingState,
    AlternativeConflict(Place),
    CfaMismatch {
        known: Rule,
        found: Rule,
    },
    RegisterMismatch {
        reg: usize,
        known: Rule,
        found: Rule,
    },
    TypeMismatch {
        known: u8,
        found: u8,
    },
    DrapMismatch {
        known: DrapState,
        found: DrapState,
    },
    UnsupportedInCallable,
    CallWithoutFrame,
    SiblingCallWithFrame,
    ReturnWithFrame,
    FramePointerScratch,
    // User access and the direction flag.
    CallWithUserAccess {
        callee: Option<SymbolId>,
    },
    ReturnWithUserAccess,
    ReturnWithoutUserAccess,
    RecursiveUserAccess,
    RedundantUserAccessDisable,
    SafeDisablesUserAccess,
    CallWithDirection {
        callee: Option<SymbolId>,
    },
    ReturnWithDirection,
    RecursiveDirection,
    RedundantDirectionClear,
    // Whole-file rules.
    NakedReturn,
    IndirectJump,
    IndirectCall,
    MissingNoreturn {
        callee: SymbolId,
    },
    Unreachable,
    // Output.
    SectionExists {
        section: &'static str,
        suffix: &'static str,
    },
    MalformedTrampoline(SymbolId),
    NoStaticCallKey {
        key: String,
    },
    // The way to a finding.
    TraceAlternative,
    TraceBranch,
    TraceHint,
    TraceSymbol,
}

impl Message {
    /// The words, with symbols and sections by name.
    pub fn text(&self, names: &Names<'_>) -> String {
        use Message as M;

        let symbol = |id: &SymbolId| names.symbol(*id);
        let dest = |place: &Place| format!("{}+{:#x}", names.section(place.section), place.offset);
        let callee = |callee: &Option<SymbolId>| {
            callee.map_or_else(|| "{dynamic}".into(), |id| names.symbol(id))
        };
        match self {
            M::EncodingNote { note, place, hex_prefix } => {
                let section = names.section(place.section);
                if *hex_prefix {
                    format!("{note} at {section}:{:#x}", place.offset)
                } else {
                    format!("{note} at {section}:{:x}", place.offset)
                }
            }
            M::NoParentFunction(id) => format!("{}(): can't find parent function", symbol(id)),
            M::FunctionAtSectionEnd(id) => format!("{}(): STT_FUNC at end of section", symbol(id)),
            M::NoStartingInstruction(id) => {
                format!("{}(): can't find starting instruction", symbol(id))
            }
            M::MissingSize(id) => format!("{}() is missing an ELF size annotation", symbol(id)),
            M::UnexpectedRelocSymbol { annotation } => {
                format!("unexpected relocation symbol type in .rela{annotation}")
            }
            M::UnexpectedIgnoreSymbol { kind } => format!(
                "unexpected relocation symbol type in .rela.discard.func_stack_frame_non_standard: {kind}"
            ),
            M::BadAnnotation { annotation } => format!("bad {annotation} entry"),
            M::NoReachableInstruction(place) => {
                format!("can't find reachable insn at {}", dest(place))
            }
            M::IntraCallNotCall => "intra_function_call not a direct call".into(),
            M::NoIntraCallTarget(place) => format!("can't find call dest at {}", dest(place)),
            M::RetpolineSafeMisplaced => {
                "retpoline_safe hint not an indirect jump/call/ret/nop".into()
            }
            M::MissingHintRelocs => "missing .rela.discard.unwind_hints section".into(),
            M::HintSizeMismatch => "struct unwind_hint size mismatch".into(),
            M::NoHintReloc { index } => format!("can't find reloc for unwind_hints[{index}]"),
            M::NoHintInstruction { index } => format!("can't find insn for unwind_hints[{index}]"),
            M::UnsupportedHintRegister { sp_reg } => {
                format!("unsupported unwind_hint sp base reg {sp_reg}")
            }
            M::TableSize { table, entry } => format!("{table} size not a multiple of {entry}"),
            M::NoTableReloc { which } => format!("can't find {which} reloc"),
            M::NoOriginalInstruction => "special: can't find orig instruction".into(),
            M::NoNewInstruction => "special: can't find new instruction".into(),
            M::EmptyAlternative => "empty alternative entry".into(),
            M::OverlappingAlternative { covered, original_len } => {
                format!("weirdly overlapping alternative! {covered} != {original_len}")
            }
            M::UnsupportedAlternativeReloc => {
                "unsupported relocation in alternatives section".into()
            }
            M::NoAlternativeJumpTarget => "can't find alternative jump destination".into(),
            M::NoLastAlternativeInstruction => {
                "can't find last new alternative instruction".into()
            }
            M::UnsupportedJumpLabel => "unsupported instruction at jump label".into(),
            M::NoJumpTarget(place) => {
                format!("can't find jump dest instruction at {}", dest(place))
            }
            M::IntraFunctionCall => "unannotated intra-function call".into(),
            M::CallToNonFunction => "unsupported call to non-function".into(),
            M::NoCallTarget(place) => format!("can't find call dest symbol at {}", dest(place)),
            M::NoJumpTable => "can't find switch jump table".into(),
            M::FallsThrough { from, to } => {
                format!("{}() falls through to next function {}()", symbol(from), symbol(to))
            }
            M::ValidatingIgnored => "BUG: why am I validating an ignored function?".into(),
            M::NoSave => "no corresponding CFI save for CFI restore".into(),
            M::UnsupportedRestore => {
                "objtool isn't smart enough to handle this CFI save/restore combo".into()
            }
            M::EndOfSection(id) => format!("{}: unexpected end of section", names.section(*id)),
            M::NotCode => "execution runs into bytes that are no instruction".into(),
            M::CoveredBySymbol => "another symbol lies over it".into(),
            M::NotAFunction => "code that is no function lies over it".into(),
            M::UndefinedState => "undefined stack state".into(),
            M::UnsupportedStackRegisterChange => "unsupported stack register modification".into(),
            M::UnsupportedRealignment => "unsupported stack pointer realignment".into(),
            M::UnknownStackInstruction => "unknown stack-related instruction".into(),
            M::UnknownStackMemoryOperation => "unknown stack-related memory operation".into(),
            M::PushFlagsExhausted => "PUSHF stack exhausted".into(),
            M::MissingState => "CFI missing".into(),
            M::AlternativeConflict(place) => {
                format!("stack layout conflict in alternatives: {}", names.place(*place))
            }
            M::CfaMismatch { known, found } => format!(
                "stack state mismatch: cfa1={}{:+} cfa2={}{:+}",
                known.base.number(),
                known.offset,
                found.base.number(),
                found.offset
            ),
            M::RegisterMismatch { reg, known, found } => format!(
                "stack state mismatch: reg1[{reg}]={}{:+} reg2[{reg}]={}{:+}",
                known.base.number(),
                known.offset,
                found.base.number(),
                found.offset
            ),
            M::TypeMismatch { known, found } => {
                format!("stack state mismatch: type1={known} type2={found}")
            }
            M::DrapMismatch { known, found } => format!(
                "stack state mismatch: drap1={}({},{}) drap2={}({},{})",
                u8::from(known.active),
                known.reg,
                known.offset,
                u8::from(found.active),
                found.reg,
                found.offset
            ),
            M::UnsupportedInCallable => "unsupported instruction in callable function".into(),
            M::CallWithoutFrame => "call without frame pointer save/setup".into(),
            M::SiblingCallWithFrame => {
                "sibling call from callable instruction with modified stack frame".into()
            }
            M::ReturnWithFrame => "return with modified stack frame".into(),
            M::FramePointerScratch => "BP used as a scratch register".into(),
            M::CallWithUserAccess { callee: id } => {
                format!("call to {}() with UACCESS enabled", callee(id))
            }
            M::ReturnWithUserAccess => "return with UACCESS enabled".into(),
            M::ReturnWithoutUserAccess => {
                "return with UACCESS disabled from a UACCESS-safe function".into()
            }
            M::RecursiveUserAccess => "recursive UACCESS enable".into(),
            M::RedundantUserAccessDisable => "redundant UACCESS disable".into(),
            M::SafeDisablesUserAccess => "UACCESS-safe disables UACCESS".into(),
            M::CallWithDirection { callee: id } => {
                format!("call to {}() with DF set", callee(id))
            }
            M::ReturnWithDirection => "return with DF set".into(),
            M::RecursiveDirection => "recursive STD".into(),
            M::RedundantDirectionClear => "redundant CLD".into(),
            M::NakedReturn => "'naked' return found in MITIGATION_RETHUNK build".into(),
            M::IndirectJump => "indirect jump found in MITIGATION_RETPOLINE build".into(),
            M::IndirectCall => "indirect call found in MITIGATION_RETPOLINE build".into(),
            M::MissingNoreturn { callee } => {
                format!("{}() is missing a __noreturn annotation", symbol(callee))
            }
            M::Unreachable => "unreachable instruction".into(),
            M::SectionExists { section, suffix } => {
                format!("file already has {section}{suffix}, skipping")
            }
            M::MalformedTrampoline(id) => {
                format!("static_call: trampoline name malformed: {}", symbol(id))
            }
            M::NoStaticCallKey { key } => {
                format!("static_call: can't find static_call_key symbol: {key}")
            }
            M::TraceAlternative => "(alt)".into(),
            M::TraceBranch => "(branch)".into(),
            M::TraceHint => "<=== (hint)".into(),
            M::TraceSymbol => "<=== (sym)".into(),
        }
    }
}
