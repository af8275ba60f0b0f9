//! What follows for the whole: does `HAVE_RELIABLE_STACKTRACE` hold.

use super::classify::{Class, Function};
use crate::read::ElfFile;

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds, but for the text that is listed.
    Holds(Counts),
    /// It does not hold.
    No(Why, Counts),
}

/// Why it does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The kernel is built for the ORC unwinder; its functions keep no frame pointers.
    Orc,
    /// Most functions that make calls keep no frame pointer: the kernel was built without.
    NoFramePointers,
}

/// How many functions are in each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keep their frame.
    pub keep: usize,
    /// Make no call.
    pub no_call: usize,
    /// Keep no frame.
    pub no_frame: usize,
}

impl Counts {
    /// All functions.
    pub fn all(&self) -> usize {
        self.keep + self.no_call + self.no_frame
    }
}

impl Verdict {
    /// How many functions are in each class.
    pub fn counts(&self) -> Counts {
        match *self {
            Self::Holds(counts) | Self::No(_, counts) => counts,
        }
    }

    /// Whether it holds.
    pub fn holds(&self) -> bool {
        matches!(self, Self::Holds(_))
    }
}

/// Section in which an image keeps its ORC data.
const ORC: &[u8] = b".orc_unwind";

/// Draws the conclusion.
///
/// With frame pointers, what breaks the rules is assembly and a handful of odd functions. Where
/// functions that break them are as many as those that keep their frame, there is no discipline to
/// have exceptions from. A file with ORC data was most likely built without, and some of its functions
/// set up a frame all the same, for reasons of their own; so there a few exceptions are too many.
pub fn conclude(file: &ElfFile<'_>, functions: &[Function]) -> Verdict {
    let mut counts = Counts::default();
    for function in functions {
        match function.class {
            Class::KeepsFrame => counts.keep += 1,
            Class::MakesNoCall => counts.no_call += 1,
            Class::KeepsNoFrame(_) => counts.no_frame += 1,
        }
    }
    let is_orc = file.section_by_name(ORC).is_some();
    let most = if is_orc {
        counts.keep / 10
    } else {
        counts.keep
    };
    if counts.no_frame <= most {
        Verdict::Holds(counts)
    } else if is_orc {
        Verdict::No(Why::Orc, counts)
    } else {
        Verdict::No(Why::NoFramePointers, counts)
    }
}
