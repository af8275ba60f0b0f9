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
        let mut last = 0;
        table.is_sorted = (0..ranges.len()).all(|index| {
            table.get(index).map_or(true, |(first, end)| {
                let in_order = first >= last && end >= first;
                last = end;
                in_order
            })
        });
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
        let (mut place, step) = match self.base {
            Base::Image(base) => (base, 0),
            Base::Module(table) => (table, STEP),
        };
        let mut ranges = self.ranges;
        if step == 0 && self.is_sorted {
            // All of the table is within 31 bits of its base. Only the last that begins in front of
            // the address can hold it.
            let distance = address.wrapping_sub(place) as i64;
            while ranges.len() > 1 {
                let middle = ranges.len() / 2;
                let high = ranges.get(middle..).unwrap_or(&[]);
                let low = ranges.get(..middle).unwrap_or(&[]);
                let is_high = high
                    .first()
                    .is_some_and(|range| i64::from(range.distance) <= distance);
                ranges = if is_high { high } else { low };
            }
        }
        ranges.iter().any(|range| {
            let first = place.wrapping_add_signed(i64::from(range.distance));
            place = place.wrapping_add(step);
            address.wrapping_sub(first) < u64::from(range.size)
        })
    }
}

/// A page of an image's text, as a bit in a few words that stand in front of the image's table. Where
/// it is not set no range lies, which is so for most addresses. Pages that lie far apart share a bit.
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
    pub const SIZE: u64 = 4096;

    /// The page that lies this far behind the table's base.
    #[inline]
    pub const fn of(distance: u64) -> Self {
        let page = distance / Self::SIZE;
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

/// The origin of the code at `address`.
#[inline]
pub fn origin(table: &[EntryCode], address: u64) -> Option<Origin> {
    let holds = |code: &&EntryCode| code.begin <= address && address < code.end;
    table.iter().find(holds).map(|code| code.origin)
}

/// A piece of entry code as the kernel's assembler leaves it in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct EntryRecord {
    /// Leads to its first byte: from its own place in the table.
    pub distance: i32,
    /// Its size in bytes.
    pub size: u16,
    /// What it is entered for, by the architecture's number.
    pub origin: u16,
}

/// The number of what the code at `address` is entered for, by a table that lies at `place`.
#[inline]
pub fn origin_number(table: &[EntryRecord], place: u64, address: u64) -> Option<u16> {
    let mut place = place;
    for record in table {
        let begin = place.wrapping_add_signed(i64::from(record.distance));
        if address.wrapping_sub(begin) < u64::from(record.size) {
            return Some(record.origin);
        }
        place = place.wrapping_add(STEP);
    }
    None
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

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
    fn a_page_is_a_bit() {
        let page = |distance: u64| Page::of(distance);
        assert_eq!(page(0), page(0xfff));
        assert_ne!(page(0xfff), page(0x1000));
        let (word, bit) = (Page::WORDS - 1, 1 << 63);
        assert_eq!(
            page(Page::SIZE * (64 * Page::WORDS as u64 - 1)),
            Page { word, bit }
        );
        assert_eq!(page(Page::SIZE * 64 * Page::WORDS as u64), page(0));
    }

    #[test]
    fn disorder_is_seen() {
        for disorder in [[range(0x20, 1), range(0, 1)], [range(-4, 8), range(8, 1)]] {
            assert!(!UnreliableText::new(Base::Image(0), &disorder).is_sorted());
        }
        let order = [range(0, 1), range(0x20, 1)];
        assert!(UnreliableText::new(Base::Image(0), &order).is_sorted());
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
        // The same in the form in which a kernel has it, at a place in front of the code.
        let place = 0x40u64;
        let records: Vec<EntryRecord> = (0..)
            .zip(&table)
            .map(|(index, code)| EntryRecord {
                distance: (code.begin - place - STEP * index) as i32,
                size: (code.end - code.begin) as u16,
                origin: index as u16,
            })
            .collect();
        assert_eq!(size_of::<EntryRecord>() as u64, STEP);
        for address in 0..0x300u64 {
            let number = origin_number(&records, place, address);
            let found = number.map(|number| table[usize::from(number)].origin);
            assert_eq!(found, origin(&table, address), "{address:#x}");
        }
    }
}
