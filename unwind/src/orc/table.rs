//! Looking up ORC entries: sorted tables of addresses, and a table of blocks that narrows them down.
//!
//! The addresses stand apart from the entries, as distances from the place of each distance itself
//! (`.orc_unwind_ip`, `.orc_unwind`; the kernel's `orc-unwinder.rst`). An entry holds from its
//! address up to the next one's. Not here: bringing tables into order ([`super::sort`]).

/// Size in bytes of a distance.
const STEP: u64 = 4;

/// The sorted addresses of a table.
///
/// # Invariants
///
/// None that safety rests on: a table out of order gives wrong entries, never a wrong access.
#[derive(Clone, Copy, Debug)]
pub struct Addresses<'a> {
    at: u64,
    distances: &'a [i32],
}

impl<'a> Addresses<'a> {
    /// The addresses that the distances from `at` on say, where they lie in memory.
    #[inline]
    pub const fn new(at: u64, distances: &'a [i32]) -> Self {
        Self { at, distances }
    }

    /// How many there are.
    #[inline]
    pub const fn len(&self) -> usize {
        self.distances.len()
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.distances.is_empty()
    }

    /// The address of an entry.
    #[inline]
    pub fn get(&self, index: usize) -> Option<u64> {
        let distance = *self.distances.get(index)?;
        let place = self.at.wrapping_add((index as u64).wrapping_mul(STEP));
        Some(place.wrapping_add_signed(i64::from(distance)))
    }

    /// The last entry at or before `address`.
    #[inline]
    pub fn find(&self, address: u64) -> Option<usize> {
        self.find_between(0, self.len(), address)
    }

    /// The last entry at or before `address`, of those from `low` up to but without `high`.
    #[inline]
    pub fn find_between(&self, low: usize, high: usize, address: u64) -> Option<usize> {
        let (mut low, mut high) = (low, high.min(self.len()));
        let mut found = None;
        while low < high {
            // Neither half overflows: both are indices of one slice.
            let middle = low.wrapping_add(high.wrapping_sub(low) / 2);
            if self.get(middle)? <= address {
                found = Some(middle);
                low = middle.wrapping_add(1);
            } else {
                high = middle;
            }
        }
        found
    }

    /// The first entry that lies below its predecessor, if there is one.
    pub fn out_of_order(&self) -> Option<usize> {
        let mut last = 0;
        for index in 0..self.len() {
            let address = self.get(index)?;
            if address < last {
                return Some(index);
            }
            last = address;
        }
        None
    }
}

/// A table of ORC entries.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a, T> {
    addresses: Addresses<'a>,
    entries: &'a [T],
}

/// What makes tables unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTable {
    /// There is not one entry for each address, or there is none at all.
    Sizes,
    /// An address lies too far from the table.
    TooFar,
    /// The table of blocks has not one place for each block and one more.
    Blocks,
}

impl BadTable {
    /// One sentence for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Sizes => "the ORC tables are empty, or differ in length",
            Self::TooFar => "an ORC entry's text is too far from the tables",
            Self::Blocks => "the ORC lookup table has not the size of the text",
        }
    }
}

impl<'a, T: Copy> Table<'a, T> {
    /// The table of these addresses and entries.
    ///
    /// # Errors
    ///
    /// [`BadTable::Sizes`].
    #[inline]
    pub const fn new(addresses: Addresses<'a>, entries: &'a [T]) -> Result<Self, BadTable> {
        if addresses.len() == entries.len() && !addresses.is_empty() {
            Ok(Self { addresses, entries })
        } else {
            Err(BadTable::Sizes)
        }
    }

    /// The addresses.
    #[inline]
    pub const fn addresses(&self) -> Addresses<'a> {
        self.addresses
    }

    /// The entry for `address`.
    #[inline]
    pub fn find(&self, address: u64) -> Option<T> {
        self.entries.get(self.addresses.find(address)?).copied()
    }

    /// The entry for `address`, by way of `blocks` that were filled from this table.
    #[inline]
    pub fn find_in(&self, blocks: &Blocks<'_>, address: u64) -> Option<T> {
        let (low, high) = blocks.between(address)?;
        let index = self.addresses.find_between(low, high, address)?;
        self.entries.get(index).copied()
    }
}

/// Text in blocks of equal size: for each block, the entry that holds at its first byte.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a> {
    start: u64,
    stop: u64,
    firsts: &'a [u32],
}

impl<'a> Blocks<'a> {
    /// Size of a block in bytes (`LOOKUP_BLOCK_SIZE` of the kernel, which makes room for the table
    /// when it is linked).
    pub const SIZE: u64 = 256;

    /// How many places a table of blocks has for the text from `start` up to `stop`: one for each
    /// block, and one for the end.
    #[inline]
    pub const fn places(start: u64, stop: u64) -> u64 {
        stop.wrapping_sub(start)
            .div_ceil(Self::SIZE)
            .wrapping_add(1)
    }

