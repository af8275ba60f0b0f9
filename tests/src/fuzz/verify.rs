//! Linked images and modules, judged: any bytes, and images linked from the objects of
//! [`super::annotations`], whose code, symbols and tables come from the fuzzer.
//!
//! A verdict ends, says the same twice, and is one of printable lines. The text that must not be
//! trusted is what follows from the classes of the functions, worked out without the tool
//! ([`crate::images::text`]): nothing of a trusted function, and everything else but filling.

use arch::object::Architecture as _;
use arch_x86_64::object::relocation;
use arch_x86_64::X86_64;
use objtool_rs::read::{elf, ElfFile, FileKind, SectionId};
use objtool_rs::verify::{self, assembly, human, json, Class, Report};

use super::annotations;
use crate::images::judge::Range;
use crate::images::text::{self, Function};
use crate::patch::{header, symbol};

/// Runs one input: a byte that says what the rest is, and the rest.
///
/// # Panics
///
/// When something of the above does not hold.
pub fn run(input: &[u8]) {
    let Some((&what, rest)) = input.split_first() else {
        return;
    };
    if what % 2 == 0 {
        check(rest);
    } else if let Some((object, _)) = annotations::describe(rest) {
        check(&object);
        if let Some(image) = linked(&object) {
            check(&image);
        }
    }
}

/// Judges a file, and checks what is said about it.
///
/// # Panics
///
/// When something of the above does not hold.
pub fn check(data: &[u8]) {
    let file = match verify::read(data) {
        Ok(file) => file,
        Err(error) => return line(&error.to_string()),
    };
    let explained = verify::Request {
        explain: true,
        ..verify::Request::default()
    };
    let (first, second) = match (
        verify::verify(&file, verify::Request::default(), &|_| {}),
        verify::verify(&file, explained, &|done| {
            assert!((0.0..=1.0).contains(&done))
        }),
    ) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(first), Err(second)) => {
            assert_eq!(first, second, "the second verdict fails otherwise");
            return line(&first.to_string());
        }
        (first, second) => panic!("one verdict fails: {first:?}, {second:?}"),
    };
    assert_eq!(first.verdict, second.verdict);
    assert_eq!(first.unreliable, second.unreliable);
    let classes = |report: &Report| -> Vec<Class> {
        let functions = report.functions.iter();
        functions.map(|function| function.class.clone()).collect()
    };
    assert_eq!(classes(&first), classes(&second));
    reasons(&first);
    ranges(data, &file, &first);
    forms(&file, &first);
}

fn reasons(report: &Report) {
    let counts = report.verdict.counts();
    assert_eq!(counts.all(), report.functions.len());
    let mut none = 0;
    for function in &report.functions {
        if let Class::KeepsNoFrame(why) = &function.class {
            none += 1;
            line(&why.text);
            assert!(!why.code.is_empty());
        }
    }
    assert_eq!(none, counts.no_frame);
}

