//! What the objects say, claim by claim, and whether the verdict on the linked file says the same.
//!
//! - A function that is validated in its object, without a finding and not exempt, is trusted.
//! - A function that the tree exempts (`STACK_FRAME_NON_STANDARD`) is not.
//! - Code outside functions that unwind hints describe, which is entry code, is not.
//! - Every function of an object is in the linked file, and every function there is some object's.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use anyhow::{bail, Context, Result};
use iced_x86::{Decoder, DecoderOptions, Mnemonic};

use super::code::{Section, Symbol};
use super::placing::{self, Linked, Place};
use crate::judge::{Exception, Judged};

/// An object and what validation said of it.
pub struct Object {
    /// Its path in the build folder.
    pub name: String,
    /// Its code.
    pub sections: Vec<Section>,
    /// Whether its stack was validated.
    pub validated: bool,
    /// Functions with findings.
    pub unclean: HashSet<String>,
}

/// How the verdict differs from an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// Right in its object, not trusted here.
    Distrusted,
    /// Exempt in its object, trusted here.
    Trusted,
    /// Not found in the linked file.
    OnlyInObject,
    /// Not found in any object.
    OnlyLinked,
}

impl How {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Distrusted,
        Self::Trusted,
        Self::OnlyInObject,
        Self::OnlyLinked,
    ];

    /// As the list of explained differences says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Distrusted => "not trusted",
            Self::Trusted => "trusted",
            Self::OnlyInObject => "not linked",
            Self::OnlyLinked => "in no object",
        }
    }
}

/// Stands for the object of what is in none.
pub const NO_OBJECT: &str = "none";

/// A difference: what an explanation is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The linked file.
    pub file: String,
    /// The object, or [`NO_OBJECT`].
    pub object: String,
    /// The function, or the stretch of code.
    pub function: String,
    /// How it differs.
    pub how: How,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            object,
            function,
            how,
        } = self;
        write!(f, "{file}: {function} ({object}): {}", how.name())
    }
}

/// What came of a linked file.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Functions of its objects.
    pub functions: usize,
    /// Weak ones that gave way to another file's.
    pub replaced: usize,
    /// Right in their object and trusted.
    pub clean: usize,
    /// Exempt in their object and not trusted.
    pub exempt: usize,
    /// Instructions under unwind hints outside functions, none of them trusted.
    pub entry_code: usize,
    /// Functions with findings in their object, or in objects without validation: no claim.
    pub open: usize,
    /// The differences, with what is known about each.
    pub differences: BTreeMap<Difference, String>,
}

/// Compares a linked file to the objects that it was linked from, given in the linker's order.
///
/// # Errors
/// The verdict names a section that the file has not got, or that is not the only one of its name.
pub fn compare(
    file: &str,
    objects: &[&Object],
    linked: &Linked,
    judged: &Judged,
) -> Result<Outcome> {
    let verdict = Trust::new(linked, judged)?;
    let sections: Vec<(usize, &[Section])> = objects
        .iter()
        .enumerate()
        .map(|(number, object)| (number, &object.sections[..]))
        .collect();
    let placed = placing::place(linked, &sections);
    let mut comparison = Comparison {
        file,
        linked,
        verdict,
        outcome: Outcome::default(),
        seen: HashSet::new(),
    };
    for (object_number, object) in objects.iter().enumerate() {
        for (number, section) in object.sections.iter().enumerate() {
            if placing::is_telling(section) {
                let place = placed.get(&(object_number, number)).copied();
                comparison.section(object, section, place);
            }
        }
    }
    comparison.only_linked();
    Ok(comparison.outcome)
}

struct Comparison<'a> {
    file: &'a str,
    linked: &'a Linked,
    verdict: Trust<'a>,
    outcome: Outcome,
    /// Symbols of the linked file that some object has.
    seen: HashSet<(Place, &'a str)>,
}

impl<'a> Comparison<'a> {
    fn differ(&mut self, object: &str, function: &str, how: How, about: String) {
        let difference = Difference {
            file: self.file.to_owned(),
            object: object.to_owned(),
            function: function.to_owned(),
            how,
        };
        self.outcome.differences.insert(difference, about);
    }

    fn section(&mut self, object: &'a Object, section: &'a Section, place: Option<Place>) {
        for symbol in section.symbols.iter().filter(|s| is_judged(s)) {
            self.outcome.functions += 1;
            let at = place.map(|(number, base)| (number, base + symbol.offset));
            match at.filter(|&at| self.linked.has(symbol, at)) {
                Some(at) => self.function(object, section, symbol, at),
                None if symbol.weak && self.linked.has_strong(&symbol.name) => {
                    self.outcome.replaced += 1;
                }
                None => {
                    let about = format!("{}+{:#x}", section.name, symbol.offset);
                    self.differ(&object.name, &symbol.name, How::OnlyInObject, about);
                }
            }
        }
        self.entry_code(object, section, place);
    }

    fn function(
        &mut self,
        object: &'a Object,
        section: &Section,
        symbol: &'a Symbol,
        (number, at): Place,
    ) {
        self.seen.insert(((number, at), &symbol.name));
        if section.non_standard.contains(&symbol.offset) {
            if self.verdict.covers(number, at, symbol.size) {
                self.outcome.exempt += 1;
            } else {
                let about = "it is exempt".to_owned();
                self.differ(&object.name, &symbol.name, How::Trusted, about);
            }
        } else if !object.validated || object.unclean.contains(&symbol.name) {
            self.outcome.open += 1;
        } else {
            match self
                .verdict
                .against(&symbol.name, (number, at), symbol.size)
            {
                None => self.outcome.clean += 1,
                Some(why) => self.differ(&object.name, &symbol.name, How::Distrusted, why),
            }
        }
    }

