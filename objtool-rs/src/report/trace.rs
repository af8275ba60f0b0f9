//! The lines of `--backtrace`: how the walk came to a finding.
//!
//! They are no findings and have no code; the words are C objtool's.

/// A step on the way to a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// An alternative, an exception or a case of a switch was followed here.
    Alternative,
    /// A jump was taken here.
    Branch,
    /// A conditional jump was taken here, where the two kinds are told apart.
    ConditionalBranch,
    /// A call was followed here.
    Call,
    /// The path begins here, at an unwind hint.
    Hint,
    /// The path begins here, at a function.
    Symbol,
}

impl Trace {
    /// The words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Alternative => "(alt)",
            Self::Branch => "(branch)",
            Self::ConditionalBranch => "(branch-cond)",
            Self::Call => "(call)",
            Self::Hint => "<=== (hint)",
            Self::Symbol => "<=== (sym)",
        }
    }
}
