//! The reader of ORC data behind `--dump`: any bytes, and files whose ORC data come from the fuzzer.
//!
//! It ends, says the same twice, and says it in printable lines. Of a file that was made for it,
//! there is a line an entry, with the text worked out here; and where a place is missing or the last
//! entry is not whole, there is an error.

use arbitrary::{Arbitrary, Unstructured};
use arch::object::Architecture as _;
use arch_x86_64::object::relocation;
use arch_x86_64::X86_64;
use objtool_rs::orc_dump::dump;

use super::image::{elf, Image, Relocation, Section, Symbol};
use super::whole::one_line;
use crate::{orc, patch};

/// A file to be.
#[derive(Arbitrary, Debug)]
struct File {
    /// An image in place of an object.
    linked: bool,
    /// Where an image has its places.
    address: u32,
    entries: Vec<[u8; orc::SIZE]>,
    /// Bytes behind the last whole entry.
    rest: u8,
    places: Vec<Place>,
}

/// Where an entry begins to hold.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Place {
    /// The entry has none.
    absent: bool,
    /// One of [`NAMES`].
    symbol: u8,
    /// In an object.
    addend: i64,
    /// In an image.
    distance: i32,
}

/// Names of symbols, and what is printed for those that are printed as they are.
const NAMES: &[&[u8]] = &[b"f", b"", b"two\nlines", b"\xff\x1b[1m", b"a b: type:+0"];

/// The section of places, as its number in the file.
const ADDRESSES: u16 = 2;

/// Runs one input: a byte that says what the rest is, and the rest.
///
/// # Panics
///
/// When something of the above does not hold.
pub fn run(input: &[u8]) {
    let Some((&what, rest)) = input.split_first() else {
        return;
    };
    if what % 2 == 0 {
        check(rest);
    } else if let Ok(file) = File::arbitrary_take_rest(Unstructured::new(rest)) {
        let text = check(&file.bytes());
        compare(&file, text.as_deref());
    }
}

/// Dumps a file twice; the result is the text, where it has one.
///
/// # Panics
///
/// When the two differ, or are no printable lines.
pub fn check(data: &[u8]) -> Option<String> {
    let (first, second) = (dump(data), dump(data));
    assert_eq!(first, second, "the second dump is another one");
    match first {
        Ok(text) => {
            for line in text.lines() {
                one_line(line);
                assert!(line.contains(":type:"), "{line}");
            }
            assert!(text.is_empty() || text.ends_with('\n'), "a line has no end");
            Some(text)
        }
        Err(error) => {
            one_line(&error.to_string());
            None
        }
    }
}

/// What is said of a file that is known, against what is to be said.
fn compare(file: &File, text: Option<&str>) {
    let is_whole = file.rest.is_multiple_of(orc::SIZE as u8);
    let count = file.entries.len() + usize::from(file.rest) / orc::SIZE;
    let has_places = (0..count).all(|entry| file.has_place(entry));
    let Some(text) = text else {
        assert!(!(is_whole && has_places), "a right file is refused");
        return;
    };
    assert!(is_whole, "an entry that is not whole is passed over");
    assert!(has_places, "an entry without a place is passed over");
    assert_eq!(text.lines().count(), count, "a line an entry");
    for (number, (line, entry)) in text.lines().zip(&file.entries).enumerate() {
        let what = words(entry);
        let Some(place) = line.strip_suffix(what.as_str()) else {
            panic!("{line:?} does not end in {what:?}");
        };
        let Place {
            symbol,
            addend,
            distance,
            ..
        } = file.places[number];
        if file.linked {
            let from = u64::from(file.address) + 4 * number as u64;
            let to = from.wrapping_add_signed(distance.into());
            assert_eq!(place, format!("{to:x}:"));
        } else {
            assert!(place.ends_with(&format!("+{addend:x}:")), "{place}");
            let name = NAMES[usize::from(symbol) % NAMES.len()];
            let plain = std::str::from_utf8(name).unwrap_or("\n");
            if !plain.contains(char::is_control) {
                assert_eq!(place, format!("{plain}+{addend:x}:"));
            }
        }
    }
}

