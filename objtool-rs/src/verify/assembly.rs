//! The text that must not be trusted, as assembly that the kernel links in.
//!
//! The form is that of kallsyms' generated source (`scripts/kallsyms.c`): read-only data with
//! global labels, to be assembled and linked in a second pass. Addresses are distances from a
//! symbol, so that they hold wherever the kernel is loaded.
//!
//! | label | meaning |
//! |---|---|
//! | `unreliable_text_count` | 32 bits: number of ranges |
//! | `unreliable_text` | for each range two 32-bit words: distance of its first byte from the base, and its size in bytes; by distance, disjoint |
//!
//! The base is `_stext` for the image; for a module, ranges name their section by its own label.

use std::fmt::Write as _;

use super::{Range, Report};
use crate::read::{ElfFile, FileKind};

/// The base symbol of an image.
pub const BASE: &str = "_stext";

/// The source.
pub fn source(report: &Report, file: &ElfFile<'_>) -> String {
    let mut out = String::from(
        "/* Text that a stack trace must not trust; made by objtool-rs verify, do not edit. */\n\
         \t.section .rodata, \"a\"\n\
         \t.globl unreliable_text_count\n\
         \t.balign 8\n\
         unreliable_text_count:\n",
    );
    let _ = writeln!(out, "\t.long {}", report.unreliable.len());
    out += "\t.globl unreliable_text\n\t.balign 8\nunreliable_text:\n";
    let base = file.symbol_by_name(BASE.as_bytes()).map(|id| {
        let symbol = file.symbol(id);
        file.address(symbol.section, symbol.value)
    });
    for range in &report.unreliable {
        out += &entry(report.kind, file, range, base);
    }
    // Nothing here is run from the stack; linkers want to be told.
    out += "\t.section .note.GNU-stack, \"\", %progbits\n";
    out
}

fn entry(kind: FileKind, file: &ElfFile<'_>, range: &Range, base: Option<u64>) -> String {
    let name = file.section(range.section).display_name();
    match (kind, base) {
        (FileKind::Image, Some(base)) => {
            let distance = range.address.wrapping_sub(base) as i64;
            format!(
                "\t.long {distance}, {}\t/* {name}+{:#x} */\n",
                range.size, range.offset
            )
        }
        // Without the base, the address itself; the linker resolves the difference.
        (FileKind::Image, None) => {
            format!("\t.long {:#x} - {BASE}, {}\n", range.address, range.size)
        }
        (FileKind::Object, _) => {
            format!("\t.long {name} + {:#x} - ., {}\n", range.offset, range.size)
        }
    }
}
