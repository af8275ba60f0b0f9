//! A fixture file: its directives, the notes on its lines, and writing the notes back.
//!
//! Knows the text of a fixture only; assembling and running live elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

/// Column at which blessing puts notes.
const NOTE_COLUMN: usize = 32;

/// What a note on a source line speaks of. The order is the order of notes on one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A warning whose place is this line: its text without the place.
    Finding,
    /// A line of `--backtrace` whose place is this line.
    Backtrace,
    /// An entry of a section the tool created, which refers to this line.
    Site,
    /// What an unwinder is told from this line on, in a `.orc_unwind` that the tool created.
    Orc,
    /// The line's bytes, where the tool rewrote them.
    Bytes,
    /// A relocation at this line which the tool changed.
    Reloc,
    /// A symbol the tool created with its address at this line.
    Symbol,
    /// Another section's content that the tool changed; stands on a line of its own.
    Changed,
}

impl Kind {
    /// Every kind, with the word that stands for it in a fixture.
    pub const ALL: [(Kind, &'static str); 8] = [
        (Kind::Finding, "finding"),
        (Kind::Backtrace, "backtrace"),
        (Kind::Site, "site"),
        (Kind::Orc, "orc"),
        (Kind::Bytes, "bytes"),
        (Kind::Reloc, "reloc"),
        (Kind::Symbol, "symbol"),
        (Kind::Changed, "changed"),
    ];

    /// The word that stands for this kind in a fixture.
    pub fn word(self) -> &'static str {
        let found = Kind::ALL.iter().find(|(kind, _)| *kind == self);
        found.expect("ALL lists every kind").1
    }
}

/// One thing that a tool did, or is expected to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Note {
    /// Line in the fixture, from 1; `None` where there is no source line.
    pub line: Option<u32>,
    /// What the note speaks of.
    pub kind: Kind,
    /// The rest of the note.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: ")?,
            None => write!(f, "no line: ")?,
        }
        write!(f, "{}: {}", self.kind.word(), self.text)
    }
}

/// A parsed fixture file.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// The file.
    pub path: PathBuf,
    /// Its lines, without line ends.
    pub source: Vec<String>,
    /// `args:` the tool's arguments before the file name.
    pub args: Vec<String>,
    /// `env:` variables for the tool, one `NAME=VALUE` a directive.
    pub env: Vec<(String, String)>,
    /// `cc:` further arguments for the compiler.
    pub cc: Vec<String>,
    /// `debug: yes` hands the tool the object with DWARF in it.
    pub debug: bool,
    /// `exit:` the exit status, 0 without the directive.
    pub exit: i32,
    /// `stdout:` texts that must appear on standard output; without one it must stay empty.
    pub stdout: Vec<String>,
    /// `stderr:` texts that must appear on standard error beside the findings; without one there
    /// is nothing beside them.
    pub stderr: Vec<String>,
    /// `creates:` files that the tool leaves beside the object.
    pub creates: Vec<String>,
    /// `differs-from-c:` why the oracle is not asked.
    pub differs: Option<String>,
    /// `expect: nothing` says that a fixture without a note has none on purpose.
    pub nothing: bool,
    /// Number of `near miss:` comments.
    pub near_misses: usize,
    /// The notes, sorted.
    pub expected: Vec<Note>,
}

/// One line taken apart: the code, and the notes behind it.
struct Line<'a> {
    code: &'a str,
    notes: Vec<(Kind, &'a str)>,
}

