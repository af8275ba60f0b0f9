//! The text of an image's source: what it is made of, and what is expected of it.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

/// What a function is to be classed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Every call is made with a frame.
    KeepsFrame,
    /// It makes no call.
    MakesNoCall,
    /// It is not trusted.
    KeepsNoFrame,
}

impl Class {
    const ALL: [(Self, &'static str); 3] = [
        (Self::KeepsFrame, "keeps-frame"),
        (Self::MakesNoCall, "makes-no-call"),
        (Self::KeepsNoFrame, "keeps-no-frame"),
    ];

    fn parse(word: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, name)| *name == word);
        found.map(|(class, _)| *class)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.iter().find(|(class, _)| class == self);
        f.write_str(found.map_or("", |(_, name)| name))
    }
}

/// Which file is made of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An image laid out like vmlinux.
    Kernel,
    /// An image whose tables have sections of their own, and no symbols around them.
    Sections,
    /// A module.
    Module,
}

/// What is to be said about the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `HAVE_RELIABLE_STACKTRACE` holds.
    Holds,
    /// It does not, for this reason.
    No(String),
    /// It can't be judged; the error holds this text.
    Error(String),
}

/// What a line of the source is expected to lead to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// A function of this name has this class.
    Class(String, Class),
    /// A function is not trusted because of what happens on this line, in these words.
    Finding(String),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(name, class) => write!(f, "class of {name}: {class}"),
            Self::Finding(text) => write!(f, "finding: {text}"),
        }
    }
}

/// A source and what is expected.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What is made of it.
    pub kind: Kind,
    /// Further arguments for the compiler.
    pub cc: Vec<String>,
    /// Sources that are linked to it, whose notes count too.
    pub with: Vec<PathBuf>,
    /// Whether many functions that keep their frame are linked to it, so that those that don't
    /// are exceptions.
    pub bulk: bool,
    /// The verdict.
    pub verdict: Verdict,
    /// How many ranges of text are not to be trusted, if it is said.
    pub ranges: Option<usize>,
    /// Expectations by line.
    pub notes: Vec<(u32, Note)>,
    /// Number of `near miss:` comments.
    pub near_misses: usize,
}

impl Source {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// A file that can't be read, and everything that [`Source::parse`] refuses.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{}: the source can't be read", path.display()))?;
        Self::parse(path, &text)
    }

    /// Parses a source's text.
    ///
    /// # Errors
    /// Directives and notes that are not known, and a note on a line that names no function.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let marker = match path.extension() {
            Some(e) if e == "c" => "//",
            _ => "#",
        };
        let mut source = Self {
            path: path.to_path_buf(),
            kind: Kind::Kernel,
            cc: Vec::new(),
            with: Vec::new(),
            bulk: true,
            verdict: Verdict::Holds,
            ranges: None,
            notes: Vec::new(),
            near_misses: text.matches("near miss:").count(),
        };
        let mut in_header = true;
        for (index, line) in text.lines().enumerate() {
            let number = index as u32 + 1;
            let place = || format!("{}:{number}", path.display());
            let directive = line.strip_prefix(marker).and_then(directive);
            in_header &= directive.is_some();
            if let Some((key, value)) = directive.filter(|_| in_header) {
                source.directive(key, value).with_context(place)?;
                continue;
            }
            for note in notes(line, marker).with_context(place)? {
                source.notes.push((number, note));
            }
        }
        Ok(source)
    }

    fn directive(&mut self, key: &str, value: &str) -> Result<()> {
        match (key, value) {
            ("image", "kernel") => self.kind = Kind::Kernel,
            ("image", "sections") => self.kind = Kind::Sections,
            ("image", "module") => self.kind = Kind::Module,
            ("bulk", "no") => self.bulk = false,
            ("cc", _) => self.cc.extend(value.split_whitespace().map(str::to_owned)),
            ("with", _) => {
                let folder = self.path.parent().context("a source lies in a folder")?;
                self.with.push(folder.join(value));
            }
            ("ranges", _) => self.ranges = Some(value.parse()?),
            ("no", _) => self.verdict = Verdict::No(value.to_owned()),
            ("refused", _) => self.verdict = Verdict::Error(value.to_owned()),
            _ => bail!("`{key}: {value}` is no directive"),
        }
        Ok(())
    }
}

