//! The table of text that must not be trusted, as a kernel or a module that has it linked in finds
//! it.
//!
//! Its form is documented in `objtool-rs/src/verify/assembly.rs`.

use anyhow::{ensure, Context, Result};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget};

/// How many words say which pages of an image hold some of the ranges.
const PAGE_WORDS: usize = 16;

/// The ranges of a module's table: section, offset, and size in bytes.
///
/// # Errors
/// Labels that are missing, and entries without the relocation that they need.
pub fn read_module(data: &[u8]) -> Result<Vec<(String, u64, u64)>> {
    let file = object::File::parse(data)?;
    let place = |name: &str| -> Result<(object::SectionIndex, u64)> {
        let symbol = file.symbol_by_name(name);
        let symbol = symbol.with_context(|| format!("the module has no {name}"))?;
        let section = symbol.section_index().context("a label of no section")?;
        Ok((section, symbol.address()))
    };
    let word = |bytes: &[u8], at: u64| -> Result<u64> {
        let word = bytes.get(at as usize..).and_then(|rest| rest.first_chunk());
        let word = word.context("the table leaves its section")?;
        Ok(u64::from(u32::from_le_bytes(*word)))
    };
    let (section, at) = place("unreliable_text_count")?;
    let section = file.section_by_index(section)?;
    let bytes = section.data()?;
    let count = word(bytes, at)?;
    let (_, start) = place("unreliable_text")?;
    let mut ranges = Vec::new();
    for at in (0..count).map(|index| start + 8 * index) {
        let (_, reloc) = section
            .relocations()
            .find(|(offset, _)| *offset == at)
            .with_context(|| format!("no relocation at {at:#x}"))?;
        let RelocationTarget::Symbol(symbol) = reloc.target() else {
            anyhow::bail!("a relocation without a symbol at {at:#x}");
        };
        ensure!(
            reloc.kind() == object::RelocationKind::Relative && reloc.size() == 32,
            "no 32-bit distance at {at:#x}"
        );
        let symbol = file.symbol_by_index(symbol)?;
        let text = symbol.section_index().context("a range of no section")?;
        let offset = symbol.address().wrapping_add_signed(reloc.addend());
        let name = file.section_by_index(text)?.name()?.to_owned();
        ranges.push((name, offset, word(bytes, at + 4)?));
    }
    Ok(ranges)
}

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
    let pages = words(address("unreliable_text_pages")?, 2 * PAGE_WORDS as u64)?;
    let pages: Vec<u64> = pages
        .chunks_exact(2)
        .map(|word| u64::from(word[0]) | u64::from(word[1]) << 32)
        .collect();
    let mut expected = vec![0u64; PAGE_WORDS];
    for (start, size) in &ranges {
        for at in *start..start + size {
            let page = at.wrapping_sub(base) / 4096;
            expected[page as usize / 64 % PAGE_WORDS] |= 1 << (page % 64);
        }
    }
    ensure!(
        pages == expected,
        "the pages are {pages:x?}, but the ranges lie in {expected:x?}"
    );
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
