//! Findings as values, and how they are worded.
//!
//! A finding is a place and a message, collected in order and printed at the end. Not here: what
//! leads to a finding (`model`, `check`), or where its text goes (the binary).

mod message;
mod text;

use rustc_hash::FxHashSet;

pub use message::{DrapState, Message, Place};
pub use text::Names;

use crate::read::SymbolId;

/// One finding, or one line of the path that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it is; absent when the message says so itself.
    pub place: Option<Place>,
    /// What it is.
    pub message: Message,
    /// Not a finding, but a step on the way to the one before it.
    pub is_trace: bool,
}

/// The analysis can't go on, because of the finding reported last.
///
/// Nothing is written then: annotations made from half an analysis would be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort;

/// The findings of a run, in order.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    /// Symbols that have had their finding: what follows in the same one is mostly fallout.
    warned: FxHashSet<SymbolId>,
}

impl Findings {
    /// Adds a finding about the file as a whole, or one whose message names its place.
    pub fn add(&mut self, message: Message) {
        self.list.push(Finding {
            place: None,
            message,
            is_trace: false,
        });
    }

    /// Adds a finding about a place outside any instruction.
    pub fn add_at(&mut self, place: Place, message: Message) {
        self.list.push(Finding {
            place: Some(place),
            message,
            is_trace: false,
        });
    }

    /// Adds a finding about an instruction of a symbol, unless the symbol has had one.
    pub fn add_insn(&mut self, place: Place, symbol: Option<SymbolId>, message: Message) {
        if symbol.is_none_or(|symbol| self.warned.insert(symbol)) {
            self.add_at(place, message);
        }
    }

    /// Adds a step on the way to the last finding.
    pub fn add_trace(&mut self, place: Place, message: Message) {
        self.list.push(Finding {
            place: Some(place),
            message,
            is_trace: true,
        });
    }

    /// All findings, in order.
    pub fn list(&self) -> &[Finding] {
        &self.list
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
