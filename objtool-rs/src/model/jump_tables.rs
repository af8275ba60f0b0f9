//! Switch jump tables: where an indirect jump of a compiled `switch` may go.
//!
//! Compilers leave no mark, so the table is found by going back from the jump to an instruction
//! that refers to read-only data without a symbol, whose first word is relocated into the same
//! function. Tables follow each other without a gap, so each one's end is found by what it holds
//! and by where the next one starts.

use std::ops::Range;

use arch::insn::{Decode, InsnKind};
use arch::object::Architecture;
use rustc_hash::FxHashMap;

use super::branches::How;
use super::{Alternative, Effort, Model, Purpose, Task};
use crate::decode::InsnId;
use crate::parallel;
use crate::read::{FileKind, RelocId, SectionId, SymbolId};
use crate::report::{Abort, Findings, Message, Place};

/// Section of tables that C code makes itself; unlike a compiler's they have symbols.
const C_JUMP_TABLE_SECTION: &[u8] = b".data.rel.ro.c_jump_table";

/// Size of a table's entry in bytes.
const ENTRY: u64 = 8;

/// Where a table starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// At this relocation, in an object.
    Relocs(RelocId),
    /// At these addresses, in an image.
    Addresses(Place),
}

/// Finds the tables of all functions.
pub(super) fn add<A: Architecture + Decode + Sync>(
    model: &mut Model<'_, A>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    if !model.sections.iter().any(|role| role.rodata) {
        return Ok(());
    }
    let exits = std::mem::take(&mut model.exits).into_iter();
    let unknown = exits.filter(|exit| exit.how == How::Unknown);
    let is_switch = |&insn: &InsnId| model.insn(insn).kind == InsnKind::JumpDynamic;
    let switches: Vec<InsnId> = unknown.map(|exit| exit.insn).filter(is_switch).collect();
    if switches.is_empty() {
        return Ok(());
    }
    for section in model.file.section_ids() {
        for found in find_all(model, section, &switches) {
            add_function(model, &found, findings)?;
        }
    }
    Ok(())
}

/// What the code of a function says about tables.
#[derive(Default)]
struct Found {
    /// Its indirect jumps that have one, in order.
    tables: Vec<(InsnId, Table)>,
    /// A table is named relative to the instruction.
    is_relative: bool,
}

/// Finds the tables of all functions of a section.
fn find_all<A: Architecture + Decode + Sync>(
    model: &Model<'_, A>,
    section: SectionId,
    switches: &[InsnId],
) -> Vec<Found> {
    let functions = model.symbols.of_section(section);
    let find_those = |effort: &Effort, range: Range<usize>| {
        let functions = functions[range].iter().copied();
        // Next to none has one, where compilers are told not to make any.
        let with_switch = functions.filter(|&function| {
            model.file.symbol(function).is_function() && has_switch(model, function, switches)
        });
        let found = with_switch.map(|function| find_tables(model, effort, function));
        found.collect::<Vec<_>>()
    };
    let parts = parallel::map_ranges(functions.len(), 1 << 12, |range| {
        let effort = model.effort.fork();
        (find_those(&effort, range), effort)
    });
    if model.effort.join(parts.iter().map(|(_, effort)| effort)) {
        parts.into_iter().flat_map(|(found, _)| found).collect()
    } else {
        find_those(&model.effort, 0..functions.len())
    }
}

/// Whether there is an indirect jump in a function.
fn has_switch<A>(model: &Model<'_, A>, function: SymbolId, switches: &[InsnId]) -> bool {
    model.function_runs(function).iter().any(|run| {
        let first = switches.partition_point(|&insn| insn.0 < run.start);
        switches.get(first).is_some_and(|&insn| insn.0 < run.end)
    })
}

fn find_tables<A: Architecture + Decode>(
    model: &Model<'_, A>,
    effort: &Effort,
    function: SymbolId,
) -> Found {
    let mut found = Found::default();
    // Sources of forward jumps, to go back along them past code in between.
    let mut first_source: FxHashMap<InsnId, InsnId> = FxHashMap::default();
    let runs = model.function_runs_within(effort, function);
    for insn in runs.into_iter().flatten().flatten().map(InsnId) {
        if let Some(dest) = model.jump_target(insn) {
            if model.insn(dest).offset > model.insn(insn).offset {
                first_source.entry(dest).or_insert(insn);
            }
        }
        if model.insn(insn).kind != InsnKind::JumpDynamic {
            continue;
        }
        let is_relative = &mut found.is_relative;
        if let Some(table) = find(model, effort, function, insn, &first_source, is_relative) {
            found.tables.push((insn, table));
        }
    }
    found
}

fn add_function<A: Architecture>(
    model: &mut Model<'_, A>,
    found: &Found,
    findings: &mut Findings,
) -> Result<(), Abort> {
    // A jump relative to the instruction goes to one fixed entry: the compiler copied a table and
    // left the code of the other entries behind.
    model.ignore_unreachable |= found.is_relative && model.purpose == Purpose::Build;
    model.jump_tables.extend(found.tables.iter().copied());
    for (i, &(insn, table)) in found.tables.iter().enumerate() {
        let next = found.tables.get(i + 1).map(|&(_, table)| table);
        follow(model, insn, table, next, findings)?;
    }
    Ok(())
}