    /// Code outside functions that hints describe.
    fn entry_code(&mut self, object: &Object, section: &Section, place: Option<Place>) {
        for start in entry_code(section) {
            let distrusted = place.is_some_and(|(number, base)| {
                self.verdict.covers(number, base + start.offset, start.len)
            });
            if distrusted {
                self.outcome.entry_code += 1;
                continue;
            }
            let how = match place {
                Some(_) => How::Trusted,
                None => How::OnlyInObject,
            };
            let (name, distance) = label(section, start.offset);
            let about = format!("{name}+{distance:#x}");
            self.differ(&object.name, name, how, about);
        }
    }

    /// Functions of the linked file that no object has.
    fn only_linked(&mut self) {
        let linked = self.linked;
        for (number, section) in linked.sections.iter().enumerate() {
            for symbol in section.symbols.iter().filter(|s| is_function(s)) {
                let name = symbol.name.as_str();
                if !self.seen.contains(&((number, symbol.offset), name)) {
                    let about = format!("{}+{:#x}", section.name, symbol.offset);
                    self.differ(NO_OBJECT, name, How::OnlyLinked, about);
                }
            }
        }
    }
}

fn is_function(symbol: &Symbol) -> bool {
    symbol.function && !symbol.is_prefix()
}

/// Whether an object's symbol is a function that validation looks at.
fn is_judged(symbol: &Symbol) -> bool {
    is_function(symbol) && symbol.size != 0
}

/// An instruction.
struct Piece {
    offset: u64,
    len: u64,
}

/// The instructions outside functions, in stretches that hints describe, but for filling.
fn entry_code(section: &Section) -> Vec<Piece> {
    let mut functions: Vec<&Symbol> = section.symbols.iter().filter(|s| s.function).collect();
    functions.sort_unstable_by_key(|symbol| symbol.offset);
    let len = section.bytes.len() as u64;
    let mut pieces = Vec::new();
    let mut at = 0;
    let ends = functions
        .iter()
        .map(|symbol| (symbol.offset, symbol.offset + symbol.size));
    for (start, end) in ends.chain([(len, len)]) {
        if at < start && section.hints.iter().any(|hint| (at..start).contains(hint)) {
            let bytes = &section.bytes[at as usize..start as usize];
            let decoder = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE);
            for insn in decoder {
                if !matches!(insn.mnemonic(), Mnemonic::Nop | Mnemonic::Int3) {
                    pieces.push(Piece {
                        offset: insn.ip(),
                        len: insn.len() as u64,
                    });
                }
            }
        }
        at = at.max(end);
    }
    pieces
}

/// The last symbol before an offset and the distance from there; else the section.
fn label(section: &Section, offset: u64) -> (&str, u64) {
    let before = section.symbols.iter().filter(|s| s.offset <= offset);
    match before.max_by_key(|symbol| symbol.offset) {
        Some(symbol) => (&symbol.name, offset - symbol.offset),
        None => (&section.name, offset),
    }
}

/// What a verdict says about places.
struct Trust<'a> {
    /// By section: first bytes and ends of what must not be trusted, in order.
    ranges: Vec<Vec<(u64, u64)>>,
    exceptions: HashMap<(Place, &'a str), &'a Exception>,
}

impl<'a> Trust<'a> {
    fn new(linked: &Linked, judged: &'a Judged) -> Result<Self> {
        let number = |name: &str| -> Result<usize> {
            let mut named = linked.sections.iter().enumerate();
            let mut named = named.by_ref().filter(|(_, section)| section.name == name);
            let (number, _) = named
                .next()
                .with_context(|| format!("{} has no code section {name}", judged.file))?;
            if named.next().is_some() {
                bail!("{} has several sections {name}", judged.file);
            }
            Ok(number)
        };
        let mut ranges = vec![Vec::new(); linked.sections.len()];
        for stretch in &judged.unreliable_text {
            let range = (stretch.offset, stretch.offset + stretch.size);
            ranges[number(&stretch.section)?].push(range);
        }
        for list in &mut ranges {
            list.sort_unstable();
        }
        let mut exceptions = HashMap::new();
        for exception in &judged.exceptions {
            let number = number(&exception.section)?;
            let offset = exception
                .address
                .wrapping_sub(linked.sections[number].address);
            exceptions.insert(((number, offset), exception.name.as_str()), exception);
        }
        Ok(Self { ranges, exceptions })
    }

    /// The last range that begins at an offset or before.
    fn range(&self, section: usize, offset: u64) -> Option<(u64, u64)> {
        let ranges = &self.ranges[section];
        let behind = ranges.partition_point(|&(start, _)| start <= offset);
        Some(ranges[behind.checked_sub(1)?])
    }

    /// Whether none of these bytes is trusted.
    fn covers(&self, section: usize, offset: u64, size: u64) -> bool {
        self.range(section, offset)
            .is_some_and(|(_, end)| offset + size <= end)
    }

    /// What speaks against trusting a function.
    fn against(&self, function: &'a str, (section, offset): Place, size: u64) -> Option<String> {
        if let Some(exception) = self.exceptions.get(&((section, offset), function)) {
            return Some(exception.reason.clone());
        }
        let (start, end) = self.range(section, offset + size - 1)?;
        (offset < end).then(|| format!("the table holds {start:#x} to {end:#x} of its section"))
    }
}

#[cfg(test)]
mod tests;
