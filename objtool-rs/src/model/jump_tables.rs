//! Switch jump tables: where an indirect jump of a compiled `switch` may go.
//!
//! Compilers leave no mark, so the table is found by going back from the jump to an instruction
//! that refers to read-only data without a symbol, whose first word is relocated into the same
//! function. Tables follow each other without a gap, so each one's end is found by what it holds
//! and by where the next one starts.

use arch::insn::InsnKind;
use arch::object::Architecture;
use rustc_hash::FxHashMap;

use super::{Alternative, Model};
use crate::decode::InsnId;
use crate::read::{RelocId, SymbolId};
use crate::report::{Abort, Findings, Message};

/// Section of tables that C code makes itself; unlike a compiler's they have symbols.
const C_JUMP_TABLE_SECTION: &[u8] = b".data.rel.ro.c_jump_table";

/// Size of a table's entry in bytes.
const ENTRY: u64 = 8;

/// Finds the tables of all functions.
pub(super) fn add<A: Architecture>(
    model: &mut Model<'_, A>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    if !model.sections.iter().any(|role| role.rodata) {
        return Ok(());
    }
    for section in model.file.section_ids() {
        for index in 0..model.symbols.of_section(section).len() {
            let function = model.symbols.of_section(section)[index];
            if model.file.symbol(function).is_function() {
                add_function(model, function, findings)?;
            }
        }
    }
    Ok(())
}

fn add_function<A: Architecture>(
    model: &mut Model<'_, A>,
    function: SymbolId,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let mut is_switch = false;
    for insn in model.function_insns(function) {
        is_switch |= model.insn(insn).kind == InsnKind::JumpDynamic;
    }
    if !is_switch {
        return Ok(());
    }
    let insns: Vec<InsnId> = model.function_insns(function).collect();

    // Sources of forward jumps, to go back along them past code in between.
    let mut first_source: FxHashMap<InsnId, InsnId> = FxHashMap::default();
    let mut tables: Vec<(InsnId, RelocId)> = Vec::new();
    for &insn in &insns {
        if let Some(dest) = model.jump_target(insn) {
            if model.insn(dest).offset > model.insn(insn).offset {
                first_source.entry(dest).or_insert(insn);
            }
        }
        if model.insn(insn).kind != InsnKind::JumpDynamic {
            continue;
        }
        if let Some(table) = find(model, function, insn, &first_source) {
            model.jump_tables.insert(insn, table);
            tables.push((insn, table));
        }
    }
    for (i, &(insn, table)) in tables.iter().enumerate() {
        let next = tables.get(i + 1).map(|&(_, table)| table);
        follow(model, insn, table, next, findings)?;
    }
    Ok(())
}

/// Goes back from an indirect jump to the instruction that names its table.
fn find<A: Architecture>(
    model: &mut Model<'_, A>,
    function: SymbolId,
    jump: InsnId,
    first_source: &FxHashMap<InsnId, InsnId>,
) -> Option<RelocId> {
    let own = |model: &Model<'_, A>, insn| {
        model
            .function_of(insn)
            .is_some_and(|f| model.symbols.parent(f) == function)
    };
    let jump_offset = model.insn(jump).offset;
    let mut next = Some(jump);
    while let Some(insn) = next.filter(|&insn| own(model, insn)) {
        let record = *model.insn(insn);
        if insn != jump && record.kind == InsnKind::JumpDynamic {
            break;
        }
        // Short jumps over what lies between are fine.
        if record.kind == InsnKind::JumpUnconditional {
            if let Some(dest) = model.jump_target(insn) {
                let dest = model.insn(dest).offset;
                if dest <= record.offset || dest > jump_offset {
                    break;
                }
            }
        }
        if let Some(table) = named_table(model, insn) {
            let entry = model.file.reloc(table);
            let section = model.file.symbol(entry.symbol).section;
            let dest = model.insns.at(section, entry.addend as u64);
            if dest.is_some_and(|dest| own(model, dest)) {
                return Some(table);
            }
        }
        next = first_source.get(&insn).copied().or_else(|| {
            let prev = model.insns.prev(insn)?;
            (model.function_of(prev) == model.function_of(insn)).then_some(prev)
        });
    }
    None
}

/// The first entry of the table that an instruction refers to, if it may be one.
fn named_table<A: Architecture>(model: &mut Model<'_, A>, insn: InsnId) -> Option<RelocId> {
    let (_, reloc) = model.insn_reloc(insn)?;
    let symbol = model.file.symbol(reloc.symbol);
    let section = symbol.section;
    if !symbol.is_section() || !model.sections[section.index()].rodata {
        return None;
    }
    let is_relative = model.arch.is_relative32(reloc.kind);
    let bias = if is_relative { A::BRANCH_FIELD_LEN } else { 0 };
    let offset = reloc.addend.wrapping_add(bias) as u64;
    // Data with a name is no compiler's table.
    if model.symbols.containing(section, offset).is_some()
        && model.file.section(section).name != C_JUMP_TABLE_SECTION
    {
        return None;
    }
    let (table, _) = model.file.reloc_at(section, offset)?;
    // A jump relative to the instruction goes to one fixed entry: the compiler copied a table and
    // left the code of the other entries behind.
    model.ignore_unreachable |= is_relative;
    Some(table)
}

/// Adds the targets of a table to its jump.
fn follow<A: Architecture>(
    model: &mut Model<'_, A>,
    jump: InsnId,
    table: RelocId,
    next: Option<RelocId>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let Some(function) = model.function_of(jump).map(|f| model.symbols.parent(f)) else {
        return Ok(());
    };
    let start = model.file.symbol(function).value;
    let section = model.file.symbol(function).section;
    let end = start.wrapping_add(model.symbols.len(function));
    let count = model
        .file
        .section(table.section)
        .relocs
        .as_ref()
        .map_or(0, |t| t.len());
    let mut last_offset = None;
    for index in table.index..count {
        let id = RelocId { index, ..table };
        if index != table.index && Some(id) == next {
            break;
        }
        let entry = model.file.reloc(id);
        if last_offset.is_some_and(|last| entry.offset != last + ENTRY) {
            break;
        }
        let dest_section = model.file.symbol(entry.symbol).section;
        let dest = entry.addend as u64;
        // The function's own address is a function pointer of neighbouring data.
        if dest_section == section && dest == start {
            break;
        }
        // Unused entries may point right behind the function.
        if !(dest_section == section && dest == end) {
            let Some(dest) = model.insns.at(dest_section, dest) else {
                break;
            };
            let parent = model.function_of(dest).map(|f| model.symbols.parent(f));
            if parent != Some(function) {
                break;
            }
            model.add_alternative(
                jump,
                Alternative {
                    insn: dest,
                    skip_original: false,
                },
            );
        }
        last_offset = Some(entry.offset);
    }
    if last_offset.is_none() {
        model.warn(findings, jump, Message::NoJumpTable);
        return Err(Abort);
    }
    Ok(())
}
