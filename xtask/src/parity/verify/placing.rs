//! Where the code of objects lies in the file that was linked from them.
//!
//! There is no need for a map of the linker's: a section of an object lies where all of its symbols
//! are found, by name, kind and size, at the same distances from each other, and where the bytes
//! are the same but for what the linker fills in. Where several objects have the same code under
//! the same names (functions in headers), there are as many such places; the linker keeps the order
//! of the objects, so the first place is the first object's.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::code::{Section, Symbol, REPLACEMENTS};

/// A place: the number of a section of the linked file and an offset in it.
pub type Place = (usize, u64);

/// Symbols of a linked file by what they are told by.
pub struct Linked {
    /// Its sections.
    pub sections: Vec<Section>,
    places: HashMap<Key, Vec<Place>>,
}

type Key = (String, bool, u64);

fn key(symbol: &Symbol) -> Key {
    (symbol.name.clone(), symbol.function, symbol.size)
}

impl Linked {
    /// Orders the symbols of a linked file.
    pub fn new(sections: Vec<Section>) -> Self {
        let mut places: HashMap<Key, Vec<Place>> = HashMap::new();
        for (number, section) in sections.iter().enumerate() {
            for symbol in &section.symbols {
                let place = (number, symbol.offset);
                places.entry(key(symbol)).or_default().push(place);
            }
        }
        Self { sections, places }
    }

    fn places(&self, symbol: &Symbol) -> &[Place] {
        self.places.get(&key(symbol)).map_or(&[], Vec::as_slice)
    }

    /// Whether a symbol stands at a place.
    pub fn has(&self, symbol: &Symbol, place: Place) -> bool {
        self.places(symbol).contains(&place)
    }

    /// Whether there is a symbol of this name that is not weak, so that weak ones give way to it.
    pub fn has_strong(&self, name: &str) -> bool {
        let all = self.sections.iter().flat_map(|section| &section.symbols);
        all.into_iter()
            .any(|symbol| symbol.name == name && !symbol.weak)
    }

