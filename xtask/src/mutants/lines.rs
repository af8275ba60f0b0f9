//! What an objtool wrote to standard error, line by line: the place and the message.
//!
//! The format is that of C objtool: `FILE: warning: objtool: function+0x1a: message`.

use std::collections::BTreeSet;

/// A line of an objtool's standard error.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// `function+0x1a` or `section+0x1a`; empty where the line names none.
    pub place: String,
    /// What is wrong there; the whole line where it has not objtool's format.
    pub message: String,
}

impl Line {
    /// Reads a line about `file`.
    pub fn parse(line: &str, file: &str) -> Self {
        let ours = |line: &str| {
            let rest = line.strip_prefix(file)?.strip_prefix(": ")?;
            let rest = rest
                .strip_prefix("warning: ")
                .or_else(|| rest.strip_prefix("error: "))?;
            Some(rest.strip_prefix("objtool: ")?.to_owned())
        };
        let Some(text) = ours(line) else {
            return Self {
                place: String::new(),
                message: line.to_owned(),
            };
        };
        match text.split_once(": ") {
            Some((place, message)) if is_place(place) => Self {
                place: place.to_owned(),
                message: message.to_owned(),
            },
            _ => Self {
                place: String::new(),
                message: text,
            },
        }
    }

    /// The lines of a standard error about `file`.
    pub fn set(stderr: &str, file: &str) -> BTreeSet<Self> {
        stderr.lines().map(|line| Self::parse(line, file)).collect()
    }
}

/// Whether a text is `symbol+0x1a`, with a section's address in parentheses or without.
fn is_place(text: &str) -> bool {
    let text = text.split(" (").next().unwrap_or(text);
    text.rsplit_once("+0x").is_some_and(|(_, offset)| {
        !offset.is_empty() && offset.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> (String, String) {
        let line = Line::parse(line, "fs/open.o");
        (line.place, line.message)
    }

    #[test]
    fn the_place_and_the_message_are_told_apart() {
        let own = |place: &str, message: &str| (place.to_owned(), message.to_owned());
        assert_eq!(
            parse("fs/open.o: warning: objtool: do_open+0x1a: return with modified stack frame"),
            own("do_open+0x1a", "return with modified stack frame")
        );
        assert_eq!(
            parse("fs/open.o: warning: objtool: a+0x1 (.text+0x31): unreachable instruction"),
            own("a+0x1 (.text+0x31)", "unreachable instruction")
        );
        assert_eq!(
            parse("fs/open.o: warning: objtool: .text: unexpected end of section"),
            own("", ".text: unexpected end of section")
        );
        assert_eq!(
            parse("objtool: out of memory"),
            own("", "objtool: out of memory")
        );
    }
}
