//! Where an annotation table lies.
//!
//! An object has a section for each. Linker scripts put some into larger sections, between symbols
//! that the kernel itself goes by (`include/asm-generic/vmlinux.lds.h`); where an image has those
//! symbols, they count. What is in the tables is for those who read them.

use std::ops::Range;

use crate::read::{ElfFile, FileKind, ReadError, SectionId};

/// Symbols at the start and behind the end of a table, by the name of its section.
const BOUNDS: [(&str, &str, &str); 4] = [
    (
        ".altinstructions",
        "__alt_instructions",
        "__alt_instructions_end",
    ),
    (
        "__jump_table",
        "__start___jump_table",
        "__stop___jump_table",
    ),
    ("__ex_table", "__start___ex_table", "__stop___ex_table"),
    ("__bug_table", "__start___bug_table", "__stop___bug_table"),
];

/// The section that holds a table, and the table's offsets in it; none if it is not there or empty.
/// Symbols that make no sense are refused beforehand ([`check`]).
pub(super) fn find(file: &ElfFile<'_>, name: &str) -> Option<(SectionId, Range<u64>)> {
    let (section, range) = match bounds(file, name) {
        Some(bounds) => between(file, bounds)?,
        None => {
            let section = file.section_by_name(name.as_bytes())?;
            (section, 0..file.section(section).data.len() as u64)
        }
    };
    (!range.is_empty()).then_some((section, range))
}

/// Makes sure that all tables are where they are said to be.
///
/// # Errors
///
/// Symbols around a table that are in no order or not in one section with bytes, and replacement
/// code without the table that says what it replaces.
pub(crate) fn check(file: &ElfFile<'_>) -> Result<(), ReadError> {
    for (table, start, end) in BOUNDS {
        let Some(bounds) = bounds(file, table) else {
            continue;
        };
        if bounds.0 != bounds.1 && between(file, bounds).is_none() {
            return Err(ReadError::malformed(
                format!("symbols {start} and {end}"),
                format!(
                    "they are to enclose a table, but at {:#x} to {:#x} there is no section, or \
                     one that has no bytes in the file",
                    bounds.0, bounds.1
                ),
            ));
        }
    }
    let replacements = file.section_by_name(REPLACEMENTS);
    let is_used = replacements.is_some_and(|id| !file.section(id).data.is_empty());
    if is_used && find(file, ".altinstructions").is_none() {
        return Err(ReadError::malformed(
            "section .altinstr_replacement",
            "there is replacement code but no .altinstructions table to say what it replaces;              take the file from before sections were removed",
        ));
    }
    Ok(())
}

const REPLACEMENTS: &[u8] = b".altinstr_replacement";

/// The addresses of the symbols around a table of an image.
fn bounds(file: &ElfFile<'_>, name: &str) -> Option<(u64, u64)> {
    if file.kind == FileKind::Object {
        return None;
    }
    let (_, start, end) = BOUNDS.iter().find(|(table, ..)| *table == name)?;
    let address = |symbol: &str| {
        let symbol = file.symbol(file.symbol_by_name(symbol.as_bytes())?);
        Some(file.address(symbol.section, symbol.value))
    };
    Some((address(start)?, address(end)?))
}

fn between(file: &ElfFile<'_>, (start, end): (u64, u64)) -> Option<(SectionId, Range<u64>)> {
    // An empty table may lie at the very end of its section, which is no address of it.
    if start == end {
        return Some((SectionId::UNDEFINED, 0..0));
    }
    let (section, offset) = file.at_address(start)?;
    let len = end.checked_sub(start)?;
    let fits = offset.checked_add(len)? <= file.section(section).data.len() as u64;
    fits.then_some((section, offset..offset + len))
}
