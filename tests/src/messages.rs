//! The warnings of objtool in Linux 6.12, and where each is tested.
//!
//! Taken from every `WARN` in `tools/objtool/{check,elf,objtool,orc_dump,orc_gen,special}.c` and
//! `tools/objtool/arch/x86/{decode,orc}.c`. `{}` stands for what differs from case to case.

/// A warning, and the fixture below `fixtures/x86_64/` that comes close to it without earning it.
///
/// Every one of them has a fixture that does earn it; `tests/tests/coverage.rs` looks.
#[rustfmt::skip]
pub const COVERED: &[(&str, &str)] = &[
    ("call without frame pointer save/setup", "stack/call_without_frame.S"),
    ("return with modified stack frame", "stack/return_modified.S"),
    ("BP used as a scratch register", "stack/scratch_frame_pointer.S"),
    ("sibling call from callable instruction with modified stack frame", "stack/sibling_call.S"),
    ("stack state mismatch: cfa1={} cfa2={}", "stack/mismatch.S"),
    ("stack state mismatch: reg1[{}]={} reg2[{}]={}", "stack/mismatch.S"),
    ("stack state mismatch: type1={} type2={}", "stack/mismatch_type.S"),
    ("stack state mismatch: drap1={} drap2={}", "stack/mismatch_drap.S"),
    ("unsupported stack pointer realignment", "stack/realign.S"),
    ("unsupported stack register modification", "stack/modified_base.S"),
    ("undefined stack state", "stack/undefined_state.S"),
    ("{}() falls through to next function {}()", "stack/falls_through.S"),
    ("{}: unexpected end of section", "stack/end_of_section.S"),
    ("return with DF set", "stack/direction_flag.S"),
    ("call to {}() with DF set", "stack/direction_flag.S"),
    ("recursive STD", "stack/direction_flag.S"),
    ("redundant CLD", "stack/direction_flag.S"),
    ("unsupported instruction in callable function", "stack/context_switch.S"),
    ("{}() is missing an ELF size annotation", "stack/missing_size.S"),
    ("BUG: why am I validating an ignored function?", "stack/non_standard_part.S"),
    ("no corresponding CFI save for CFI restore", "stack/save_restore.S"),
    ("objtool isn't smart enough to handle this CFI save/restore combo", "stack/save_restore.S"),
    ("indirect {} found in MITIGATION_RETPOLINE build", "retpoline/indirect.S"),
    ("'naked' return found in MITIGATION_RETHUNK build", "retpoline/naked_return.S"),
    ("call to {}() with UACCESS enabled", "uaccess/call.S"),
    ("return with UACCESS enabled", "uaccess/return.S"),
    ("return with UACCESS disabled from a UACCESS-safe function", "uaccess/return.S"),
    ("recursive UACCESS enable", "uaccess/nesting.S"),
    ("redundant UACCESS disable", "uaccess/nesting.S"),
    ("UACCESS-safe disables UACCESS", "uaccess/return.S"),
    ("PUSHF stack exhausted", "uaccess/flags_stack.S"),
    ("weirdly overlapping alternative! {} != {}", "special/nested_alternative.S"),
    ("can't find alternative jump destination", "special/alternative_jumps_to_end.S"),
    ("empty alternative entry", "special/empty_alternative.S"),
    ("stack layout conflict in alternatives: {}", "special/alternative_stack_conflict.S"),
    ("special: can't find orig instruction", "special/nested_alternative.S"),
    ("special: can't find new instruction", "special/nested_alternative.S"),
    ("{}: can't find orig reloc", "special/nested_alternative.S"),
    ("{}: can't find new reloc", "special/empty_alternative.S"),
    ("{}: can't find key reloc", "special/jump_label.S"),
    ("{} size not a multiple of {}", "special/exception.S"),
    ("unsupported instruction at jump label", "special/jump_label.S"),
    ("invalid NOP size: {}", "hacks/jump_label.S"),
    ("invalid RET size: {}", "hacks/noinstr.S"),
    ("can't find reachable insn at {}", "annotations/reachable.S"),
    ("unexpected relocation symbol type in {}", "annotations/retpoline_safe.S"),
    ("unexpected relocation symbol type in .rela.discard.func_stack_frame_non_standard: {}", "stack/non_standard.S"),
    ("bad .discard.ignore_alts entry", "special/ignored_alternative.S"),
    ("bad .discard.noendbr entry", "annotations/instr.S"),
    ("bad .discard.retpoline_safe entry", "annotations/retpoline_safe.S"),
    ("retpoline_safe hint not an indirect jump/call/ret/nop", "annotations/retpoline_safe.S"),
    ("bad .discard.instr_begin entry", "annotations/instr.S"),
    ("bad .discard.instr_end entry", "annotations/instr.S"),
    ("bad .discard.intra_function_call entry", "annotations/intra_function_call.S"),
    ("intra_function_call not a direct call", "annotations/intra_function_call.S"),
    ("can't find call dest at {}", "annotations/intra_function_call.S"),
    ("missing .rela.discard.unwind_hints section", "stack/hints.S"),
    ("struct unwind_hint size mismatch", "stack/hints.S"),
    ("can't find reloc for unwind_hints[{}]", "stack/hints.S"),
    ("can't find insn for unwind_hints[{}]", "stack/hints.S"),
    ("unsupported unwind_hint sp base reg {}", "stack/hints.S"),
    ("can't find jump dest instruction at {}", "branches/jump.S"),
    ("unannotated intra-function call", "branches/call.S"),
    ("unsupported call to non-function", "branches/call.S"),
    ("can't find call dest symbol at {}", "branches/call.S"),
    ("unreachable instruction", "reachability/unreachable.S"),
    ("{}() is missing a __noreturn annotation", "reachability/missing_noreturn.S"),
    ("can't find switch jump table", "switch/table.S"),
    ("static_call: can't find static_call_key symbol: {}", "sites/static_call_without_key_module.S"),
    ("file already has .static_call_sites section, skipping", "sites/static_call.S"),
    ("file already has .retpoline_sites, skipping", "sites/sections.S"),
    ("file already has .return_sites, skipping", "sites/sections.S"),
    ("file already has .call_sites section, skipping", "sites/call_sites.S"),
    ("ENQCMD instruction at {}", "decode/enqcmd.S"),
    ("notrack prefix found at {}", "decode/notrack.S"),
    ("{}(): STT_FUNC at end of section", "elf/label_at_end.S"),
    ("{}(): can't find starting instruction", "retpoline/embedded.S"),
    ("tail call to __fentry__ !?!?", "mcount/tail_call.S"),
    ("file already has __mcount_loc section, skipping", "mcount/unasked.S"),
    ("UNWIND_HINT_IRET_REGS without ENDBR", "ibt/hint.S"),
    ("relocation to !ENDBR: {}", "ibt/reference.S"),
    ("{}: data relocation to !ENDBR: {}", "ibt/data.S"),
    ("{}(): not an indirect call target", "ibt/module_entry.S"),
    ("file already has .ibt_endbr_seal, skipping", "ibt/seal_nothing.S"),
    ("call to {}() leaves .noinstr.text section", "noinstr/call.S"),
    ("return with instrumentation enabled", "noinstr/return.S"),
    ("pv_ops[{}]: {}", "noinstr/paravirt.S"),
    ("no func for pv_ops[]", "noinstr/paravirt_store_of_nothing.S"),
    ("RET before UNTRAIN", "unret/return.S"),
    ("early indirect call", "unret/indirect.S"),
    ("unresolved jump target after linking?!?", "unret/jump_somewhere.S"),
    ("Unresolved function after linking!?: {}", "unret/call_elsewhere.S"),
    ("teh end!", "unret/end.S"),
    ("Failed UNRET validation", "unret/end.S"),
    ("missing int3 after ret", "sls/return.S"),
    ("missing int3 after indirect jump", "sls/indirect_jump.S"),
    ("file already has .cfi_sites section, skipping", "cfi/sites.S"),
    ("file already has .orc_unwind section, skipping", "orc/addresses_there.S"),
    ("unknown unwind hint type {}", "orc/hint_type.S"),
    ("unknown CFA base reg {}", "orc/register.S"),
];

