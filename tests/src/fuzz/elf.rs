//! Any bytes as an object file: headers, sections, symbols, relocations, and symbols by address.
//!
//! What the reader lets pass must be safe to use, and its lookups, which are fast, must agree with
//! the plain search that they stand for.

use arch::object::Architecture as _;
use arch_x86_64::X86_64;
use objtool_rs::model::{Hole, Symbols};
use objtool_rs::read::{elf, ElfFile, SectionId, SymbolId, SymbolKind};

/// How many symbols, relocations and sections the plain searches are done for.
const PROBES: usize = 48;

/// Runs one input.
///
/// # Panics
///
/// When something of the above does not hold.
pub fn run(input: &[u8]) {
    let file = match ElfFile::parse(input, X86_64::MACHINE) {
        Ok(file) => file,
        Err(e) => {
            let text = e.to_string();
            assert!(!text.is_empty() && !text.chars().any(char::is_control));
            return;
        }
    };
    sections(&file);
    symbols(&file);
    relocations(&file);
    by_address(&file);
}

fn sections(file: &ElfFile<'_>) {
    for id in file.section_ids() {
        let section = file.section(id);
        let in_file = file.data.as_ptr_range();
        let bytes = section.data.as_ptr_range();
        assert!(
            section.data.is_empty() || (in_file.start <= bytes.start && bytes.end <= in_file.end)
        );
        let in_image = !matches!(section.header.kind, elf::SHT_NOBITS | elf::SHT_NULL);
        if in_image && id != SectionId::UNDEFINED {
            assert_eq!(section.data.len() as u64, section.header.size);
        }
        if let Some(symbol) = section.symbol {
            assert_eq!(file.symbol(symbol).section, id);
            assert!(file.symbol(symbol).is_section());
        }
    }
    for section in file.sections.iter().take(PROBES) {
        let last = file.sections.iter().rposition(|s| s.name == section.name);
        let found = file.section_by_name(section.name);
        assert_eq!(found.map(SectionId::index), last);
    }
    assert!(file.section_names.index() < file.sections.len());
}

fn symbols(file: &ElfFile<'_>) {
    for symbol in &file.symbols {
        assert!(symbol.section.index() < file.sections.len());
    }
    for symbol in file.symbols.iter().take(PROBES) {
        let last = file.symbols.iter().rposition(|s| s.name == symbol.name);
        let found = file.symbol_by_name(symbol.name);
        assert_eq!(found.map(SymbolId::index), last);
    }
}

fn relocations(file: &ElfFile<'_>) {
    for id in file.section_ids() {
        let Some(table) = &file.section(id).relocs else {
            continue;
        };
        for reloc in table.iter() {
            assert!(reloc.symbol.index() < file.symbols.len());
        }
        let probes: Vec<u64> = table.iter().take(PROBES).map(|r| r.offset).collect();
        for at in probes {
            for (start, len) in [(at, 1), (at, 0), (at.saturating_sub(3), 4), (at + 1, u64::MAX)] {
                let lowest = table
                    .iter()
                    .map(|r| r.offset)
                    .filter(|&o| o >= start && o - start < len)
                    .min();
                let expected =
                    lowest.and_then(|lowest| table.iter().rposition_of(|o| o == lowest));
                assert_eq!(table.first_in(start, len), expected, "[{start:#x}, +{len:#x})");
            }
        }
    }
}

/// The last place of an iterator where something holds of the offset.
trait LastByOffset {
    fn rposition_of(self, holds: impl Fn(u64) -> bool) -> Option<u32>;
}

impl<I: Iterator<Item = objtool_rs::read::Reloc>> LastByOffset for I {
    fn rposition_of(self, holds: impl Fn(u64) -> bool) -> Option<u32> {
        let matching = self.enumerate().filter(|(_, r)| holds(r.offset));
        matching.last().map(|(i, _)| i as u32)
    }
}

/// Symbols of a section by address, then by place in the table, as the lookups see them.
fn plain_order(file: &ElfFile<'_>, section: SectionId, functions: bool) -> Vec<SymbolId> {
    let wanted = |&id: &SymbolId| {
        let symbol = file.symbol(id);
        let kind = if functions {
            symbol.kind == SymbolKind::Function
        } else {
            symbol.kind != SymbolKind::Section
        };
        symbol.section == section && symbol.size != 0 && kind
    };
    let mut ids: Vec<SymbolId> = file.symbol_ids().filter(wanted).collect();
    ids.sort_by_key(|&id| (file.symbol(id).value, id));
    ids
}

fn by_address(file: &ElfFile<'_>) {
    let (symbols, _orphan) = Symbols::new(file);
    for id in file.symbol_ids() {
        let symbol = file.symbol(id);
        assert!(symbols.len(id) <= symbol.size);
        let alias = file.symbol(symbols.alias(id));
        assert_eq!((alias.section, alias.value), (symbol.section, symbol.value));
        assert_eq!(symbols.alias(symbols.alias(id)), symbols.alias(id));
    }
    for section in file.section_ids().take(PROBES) {
        let mut listed = symbols.of_section(section).to_vec();
        listed.sort();
        listed.dedup();
        assert_eq!(listed.len(), symbols.of_section(section).len());
        let here = |&id: &SymbolId| file.symbol(id).section == section;
        assert!(listed.iter().all(here));

        let all = plain_order(file, section, false);
        let functions = plain_order(file, section, true);
        let covers = |id: SymbolId, offset: u64| {
            let start = file.symbol(id).value;
            start <= offset && offset - start < symbols.len(id)
        };
        let starts = |id: SymbolId, offset: u64| {
            file.symbol(id).value == offset && symbols.len(id) != 0
        };
        let first = |ids: &[SymbolId], holds: &dyn Fn(SymbolId) -> bool| {
            ids.iter().copied().find(|&id| holds(id))
        };
        for &probe in all.iter().take(PROBES) {
            let symbol = file.symbol(probe);
            let around = [symbol.value, symbol.end()]
                .into_iter()
                .flat_map(|o| [o.saturating_sub(1), o, o.saturating_add(1)]);
            // No section is so long that its last offset could be `u64::MAX`.
            for offset in around.filter(|&o| o != u64::MAX) {
                let covering = |id| covers(id, offset);
                let starting = |id| starts(id, offset);
                assert_eq!(symbols.containing(section, offset), first(&all, &covering));
                assert_eq!(
                    symbols.function_containing(section, offset),
                    first(&functions, &covering)
                );
                assert_eq!(symbols.at(section, offset), first(&all, &starting));
                assert_eq!(
                    symbols.function_at(section, offset),
                    first(&functions, &starting)
                );
                let value = |id: &SymbolId| file.symbol(*id).value;
                let precedes = all.iter().any(|id| value(id) <= offset);
                let covered = all.iter().any(|&id| covers(id, offset));
                let next = all.iter().map(value).find(|&start| start > offset);
                let hole = match next {
                    _ if covered || !precedes => Hole::None,
                    Some(next) => Hole::Until(next),
                    None => Hole::UntilEnd,
                };
                assert_eq!(symbols.hole(section, offset), hole);
            }
        }
    }
}
