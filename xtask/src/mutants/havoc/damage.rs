//! Random damage to whole objects: headers, section headers, symbols, relocations, strings, code,
//! annotations, and the file as such.
//!
//! An object of a seed and an index is always the same. What must not happen with one is for
//! `worker` to watch.

use crate::mutants::image::Image;
use crate::mutants::rng::Rng;

/// Objects up to this size are taken most of the time, in bytes, so that a million of them can be
/// gone through in minutes.
const SMALL: usize = 30_000;

/// Larger objects than this are not taken at all.
const LARGE: usize = 200_000;

/// Whole objects to start from.
pub struct Stock {
    small: Vec<usize>,
    large: Vec<usize>,
    images: Vec<Image>,
}

impl Stock {
    /// Sorts whole objects by size.
    pub fn new(images: Vec<Image>) -> Self {
        let sized = |range: std::ops::Range<usize>| {
            (0..images.len())
                .filter(|&index| range.contains(&images[index].data.len()))
                .collect()
        };
        Self {
            small: sized(0..SMALL),
            large: sized(SMALL..LARGE),
            images,
        }
    }

    /// The damaged object of an index, and which whole object it was made from. None where there
    /// is none to start from.
    pub fn object(&self, seed: u64, index: u64) -> Option<(usize, Vec<u8>)> {
        let mut rng = Rng::of(&["havoc", &index.to_string()], seed);
        let rarely = rng.one_in(10);
        let list = if (rarely && !self.large.is_empty()) || self.small.is_empty() {
            &self.large
        } else {
            &self.small
        };
        let object = *rng.choose(list)?;
        let donor = *rng.choose(&self.small).unwrap_or(&object);
        let image = &self.images[object];
        let mut data = image.data.clone();
        // One place most of the time: what is damaged all over is soon refused.
        let places = if rng.one_in(2) { 1 } else { 2 + rng.below(3) };
        for _ in 0..places {
            damage(&mut data, image, &self.images[donor].data, &mut rng);
        }
        Some((object, data))
    }
}

/// Fields of the file header that say something about the file: offset and size in bytes, as in
/// `Elf64_Ehdr`.
const HEADER: [(usize, usize); 19] = [
    (0, 4),
    (4, 1),
    (5, 1),
    (6, 1),
    (7, 1),
    (16, 2),
    (18, 2),
    (20, 4),
    (24, 8),
    (32, 8),
    (40, 8),
    (48, 4),
    (52, 2),
    (54, 2),
    (56, 2),
    (58, 2),
    (58, 1),
    (60, 2),
    (62, 2),
];

/// Fields of a section header, as in `Elf64_Shdr`.
const SECTION: [(usize, usize); 10] = [
    (0, 4),
    (4, 4),
    (8, 8),
    (16, 8),
    (24, 8),
    (32, 8),
    (40, 4),
    (44, 4),
    (48, 8),
    (56, 8),
];

/// The size of a section header, in bytes.
const SECTION_SIZE: usize = 64;

/// Fields of a symbol, as in `Elf64_Sym`.
const SYMBOL: [(usize, usize); 6] = [(0, 4), (4, 1), (5, 1), (6, 2), (8, 8), (16, 8)];

/// Fields of a relocation, as in `Elf64_Rela`; type and symbol are halves of one word.
const RELOC: [(usize, usize); 4] = [(0, 8), (8, 4), (12, 4), (16, 8)];