/// The ranges, against the classes of the functions.
fn ranges(data: &[u8], file: &ElfFile<'_>, report: &Report) {
    let section = |id: SectionId| file.section(id).display_name().into_owned();
    let mut names: Vec<_> = file.sections.iter().map(|s| s.name).collect();
    names.sort_unstable();
    // The other side knows sections by their names only, as they stand in the file.
    let is_told_apart = names.windows(2).all(|pair| pair[0] != pair[1])
        && file
            .sections
            .iter()
            .all(|s| s.display_name().as_bytes() == s.name);
    let functions: Vec<Function> = report
        .functions
        .iter()
        .map(|function| Function {
            section: section(function.section),
            offset: file.symbol(function.symbol).value,
            size: function.size,
            trusted: !matches!(function.class, Class::KeepsNoFrame(_)),
        })
        .collect();
    let ranges: Vec<Range> = report
        .unreliable
        .iter()
        .map(|range| Range {
            address: match report.kind {
                FileKind::Image => range.address,
                // What stands in the header of a module's section means nothing.
                FileKind::Object => {
                    assert_eq!(range.address, range.offset);
                    file.section(range.section)
                        .header
                        .addr
                        .wrapping_add(range.offset)
                }
            },
            size: range.size,
            section: section(range.section),
            offset: range.offset,
        })
        .collect();
    if !is_told_apart {
        return;
    }
    if let Ok(wrong) = text::complaints(data, &functions, &ranges) {
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// The verdict for people and machines, and the table.
fn forms(file: &ElfFile<'_>, report: &Report) {
    let text = human::render(report, "file");
    for text in text.lines().filter(|text| !text.is_empty()) {
        line(text);
    }
    let json = json::render(report, file, "file").to_string();
    assert!(!json.contains('\n'));
    match assembly::source(report, file) {
        Ok(source) => {
            let ranges = source
                .lines()
                .filter(|line| line.starts_with("\t.long "))
                .count();
            assert_eq!(ranges, report.unreliable.len() + 1);
        }
        Err(error) => line(&error.to_string()),
    }
}

/// A line that a terminal prints as it is.
fn line(text: &str) {
    assert!(!text.is_empty(), "nothing is said");
    assert!(
        !text.chars().any(char::is_control),
        "not one printable line: {text:?}"
    );
}

/// Where images begin.
const START: u64 = 0xffff_ffff_8100_0000;

/// Offset of `e_type` in the file header, and of `sh_flags` and `sh_addr` in a section header.
const FILE_TYPE: usize = 16;
const FLAGS: usize = 8;
const ADDRESS: usize = 16;

/// An image of an object's sections, one behind the other, as a linker would make it: everything
/// has an address, and what was relocated is computed.
pub fn linked(object: &[u8]) -> Option<Vec<u8>> {
    let file = ElfFile::parse(object, X86_64::MACHINE).ok()?;
    let mut image = object.to_vec();
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = image.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    let headers = object.get(header::SECTIONS_AT..)?.first_chunk()?;
    let headers = u64::from_le_bytes(*headers) as usize;
    let mut next = START;
    let mut addresses = Vec::new();
    for (number, found) in file.sections.iter().enumerate() {
        let is_text = found.header.kind == elf::SHT_PROGBITS;
        addresses.push(if is_text { next } else { 0 });
        if is_text {
            let at = headers + 64 * number;
            put(at + ADDRESS, &next.to_le_bytes());
            put(
                at + FLAGS,
                &(found.header.flags | elf::SHF_ALLOC).to_le_bytes(),
            );
            next = (next + found.header.size).next_multiple_of(16) + 16;
        }
    }
    let address = |id: objtool_rs::read::SymbolId| {
        let symbol = file.symbol(id);
        addresses[symbol.section.index()].wrapping_add(symbol.value)
    };
    let symbols = file.section(file.symtab?).header.offset as usize;
    for id in file.symbol_ids() {
        let at = symbols + symbol::BYTES * id.index() + symbol::VALUE;
        put(at, &address(id).to_le_bytes());
    }
    for (number, found) in file.sections.iter().enumerate() {
        for reloc in found.relocs.iter().flat_map(|table| table.iter()) {
            let at = found.header.offset as usize + reloc.offset as usize;
            let value = address(reloc.symbol).wrapping_add_signed(reloc.addend);
            let from = addresses[number].wrapping_add(reloc.offset);
            // Jump tables hold addresses; everything else is relative in an image of today.
            if found.name.starts_with(b".rodata") || found.name.starts_with(b".data") {
                put(at, &value.to_le_bytes());
            } else if matches!(reloc.kind, relocation::PC32 | relocation::PLT32) {
                put(at, &(value.wrapping_sub(from) as u32).to_le_bytes());
            } else {
                put(at, &(value as u32).to_le_bytes());
            }
        }
    }
    put(FILE_TYPE, &2_u16.to_le_bytes());
    Some(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object whose function calls another section's, as image.
    #[test]
    fn a_linked_object_is_an_image_that_is_judged() {
        use crate::fuzz::image::{Image, Relocation, Section, Symbol};
        let mut object = Image::default();
        // push %rbp; mov %rsp,%rbp; call; pop %rbp; ret
        let code = [0x55, 0x48, 0x89, 0xe5, 0xe8, 0, 0, 0, 0, 0x5d, 0xc3];
        let text = object.section(Section::code(".text", code.to_vec()));
        let init = object.section(Section::code(".init.text", vec![0xc3]));
        for (name, section, size) in [(&b"f"[..], text, code.len() as u64), (b"g", init, 1)] {
            object.symbol(Symbol {
                name: name.to_vec(),
                info: 0x12,
                section,
                value: 0,
                size,
            });
        }
        object.sections[0].relocations.push(Relocation {
            offset: 5,
            symbol: 2,
            kind: relocation::PLT32,
            addend: -4,
        });
        let object = object.bytes(X86_64::MACHINE);
        let image = linked(&object).unwrap();
        for (data, kind) in [(&object, FileKind::Object), (&image, FileKind::Image)] {
            check(data);
            let file = verify::read(data).unwrap();
            let report = verify::verify(&file, verify::Request::default(), &|_| {}).unwrap();
            assert_eq!(report.kind, kind);
            let classes: Vec<_> = report.functions.iter().map(|f| &f.class).collect();
            assert_eq!(classes, [&Class::KeepsFrame, &Class::MakesNoCall]);
        }
    }
}
