//! What must hold of every run, whatever the object is.
//!
//! It ends, without a panic. The same input gives the same result. Every finding and every error
//! is one printable line. A changed file can be read, has kept everything that it was not asked to
//! change, and can be run again.

use std::collections::HashMap;

use arch::object::Architecture as _;
use arch_x86_64::X86_64;
use objtool_rs::read::{elf, ElfFile, Reloc, SectionId, Symbol, SymbolId};
use objtool_rs::report::rich::{render, Exhibit};
use objtool_rs::{orc_dump, run, Options, Outcome};

use crate::orc;

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
            assert_eq!(
                a.exhibits, b.exhibits,
                "the second run shows something else"
            );
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
    for exhibit in &outcome.exhibits {
        shown(exhibit);
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
    orc_is_dumped(&before, &after);
}

/// Whoever dumps the ORC data that a run has made gets a line an entry.
fn orc_is_dumped(before: &ElfFile<'_>, after: &ElfFile<'_>) {
    let entries = |file: &ElfFile<'_>| file.section_by_name(orc::ENTRIES.as_bytes());
    let (None, Some(made)) = (entries(before), entries(after)) else {
        return;
    };
    let count = after.section(made).data.len() / orc::SIZE;
    match orc_dump::dump(after.data) {
        Ok(text) => assert_eq!(text.lines().count(), count, "lines of the ORC data"),
        Err(e) => panic!("the ORC data can't be dumped: {e}"),
    }
}

/// A finding or an error must be one line of a build log, with nothing that a terminal obeys.
pub(super) fn one_line(text: &str) {
    assert!(!text.is_empty(), "nothing is said");
    assert!(
        !text.chars().any(char::is_control),
        "not one printable line: {text:?}"
    );
    assert!(text.len() < 16 * 1024, "{} bytes in one line", text.len());
}

/// A finding that is shown to people is text of printable lines, whether or not its source is there.
fn shown(exhibit: &Exhibit) {
    let sources: [fn(&str) -> Option<String>; 2] =
        [|_| None, |_| Some("a\n\tb(); // c\n".repeat(9))];
    for read in sources {
        let text = render(exhibit, "file.o", &read, false);
        let bad = text.chars().find(|c| c.is_control() && *c != '\n');
        assert!(bad.is_none(), "{bad:?} in {text}");
        assert!(text.contains(exhibit.explanation.code));
    }
}

/// Sections keep their numbers, headers and bytes. Tables of names and symbols may grow, code may
/// be patched, and new sections follow.
fn sections_are_kept(before: &ElfFile<'_>, after: &ElfFile<'_>, options: &Options) {
    assert!(after.sections.len() >= before.sections.len());
    let patches_code = options.hack_jump_label || options.hack_noinstr || options.mnop;
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
        symbol.raw.st_info.0,
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

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::super::image::{self, Image, Relocation, Section};
    use super::*;

    /// A function `f` with a relocation, a global `g`, and data.
    fn image() -> Image {
        let mut image = Image::default();
        image.section(Section {
            relocations: vec![Relocation {
                offset: 1,
                symbol: 2,
                kind: 4,
                addend: -4,
            }],
            ..Section::code(".text", vec![0xe9, 0, 0, 0, 0, 0xc3])
        });
        image.section(Section::new(".data", image::elf::ALLOC, vec![1, 2, 3]));
        for (name, info, value) in [("f", 2, 0), ("g", 0x12, 5)] {
            image.symbol(image::Symbol {
                name: name.into(),
                info,
                section: 1,
                value,
                size: 1,
            });
        }
        image
    }

    fn bytes(change: impl FnOnce(&mut Image)) -> Vec<u8> {
        let mut image = image();
        change(&mut image);
        image.bytes(X86_64::MACHINE)
    }

    fn is_kept(after: &[u8]) -> bool {
        let before = bytes(|_| ());
        let read = |bytes| ElfFile::parse(bytes, X86_64::MACHINE).expect("a valid object");
        catch_unwind(|| {
            let (before, after) = (read(&before), read(after));
            sections_are_kept(&before, &after, &Options::default());
            symbols_are_kept(&before, &after);
            relocations_are_kept(&before, &after);
        })
        .is_ok()
    }

    #[test]
    fn an_unchanged_file_is_kept() {
        assert!(is_kept(&bytes(|_| ())));
        let void = X86_64::RELOCATIONS.none;
        assert!(is_kept(
            &bytes(|i| i.sections[0].relocations[0].kind = void)
        ));
    }

    #[test]
    fn every_loss_is_seen() {
        let losses: [fn(&mut Image); 10] = [
            |i| i.sections[1].data[0] = 9,
            |i| i.sections[0].data[5] = 0x90,
            |i| i.sections[1].flags = 0,
            |i| i.sections[1].name.push(b'x'),
            |i| i.symbols[0].value = 1,
            |i| i.symbols[1].name = b"h".to_vec(),
            |i| i.symbols[0].info = 0x12,
            |i| i.sections[0].relocations[0].addend = 0,
            |i| i.sections[0].relocations[0].symbol = 1,
            |i| i.sections[0].relocations[0].kind = 2,
        ];
        for (number, loss) in losses.into_iter().enumerate() {
            assert!(!is_kept(&bytes(loss)), "loss {number}");
        }
    }

    #[test]
    fn only_printable_lines_pass() {
        one_line("f+0x1: naked return");
        for bad in ["", "two\nlines", "\u{1b}[1m", "\u{85}"] {
            assert!(catch_unwind(|| one_line(bad)).is_err(), "{bad:?}");
        }
    }
}