/// Warnings that no fixture can hold, and what tests them instead or why nothing does.
#[rustfmt::skip]
pub const ELSEWHERE: &[(&str, &str)] = &[
    ("invalid LEA encoding at {}", "decode/lea_of_register.S: no instruction, so an error"),
    ("{}(): can't find parent function", "elf/cold_without_parent.S: an error"),
    ("can't decode instruction at {}", "bad_input.rs: code that can't be decoded is input that can't be understood"),
    ("unexpected ELF machine type {}", "bad_input.rs: another machine"),
    ("couldn't find section for symbol {}", "bad_input.rs: a symbol's section out of range"),
    ("can't find base section for reloc section {}", "bad_input.rs: a relocation section for a section out of range"),
    ("can't find reloc entry symbol {} for {}", "bad_input.rs: a relocation's symbol out of range"),
    ("unexpected data attributes for {}", "bad_input.rs: a section's extent out of range"),
    ("write to unexpected data for section: {}", "hacks/jump_label_in_notes.S: a limit of libelf"),
    ("bad .orc_unwind section size", "dump/cut_short.S: an error"),
    ("can't create backup file", "command_line.rs: a folder stands where the backup would"),
    ("can't find .strtab section", "needs a string table under a name that no toolchain gives"),
    ("can't find .shstrtab or .strtab section", "needs a string table under a name that no toolchain gives"),
    ("disassembly failed: {}", "needs a system without objdump or gawk, which the build of a kernel needs too"),
];

