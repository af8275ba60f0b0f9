//! Tables of text: the validator's table of text that must not be trusted, and entry code.
//!
//! The validator writes its table with `objtool-rs verify --unreliable-text` (its format stands in
//! objtool-rs' `verify/assembly.rs`); here it is read. Where the tables lie is for others to know.

use arch::frame::Origin;

/// Size in bytes of a [`Range`] in memory.
const STEP: u64 = 8;

/// A range of the validator's table, as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Range {
    /// Leads to its first byte: from the table's [`Base`].
    pub distance: i32,
    /// Its size in bytes.
    pub size: u32,
}

/// What the distances of a table are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// An image's table: this address, of the symbol `_stext`.
    Image(u64),
    /// A module's table: each distance is from its own place, and the table lies at this address.
    Module(u64),
}

/// The validator's table of an image or a module.
#[derive(Clone, Copy, Debug)]
pub struct UnreliableText<'a> {
    base: Base,
    ranges: &'a [Range],
    is_sorted: bool,
}

impl<'a> UnreliableText<'a> {
    /// The table of these ranges.
    ///
    /// It looks once whether they are in the order of their addresses. A module's sections need not
    /// be loaded in the order in which they stand in its file; then every lookup takes longer.
    pub fn new(base: Base, ranges: &'a [Range]) -> Self {
        let mut table = Self {
            base,
            ranges,
            is_sorted: true,
        };
        let mut last = 0;
        for index in 0..ranges.len() {
            if let Some((first, end)) = table.get(index) {
                table.is_sorted &= first >= last && end >= first;
                last = end;
            }
        }
        table
    }

    /// The same for ranges of which it is known whether they are in the order of their addresses;
    /// [`Self::is_sorted`] says so.
    #[inline]
    pub const fn known(base: Base, ranges: &'a [Range], is_sorted: bool) -> Self {
        Self {
            base,
            ranges,
            is_sorted,
        }
    }

    /// Whether the ranges are in the order of their addresses.
    #[inline]
    pub const fn is_sorted(&self) -> bool {
        self.is_sorted
    }

    /// How many ranges there are.
    pub const fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The first byte of a range, and the one behind its last.
    #[inline]
    fn get(&self, index: usize) -> Option<(u64, u64)> {
        let range = self.ranges.get(index)?;
        let base = match self.base {
            Base::Image(base) => base,
            Base::Module(table) => table.wrapping_add((index as u64).wrapping_mul(STEP)),
        };
        let first = base.wrapping_add_signed(i64::from(range.distance));
        Some((first, first.wrapping_add(u64::from(range.size))))
    }

    /// Whether `address` lies in text that must not be trusted. For a return address, pass that of
    /// the byte before it.
    #[inline]
    pub fn contains(&self, address: u64) -> bool {
        match self.base {
            Base::Image(base) if self.is_sorted => {
                // All of the table is within 31 bits of its base.
                let distance = address.wrapping_sub(base) as i64;
                i32::try_from(distance).is_ok_and(|distance| self.contains_distance(distance))
            }
            _ => self.is_in_any(address),
        }
    }

    /// The same for an address that lies so far from the base of a sorted image's table.
    fn contains_distance(&self, distance: i32) -> bool {
        let (mut low, mut high) = (0, self.ranges.len());
        let mut before = None;
        while low < high {
            let middle = low.wrapping_add(high.wrapping_sub(low) / 2);
            match self.ranges.get(middle) {
                Some(range) if range.distance <= distance => {
                    before = Some(range);
                    low = middle.wrapping_add(1);
                }
                _ => high = middle,
            }
        }
        before.is_some_and(|range| {
            i64::from(distance).wrapping_sub(i64::from(range.distance)) < i64::from(range.size)
        })
    }

    fn is_in_any(&self, address: u64) -> bool {
        let holds = |(first, end): (u64, u64)| first <= address && address < end;
        (0..self.len()).any(|index| self.get(index).is_some_and(holds))
    }
}

/// Which pages of text may hold ranges of a table: for most addresses this answers at once that they
/// lie in none. Pages that lie far apart share a bit.
#[derive(Clone, Copy, Debug)]
pub struct Pages([u64; Pages::WORDS]);

impl Pages {
    /// Words of the answer.
    pub const WORDS: usize = 16;

    /// The size of a page, as a power of two; it need not be the processor's.
    const SHIFT: u32 = 12;

    /// Those of a table.
    pub fn of(table: &UnreliableText<'_>) -> Self {
        let mut pages = Self([0; Self::WORDS]);
        for index in 0..table.len() {
            let Some((first, end)) = table.get(index) else {
                continue;
            };
            if end < first {
                // It goes over the end of all addresses, as no text does.
                return Self([u64::MAX; Self::WORDS]);
            }
            let mut page = first >> Self::SHIFT;
            let pages_held = (end >> Self::SHIFT).wrapping_sub(page).wrapping_add(1);
            for _ in 0..pages_held {
                let (word, bit) = Self::place(page << Self::SHIFT);
                if let Some(word) = pages.0.get_mut(word) {
                    *word |= bit;
                }
                page = page.wrapping_add(1);
            }
        }
        pages
    }

