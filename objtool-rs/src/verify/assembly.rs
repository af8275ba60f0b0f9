//! The text that must not be trusted, as assembly that the kernel links in.
//!
//! The form is that of kallsyms' generated source (`scripts/kallsyms.c`): read-only data with
//! global labels, to be assembled and linked in by a further pass. The table must say of the image
//! that it is in what a verdict on that image says; where it moves other text, link once more.
//! Addresses are distances, so that they hold wherever the kernel is loaded.
//!
//! | label | meaning |
//! |---|---|
//! | `unreliable_text_count` | 32 bits: number of ranges |
//! | `unreliable_text_pages` | in an image, 16 words of 64 bits behind the count and 32 bits of 0: which pages of 4096 bytes, counted from [`BASE`], some of the ranges lie in; page `n` is bit `n % 64` of word `n / 64 % 16` |
//! | `unreliable_text` | for each range two 32-bit words: a distance that leads to its first byte, and its size in bytes; disjoint, in an image by address, in a module by section and offset |
//!
//! In an image the distance is from [`BASE`]. In a module it is from the word itself, and relocated
//! when the module is loaded; the table must be the first object that is linked (`ld -r table.o …`),
//! because it tells sections by where its own, empty part of them lies.
//!
//! Whoever looks up a return address looks up the byte before it: that belongs to the call, and the
//! next one may belong to another function.

use std::fmt::Write as _;

use super::{Range, Report};
use crate::read::{ElfFile, FileKind, ReadError, SectionId};

/// The symbol that distances in an image are from.
pub const BASE: &str = "_stext";

/// Size in bytes of a page, and how many words of 64 bits say which of them hold some of the ranges.
const PAGE: i64 = 4096;
const PAGE_WORDS: usize = 16;

/// The source.
///
/// # Errors
///
/// An image without [`BASE`], and text that lies too far from it for 32 bits.
pub fn source(report: &Report, file: &ElfFile<'_>) -> Result<String, ReadError> {
    let mut out = String::from(
        "/* Text that a stack trace must not trust; made by objtool-rs verify, do not edit. */\n",
    );
    let mut labels: Vec<SectionId> = report.unreliable.iter().map(|r| r.section).collect();
    labels.dedup();
    if report.kind == FileKind::Object {
        for (index, &section) in labels.iter().enumerate() {
            let name = quoted(file, section);
            let _ = writeln!(out, "\t.section {name}, \"ax\", %progbits\n.Ltext{index}:");
        }
    }
    let _ = writeln!(
        out,
        "\t.section .rodata, \"a\"\n\
         \t.globl unreliable_text_count\n\
         \t.balign 8\n\
         unreliable_text_count:\n\
         \t.long {}\n\
         \t.balign 8",
        report.unreliable.len()
    );
    let base = file.symbol_by_name(BASE.as_bytes()).map(|id| {
        let symbol = file.symbol(id);
        file.address(symbol.section, symbol.value)
    });
    let mut ranges: Vec<&Range> = report.unreliable.iter().collect();
    if report.kind == FileKind::Image {
        ranges.sort_by_key(|range| range.address);
        let mut pages = [0u64; PAGE_WORDS];
        for range in &ranges {
            let first = i64::from(distance(file, range, base)?);
            let last = first + range.size.max(1) as i64 - 1;
            for page in first.div_euclid(PAGE)..=last.div_euclid(PAGE) {
                let bit = page.rem_euclid(64 * PAGE_WORDS as i64) as usize;
                if let Some(word) = pages.get_mut(bit / 64) {
                    *word |= 1 << (bit % 64);
                }
            }
        }
        out += "\t.globl unreliable_text_pages\nunreliable_text_pages:\n";
        for word in pages {
            let _ = writeln!(out, "\t.quad {word:#x}");
        }
    }
    out += "\t.globl unreliable_text\nunreliable_text:\n";
    for range in ranges {
        let distance = match report.kind {
            FileKind::Image => distance(file, range, base)?.to_string(),
            FileKind::Object => {
                let index = labels.iter().position(|&label| label == range.section);
                let index = index.unwrap_or_default();
                format!(".Ltext{index} + {:#x} - .", range.offset)
            }
        };
        let name = file.section(range.section).display_name();
        let place = format!("{}+{:#x}", name.replace("*/", "* /"), range.offset);
        let _ = writeln!(out, "\t.long {distance}, {:#x}\t/* {place} */", range.size);
    }
    // Nothing here is run from the stack; linkers want to be told.
    out += "\t.section .note.GNU-stack, \"\", %progbits\n";
    Ok(out)
}

fn distance(file: &ElfFile<'_>, range: &Range, base: Option<u64>) -> Result<i32, ReadError> {
    let base = base.ok_or_else(|| {
        ReadError::Unsupported(format!(
            "it has no symbol {BASE}, from which the table's distances are to be; take a vmlinux \
             with all its symbols"
        ))
    })?;
    let name = file.section(range.section).display_name();
    let distance = range.address.wrapping_sub(base) as i64;
    i32::try_from(distance).map_err(|_| {
        ReadError::malformed(
            format!("section {name}"),
            format!(
                "its text at {:#x} lies more than 31 bits from {BASE} at {base:#x}, too far for \
                 the table",
                range.address
            ),
        )
    })
}

/// A section's name as the assembler takes it.
fn quoted(file: &ElfFile<'_>, section: SectionId) -> String {
    let name = file.section(section).display_name();
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}