/// Warnings that no input can earn, and why.
#[rustfmt::skip]
pub const UNREACHABLE: &[(&str, &str)] = &[
    ("static_call: trampoline name malformed: {}", "only names with the prefix count as trampolines in the first place"),
    ("unsupported relocation in alternatives section", "every relocation is supported on this architecture"),
    ("can't find last new alternative instruction", "the first instruction of a replacement that is not empty is always inside it"),
    ("unknown stack-related instruction", "the decoder makes no operation with such a source or destination"),
    ("unknown stack-related memory operation", "the decoder makes no write to memory but a pop"),
    ("unknown BP base reg {}", "registers are only ever saved at a distance from the CFA or from bp"),
    ("paravirt confusion", "a store names the table's symbol, and so the table is found by its name"),
    ("CFI missing", "a visited instruction always has a state"),
    ("bad call to {}() for data symbol {}", "instructions are only in executable sections"),
    ("bad call to {}() for text symbol {}", "the new sections are never executable"),
    ("{}: bad reloc_idx {} for {} with {} relocs", "the new sections are made for as many relocations as are added"),
    ("{}: {}: reloc {} already initialized!", "each relocation of a new section is added once"),
    ("no .symtab", "without symbols there is nothing that leads to a new section"),
    ("no .symtab_shndx", "an object with so many sections has one"),
    ("won't handle more than one file at a time", "the command line takes one file"),
    ("index out of range", "internal to libelf's blocks of symbols"),
    ("zero size data", "internal to libelf's blocks of symbols"),
    ("negative index", "internal to libelf's blocks of symbols"),
    ("elf_update_symbol", "internal to libelf's blocks of symbols"),
    ("elf_update_symbol move", "internal to libelf's blocks of symbols"),
    ("end of section data but non-zero size left", "internal to libelf's blocks of symbols"),
    ("truncated; but more data", "internal to libelf's blocks of symbols"),
    ("section entry mismatch", "internal to libelf's list of sections"),
];

/// Whether `text` is `template` with something, at least one character, for each `{}`.
pub fn matches(template: &str, text: &str) -> bool {
    let Some((head, rest)) = template.split_once("{}") else {
        return template == text;
    };
    let Some(text) = text.strip_prefix(head) else {
        return false;
    };
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    ends.into_iter().any(|end| matches(rest, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_template_matches_only_its_own_texts() {
        assert!(matches("redundant CLD", "redundant CLD"));
        assert!(!matches("redundant CLD", "redundant CLD!"));
        assert!(matches("{}() falls to {}()", "f() falls to g()"));
        assert!(!matches("{}() falls to {}()", "() falls to g()"));
        assert!(!matches("{}() falls to {}()", "f() falls to g"));
        assert!(matches("size {}", "size 14"));
        assert!(!matches("size {}", "size "));
    }
}
