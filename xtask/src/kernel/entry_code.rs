//! The table of entry code in a kernel with our unwinder, held against the symbols of the image.
//!
//! The kernel's assembler makes the table where the code is, by the overlay's lines in it
//! (`kernel/overlay/*/include/entry_code.h`). What code is entered for is known in a second way, by the
//! names of its symbols (`arch_x86_64::entry`): both must say the same of every byte.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{bail, Context, Result};
use arch::frame::Origin;
use arch_x86_64::entry;
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

/// Size in bytes of a record: a distance of 32 bits from its own place, and two numbers of 16, the
/// size of the code and what it is entered for.
const RECORD: usize = 8;

/// The table: where each record begins and ends, and what the code is entered for.
type Table = BTreeMap<u64, (u64, Origin)>;

/// A symbol of code that has a size.
#[derive(Clone, Copy)]
struct Piece {
    first: u64,
    end: u64,
    /// What its name says that it is entered for.
    origin: Option<Origin>,
}

/// Holds the table of an image against its symbols; returns how many records it has.
///
/// # Errors
/// The image can't be read, or the two say different things; the message names the first place.
pub fn check(vmlinux: &Path) -> Result<usize> {
    let data =
        std::fs::read(vmlinux).with_context(|| format!("cannot read {}", vmlinux.display()))?;
    let image = object::File::parse(&*data)
        .with_context(|| format!("cannot read the image {}", vmlinux.display()))?;
    let table = recorded(&image)?;
    compare(&table, &pieces(&image)).with_context(|| {
        format!(
            "the table of entry code in {} is not what its symbols say",
            vmlinux.display()
        )
    })?;
    Ok(table.len())
}

/// What the table says.
fn recorded(image: &object::File<'_>) -> Result<Table> {
    let place = |name: &str| {
        let symbol = image.symbol_by_name(name);
        let symbol = symbol.with_context(|| format!("the image has no {name}"))?;
        Ok::<u64, anyhow::Error>(symbol.address())
    };
    let (begin, end) = (place("__start_entry_code")?, place("__stop_entry_code")?);
    let section = image
        .sections()
        .find(|section| (section.address()..section.address() + section.size()).contains(&begin));
    let bytes = section
        .context("the table lies in no section")?
        .data_range(begin, end.saturating_sub(begin))?
        .context("the table leaves its section")?;
    let mut code = Table::new();
    for (index, record) in bytes.chunks_exact(RECORD).enumerate() {
        let at = begin + (index * RECORD) as u64;
        let distance = i32::from_le_bytes([record[0], record[1], record[2], record[3]]);
        let first = at.wrapping_add_signed(i64::from(distance));
        let size = u16::from_le_bytes([record[4], record[5]]);
        let number = u16::from_le_bytes([record[6], record[7]]);
        let origin = entry::numbered(number)
            .with_context(|| format!("the record at {at:#x} has the number {number}"))?;
        if code
            .insert(first, (first + u64::from(size), origin))
            .is_some()
        {
            bail!("two records for {first:#x}");
        }
    }
    Ok(code)
}

/// All code that has a size, and what names say of it.
fn pieces(image: &object::File<'_>) -> Vec<Piece> {
    let is_code = |symbol: &object::Symbol<'_, '_>| {
        let section = symbol.section_index();
        section
            .and_then(|index| image.section_by_index(index).ok())
            .is_some_and(|section| section.kind() == object::SectionKind::Text)
            && matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Unknown)
            && symbol.size() != 0
    };
    let piece = |symbol: object::Symbol<'_, '_>| Piece {
        first: symbol.address(),
        end: symbol.address() + symbol.size(),
        origin: symbol.name_bytes().ok().and_then(entry::origin),
    };
    image.symbols().filter(is_code).map(piece).collect()
}

/// Each piece that is entered must lie in a record that says for what, no other may lie in one, and
/// records begin and end with pieces.
fn compare(table: &Table, pieces: &[Piece]) -> Result<()> {
    if table.is_empty() {
        bail!("the table is empty");
    }
    for piece in pieces {
        let before = table.range(..piece.end).next_back();
        let record = before.filter(|(_, (end, _))| *end > piece.first);
        let says = record.map(|(_, (_, origin))| *origin);
        let all_in =
            record.is_none_or(|(first, (end, _))| *first <= piece.first && piece.end <= *end);
        if says != piece.origin || !all_in {
            bail!(
                "at {:#x} the record is {record:x?}, and the symbol says {:?} up to {:#x}",
                piece.first,
                piece.origin,
                piece.end
            );
        }
    }
    let entered = || pieces.iter().filter(|piece| piece.origin.is_some());
    for (first, (end, _)) in table {
        if !entered().any(|p| p.first == *first) || !entered().any(|p| p.end == *end) {
            bail!("no entry code begins at {first:#x} and ends at {end:#x}, as a record says");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_one() {
        let piece = |first, end, origin| Piece { first, end, origin };
        let (call, fork) = (Some(Origin::SystemCall), Some(Origin::Fork));
        let pieces = [
            piece(0x100, 0x120, call),
            piece(0x130, 0x150, call),
            piece(0x150, 0x180, None),
            piece(0x200, 0x210, fork),
        ];
        let table = |records: &[(u64, u64, Option<Origin>)]| -> Table {
            let record = |&(first, end, origin): &(u64, u64, Option<Origin>)| {
                (first, (end, origin.unwrap()))
            };
            records.iter().map(record).collect()
        };
        let right = [(0x100, 0x150, call), (0x200, 0x210, fork)];
        assert!(compare(&table(&right), &pieces).is_ok());
        let apart = [(0x100, 0x120, call), (0x130, 0x150, call), right[1]];
        assert!(compare(&table(&apart), &pieces).is_ok());
        for wrong in [
            &[][..],
            // One is missing, says another thing, or is too long, too short, or begins elsewhere.
            &[right[0]],
            &[right[0], (0x200, 0x210, call)],
            &[(0x100, 0x158, call), right[1]],
            &[(0x100, 0x180, call), right[1]],
            &[(0x100, 0x148, call), right[1]],
            &[(0x0f0, 0x150, call), right[1]],
            &[(0x110, 0x150, call), right[1]],
            // One of nothing.
            &[right[0], right[1], (0x300, 0x310, fork)],
        ] {
            assert!(compare(&table(wrong), &pieces).is_err(), "{wrong:x?}");
        }
    }
}