    /// The places where a section of an object may lie, in order.
    fn candidates(&self, section: &Section) -> Vec<Place> {
        // A weak symbol may have given way to another file's.
        let firm = || section.symbols.iter().filter(|symbol| !symbol.weak);
        let all = || section.symbols.iter();
        let rarest = firm()
            .min_by_key(|symbol| self.places(symbol).len())
            .or_else(|| all().min_by_key(|symbol| self.places(symbol).len()));
        let Some(rarest) = rarest else {
            return Vec::new();
        };
        let mut found: Vec<Place> = self
            .places(rarest)
            .iter()
            .filter_map(|&(number, offset)| Some((number, offset.checked_sub(rarest.offset)?)))
            .filter(|&(number, base)| {
                firm().all(|symbol| self.has(symbol, (number, base + symbol.offset)))
                    && same_bytes(section, &self.sections[number], base)
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Whether the bytes of a section stand at an offset of another, apart from the linker's.
fn same_bytes(section: &Section, linked: &Section, base: u64) -> bool {
    let len = section.bytes.len();
    let Some(there) = usize::try_from(base)
        .ok()
        .and_then(|base| linked.bytes.get(base..)?.get(..len))
    else {
        return false;
    };
    let mut at = 0;
    for open in &section.open {
        let (start, end) = (open.start as usize, (open.end as usize).min(len));
        if start > at && section.bytes[at..start] != there[at..start] {
            return false;
        }
        at = at.max(end);
    }
    section.bytes[at.min(len)..] == there[at.min(len)..]
}

/// Whether there is anything in a section to be found again.
pub fn is_telling(section: &Section) -> bool {
    // Replacements never run where they stand.
    section.name != REPLACEMENTS && !section.symbols.is_empty()
}

/// What sections have in common that may lie at the same places: these, and their name.
type Alike<'a> = (Vec<Place>, &'a str);

/// Places every section of every object that is linked, the objects in the linker's order. What is
/// missing in the answer has no place, or none of its own.
pub fn place(linked: &Linked, objects: &[(usize, &[Section])]) -> HashMap<(usize, usize), Place> {
    let mut alike: BTreeMap<Alike<'_>, Vec<(usize, usize)>> = BTreeMap::new();
    for &(object, sections) in objects {
        for (number, section) in sections.iter().enumerate() {
            if is_telling(section) {
                let candidates = linked.candidates(section);
                let rivals = alike.entry((candidates, &section.name)).or_default();
                rivals.push((object, number));
            }
        }
    }
    let mut placed = HashMap::new();
    let mut taken = HashSet::new();
    for ((candidates, _), sections) in alike {
        // With more places than sections, or fewer, which is whose cannot be said.
        if candidates.len() != sections.len() {
            continue;
        }
        for (section, place) in sections.into_iter().zip(candidates) {
            if taken.insert(place) {
                placed.insert(section, place);
            }
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, offset: u64, size: u64) -> Symbol {
        Symbol {
            name: name.to_owned(),
            function: true,
            weak: false,
            offset,
            size,
        }
    }

    fn section(bytes: &[u8], symbols: &[Symbol]) -> Section {
        Section {
            name: ".text".to_owned(),
            bytes: bytes.to_vec(),
            symbols: symbols.to_vec(),
            ..Section::default()
        }
    }

    fn one(linked: Section, object: &Section) -> Option<Place> {
        let linked = Linked::new(vec![linked]);
        let placed = place(&linked, &[(7, std::slice::from_ref(object))]);
        placed.get(&(7, 0)).copied()
    }

    #[test]
    fn a_section_lies_where_its_symbols_and_its_bytes_are() {
        let object = section(&[1, 2, 3, 4], &[function("f", 0, 2), function("g", 2, 2)]);
        let there = [function("f", 4, 2), function("g", 6, 2)];
        let bytes = [9, 9, 9, 9, 1, 2, 3, 4];
        assert_eq!(one(section(&bytes, &there), &object), Some((0, 4)));

        let other_bytes = [9, 9, 9, 9, 1, 2, 3, 5];
        assert_eq!(one(section(&other_bytes, &there), &object), None);
        let far = [function("f", 4, 2), function("g", 7, 2)];
        assert_eq!(one(section(&bytes, &far), &object), None);
        let other_size = [function("f", 4, 2), function("g", 6, 3)];
        assert_eq!(one(section(&bytes, &other_size), &object), None);
        assert_eq!(one(section(&bytes[..7], &there), &object), None);
    }

    #[test]
    fn what_the_linker_fills_in_does_not_count() {
        let mut object = section(&[1, 0, 0, 4], &[function("f", 0, 4)]);
        object.open.push(1..3);
        let there = [function("f", 1, 4)];
        assert_eq!(
            one(section(&[9, 1, 7, 7, 4], &there), &object),
            Some((0, 1))
        );
        assert_eq!(one(section(&[9, 1, 7, 7, 5], &there), &object), None);
        object.open = vec![0..2, 1..3, 3..9];
        assert_eq!(
            one(section(&[9, 5, 7, 7, 5], &there), &object),
            Some((0, 1))
        );
    }

    #[test]
    fn a_weak_symbol_may_be_another_file_s() {
        let mut object = section(&[1, 2], &[function("f", 0, 1), function("g", 1, 1)]);
        object.symbols[1].weak = true;
        let there = section(&[1, 2, 3], &[function("f", 0, 1), function("g", 2, 1)]);
        assert_eq!(one(there.clone(), &object), Some((0, 0)));
        object.symbols[1].weak = false;
        assert_eq!(one(there, &object), None);
    }

    #[test]
    fn equal_sections_keep_the_order_of_their_objects() {
        let object = [section(&[1], &[function("f", 0, 1)])];
        let linked = section(&[1, 1], &[function("f", 1, 1), function("f", 0, 1)]);
        let placed = place(
            &Linked::new(vec![linked.clone()]),
            &[(3, &object), (5, &object)],
        );
        assert_eq!(placed[&(3, 0)], (0, 0));
        assert_eq!(placed[&(5, 0)], (0, 1));
        // Which of the two it is cannot be said.
        assert!(place(&Linked::new(vec![linked]), &[(3, &object)]).is_empty());
    }
}
