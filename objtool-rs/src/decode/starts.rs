//! Which instruction begins at a byte of a section.
//!
//! A bit for each byte says whether one begins there, and for every 32 bytes it is counted how many
//! do before. A lookup is one word of memory, where a search among the records themselves misses the
//! caches twice: lookups took a twelfth of a run so, and take a fiftieth now.

/// Bytes for each word of bits.
const BYTES: usize = u32::BITS as usize;

/// Where the instructions of a stretch of code begin: bits for its bytes, in words as they are
/// counted from the start of the section.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    /// The number of the first word.
    first: usize,
    words: Vec<u32>,
}

impl Bits {
    /// None yet, of the bytes from one offset to another.
    pub fn new(bytes: &std::ops::Range<usize>) -> Self {
        let first = bytes.start / BYTES;
        Self {
            first,
            words: vec![0; bytes.end.div_ceil(BYTES).saturating_sub(first)],
        }
    }

    /// One begins at an offset, which must be one of the bytes.
    pub fn set(&mut self, offset: usize) {
        self.words[offset / BYTES - self.first] |= 1 << (offset % BYTES);
    }
}

/// Where the instructions of a section begin.
#[derive(Clone, Debug, Default)]
pub(super) struct Starts {
    blocks: Vec<Block>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Block {
    bits: u32,
    /// The number of the first instruction from here on.
    first: u32,
}

impl Starts {
    /// Nothing yet, of a section of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self {
            blocks: Vec::with_capacity(bytes.div_ceil(BYTES)),
        }
    }

    /// Adds a stretch that follows what is there.
    pub fn append(&mut self, bits: &Bits) {
        let mut words = bits.words.as_slice();
        // The word in which a stretch ends is the first one of the next.
        if let (Some(last), Some((&word, rest))) =
            (self.blocks.get_mut(bits.first), words.split_first())
        {
            last.bits |= word;
            words = rest;
        }
        let gap = bits.first.saturating_sub(self.blocks.len());
        self.blocks
            .extend(std::iter::repeat_n(Block::default(), gap));
        let block = |&bits: &u32| Block { bits, first: 0 };
        self.blocks.extend(words.iter().map(block));
    }

    /// Numbers the instructions; the first one's number is given.
    pub fn count(&mut self, first: u32) {
        let mut next = first;
        for block in &mut self.blocks {
            block.first = next;
            next += block.bits.count_ones();
        }
    }

    /// The instruction that begins at an offset.
    pub fn at(&self, offset: u64) -> Option<u32> {
        let (block, bit) = self.block(offset)?;
        (block.bits & bit != 0).then(|| block.before(bit))
    }

    /// The first instruction that begins at an offset or behind it, or the number behind the last
    /// one; nothing where no code is.
    pub fn from(&self, offset: u64) -> Option<u32> {
        let (block, bit) = self.block(offset)?;
        Some(block.before(bit))
    }

    fn block(&self, offset: u64) -> Option<(&Block, u32)> {
        let offset = usize::try_from(offset).ok()?;
        let block = self.blocks.get(offset / BYTES)?;
        Some((block, 1 << (offset % BYTES)))
    }
}

impl Block {
    /// The number of instructions before a byte, given by its bit.
    fn before(&self, bit: u32) -> u32 {
        self.first + (self.bits & (bit - 1)).count_ones()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_find_what_was_set() {
        let offsets = [0, 1, 5, 31, 32, 40, 63, 95, 96, 130, 131, 200];
        // Divided within a word, at the end of one, and with words between in which none begins.
        for cut in [33, 41, 64, 96, 131, 190] {
            let mut starts = Starts::default();
            for bytes in [0..cut, cut..205] {
                let mut bits = Bits::new(&bytes);
                for &offset in offsets.iter().filter(|offset| bytes.contains(offset)) {
                    bits.set(offset);
                }
                starts.append(&bits);
            }
            starts.count(7);
            for offset in 0..205 {
                let before = offsets.iter().filter(|&&start| start < offset).count() as u32;
                let at = offsets.contains(&offset).then_some(7 + before);
                assert_eq!(starts.at(offset as u64), at, "{offset}, cut at {cut}");
                assert_eq!(starts.from(offset as u64), Some(7 + before), "{offset}");
            }
            assert_eq!(starts.at(1 << 40), None);
            assert_eq!(starts.from(u64::MAX), None);
        }
        assert_eq!(Starts::default().at(0), None);
    }
}
