//! The table of text that must not be trusted, as a kernel that has linked it in finds it.
//!
//! Its form is documented in `objtool-rs/src/verify/assembly.rs`.

use anyhow::{ensure, Context, Result};
use object::{Object, ObjectSection, ObjectSymbol};

/// The ranges of an image's table: address and size in bytes.
///
/// # Errors
/// Labels that are missing, and a table that leaves its section.
pub fn read(data: &[u8]) -> Result<Vec<(u64, u64)>> {
    let file = object::File::parse(data)?;
    let address = |name: &str| {
        let symbol = file.symbol_by_name(name);
        symbol
            .map(|symbol| symbol.address())
            .with_context(|| format!("the image has no {name}"))
    };
    let words = |at: u64, count: u64| -> Result<Vec<u32>> {
        let section = file
            .sections()
            .find(|s| (s.address()..s.address() + s.size()).contains(&at))
            .context("a label outside of every section")?;
        let bytes = section.data()?;
        let start = (at - section.address()) as usize;
        let bytes = bytes
            .get(start..start + 4 * count as usize)
            .context("the table leaves its section")?;
        let words = bytes.chunks_exact(4);
        Ok(words
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect())
    };
    let base = address("_stext")?;
    let count = u64::from(words(address("unreliable_text_count")?, 1)?[0]);
    if count == 0 {
        return Ok(Vec::new());
    }
    let entries = words(address("unreliable_text")?, 2 * count)?;
    let ranges: Vec<(u64, u64)> = entries
        .chunks_exact(2)
        .map(|entry| {
            let distance = i64::from(entry[0] as i32);
            (base.wrapping_add_signed(distance), u64::from(entry[1]))
        })
        .collect();
    for pair in ranges.windows(2) {
        ensure!(
            pair[0].0 + pair[0].1 <= pair[1].0,
            "{:#x} is not behind {:#x}",
            pair[1].0,
            pair[0].0
        );
    }
    Ok(ranges)
}
