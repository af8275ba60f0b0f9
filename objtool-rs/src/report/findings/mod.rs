//! Every kind of finding: a file each, with its code, its words, and what a person wants to know.
//!
//! The words are C objtool's. Build logs, and the tools that read them, know them, so they are part
//! of the interface; everything else in these files is for `objtool-rs explain`. The table at the
//! end of this file is the only list of them. Where a finding lies is not part of its message.

mod alternative_jump_target;
mod alternative_last_instruction;
mod alternative_reloc;
mod alternative_stack_conflict;
mod annotation_symbol;
mod bad_annotation;
mod call_to_non_function;
mod call_with_direction;
mod call_with_uaccess;
mod call_without_frame;
mod empty_alternative;
mod end_of_section;
mod entry_exit_in_function;
mod falls_through;
mod flags_stack_exhausted;
mod forbidden_encoding;
mod frame_pointer_scratch;
mod function_at_section_end;
mod hint_register;
mod hint_size;
mod ignored_function_reached;
mod indirect_branch;
mod intra_function_not_call;
mod jump_label_instruction;
mod malformed_trampoline;
mod missing_hint_relocs;
mod missing_noreturn;
mod missing_size;
mod missing_state;
mod naked_return;
mod no_call_target;
mod no_hint_instruction;
mod no_hint_reloc;
mod no_intra_function_target;
mod no_jump_table;
mod no_jump_target;
mod no_new_instruction;
mod no_original_instruction;
mod no_parent_function;
mod no_reachable_instruction;
mod no_starting_instruction;
mod no_static_call_key;
mod no_table_reloc;
mod not_a_function;
mod not_code;
mod overlapping_alternative;
mod overlapping_symbol;
mod recursive_direction_set;
mod recursive_uaccess;
mod redundant_direction_clear;
mod redundant_uaccess_disable;
mod restore_before_save;
mod restore_without_save;
mod retpoline_safe_misplaced;
mod return_with_direction;
mod return_with_frame;
mod return_with_uaccess;
mod return_without_uaccess;
mod safe_disables_uaccess;
mod section_exists;
mod sibling_call_with_frame;
mod stack_mismatch;
mod stack_realignment;
mod stack_register_change;
mod table_size;
#[cfg(test)]
mod tests;
mod unannotated_intra_function_call;
mod undefined_stack;
mod unknown_stack_instruction;
mod unknown_stack_memory;
mod unreachable;

use arch::object::Rule;

use super::{Names, Place};
use crate::read::{SectionId, SymbolId};

pub use stack_mismatch::DrapState;

/// What a kind of finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The stack, frames, and what registers are saved.
    Frame,
    /// Where execution goes.
    Flow,
    /// Code that is patched, and code that may fault.
    Patching,
    /// What sources say about their code.
    Annotation,
    /// Access to user memory, and the direction flag, which has the same rules.
    UserAccess,
    /// What processors run ahead of knowing where they go.
    Speculation,
    /// Symbols and encodings.
    Symbols,
    /// What is written into the file.
    Output,
}

impl Group {
    /// All groups, in the order in which they are listed.
    pub const ALL: [Self; 8] = [
        Self::Frame,
        Self::Flow,
        Self::UserAccess,
        Self::Speculation,
        Self::Patching,
        Self::Annotation,
        Self::Symbols,
        Self::Output,
    ];

    /// Its heading.
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Frame => "Frames and the stack",
            Self::Flow => "Control flow",
            Self::Patching => "Alternatives, jump labels and the exception table",
            Self::Annotation => "Annotations",
            Self::UserAccess => "User access and the direction flag",
            Self::Speculation => "Speculation",
            Self::Symbols => "Symbols and encodings",
            Self::Output => "Sections that are written",
        }
    }
}

/// A kind of finding, explained.
#[derive(Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What a person types to have it explained; the name of its file, with hyphens.
    pub code: &'static str,
    /// What it is about.
    pub group: Group,
    /// What is wrong, as a sentence without its capital and full stop.
    pub title: &'static str,
    /// What C objtool says; `{}` stands for what differs from case to case.
    pub words: &'static [&'static str],
    /// What was seen. Paragraphs are separated by an empty line, here and below.
    pub what: &'static str,
    /// What it leads to.
    pub why: &'static str,
    /// A few lines that trigger it; only comments where nothing can.
    pub example: &'static str,
    /// What usually fixes it, in the first paragraph.
    pub fix: &'static str,
}

/// The words of a variant: those of its kind, or what its function makes of its data.
macro_rules! words {
    ($file:ident, $names:ident) => {
        $file::EXPLANATION.words[0].to_owned()
    };
    ($file:ident, $names:ident, $text:ident $(; $($field:ident),*)?) => {
        $file::$text($names $($(, $field)*)?)
    };
}

