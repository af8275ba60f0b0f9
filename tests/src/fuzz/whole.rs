//! What must hold of every run, whatever the object is.
//!
//! It ends, without a panic. The same input gives the same result. Every finding and every error
//! is one printable line. A changed file can be read, has kept everything that it was not asked to
//! change, and can be run again.

use std::collections::HashMap;

use arch::object::Architecture as _;
use arch_x86_64::X86_64;
use objtool_rs::read::{elf, ElfFile, Reloc, SectionId, Symbol, SymbolId};
use objtool_rs::{run, Options, Outcome};

/// Runs an object and checks what comes of it.
///
/// # Panics
///
/// When something of the above does not hold.
pub fn check(object: &[u8], options: &Options) {
    let first = run(object, options);
    let again = run(object, options);
    match (&first, &again) {
        (Err(a), Err(b)) => {
            assert_eq!(a, b, "the second run fails in another way");
            one_line(&a.to_string());
        }
        (Ok(a), Ok(b)) => {
            assert_eq!(a.lines, b.lines, "the second run finds something else");
            assert_eq!(a.listing, b.listing, "the second run lists something else");
            assert_eq!(a.forced_link, b.forced_link);
            assert!(a.output == b.output, "the second run writes something else");
            check_outcome(object, options, a);
        }
        (a, b) => panic!("one run fails, the other does not: {a:?}, {b:?}"),
    }
}

fn check_outcome(object: &[u8], options: &Options, outcome: &Outcome) {
    for line in &outcome.lines {
        one_line(line);
    }
    let Some(output) = &outcome.output else {
        return;
    };
    let before = ElfFile::parse(object, X86_64::MACHINE).expect("it was read for the run");
    let after = match ElfFile::parse(output, X86_64::MACHINE) {
        Ok(after) => after,
        Err(e) => panic!("the output can't be read: {e}"),
    };
    sections_are_kept(&before, &after, options);
    symbols_are_kept(&before, &after);
    relocations_are_kept(&before, &after);
    if let Err(e) = run(output, options) {
        panic!("the output can't be run again: {e}");
    }
}

/// A finding or an error must be one line of a build log, with nothing that a terminal obeys.
fn one_line(text: &str) {
    assert!(!text.is_empty(), "nothing is said");
    assert!(
        !text.chars().any(char::is_control),
        "not one printable line: {text:?}"
    );
    assert!(text.len() < 16 * 1024, "{} bytes in one line", text.len());
}

/// Sections keep their numbers, headers and bytes. Tables of names and symbols may grow, code may
/// be patched, and new sections follow.
fn sections_are_kept(before: &ElfFile<'_>, after: &ElfFile<'_>, options: &Options) {
    assert!(after.sections.len() >= before.sections.len());
    let patches_code = options.hack_jump_label || options.hack_noinstr;
    for (index, (old, new)) in before.sections.iter().zip(&after.sections).enumerate() {
        assert_eq!(old.name, new.name, "name of section {index}");
        let mut header = old.header;
        // Where it lies in the file is free; where it refers to symbols is checked with those.
        header.offset = new.header.offset;
        let refers_to_symbols = matches!(header.kind, elf::SHT_SYMTAB | elf::SHT_GROUP);
        if refers_to_symbols {
            header.info = new.header.info;
        }
        let grows = refers_to_symbols
            || matches!(header.kind, elf::SHT_STRTAB | elf::SHT_SYMTAB_SHNDX)
            || index == 0;
        if grows {
            header.size = new.header.size;
        }
        assert_eq!(header, new.header, "header of section {index}");
        let may_differ = grows
            || header.kind == elf::SHT_RELA
            || header.kind == elf::SHT_NULL
            || (patches_code && old.is_executable());
        if !may_differ {
            assert!(old.data == new.data, "contents of section {index}");
        }
        if header.kind == elf::SHT_STRTAB {
            assert!(new.data.starts_with(old.data), "names of section {index}");
        }
    }
}

/// What makes a symbol what it is, wherever it stands in the table.
type Identity<'d> = (&'d [u8], u8, u8, SectionId, u64, u64);

fn identity<'d>(symbol: &Symbol<'d>) -> Identity<'d> {
    (
        symbol.name,
        symbol.kind.number(),
        symbol.raw.st_other.0,
        symbol.section,
        symbol.value,
        symbol.size,
    )
}

/// Every symbol is still there, and the local ones still stand in front.
fn symbols_are_kept(before: &ElfFile<'_>, after: &ElfFile<'_>) {
    let mut count: HashMap<Identity<'_>, i64> = HashMap::new();
    for symbol in &after.symbols {
        *count.entry(identity(symbol)).or_default() += 1;
    }
    for (index, symbol) in before.symbols.iter().enumerate() {
        let left = count.entry(identity(symbol)).or_default();
        *left -= 1;
        assert!(*left >= 0, "symbol {index} is gone");
    }
    if let (Some(old), Some(new)) = (before.symbols.first(), after.symbols.first()) {
        assert_eq!(identity(old), identity(new), "the null symbol");
    }
    let first_global = |file: &ElfFile<'_>| file.symtab.map(|id| file.section(id).header.info);
    let is_local = |symbol: &Symbol<'_>| symbol.binding == objtool_rs::read::Binding::Local;
    let ordered = |file: &ElfFile<'_>| {
        let locals = file.symbols.iter().take_while(|s| is_local(s)).count();
        first_global(file).is_none_or(|first| first as usize == locals)
            && file.symbols[locals..].iter().all(|s| !is_local(s))
    };
    assert!(
        !ordered(before) || ordered(after),
        "local symbols behind others"
    );
}

/// Every relocation is still there and means the same symbol; its type may have become void.
fn relocations_are_kept(before: &ElfFile<'_>, after: &ElfFile<'_>) {
    let named = |file: &ElfFile<'_>, id: SymbolId| {
        let symbol = file.symbol(id);
        (symbol.name.to_vec(), symbol.section, symbol.value)
    };
    for (index, (old, new)) in before.sections.iter().zip(&after.sections).enumerate() {
        let (Some(old), Some(new)) = (&old.relocs, &new.relocs) else {
            assert_eq!(
                old.relocs.is_some(),
                new.relocs.is_some(),
                "relocations of section {index}"
            );
            continue;
        };
        assert_eq!(old.len(), new.len(), "relocations of section {index}");
        for (a, b) in old.iter().zip(new.iter()) {
            let expected = Reloc {
                symbol: b.symbol,
                kind: if b.kind == X86_64::RELOCATIONS.none {
                    b.kind
                } else {
                    a.kind
                },
                ..a
            };
            assert_eq!(expected, b, "a relocation of section {index}");
            assert_eq!(
                named(before, a.symbol),
                named(after, b.symbol),
                "the symbol of a relocation of section {index}"
            );
        }
    }
}