/// Goes back from an indirect jump to the instruction that names its table.
fn find<A: Architecture + Decode>(
    model: &Model<'_, A>,
    effort: &Effort,
    function: SymbolId,
    jump: InsnId,
    first_source: &FxHashMap<InsnId, InsnId>,
    is_relative: &mut bool,
) -> Option<Table> {
    let own = |insn| {
        model
            .function_of(insn)
            .is_some_and(|f| model.symbols.parent(f) == function)
    };
    let jump_offset = model.insn(jump).offset;
    let mut next = Some(jump);
    while let Some(insn) = next.filter(|&insn| own(insn)) {
        if !effort.spend(Task::JumpTables, Some(function), 1) {
            return None;
        }
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
        if let Some(table) = named_table(model, insn, is_relative) {
            let dest = match table {
                Table::Relocs(id) => entry_of_object(model, id),
                Table::Addresses(place) => entry_of_image(model, place),
            };
            let dest = dest.and_then(|dest| model.insns.at(dest.section, dest.offset));
            if dest.is_some_and(own) {
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
fn named_table<A: Architecture + Decode>(
    model: &Model<'_, A>,
    insn: InsnId,
    is_relative_too: &mut bool,
) -> Option<Table> {
    if model.file.kind == FileKind::Image {
        return named_address(model, insn);
    }
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
    *is_relative_too |= is_relative;
    Some(Table::Relocs(table))
}

/// The table in an image that an instruction names by its address.
fn named_address<A: Architecture + Decode>(model: &Model<'_, A>, insn: InsnId) -> Option<Table> {
    let place = model.place(insn);
    let record = model.insn(insn);
    let code = model.file.section(place.section).data;
    let code = code.get(place.offset as usize..record.end() as usize)?;
    let address = model.file.address(place.section, place.offset);
    let (section, offset) = model
        .file
        .at_address(model.arch.named_address(code, address)?)?;
    let is_table = model.sections[section.index()].rodata
        && (model.symbols.containing(section, offset).is_none()
            || model.file.section(section).name == C_JUMP_TABLE_SECTION);
    is_table.then_some(Table::Addresses(Place { section, offset }))
}

/// Where the entry of an object's table goes.
fn entry_of_object<A>(model: &Model<'_, A>, id: RelocId) -> Option<Place> {
    let entry = model.file.reloc(id);
    let section = model.file.symbol(entry.symbol).section;
    Some(Place {
        section,
        offset: entry.addend as u64,
    })
}

/// Where the entry of an image's table goes.
fn entry_of_image<A>(model: &Model<'_, A>, place: Place) -> Option<Place> {
    let start = usize::try_from(place.offset).ok()?;
    let bytes = model.file.section(place.section).data.get(start..)?;
    let address = u64::from_le_bytes(*bytes.first_chunk()?);
    let (section, offset) = model.file.at_address(address)?;
    Some(Place { section, offset })
}

/// Adds the targets of a table to its jump.
fn follow<A: Architecture>(
    model: &mut Model<'_, A>,
    jump: InsnId,
    table: Table,
    next: Option<Table>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let found = match (table, next) {
        (Table::Relocs(table), Some(Table::Relocs(next))) => {
            follow_relocs(model, jump, table, Some(next))
        }
        (Table::Relocs(table), _) => follow_relocs(model, jump, table, None),
        (Table::Addresses(table), next) => follow_addresses(model, jump, table, next),
    };
    let resolved = if found {
        Ok(())
    } else {
        Err(Message::NoJumpTable)
    };
    model.note_unresolved(jump, resolved, findings)
}

fn follow_relocs<A: Architecture>(
    model: &mut Model<'_, A>,
    jump: InsnId,
    table: RelocId,
    next: Option<RelocId>,
) -> bool {
    let relocs = model.file.section(table.section).relocs.as_ref();
    let count = relocs.map_or(0, |relocs| relocs.len());
    let mut last_offset = None;
    for index in table.index..count {
        let id = RelocId { index, ..table };
        if index != table.index && Some(id) == next {
            break;
        }
        let offset = model.file.reloc(id).offset;
        if last_offset.is_some_and(|last| offset != last + ENTRY) {
            break;
        }
        if !entry_of_object(model, id).is_some_and(|dest| add_target(model, jump, dest)) {
            break;
        }
        last_offset = Some(offset);
    }
    last_offset.is_some()
}

fn follow_addresses<A: Architecture>(
    model: &mut Model<'_, A>,
    jump: InsnId,
    table: Place,
    next: Option<Table>,
) -> bool {
    let mut place = table;
    while place == table || Some(Table::Addresses(place)) != next {
        if !entry_of_image(model, place).is_some_and(|dest| add_target(model, jump, dest)) {
            break;
        }
        place.offset += ENTRY;
    }
    place != table
}

/// Adds the target of an entry, unless it shows that the table has ended.
fn add_target<A: Architecture>(model: &mut Model<'_, A>, jump: InsnId, dest: Place) -> bool {
    let Some(function) = model.function_of(jump).map(|f| model.symbols.parent(f)) else {
        return false;
    };
    if !model.effort.spend(Task::JumpTables, Some(function), 4) {
        return false;
    }
    let symbol = model.file.symbol(function);
    if dest.section == symbol.section {
        // The function's own address is a function pointer of neighbouring data.
        if dest.offset == symbol.value {
            return false;
        }
        // Unused entries may point right behind the function.
        if dest.offset == symbol.value.wrapping_add(model.symbols.len(function)) {
            return true;
        }
    }
    let Some(insn) = model.insns.at(dest.section, dest.offset) else {
        return false;
    };
    let parent = model.function_of(insn).map(|f| model.symbols.parent(f));
    if parent != Some(function) {
        return false;
    }
    model.add_alternative(
        jump,
        Alternative {
            insn,
            skip_original: false,
            is_fault: false,
        },
    );
    true
}