fn damage(data: &mut Vec<u8>, whole: &Image, donor: &[u8], rng: &mut Rng) {
    match rng.below(28) {
        0 => field(data, 0, &HEADER, rng),
        1..=3 => {
            if let Some(section) = rng.choose(&whole.sections) {
                field(data, section.header_at, &SECTION, rng);
            }
        }
        4..=8 => {
            if let Some(symbol) = rng.choose(&whole.symbols) {
                field(data, symbol.at, &SYMBOL, rng);
            }
        }
        9..=12 => {
            let with: Vec<_> = whole
                .sections
                .iter()
                .filter(|section| !section.relocs.is_empty())
                .collect();
            if let Some(reloc) = rng.choose(&with).and_then(|s| rng.choose(&s.relocs)) {
                field(data, reloc.at, &RELOC, rng);
            }
        }
        13..=18 => inside(data, whole, rng, |section| section.is_code()),
        19..=21 => inside(data, whole, rng, |section| {
            section.name.starts_with(".discard.")
                || [".altinstructions", "__ex_table", "__jump_table"]
                    .contains(&section.name.as_str())
        }),
        22 => inside(data, whole, rng, |section| section.name.ends_with("strtab")),
        23 => {
            let at = rng.below(data.len());
            if let Some(byte) = data.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        24 => {
            let len = rng.below(data.len());
            data.truncate(len);
        }
        25 => copy(data, donor, rng),
        26 => {
            let (a, b) = (rng.choose(&whole.sections), rng.choose(&whole.sections));
            if let (Some(a), Some(b)) = (a, b) {
                swap(data, a.header_at, b.header_at);
            }
        }
        _ => {
            let own = data.clone();
            copy(data, &own, rng);
        }
    }
}

/// Gives one field of a structure another value.
fn field(data: &mut [u8], base: usize, fields: &[(usize, usize)], rng: &mut Rng) {
    let Some(&(offset, size)) = rng.choose(fields) else {
        return;
    };
    let len = data.len() as u64;
    let Some(bytes) = data.get_mut(base + offset..base + offset + size) else {
        return;
    };
    let mut word = [0; 8];
    word[..size].copy_from_slice(bytes);
    let old = u64::from_le_bytes(word);
    let new = match rng.below(14) {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => old.wrapping_add(1),
        4 => old.wrapping_sub(1),
        5 => old.wrapping_add(8),
        6 => old ^ (1 << rng.below(size * 8)),
        7 => 1 << (size * 8 - 1),
        8 => (1 << (size * 8 - 1)) - 1,
        9 => len,
        10 => len.wrapping_sub(old),
        11 => rng.below(64) as u64,
        12 => rng.next() & 0xffff,
        _ => rng.next(),
    };
    bytes.copy_from_slice(&new.to_le_bytes()[..size]);
}

/// Changes a few bytes inside a section of some kind.
fn inside(
    data: &mut [u8],
    whole: &Image,
    rng: &mut Rng,
    wanted: impl Fn(&crate::mutants::image::Section) -> bool,
) {
    let fitting: Vec<_> = whole
        .sections
        .iter()
        .filter(|section| section.size > 0 && wanted(section))
        .collect();
    let Some(section) = rng.choose(&fitting) else {
        return;
    };
    let start = section.at + rng.below(section.size);
    let count = (1 + rng.below(8)).min(section.at + section.size - start);
    let Some(bytes) = data.get_mut(start..start + count) else {
        return;
    };
    for byte in bytes {
        *byte = match rng.below(4) {
            0 => 0,
            1 => 0xff,
            2 => byte.wrapping_add(1),
            _ => rng.next() as u8,
        };
    }
}

/// Puts a block of `from` somewhere into `data`.
fn copy(data: &mut [u8], from: &[u8], rng: &mut Rng) {
    let (source, target) = (rng.below(from.len()), rng.below(data.len()));
    let most = (from.len() - source).min(data.len() - target).min(256);
    let count = rng.below(most + 1);
    data[target..target + count].copy_from_slice(&from[source..source + count]);
}

fn swap(data: &mut [u8], a: usize, b: usize) {
    let (first, second) = (a.min(b), a.max(b));
    if first + SECTION_SIZE > second || second + SECTION_SIZE > data.len() {
        return;
    }
    let (front, back) = data.split_at_mut(second);
    front[first..first + SECTION_SIZE].swap_with_slice(&mut back[..SECTION_SIZE]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::tests::rich_object;

    #[test]
    fn an_index_names_one_object_and_most_differ() {
        let stock = || Stock::new(vec![Image::parse(rich_object()).unwrap()]);
        let (one, other) = (stock(), stock());
        let mut distinct = std::collections::HashSet::new();
        for index in 0..500 {
            let object = one.object(7, index).unwrap();
            assert_eq!(object, other.object(7, index).unwrap());
            distinct.insert(object.1);
        }
        assert!(distinct.len() > 400, "{} of 500", distinct.len());
        assert_ne!(one.object(7, 0), one.object(8, 0));
    }
}