impl Fixture {
    /// Reads and parses `path`.
    ///
    /// # Errors
    /// A file that can't be read, and everything [`Fixture::parse`] refuses.
    pub fn read(path: &Path) -> Result<Fixture> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{}: the fixture can't be read", path.display()))?;
        Fixture::parse(path, &text)
    }

    /// Parses the text of a fixture; `path` names it and decides the comment marker.
    ///
    /// # Errors
    /// No `args:` directive, a directive that is not known in the first comment block, a value
    /// that can't be understood, and a fixture that expects nothing without saying so.
    pub fn parse(path: &Path, text: &str) -> Result<Fixture> {
        let marker = marker(path);
        let mut fixture = Fixture {
            path: path.to_path_buf(),
            source: text.lines().map(str::to_owned).collect(),
            args: Vec::new(),
            env: Vec::new(),
            cc: Vec::new(),
            debug: false,
            exit: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
            creates: Vec::new(),
            differs: None,
            nothing: false,
            near_misses: text.matches("near miss:").count(),
            expected: Vec::new(),
        };
        let mut args = None;
        let mut in_header = true;
        for (index, line) in text.lines().enumerate() {
            let place = || format!("{}:{}", path.display(), index + 1);
            let taken = take_apart(line, marker);
            let on_line = (!taken.code.trim().is_empty()).then_some(index as u32 + 1);
            for (kind, text) in &taken.notes {
                if text.is_empty() {
                    bail!("{}: `{}:` without a text", place(), kind.word());
                }
                fixture.expected.push(Note {
                    line: on_line,
                    kind: *kind,
                    text: (*text).to_owned(),
                });
            }
            let comment = taken.code.trim().strip_prefix(marker).map(str::trim);
            let Some(comment) = comment.filter(|c| !c.is_empty()) else {
                in_header &= taken.code.trim().is_empty() && !taken.notes.is_empty();
                continue;
            };
            if !in_header {
                continue;
            }
            let (key, value) = comment.split_once(':').unwrap_or((comment, ""));
            let value = value.trim();
            match key {
                "args" => args = Some(words(value)),
                "env" => {
                    let (name, value) = value
                        .split_once('=')
                        .with_context(|| format!("{}: env wants NAME=VALUE", place()))?;
                    fixture.env.push((name.to_owned(), value.to_owned()));
                }
                "cc" => fixture.cc.extend(words(value)),
                "debug" if value == "yes" => fixture.debug = true,
                "exit" => {
                    fixture.exit = value
                        .parse()
                        .with_context(|| format!("{}: exit wants a number", place()))?;
                }
                "stdout" => fixture.stdout.push(value.to_owned()),
                "stderr" => fixture.stderr.push(value.to_owned()),
                "creates" => fixture.creates.push(value.to_owned()),
                "differs-from-c" if !value.is_empty() => fixture.differs = Some(value.to_owned()),
                "expect" if value == "nothing" => fixture.nothing = true,
                _ => bail!(
                    "{}: `{comment}` is no directive; prose comes after a blank line or a bare `{marker}`",
                    place()
                ),
            }
        }
        fixture.args = args.with_context(|| {
            format!(
                "{}: no `{marker} args:` directive in the first lines",
                path.display()
            )
        })?;
        let expects_something = !fixture.expected.is_empty()
            || !fixture.stdout.is_empty()
            || !fixture.stderr.is_empty()
            || !fixture.creates.is_empty()
            || fixture.exit != 0;
        if fixture.nothing && expects_something {
            bail!(
                "{}: `expect: nothing` beside something expected",
                path.display()
            );
        }
        fixture.expected.sort();
        Ok(fixture)
    }

    /// Whether the fixture neither expects anything nor says `expect: nothing`.
    pub fn is_vacuous(&self) -> bool {
        !self.nothing
            && self.expected.is_empty()
            && self.stdout.is_empty()
            && self.stderr.is_empty()
            && self.creates.is_empty()
            && self.exit == 0
    }

    /// The text of a source line, or nothing where the number lies outside the file.
    pub fn line(&self, number: u32) -> &str {
        (number as usize)
            .checked_sub(1)
            .and_then(|index| self.source.get(index))
            .map_or("", |line| line.trim())
    }

    /// The file's text with its notes replaced by `notes`.
    ///
    /// Notes without a line stay where they stand when they still hold; new ones go below the
    /// directives.
    pub fn blessed(&self, notes: &[Note]) -> String {
        let marker = marker(&self.path);
        let mut by_line: BTreeMap<u32, Vec<&Note>> = BTreeMap::new();
        let mut floating: Vec<&Note> = Vec::new();
        for note in notes {
            match note.line {
                Some(line) => by_line.entry(line).or_default().push(note),
                None => floating.push(note),
            }
        }
        let mut out: Vec<String> = Vec::new();
        let mut header_end = 0;
        let mut in_header = true;
        for (index, line) in self.source.iter().enumerate() {
            let taken = take_apart(line, marker);
            let code = taken.code.trim_end();
            if code.trim().is_empty() && !taken.notes.is_empty() {
                let held = taken.notes.iter().all(|(kind, text)| {
                    let at = floating
                        .iter()
                        .position(|n| n.kind == *kind && n.text == *text);
                    at.map(|at| floating.remove(at)).is_some()
                });
                if held {
                    out.push(line.clone());
                    header_end = if in_header { out.len() } else { header_end };
                }
                continue;
            }
            let mut new = code.to_owned();
            for note in by_line.get(&(index as u32 + 1)).into_iter().flatten() {
                let column = new
                    .chars()
                    .fold(0, |at, c| if c == '\t' { (at / 8 + 1) * 8 } else { at + 1 });
                new.push_str(&" ".repeat(NOTE_COLUMN.saturating_sub(column).max(2)));
                new.push_str(&format!("{marker} {}: {}", note.kind.word(), note.text));
            }
            in_header &= code.starts_with(marker) && code != marker;
            out.push(new);
            header_end = if in_header { out.len() } else { header_end };
        }
        for note in floating.into_iter().rev() {
            out.insert(
                header_end,
                format!("{marker} {}: {}", note.kind.word(), note.text),
            );
        }
        out.join("\n") + "\n"
    }
}