/// A line of the header: a word, a colon, and a value. The first other line ends it.
fn directive(comment: &str) -> Option<(&str, &str)> {
    let (key, value) = comment.trim().split_once(':')?;
    key.chars()
        .all(|c| c.is_ascii_lowercase())
        .then_some((key, value.trim()))
}

/// The notes behind a line's code.
fn notes(line: &str, marker: &str) -> Result<Vec<Note>> {
    let mut found = Vec::new();
    let mut parts = line.split(marker).map(str::trim);
    let code = parts.next().unwrap_or_default();
    for part in parts {
        if let Some(class) = part.strip_prefix("class of ") {
            let (name, class) = class.split_once(':').context("`class of NAME: CLASS`")?;
            found.push(Note::Class(name.trim().to_owned(), parse_class(class)?));
        } else if let Some(class) = part.strip_prefix("class:") {
            let name = named(code).context("no function is named on this line")?;
            found.push(Note::Class(name.to_owned(), parse_class(class)?));
        } else if let Some(text) = part.strip_prefix("finding:") {
            found.push(Note::Finding(text.trim().to_owned()));
        }
    }
    Ok(found)
}

fn parse_class(word: &str) -> Result<Class> {
    Class::parse(word.trim()).with_context(|| format!("`{}` is no class", word.trim()))
}

/// The function that a line of assembly or C begins.
fn named(code: &str) -> Option<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if let Some(label) = code.strip_suffix(':') {
        return label.chars().all(is_name).then_some(label);
    }
    let mut words = code.split_whitespace();
    if let Some("func" | "local_func") = words.next() {
        return words.next();
    }
    let before = code.split_once('(')?.0;
    before.rsplit(|c| !is_name(c)).find(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str, text: &str) -> Result<Source> {
        Source::parse(Path::new(path), text)
    }

    #[test]
    fn directives_and_notes_are_read() {
        let text = "\
# image: module
# cc: -DX -DY
# ranges: 3
#
# prose: is no directive
func keeps  # class: keeps-frame
\tcall x      # finding: call without, and so on
a:          # class: makes-no-call  # class of b: keeps-no-frame
# near miss: all of it
";
        let source = parse("d/a.S", text).unwrap();
        assert_eq!(source.kind, Kind::Module);
        assert_eq!(source.cc, ["-DX", "-DY"]);
        assert_eq!(source.ranges, Some(3));
        assert_eq!(source.near_misses, 1);
        let class = |name: &str, class| Note::Class(name.into(), class);
        assert_eq!(
            source.notes,
            [
                (6, class("keeps", Class::KeepsFrame)),
                (7, Note::Finding("call without, and so on".into())),
                (8, class("a", Class::MakesNoCall)),
                (8, class("b", Class::KeepsNoFrame)),
            ]
        );
    }

    #[test]
    fn functions_of_c_are_named_by_what_stands_before_their_arguments() {
        let source = parse(
            "d/a.c",
            "static int f(int (*g)(void)) // class: keeps-frame\n",
        )
        .unwrap();
        assert_eq!(
            source.notes,
            [(1, Note::Class("f".into(), Class::KeepsFrame))]
        );
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(parse("d/a.S", "# imgae: module\n").is_err());
        assert!(parse("d/a.S", "# image: modul\n").is_err());
        assert!(parse("d/a.S", "\nf: # class: keeps-farme\n").is_err());
        assert!(parse("d/a.S", "\n\tcall f # class: keeps-frame\n").is_err());
    }
}
