//! Findings as values, and how they are worded.
//!
//! A finding is a place and a message, collected in order and printed at the end.
//!
//! - [`findings`]: every kind of finding, with its words and its explanation.
//! - [`detail`]: how a finding came about, when somebody wants to see it.
//! - [`explain`]: the explanations as pages.
//! - [`rich`]: findings with the code and the source that they are about.
//! - [`trace`]: the lines of the path that led to one.
//!
//! Not here: what leads to a finding (`model`, `check`), or where its text goes (the binary).

pub mod detail;
pub mod explain;
pub mod findings;
pub mod rich;
mod text;
pub mod trace;

use rustc_hash::FxHashSet;

use detail::Detail;
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
    /// How it came about, if that was asked for and it lies on a path.
    pub detail: Option<Box<Detail>>,
}

impl Finding {
    const fn new(place: Option<Place>, message: Message) -> Self {
        Self {
            place,
            message,
            detail: None,
        }
    }
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
        self.lines.push(Line::Finding(Finding::new(None, message)));
    }

    /// Adds a finding about a place outside any instruction.
    pub fn add_at(&mut self, place: Place, message: Message) {
        let finding = Finding::new(Some(place), message);
        self.lines.push(Line::Finding(finding));
    }

    /// Adds a finding about an instruction of a symbol, unless the symbol has had one.
    pub fn add_insn(&mut self, place: Place, symbol: Option<SymbolId>, message: Message) {
        if symbol.is_none_or(|symbol| self.warned.insert(symbol)) {
            self.add_at(place, message);
        }
    }

    /// Says how the finding that was added last came about.
    pub fn explain_last(&mut self, detail: Detail) {
        if let Some(Line::Finding(finding)) = self.lines.last_mut() {
            finding.detail = Some(Box::new(detail));
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

    /// No lines yet, but the same symbols have had their finding.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            lines: Vec::new(),
            warned: self.warned.clone(),
        }
    }

    /// Takes all lines out.
    #[must_use]
    pub fn take_lines(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }

    /// Adds lines at the end.
    pub fn append(&mut self, mut lines: Vec<Line>) {
        self.lines.append(&mut lines);
    }

    /// The symbols that have had their finding.
    pub fn into_warned(self) -> FxHashSet<SymbolId> {
        self.warned
    }

    /// More symbols have had their finding.
    pub fn warned_too(&mut self, warned: FxHashSet<SymbolId>) {
        self.warned.extend(warned);
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
