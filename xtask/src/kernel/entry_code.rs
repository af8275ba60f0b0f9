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

/// A stretch of entry code: its end, and what it is entered for.
type Code = BTreeMap<u64, (u64, Origin)>;

/// Holds the table of an image against its symbols; returns how many stretches of entry code it has.
///
/// # Errors
/// The image can't be read, or the two say different things; the message names the first place.
pub fn check(vmlinux: &Path) -> Result<usize> {
    let data =
        std::fs::read(vmlinux).with_context(|| format!("cannot read {}", vmlinux.display()))?;
    let image = object::File::parse(&*data)
        .with_context(|| format!("cannot read the image {}", vmlinux.display()))?;
    let table = recorded(&image)?;
    let (named, known) = named(&image);
    compare(&table, &named, &known).with_context(|| {
        format!(
            "the table of entry code in {} is not what its symbols say",
            vmlinux.display()
        )
    })?;
    Ok(table.len())
}

/// What the table says.
fn recorded(image: &object::File<'_>) -> Result<Code> {
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
    let mut code = Code::new();
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

/// What the names of symbols say, of symbols that have a size; and where any symbol of code begins.
fn named(image: &object::File<'_>) -> (Code, Vec<u64>) {
    let (mut code, mut known) = (Code::new(), Vec::new());
    for symbol in image.symbols() {
        let text = symbol
            .section_index()
            .and_then(|index| image.section_by_index(index).ok())
            .is_some_and(|section| section.kind() == object::SectionKind::Text);
        if !text || !matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Unknown) {
            continue;
        }
        known.push(symbol.address());
        let origin = symbol.name_bytes().ok().and_then(entry::origin);
        if let (Some(origin), 1..) = (origin, symbol.size()) {
            let first = symbol.address();
            code.insert(first, (first + symbol.size(), origin));
        }
    }
    (code, known)
}

fn compare(table: &Code, named: &Code, known: &[u64]) -> Result<()> {
    if table.is_empty() {
        bail!("the table is empty");
    }
    for (first, says) in table {
        if !known.contains(first) {
            bail!("nothing begins at {first:#x}, where a record says {says:x?}");
        }
    }
    for first in table.keys().chain(named.keys()) {
        if table.get(first) != named.get(first) {
            bail!(
                "at {first:#x} the table says {:x?}, and the symbol {:x?}",
                table.get(first),
                named.get(first)
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_one() {
        let code = Code::from([
            (0x100, (0x120, Origin::SystemCall)),
            (0x200, (0x210, Origin::Fork)),
        ]);
        let known = [0x100, 0x180, 0x200];
        assert!(compare(&code, &code, &known).is_ok());
        let mut other = code.clone();
        other.remove(&0x200);
        assert!(compare(&other, &code, &known).is_err());
        assert!(compare(&code, &other, &known).is_err());
        other.insert(0x200, (0x210, Origin::Startup));
        assert!(compare(&other, &code, &known).is_err());
        other.insert(0x200, (0x20f, Origin::Fork));
        assert!(compare(&other, &code, &known).is_err());
        assert!(compare(&code, &code, &known[..2]).is_err());
        assert!(compare(&Code::new(), &Code::new(), &known).is_err());
    }
}
