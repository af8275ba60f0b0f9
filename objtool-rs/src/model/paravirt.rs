//! What paravirtual calls may go to.
//!
//! Paravirtual operations are called through a table (`pv_ops`), which is filled from constant
//! tables and by stores in init text. Text that must not be instrumented may make such a call only
//! if all of its targets must not be either (the kernel's `paravirt.h`).

use arch::insn::Decode;
use rustc_hash::{FxHashMap, FxHashSet};

use super::Model;
use crate::read::{ElfFile, SectionId, SymbolId};
use crate::report::{Abort, Findings, Message};

/// The table, and the constant tables of the hypervisors that know of it.
const TABLES: [&[u8]; 4] = [b"pv_ops", b"xen_cpu_ops", b"xen_irq_ops", b"xen_mmu_ops"];

/// Operations that are patched into native code before anyone can call them.
const PATCHED: [&[u8]; 2] = [b"_paravirt_nop", b"_paravirt_ident_64"];

/// Size of a pointer in bytes.
const POINTER: u64 = 8;

/// The operations and their targets.
#[derive(Clone, Debug, Default)]
pub struct Paravirt {
    /// How many operations there are, by the size of the table.
    count: u64,
    /// For each operation that has any, what it may go to, in the order in which it was found.
    targets: FxHashMap<u64, Vec<SymbolId>>,
    /// All targets.
    known: FxHashSet<SymbolId>,
}

impl Paravirt {
    /// The name of the table.
    pub const TABLE: &'static [u8] = TABLES[0];

    /// Whether the table has an operation. Where a call of another one goes, nobody knows.
    pub fn has(&self, operation: u64) -> bool {
        operation < self.count
    }

    /// What an operation may go to, the last found first.
    pub fn targets(&self, operation: u64) -> impl Iterator<Item = SymbolId> + '_ {
        let targets = self.targets.get(&operation).map_or(&[][..], Vec::as_slice);
        targets.iter().rev().copied()
    }

    fn add(&mut self, file: &ElfFile<'_>, operation: u64, target: SymbolId) {
        if PATCHED.contains(&file.symbol(target).name) || self.known.contains(&target) {
            return;
        }
        if self.has(operation) {
            self.known.insert(target);
            self.targets.entry(operation).or_default().push(target);
        }
    }
}

/// Reads the tables and the stores into them.
pub(super) fn read<A: Decode>(
    model: &mut Model<'_, A>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let file = model.file;
    let Some(table) = file.symbol_by_name(Paravirt::TABLE) else {
        return Ok(());
    };
    let mut paravirt = Paravirt {
        count: file.symbol(table).size / POINTER,
        ..Paravirt::default()
    };
    for table in TABLES.iter().filter_map(|name| file.symbol_by_name(name)) {
        let symbol = file.symbol(table);
        let mut offset = symbol.value;
        while offset < symbol.end() {
            let Some((_, reloc)) = file.reloc_in(symbol.section, offset, symbol.end() - offset)
            else {
                break;
            };
            if let Some(target) = named(model, reloc.symbol, reloc.addend) {
                paravirt.add(file, (reloc.offset - symbol.value) / POINTER, target);
            }
            offset = reloc.offset + 1;
        }
    }
    for section in file.section_ids() {
        if file.section(section).name.starts_with(b".init.text") {
            read_stores(model, section, &mut paravirt, findings)?;
        }
    }
    model.paravirt = Some(paravirt);
    Ok(())
}

fn read_stores<A: Decode>(
    model: &Model<'_, A>,
    section: SectionId,
    paravirt: &mut Paravirt,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let file = model.file;
    for insn in model.insns.ids_of(section) {
        let record = model.insn(insn);
        let start = u64::from(record.offset);
        let code = file
            .section(section)
            .data
            .get(start as usize..record.end() as usize);
        let Some(store) = code.and_then(|code| model.arch.constant_store(code)) else {
            continue;
        };
        let place = file.reloc_at(section, start + store.place);
        let Some((_, place)) =
            place.filter(|(_, reloc)| file.symbol(reloc.symbol).name == Paravirt::TABLE)
        else {
            continue;
        };
        let target = file
            .reloc_at(section, start + store.constant)
            .and_then(|(_, reloc)| named(model, reloc.symbol, reloc.addend));
        let Some(target) = target else {
            findings.add(Message::NoParavirtTarget);
            return Err(Abort);
        };
        let operation = place.addend.wrapping_add(store.place_bias) as u64 / POINTER;
        paravirt.add(file, operation, target);
    }
    Ok(())
}

/// The symbol that a relocation means.
fn named<A>(model: &Model<'_, A>, symbol: SymbolId, addend: i64) -> Option<SymbolId> {
    let by = model.file.symbol(symbol);
    if by.is_section() {
        model.symbols.at(by.section, addend as u64)
    } else {
        Some(symbol)
    }
}
