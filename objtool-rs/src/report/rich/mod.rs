//! Findings as people want to see them: the source line, the path, the code around with the state of
//! the stack beside it, what is wrong, and what usually fixes it.
//!
//! - [`Exhibit`]: all that is shown of one finding, as plain text and marks. Whatever analysed the
//!   code can make one.
//! - [`gather`]: makes exhibits of a model's findings.
//! - [`words`]: the state of the stack in words.
//! - [`source`]: source lines, by DWARF.
//! - [`mod@render`]: exhibits set for a terminal.

pub mod gather;
pub mod render;
pub mod source;
pub mod words;

use super::findings::Explanation;
pub use render::render;
pub use source::SourceLine;

/// One finding, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhibit {
    /// What kind of finding it is.
    pub explanation: &'static Explanation,
    /// The line that plain output has for it, without the file's name.
    pub line: String,
    /// Where it is in the sources: the line, then those into which it was inlined, inside out.
    pub source: Vec<SourceLine>,
    /// The code that it is about, in the order in which the path runs through it.
    pub code: Vec<Code>,
    /// More to be said.
    pub notes: Vec<String>,
}

/// Code of one function, or of one section where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code {
    /// Where it is.
    pub title: String,
    /// Its instructions, in order of address. Those between the first and the last that are shown
    /// may be left out.
    pub lines: Vec<CodeLine>,
}

/// One instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeLine {
    /// Its distance from the start of its function.
    pub offset: String,
    /// Its text.
    pub text: String,
    /// The state of the stack before it runs, if it is on the path.
    pub state: String,
    /// Whether it is shown.
    pub shown: bool,
    /// What is said about it.
    pub mark: Option<Mark>,
}

/// What is said about an instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The finding is here.
    pub primary: bool,
    /// The words, if any.
    pub label: String,
}