/// The comment marker of a fixture's language.
fn marker(path: &Path) -> &'static str {
    if path.extension().is_some_and(|e| e == "c") {
        "//"
    } else {
        "#"
    }
}

fn words(value: &str) -> Vec<String> {
    value.split_whitespace().map(str::to_owned).collect()
}

/// Splits a line at its first note and each following one.
fn take_apart<'a>(line: &'a str, marker: &str) -> Line<'a> {
    let mut starts: Vec<(usize, usize, Kind)> = Vec::new();
    for (kind, word) in Kind::ALL {
        let lead = format!("{marker} {word}:");
        starts.extend(
            line.match_indices(&lead)
                .map(|(at, m)| (at, at + m.len(), kind)),
        );
    }
    starts.sort();
    let code = starts.first().map_or(line, |(at, _, _)| &line[..*at]);
    let notes = starts
        .iter()
        .enumerate()
        .map(|(n, (_, text, kind))| {
            let end = starts.get(n + 1).map_or(line.len(), |(at, _, _)| *at);
            (*kind, line[*text..end].trim())
        })
        .collect();
    Line { code, notes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Fixture> {
        Fixture::parse(Path::new("a.S"), text)
    }

    const GOOD: &str = "\
# args: --stackval --retpoline
# finding: f() falls through

f:
\tcall g        # finding: one  # site: .s[0]
\tret
";

    #[test]
    fn directives_and_notes_are_read() {
        let fixture = parse(GOOD).unwrap();
        assert_eq!(fixture.args, ["--stackval", "--retpoline"]);
        let texts: Vec<String> = fixture.expected.iter().map(Note::to_string).collect();
        assert_eq!(
            texts,
            [
                "no line: finding: f() falls through",
                "line 5: finding: one",
                "line 5: site: .s[0]"
            ]
        );
    }

    #[test]
    fn a_misspelt_directive_is_refused() {
        assert!(parse("# args: -s\n# exti: 1\n")
            .unwrap_err()
            .to_string()
            .contains("a.S:2"));
        assert!(parse("f:\n").unwrap_err().to_string().contains("args"));
        assert!(parse("# args: -s\n# expect: nothing\n# exit: 1\n").is_err());
        assert!(parse("# args: -s\n# finding:\n").is_err());
    }

    #[test]
    fn a_fixture_without_expectations_is_vacuous_unless_it_says_so() {
        assert!(parse("# args: -s\nf:\n").unwrap().is_vacuous());
        assert!(!parse("# args: -s\n# expect: nothing\nf:\n")
            .unwrap()
            .is_vacuous());
    }

    #[test]
    fn blessing_what_is_there_changes_nothing_but_spacing() {
        let fixture = parse(GOOD).unwrap();
        let again = parse(&fixture.blessed(&fixture.expected)).unwrap();
        assert_eq!(again.expected, fixture.expected);
        assert_eq!(again.source.len(), fixture.source.len());
    }

    #[test]
    fn blessing_replaces_notes() {
        let fixture = parse(GOOD).unwrap();
        let new = [
            Note {
                line: None,
                kind: Kind::Finding,
                text: "new".into(),
            },
            Note {
                line: Some(6),
                kind: Kind::Bytes,
                text: "c3".into(),
            },
        ];
        let text = fixture.blessed(&new);
        assert_eq!(parse(&text).unwrap().expected, {
            let mut sorted = new.to_vec();
            sorted.sort();
            sorted
        });
        assert!(text.starts_with("# args: --stackval --retpoline\n# finding: new\n\nf:\n"));
    }
}