/// Makes the message type and the table from one row a file: the file, the variants of [`Message`]
/// that it explains with their data, and the function in it that words them. Without a function the
/// words are the kind's own.
macro_rules! findings {
    ($($file:ident { $(
        $variant:ident
        $({ $($field:ident: $type:ty),* })?
        $(($($item:ident: $item_type:ty),*))?
        $(=> $text:ident)?
    ),* $(,)? })*) => {
        /// What was found.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "fields are what the text that each prints is made of")]
        pub enum Message {
            $($(
                #[doc = concat!("Explained in `findings/", stringify!($file), ".rs`.")]
                $variant $({ $($field: $type),* })? $(($($item_type),*))?,
            )*)*
        }

        /// All kinds of findings.
        pub const ALL: &[&Explanation] = &[$(&$file::EXPLANATION),*];

        #[cfg(test)]
        const FILES: &[&str] = &[$(stringify!($file)),*];

        impl Message {
            /// What kind of finding it is.
            pub fn explanation(&self) -> &'static Explanation {
                match self {
                    $($(Self::$variant { .. } => &$file::EXPLANATION,)*)*
                }
            }

            /// The words, with symbols and sections by name.
            pub fn text(&self, names: &Names<'_>) -> String {
                match self {
                    $($(
                        Self::$variant $({ $($field),* })? $(($($item),*))? =>
                            words!($file, names $(, $text)? $(; $($field),*)? $(; $($item),*)?),
                    )*)*
                }
            }
        }
    };
}

findings! {
    call_without_frame { CallWithoutFrame }
    return_with_frame { ReturnWithFrame }
    sibling_call_with_frame { SiblingCallWithFrame }
    frame_pointer_scratch { FramePointerScratch }
    stack_mismatch {
        CfaMismatch { known: Rule, found: Rule } => cfa,
        RegisterMismatch { reg: usize, known: Rule, found: Rule } => register,
        TypeMismatch { known: u8, found: u8 } => kind,
        DrapMismatch { known: DrapState, found: DrapState } => drap,
    }
    undefined_stack { UndefinedState }
    stack_register_change { UnsupportedStackRegisterChange }
    stack_realignment { UnsupportedRealignment }
    unknown_stack_instruction { UnknownStackInstruction }
    unknown_stack_memory { UnknownStackMemoryOperation }
    missing_state { MissingState }
    restore_without_save { NoSave }
    restore_before_save { UnsupportedRestore }
    missing_size { MissingSize(function: SymbolId) => text }
    no_parent_function { NoParentFunction(function: SymbolId) => text }
    function_at_section_end { FunctionAtSectionEnd(function: SymbolId) => text }
    no_starting_instruction { NoStartingInstruction(function: SymbolId) => text }
    forbidden_encoding {
        EncodingNote { note: &'static str, place: Place, hex_prefix: bool } => text,
    }
    falls_through { FallsThrough { from: SymbolId, to: SymbolId } => text }
    end_of_section { EndOfSection(section: SectionId) => text }
    ignored_function_reached { ValidatingIgnored }
    not_code { NotCode }
    not_a_function { NotAFunction }
    overlapping_symbol { CoveredBySymbol }
    unreachable { Unreachable }
    missing_noreturn { MissingNoreturn { callee: SymbolId } => text }
    no_jump_target { NoJumpTarget(target: Place) => text }
    no_call_target { NoCallTarget(target: Place) => text }
    unannotated_intra_function_call { IntraFunctionCall }
    call_to_non_function { CallToNonFunction }
    no_jump_table { NoJumpTable }
    entry_exit_in_function { UnsupportedInCallable }
    empty_alternative { EmptyAlternative }
    overlapping_alternative { OverlappingAlternative { covered: i64, original_len: u32 } => text }
    alternative_stack_conflict { AlternativeConflict(at: Place) => text }
    no_original_instruction { NoOriginalInstruction }
    no_new_instruction { NoNewInstruction }
    no_table_reloc { NoTableReloc { which: &'static str } => text }
    table_size { TableSize { table: &'static str, entry: u64 } => text }
    alternative_reloc { UnsupportedAlternativeReloc }
    alternative_jump_target { NoAlternativeJumpTarget }
    alternative_last_instruction { NoLastAlternativeInstruction }
    jump_label_instruction { UnsupportedJumpLabel }
    annotation_symbol {
        UnexpectedRelocSymbol { annotation: &'static str } => by_symbol,
        UnexpectedIgnoreSymbol { kind: u8 } => by_kind,
    }
    bad_annotation { BadAnnotation { annotation: &'static str } => text }
    no_reachable_instruction { NoReachableInstruction(at: Place) => text }
    intra_function_not_call { IntraCallNotCall }
    no_intra_function_target { NoIntraCallTarget(target: Place) => text }
    retpoline_safe_misplaced { RetpolineSafeMisplaced }
    missing_hint_relocs { MissingHintRelocs }
    hint_size { HintSizeMismatch }
    no_hint_reloc { NoHintReloc { index: u64 } => text }
    no_hint_instruction { NoHintInstruction { index: u64 } => text }
    hint_register { UnsupportedHintRegister { sp_reg: u8 } => text }
    call_with_uaccess { CallWithUserAccess { callee: Option<SymbolId> } => text }
    return_with_uaccess { ReturnWithUserAccess }
    return_without_uaccess { ReturnWithoutUserAccess }
    recursive_uaccess { RecursiveUserAccess }
    redundant_uaccess_disable { RedundantUserAccessDisable }
    safe_disables_uaccess { SafeDisablesUserAccess }
    flags_stack_exhausted { PushFlagsExhausted }
    call_with_direction { CallWithDirection { callee: Option<SymbolId> } => text }
    return_with_direction { ReturnWithDirection }
    recursive_direction_set { RecursiveDirection }
    redundant_direction_clear { RedundantDirectionClear }
    naked_return { NakedReturn }
    indirect_branch {
        IndirectJump => jump,
        IndirectCall => call,
    }
    section_exists { SectionExists { section: &'static str, suffix: &'static str } => text }
    malformed_trampoline { MalformedTrampoline(trampoline: SymbolId) => text }
    no_static_call_key { NoStaticCallKey { key: String } => text }
}
