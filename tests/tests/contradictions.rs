//! Object files whose headers say something that can't be: each is an error that names the place.
//!
//! Passed over, each of them would lead to a changed file that nobody can read.

use arch::object::Architecture as _;
use arch_x86_64::X86_64;
use objtool_rs::run;
use tests::fuzz::image::{elf, Image, Section, Symbol};
use tests::fuzz::options;

/// Number of `.text` and of the tables that follow it.
const TEXT: usize = 1;
const SYMBOLS: usize = 2;
const SYMBOL_NAMES: usize = 3;
const SECTION_NAMES: usize = 4;

/// An object to which a symbol is added: there is padding in front of its function.
fn object() -> Vec<u8> {
    let mut image = Image::default();
    let padded = [[0x90; 16].as_slice(), &[0xc3]].concat();
    image.section(Section::code(".text", padded));
    image.symbol(Symbol {
        name: b"f".to_vec(),
        info: 2,
        section: 1,
        value: 16,
        size: 1,
    });
    image.bytes(X86_64::MACHINE)
}

/// Where a section header stands in the file.
fn header(bytes: &[u8], section: usize) -> usize {
    let table = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
    table + elf::SECTION_HEADER * section
}

/// The error of the object with a change in it.
#[track_caller]
fn refused(change: impl FnOnce(&mut Vec<u8>), words: &[&str]) {
    let mut bytes = object();
    let outcome = run(&bytes, &options([0xff, 3, 0])).expect("it is valid without the change");
    assert!(outcome.output.is_some(), "it is one that is to be changed");
    change(&mut bytes);
    let error = run(&bytes, &options([0xff, 3, 0])).expect_err("a contradiction");
    for word in words {
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// Offsets in a section header.
const TYPE: usize = 4;
const FLAGS: usize = 8;
const INFO: usize = 44;

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn names_of_sections_that_are_no_strings() {
    // e_shstrndx
    let to = |section: usize| move |bytes: &mut Vec<u8>| bytes[62] = section as u8;
    refused(to(0), &["no section name table", "e_shstrndx"]);
    refused(to(TEXT), &["section name table [1]", "no string table"]);
    refused(to(SYMBOLS), &["section name table [2]", "no string table"]);
}

#[test]
fn a_null_section_that_is_something() {
    for kind in [elf::STRTAB, elf::SYMTAB, elf::PROGBITS] {
        let change = |bytes: &mut Vec<u8>| {
            let at = header(bytes, 0);
            put(bytes, at + TYPE, kind);
        };
        refused(change, &["[0]", "null section"]);
    }
}

#[test]
fn tables_of_the_linker_that_are_code() {
    for section in [SYMBOLS, SYMBOL_NAMES, SECTION_NAMES] {
        let change = |bytes: &mut Vec<u8>| {
            let at = header(bytes, section);
            put(bytes, at + FLAGS, elf::EXECINSTR as u32);
        };
        refused(change, &[&format!("[{section}]"), "executable"]);
    }
}

#[test]
fn a_symbol_table_without_the_null_symbol() {
    for first_global in [0, 3] {
        let change = |bytes: &mut Vec<u8>| {
            let at = header(bytes, SYMBOLS);
            put(bytes, at + INFO, first_global);
        };
        refused(
            change,
            &[".symtab", "the first global symbol", "of 2 symbols"],
        );
    }
}

#[test]
fn a_name_that_does_not_end() {
    let change = |bytes: &mut Vec<u8>| {
        let last = header(bytes, SYMBOL_NAMES) + 32;
        let size = u64::from_le_bytes(bytes[last..last + 8].try_into().unwrap());
        put(bytes, last, size as u32 - 1);
    };
    refused(change, &["symbol 1", "has no end"]);
}