/// An entry in words, as the kernel's objtool puts it.
fn words(entry: &[u8; orc::SIZE]) -> String {
    let [a, b, c, d, registers, kind] = *entry;
    const TYPES: [&str; 5] = ["(und)", "end", "call", "regs", "regs (partial)"];
    let register = |number: u8, low: u8, high: u8| {
        let offset = i16::from_le_bytes([low, high]);
        match number {
            0 => "(und)".to_owned(),
            8 => format!("(bp{offset:+})"),
            9 => format!("(sp){offset:+}"),
            known @ 1..=7 => {
                let names = ["prevsp", "dx", "di", "bp", "sp", "r10", "r13"];
                format!("{}{offset:+}", names[usize::from(known) - 1])
            }
            _ => format!("?{offset:+}"),
        }
    };
    format!(
        "type:{} sp:{} bp:{} signal:{}",
        TYPES.get(usize::from(kind & 7)).unwrap_or(&"?"),
        register(registers & 15, a, b),
        register(registers >> 4, c, d),
        kind >> 3 & 1
    )
}

impl File {
    /// Whether an entry has a place in the file.
    fn has_place(&self, entry: usize) -> bool {
        let place = self.places.get(entry);
        place.is_some_and(|place| self.linked || !place.absent)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut image = Image::default();
        let mut data: Vec<u8> = self.entries.concat();
        data.resize(data.len() + usize::from(self.rest), 0);
        image.section(Section::new(orc::ENTRIES, elf::ALLOC, data));
        let distances = self.places.iter().flat_map(|p| p.distance.to_le_bytes());
        let number = image.section(Section::new(
            orc::ADDRESSES,
            elf::ALLOC,
            distances.collect(),
        ));
        assert_eq!(number, ADDRESSES, "the first section is the entries'");
        for name in NAMES {
            image.symbol(Symbol {
                name: name.to_vec(),
                section: number,
                ..Symbol::default()
            });
        }
        if !self.linked {
            for (number, place) in self.places.iter().enumerate() {
                if !place.absent {
                    image.sections[1].relocations.push(Relocation {
                        offset: 4 * number as u64,
                        symbol: u32::from(place.symbol) % NAMES.len() as u32 + 1,
                        kind: relocation::PC32,
                        addend: place.addend,
                    });
                }
            }
        }
        let mut file = patch::Image {
            bytes: image.bytes(X86_64::MACHINE),
        };
        if self.linked {
            file.put(patch::header::TYPE, 2_u16.to_le_bytes());
            let places = file.section(orc::ADDRESSES).expect("it was just made");
            file.put(
                places + patch::section::ADDRESS,
                u64::from(self.address).to_le_bytes(),
            );
        }
        file.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    fn file(linked: bool) -> File {
        let place = |symbol, addend, distance| Place {
            absent: false,
            symbol,
            addend,
            distance,
        };
        File {
            linked,
            address: 0x1000,
            entries: vec![[8, 0, 0, 0, 5, 2], [0xf8, 0xff, 1, 0, 0x18, 0x0b]],
            rest: 0,
            places: vec![place(0, 16, -0x100), place(0, -1, 4)],
        }
    }

    #[test]
    fn right_files_are_dumped() {
        let object = check(&file(false).bytes()).expect("a right object");
        assert_eq!(
            object,
            "f+10:type:call sp:sp+8 bp:(und) signal:0\n\
             f+ffffffffffffffff:type:regs sp:(bp-8) bp:prevsp+1 signal:1\n"
        );
        compare(&file(false), Some(&object));
        let image = check(&file(true).bytes()).expect("a right image");
        assert!(image.starts_with("f00:type:call"), "{image}");
        compare(&file(true), Some(&image));
    }

    #[test]
    fn every_wrong_dump_is_seen() {
        let right = check(&file(false).bytes()).expect("a right object");
        let fails = |file: &File, text: Option<&str>| {
            let text = text.map(str::to_owned);
            let file = std::panic::AssertUnwindSafe(file);
            catch_unwind(move || compare(*file, text.as_deref())).is_err()
        };
        let whole = file(false);
        assert!(!fails(&whole, Some(&right)));
        for wrong in ["sp+8", "f+10", "signal:1"] {
            assert!(fails(&whole, Some(&right.replace(wrong, "?"))), "{wrong}");
        }
        assert!(fails(&whole, None), "a right file may not be refused");
        assert!(fails(&whole, right.lines().next()), "a line is missing");
        let mut cut = file(false);
        cut.rest = 1;
        assert!(fails(&cut, Some(&right)) && !fails(&cut, None));
        let mut lost = file(false);
        lost.places[1].absent = true;
        assert!(fails(&lost, Some(&right)) && !fails(&lost, None));
    }
}