    /// Fills `firsts` for the text from `start` up to `stop`.
    ///
    /// # Errors
    ///
    /// When it has fewer places than there are blocks, or the table is empty or too long.
    pub fn fill(
        firsts: &mut [u32],
        addresses: &Addresses<'_>,
        start: u64,
        stop: u64,
    ) -> Result<(), BadTable> {
        if stop < start || (firsts.len() as u64) < Self::places(start, stop) {
            return Err(BadTable::Blocks);
        }
        if addresses.is_empty() || u32::try_from(addresses.len()).is_err() {
            return Err(BadTable::Sizes);
        }
        let mut begin = start;
        for first in firsts.iter_mut() {
            let index = addresses.find(begin.min(stop)).unwrap_or(0);
            // It fits: the table's length does.
            *first = index as u32;
            begin = begin.saturating_add(Self::SIZE);
        }
        Ok(())
    }

    /// The blocks of the text from `start` up to `stop`, that [`Blocks::fill`] has filled.
    #[inline]
    pub const fn new(start: u64, stop: u64, firsts: &'a [u32]) -> Self {
        Self {
            start,
            stop,
            firsts,
        }
    }

    /// Whether `address` lies in this text.
    #[inline]
    pub const fn contains(&self, address: u64) -> bool {
        address >= self.start && address < self.stop
    }

    /// Between which entries the one for `address` lies.
    #[inline]
    fn between(&self, address: u64) -> Option<(usize, usize)> {
        if !self.contains(address) {
            return None;
        }
        let block = (address.wrapping_sub(self.start) / Self::SIZE) as usize;
        let low = *self.firsts.get(block)?;
        let high = *self.firsts.get(block.wrapping_add(1))?;
        Some((low as usize, (high as usize).wrapping_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distances for these addresses when they lie at `at`.
    fn distances<const N: usize>(at: u64, addresses: [u64; N]) -> [i32; N] {
        let mut index = 0;
        addresses.map(|address| {
            let place = at + 4 * index;
            index += 1;
            (address as i64 - place as i64) as i32
        })
    }

    #[test]
    fn the_last_entry_at_or_before_an_address_is_found() {
        let at = 0xffff_ffff_8200_0000;
        let addresses = [0x1000, 0x1010, 0x1010, 0x1400, 0x1800].map(|a| a + 0xffff_ffff_8100_0000);
        let distances = distances(at, addresses);
        let table = Addresses::new(at, &distances);
        let base = 0xffff_ffff_8100_0000;
        for (address, expected) in [
            (0xfff, None),
            (0x1000, Some(0)),
            (0x100f, Some(0)),
            // The last of equal ones.
            (0x1010, Some(2)),
            (0x13ff, Some(2)),
            (0x1400, Some(3)),
            (0x9999, Some(4)),
        ] {
            assert_eq!(table.find(base + address), expected, "{address:#x}");
        }
        assert_eq!(table.find_between(3, 99, base + 0x1010), None);
        assert_eq!(table.find_between(2, 1, base + 0x1010), None);
        assert_eq!(table.out_of_order(), None);
        assert_eq!(Addresses::new(at, &[]).find(base), None);
    }

    #[test]
    fn disorder_is_seen() {
        let distances = distances(0x8000, [0x1000, 0x3000, 0x2000]);
        assert_eq!(Addresses::new(0x8000, &distances).out_of_order(), Some(2));
    }

    #[test]
    fn blocks_find_what_the_whole_table_finds() {
        let at = 0x10_0000;
        let addresses = [0x1000, 0x1010, 0x10ff, 0x1100, 0x1480, 0x14f0, 0x2000];
        let distances = distances(at, addresses);
        let entries = [10, 11, 12, 13, 14, 15, 16];
        let table = Table::new(Addresses::new(at, &distances), &entries).unwrap();
        let (start, stop) = (0x1000, 0x1500 + 0x13);
        let mut firsts = [0; 7];
        assert_eq!(Blocks::places(start, stop), 7);
        Blocks::fill(&mut firsts, &table.addresses(), start, stop).unwrap();
        let blocks = Blocks::new(start, stop, &firsts);
        for address in 0..0x3000 {
            let expected = (start..stop)
                .contains(&address)
                .then(|| table.find(address));
            assert_eq!(
                table.find_in(&blocks, address),
                expected.flatten(),
                "{address:#x}"
            );
        }
    }

    #[test]
    fn tables_that_do_not_fit_are_refused() {
        let addresses = Addresses::new(0, &[1, 2]);
        assert_eq!(Table::new(addresses, &[0u8]).unwrap_err(), BadTable::Sizes);
        let none: &[u8] = &[];
        assert_eq!(
            Table::new(Addresses::new(0, &[]), none).unwrap_err(),
            BadTable::Sizes
        );
        let mut few = [0; 2];
        assert_eq!(
            Blocks::fill(&mut few, &addresses, 0, 0x1000),
            Err(BadTable::Blocks)
        );
        assert_eq!(
            Blocks::fill(&mut few, &addresses, 0x1000, 0),
            Err(BadTable::Blocks)
        );
        assert_eq!(
            Blocks::fill(&mut few, &Addresses::new(0, &[]), 0, 0x100),
            Err(BadTable::Sizes)
        );
    }
}
