//! Why a file can't be read as a relocatable object, with the place in it.
//!
//! Not here: findings about code that was read (see `report`).

use std::fmt;

/// A file that is no object that can be validated.
///
/// Each variant carries what was found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The file has no byte.
    Empty,
    /// The file ends inside something that must be whole.
    Truncated {
        /// What does not fit.
        what: String,
        /// Where it starts, in bytes from the start of the file.
        offset: u64,
        /// How long it is, in bytes.
        len: u64,
        /// The file's length in bytes.
        file_len: u64,
    },
    /// The file does not start with ELF's magic bytes.
    NotElf,
    /// A kind of ELF file that is not supported; the text says which.
    Unsupported(String),
    /// A header field that contradicts itself or another one.
    Malformed {
        /// What is wrong, with the offending value.
        what: String,
        /// Where it stands: a section's name and index, or a symbol's.
        place: String,
    },
    /// Bytes in an executable section that are no instruction.
    Undecodable {
        /// Name of the section.
        section: String,
        /// Offset in it, in bytes.
        offset: u64,
    },
    /// A file that would take time or memory out of all proportion to its length.
    TooComplex {
        /// What there is too much of.
        what: &'static str,
        /// Name of the function where it was given up, if it was in one.
        function: Option<String>,
    },
}

impl ReadError {
    /// A [`ReadError::Malformed`].
    pub fn malformed(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Malformed {
            what: what.into(),
            place: place.into(),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the file is empty"),
            Self::Truncated { what, offset, len, file_len } => write!(
                f,
                "truncated: {what} at {offset:#x}, {len:#x} bytes long, runs over the file's end at {file_len:#x}"
            ),
            Self::NotElf => write!(f, "not an ELF file: bytes 0x0 to 0x3 are not its magic number"),
            Self::Unsupported(what) => write!(f, "{what}"),
            Self::Malformed { what, place } => write!(f, "{place}: {what}"),
            Self::Undecodable { section, offset } => {
                write!(f, "can't decode instruction at {section}:{offset:#x}")
            }
            Self::TooComplex { what, function } => {
                if let Some(function) = function {
                    write!(f, "{function}(): ")?;
                }
                write!(
                    f,
                    "too complex for a file of this size: {what}; if a compiler made it, please report it"
                )
            }
        }
    }
}

impl std::error::Error for ReadError {}