    /// The words, for whoever keeps them elsewhere.
    pub const fn words(&self) -> [u64; Self::WORDS] {
        self.0
    }

    /// Which of the words speaks of an address, and with which bit: set if the table may hold it.
    #[inline]
    pub const fn place(address: u64) -> (usize, u64) {
        let page = address >> Self::SHIFT;
        ((page as usize >> 6) % Self::WORDS, 1 << (page & 63))
    }
}

/// A piece of entry code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryCode {
    /// Its first byte.
    pub begin: u64,
    /// The one behind its last.
    pub end: u64,
    /// What it is entered for.
    pub origin: Origin,
}

/// The origin of the code at `address`, by a table that is sorted by address and disjoint.
#[inline]
pub fn origin(table: &[EntryCode], address: u64) -> Option<Origin> {
    let (mut low, mut high) = (0, table.len());
    while low < high {
        let middle = low.wrapping_add(high.wrapping_sub(low) / 2);
        let code = table.get(middle)?;
        if address < code.begin {
            high = middle;
        } else if address >= code.end {
            low = middle.wrapping_add(1);
        } else {
            return Some(code.origin);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use arch::frame::Event;

    fn range(distance: i32, size: u32) -> Range {
        Range { distance, size }
    }

    #[test]
    fn an_images_table_is_from_one_symbol() {
        let base = 0xffff_ffff_8100_0000;
        let ranges = [range(-0x20, 0x10), range(0, 1), range(0x100, 0x10)];
        let table = UnreliableText::new(Base::Image(base), &ranges);
        assert!(table.is_sorted && table.len() == 3 && !table.is_empty());
        for offset in -0x40i64..0x140 {
            let expected =
                (-0x20..-0x10).contains(&offset) || offset == 0 || (0x100..0x110).contains(&offset);
            let address = base.wrapping_add_signed(offset);
            assert_eq!(table.contains(address), expected, "{offset:#x}");
        }
    }

    #[test]
    fn a_modules_table_is_from_its_own_places_and_may_be_out_of_order() {
        let at = 0xffff_ffff_c000_8000u64;
        let first = [0xffff_ffff_c000_2000u64, 0xffff_ffff_c000_1000];
        let mut ranges = [range(0, 0x10), range(0, 0x20)];
        for (index, range) in ranges.iter_mut().enumerate() {
            let place = at + 8 * index as u64;
            range.distance = (first[index] as i64 - place as i64) as i32;
        }
        let table = UnreliableText::new(Base::Module(at), &ranges);
        assert!(!table.is_sorted);
        assert!(table.contains(first[0]) && table.contains(first[0] + 0xf));
        assert!(!table.contains(first[0] + 0x10) && !table.contains(first[0] - 1));
        assert!(table.contains(first[1] + 0x1f) && !table.contains(first[1] + 0x20));
    }

    #[test]
    fn a_page_that_a_table_holds_some_of_is_known() {
        let base = 0xffff_ffff_8100_0000;
        let ranges = [
            range(0xffe, 4),
            range(0x5000, 0x2001),
            range(0x0123_4567, 1),
        ];
        let table = UnreliableText::new(Base::Image(base), &ranges);
        let words = Pages::of(&table).words();
        let (mut held, mut free) = (0, 0);
        for address in (base..base + 0x0130_0000).step_by(0x333) {
            let (word, bit) = Pages::place(address);
            match (words[word] & bit != 0, table.contains(address)) {
                (false, true) => panic!("{address:#x}"),
                (true, _) => held += 1,
                (false, false) => free += 1,
            }
        }
        assert!(held > 0 && free > 100 * held);
        assert_eq!(words.map(u64::count_ones).iter().sum::<u32>(), 2 + 3 + 1);
    }

    #[test]
    fn an_empty_table_holds_nothing() {
        let table = UnreliableText::new(Base::Image(0x1000), &[]);
        assert!(table.is_empty() && !table.contains(0x1000));
    }

    #[test]
    fn entry_code_is_found_by_address() {
        let code = |begin, end, origin| EntryCode { begin, end, origin };
        let table = [
            code(0x100, 0x110, Origin::SystemCall),
            code(0x110, 0x120, Origin::Event(Event::PageFault)),
            code(0x200, 0x210, Origin::Fork),
        ];
        assert_eq!(origin(&table, 0xff), None);
        assert_eq!(origin(&table, 0x10f), Some(Origin::SystemCall));
        assert_eq!(origin(&table, 0x110), Some(Origin::Event(Event::PageFault)));
        assert_eq!(origin(&table, 0x120), None);
        assert_eq!(origin(&table, 0x20f), Some(Origin::Fork));
        assert_eq!(origin(&table, 0x210), None);
        assert_eq!(origin(&[], 0), None);
    }
}
