//! Findings as values, and how they are worded.
//!
//! A finding is a place and a message, collected in order and printed at the end.
//!
//! - [`findings`]: every kind of finding, with its words and its explanation.
//! - [`explain`]: the explanations as pages.
//! - [`trace`]: the lines of the path that led to one.
//!
//! Not here: what leads to a finding (`model`, `check`), or where its text goes (the binary).

pub mod explain;
pub mod findings;
mod text;
pub mod trace;

use rustc_hash::FxHashSet;

pub use findings::{DrapState, Message};
pub use text::Names;
pub use trace::Trace;

use crate::read::{SectionId, SymbolId};

/// A place in the code or data: a section and an offset in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The section.
    pub section: SectionId,
    /// Offset in it.
    pub offset: u64,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it is; absent when the message says so itself.
    pub place: Option<Place>,
    /// What it is.
    pub message: Message,
}

/// A line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A finding.
    Finding(Finding),
    /// A step on the way to the last finding, and where it is.
    Trace(Place, Trace),
}

/// The analysis can't go on, because of the finding reported last.
///
/// Nothing is written then: annotations made from half an analysis would be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort;

/// The findings of a run, in order.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    lines: Vec<Line>,
    /// Symbols that have had their finding: what follows in the same one is mostly fallout.
    warned: FxHashSet<SymbolId>,
}

impl Findings {
    /// Adds a finding about the file as a whole, or one whose message names its place.
    pub fn add(&mut self, message: Message) {
        let place = None;
        self.lines.push(Line::Finding(Finding { place, message }));
    }

    /// Adds a finding about a place outside any instruction.
    pub fn add_at(&mut self, place: Place, message: Message) {
        let place = Some(place);
        self.lines.push(Line::Finding(Finding { place, message }));
    }

    /// Adds a finding about an instruction of a symbol, unless the symbol has had one.
    pub fn add_insn(&mut self, place: Place, symbol: Option<SymbolId>, message: Message) {
        if symbol.is_none_or(|symbol| self.warned.insert(symbol)) {
            self.add_at(place, message);
        }
    }

    /// Adds a step on the way to the last finding.
    pub fn add_trace(&mut self, place: Place, trace: Trace) {
        self.lines.push(Line::Trace(place, trace));
    }

    /// All lines, in order.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Whether a symbol has had a finding.
    pub fn is_warned(&self, symbol: SymbolId) -> bool {
        self.warned.contains(&symbol)
    }

    /// Whether any symbol has had a finding.
    pub fn any_warned(&self) -> bool {
        !self.warned.is_empty()
    }
}
