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
        let mut table = Self::known(base, ranges, false);
        table.is_sorted = table.survey(|_| ());
        table
    }

    /// Shows each page that some of its ranges lies in, and returns whether the ranges are in the
    /// order of their addresses; if they are not, some pages may be missing.
    #[inline]
    pub fn survey(&self, mut mark: impl FnMut(Page)) -> bool {
        let (mut in_order, mut last) = (true, 0);
        for index in 0..self.ranges.len() {
            let Some((first, end)) = self.get(index) else {
                continue;
            };
            in_order &= first >= last && end >= first;
            last = end;
            let mut at = Some(first & !(Page::SIZE - 1));
            while let Some(page) = at.filter(|page| *page <= end) {
                mark(Page::of(page));
                at = page.checked_add(Page::SIZE);
            }
        }
        in_order
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

/// A page of text, as a bit in a few words. Whoever sets those of [`UnreliableText::survey`] knows for
/// most addresses at once that they lie in no range. Pages that lie far apart share a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The word: less than [`Page::WORDS`].
    pub word: usize,
    /// The bit, in its place.
    pub bit: u64,
}

impl Page {
    /// How many words there are.
    pub const WORDS: usize = 16;

    /// Size in bytes of a page; it need not be the processor's.
    const SIZE: u64 = 4096;

    /// The page that an address lies in.
    #[inline]
    pub const fn of(address: u64) -> Self {
        let page = address / Self::SIZE;
        Self {
            word: (page as usize / 64) % Self::WORDS,
            bit: 1 << (page % 64),
        }
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

impl EntryCode {
    /// The same, packed. It lies within 2 GiB of `base`, as all of an image does; what is behind its
    /// first 64 KiB is left out.
    #[inline]
    pub fn packed(&self, base: u64) -> Packed {
        let size = self.end.wrapping_sub(self.begin);
        Packed {
            distance: self.begin.wrapping_sub(base) as i32,
            size: size.min(u64::from(u16::MAX)) as u16,
            origin: self.origin,
        }
    }
}

/// The origin of the code at `address`.
#[inline]
pub fn origin(table: &[EntryCode], address: u64) -> Option<Origin> {
    let holds = |code: &&EntryCode| code.begin <= address && address < code.end;
    table.iter().find(holds).map(|code| code.origin)
}

/// A piece of entry code in the room of a word. Its place is a distance from a base, such as the
/// begin of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    distance: i32,
    size: u16,
    origin: Origin,
}

impl Packed {
    /// Both as one, if `next` begins where this ends and is entered for the same.
    #[inline]
    pub fn joined(self, next: Self) -> Option<Self> {
        let follows = self.distance.wrapping_add(i32::from(self.size)) == next.distance;
        let size = self.size.checked_add(next.size);
        match size {
            Some(size) if follows && self.origin == next.origin => Some(Self { size, ..self }),
            _ => None,
        }
    }

    /// The origin of the code that lies `distance` bytes behind the base.
    #[inline]
    pub fn origin(table: &[Self], distance: u64) -> Option<Origin> {
        let holds = |code: &&Self| {
            let offset = distance.wrapping_sub(i64::from(code.distance) as u64);
            offset < u64::from(code.size)
        };
        table.iter().find(holds).map(|code| code.origin)
    }
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
        let mut words = [0; Page::WORDS];
        assert!(table.survey(|page| words[page.word] |= page.bit));
        let (mut held, mut free) = (0, 0);
        for address in (base..base + 0x0130_0000).step_by(0x333) {
            let page = Page::of(address);
            match (words[page.word] & page.bit != 0, table.contains(address)) {
                (false, true) => panic!("{address:#x}"),
                (true, _) => held += 1,
                (false, false) => free += 1,
            }
        }
        assert!(held > 0 && free > 100 * held);
        assert_eq!(words.map(u64::count_ones).iter().sum::<u32>(), 2 + 3 + 1);
    }

    #[test]
    fn disorder_is_seen_and_pages_end_with_the_addresses() {
        let at_the_end = [range(-0x1800, 0x1000)];
        let mut pages = 0;
        let table = UnreliableText::known(Base::Image(0), &at_the_end, false);
        assert!(table.survey(|_| pages += 1) && pages == 2);
        for disorder in [[range(0x20, 1), range(0, 1)], [range(-4, 8), range(8, 1)]] {
            assert!(!UnreliableText::new(Base::Image(0), &disorder).is_sorted());
        }
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
        let base = 0x110;
        let packed = table.map(|code| code.packed(base));
        for address in 0..0x300u64 {
            let distance = address.wrapping_sub(base);
            assert_eq!(Packed::origin(&packed, distance), origin(&table, address));
        }
        assert_eq!(size_of::<Packed>(), 8);
    }

    #[test]
    fn neighbours_of_one_origin_become_one_piece() {
        let piece = |begin, end, origin| EntryCode { begin, end, origin }.packed(0x1000);
        let first = piece(0x1000, 0x1010, Origin::SystemCall);
        let joined = first.joined(piece(0x1010, 0x1018, Origin::SystemCall));
        assert_eq!(joined, Some(piece(0x1000, 0x1018, Origin::SystemCall)));
        for other in [
            piece(0x1010, 0x1018, Origin::Fork),
            piece(0x1011, 0x1018, Origin::SystemCall),
            piece(0xfff, 0x1000, Origin::SystemCall),
        ] {
            assert_eq!(first.joined(other), None);
        }
        let large = piece(0x1000, 0x3_0000, Origin::Fork);
        assert_eq!(large.size, u16::MAX);
        assert_eq!(first.joined(large), None);
    }
}
