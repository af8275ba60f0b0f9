//! ORC data as text, for `--dump`.
//!
//! A line an entry: where it begins, and what the architecture says of it. Objects, modules and
//! images can be dumped; places are relocated in the first two, and addresses in an image.

use std::fmt::Write as _;

use arch::object::Architecture;
use arch::orc::{Describe, Orc};

use crate::read::{ElfFile, FileKind, ReadError};
use crate::run::Target;

/// The lines; none if the file has no ORC data.
///
/// # Errors
///
/// The first thing that makes the file unreadable.
pub fn dump(data: &[u8]) -> Result<String, ReadError> {
    let file = ElfFile::parse_any(data, Target::MACHINE)?;
    let mut out = String::new();
    let (Some(entries), Some(addresses)) = (
        file.section_by_name(b".orc_unwind"),
        file.section_by_name(b".orc_unwind_ip"),
    ) else {
        return Ok(out);
    };
    let bytes = file.section(entries).data;
    if bytes.len() % Target::ENTRY_SIZE != 0 {
        return Err(ReadError::malformed(
            "section .orc_unwind",
            format!(
                "its size {:#x} is no multiple of {}",
                bytes.len(),
                Target::ENTRY_SIZE
            ),
        ));
    }
    for (index, entry) in bytes.chunks_exact(Target::ENTRY_SIZE).enumerate() {
        let offset = index as u64 * 4;
        let missing =
            || ReadError::malformed("section .orc_unwind_ip", format!("no entry {index}"));
        let place = match file.kind {
            FileKind::Object => {
                let (_, reloc) = file.reloc_at(addresses, offset).ok_or_else(missing)?;
                let symbol = file.symbol(reloc.symbol);
                format!("{}+{:x}", symbol.display_name(), reloc.addend)
            }
            FileKind::Image => {
                let bytes = file.section(addresses).data.get(offset as usize..);
                let distance = bytes.and_then(|b| b.first_chunk()).ok_or_else(missing)?;
                let from = file.address(addresses, offset);
                let distance = i64::from(i32::from_le_bytes(*distance));
                format!("{:x}", from.wrapping_add_signed(distance))
            }
        };
        let _ = write!(out, "{place}:");
        let _ = Target::default().describe(entry, &mut out);
        out.push('\n');
    }
    Ok(out)
}
