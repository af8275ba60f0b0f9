//! Explanations as pages: what `objtool-rs explain` shows, and how a kind of finding is found.
//!
//! Pages carry colours; who prints them strips those where nobody sees them. What the pages say is
//! in [`findings`](super::findings).

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::findings::{Explanation, Group, ALL};

const HEADING: Style = Style::new().bold();
const CODE: Style = AnsiColor::Cyan.on_default().bold();
const QUOTE: Style = Style::new().dimmed();

/// Columns of a page.
const WIDTH: usize = 80;
/// By how much text stands under its heading.
const INDENT: usize = 2;

/// How alike two codes must be for one to be meant when the other is typed, from 0 to 1.
const ALIKE: f64 = 0.6;
/// The most suggestions.
const SUGGESTIONS: usize = 3;

/// The kind of finding with a code.
pub fn by_code(code: &str) -> Option<&'static Explanation> {
    ALL.iter().find(|e| e.code == code).copied()
}

/// The kind of finding that a line of a build log is about: the one whose words end it, and the
/// longest of them where several do.
pub fn by_words(line: &str) -> Option<&'static Explanation> {
    let line = line.trim_end();
    let said = |e: &Explanation| e.words.iter().filter_map(|words| said(words, line)).max();
    let best = ALL.iter().filter_map(|e| said(e).map(|len| (len, *e)));
    best.max_by_key(|(len, _)| *len).map(|(_, e)| e)
}

/// How many bytes of a line's end are words, where `{}` in them stands for anything.
fn said(words: &str, line: &str) -> Option<usize> {
    let mut parts = words.rsplit("{}");
    let last = parts.next().unwrap_or_default();
    let mut rest = line.strip_suffix(last)?;
    let mut len = last.len();
    for part in parts {
        rest = &rest[..rest.rfind(part)?];
        len += part.len();
    }
    Some(len)
}

/// Codes that may have been meant, the likeliest first.
pub fn similar(code: &str) -> Vec<&'static str> {
    let mut alike: Vec<(f64, &str)> = ALL
        .iter()
        .map(|e| (likeness(code, e.code), e.code))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0));
    alike
        .into_iter()
        .take(SUGGESTIONS)
        .map(|(_, code)| code)
        .collect()
}

/// Typing errors make a code less like the one that is meant; words left out do not.
fn likeness(typed: &str, code: &str) -> f64 {
    let is_word_of_code = |word: &str| code.split('-').any(|part| part == word);
    if !typed.is_empty() && typed.split('-').all(is_word_of_code) {
        return 1.0;
    }
    strsim::normalized_damerau_levenshtein(typed, code)
}

/// One kind of finding, as a page.
pub fn page(e: &Explanation) -> String {
    let mut page = format!("{CODE}{}{CODE:#}\n", e.code);
    page += &paragraphs(&sentence(e.title), 0);
    for words in e.words {
        let _ = writeln!(page, "\n{:INDENT$}{QUOTE}{words}{QUOTE:#}", "");
    }
    let sections = [
        ("What", paragraphs(e.what, INDENT)),
        ("Why it matters", paragraphs(e.why, INDENT)),
        ("Example", verbatim(e.example)),
        ("Fix", paragraphs(e.fix, INDENT)),
    ];
    for (heading, text) in sections {
        let _ = write!(page, "\n{HEADING}{heading}{HEADING:#}\n{text}");
    }
    page
}

/// All kinds of findings, by group.
pub fn list() -> String {
    let column = ALL.iter().map(|e| e.code.len()).max().unwrap_or(0) + INDENT;
    let mut list = String::new();
    for group in Group::ALL {
        let _ = writeln!(list, "{HEADING}{}{HEADING:#}", group.heading());
        for e in ALL.iter().filter(|e| e.group == group) {
            let gap = column - e.code.len();
            let code = format!("{CODE}{}{CODE:#}{:gap$}", e.code, "");
            let _ = writeln!(list, "{:INDENT$}{code}{}", "", e.title);
        }
        list += "\n";
    }
    list + "`objtool-rs explain CODE` explains one. A line of a build log will do for a code.\n"
}

/// A title as a sentence.
pub fn sentence(title: &str) -> String {
    let mut chars = title.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), chars.as_str())
}

/// Paragraphs of prose, each line indented.
fn paragraphs(text: &str, indent: usize) -> String {
    let paragraph = |text: &str| -> String {
        let lines = wrap(text, WIDTH - indent).into_iter();
        lines
            .map(|line| format!("{:indent$}{line}\n", ""))
            .collect()
    };
    text.split("\n\n")
        .map(paragraph)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Lines as they are, each indented.
fn verbatim(text: &str) -> String {
    text.lines()
        .map(|line| format!("{:INDENT$}{line}", "").trim_end().to_owned() + "\n")
        .collect()
}

/// Words on lines of at most `width` columns, longer words on lines of their own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{by_code, by_words, list, page, similar, ALL, WIDTH};

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_page_has_all_parts_in_order() {
        let e = by_code("unannotated-intra-function-call").expect("a code of the table");
        let page = plain(&page(e));
        let expected = "\
unannotated-intra-function-call
A call goes to a place that is not the beginning of a function.

  unannotated intra-function call

What
";
        assert!(page.starts_with(expected), "{page}");
        let example = "
Example
  func:
          call    1f              # pushes its own address
  1:      pop     %rax
          ret

Fix
";
        assert!(page.contains(example), "{page}");
    }

    #[test]
    fn pages_and_list_fit_their_columns() {
        for e in ALL {
            for line in plain(&page(e)).lines() {
                // Words are never broken: people look for them.
                if e.words.contains(&line.trim()) {
                    continue;
                }
                assert!(line.chars().count() <= WIDTH, "{}: {line}", e.code);
            }
        }
        let list = plain(&list());
        for line in list.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        for e in ALL {
            assert!(list.contains(&format!("\n  {}  ", e.code)), "{}", e.code);
        }
    }

    #[test]
    fn lines_of_a_build_log_lead_to_their_kind() {
        let cases = [
            (
                "foo.o: warning: objtool: func+0x1a: return with modified stack frame\n",
                Some("return-with-frame"),
            ),
            (
                "foo.o: warning: objtool: f+0x1: call to memcpy() with UACCESS enabled",
                Some("call-with-uaccess"),
            ),
            (
                "foo.o: warning: objtool: f+0x1: stack state mismatch: cfa1=4+8 cfa2=4+16",
                Some("stack-mismatch"),
            ),
            (
                "indirect call found in MITIGATION_RETPOLINE build",
                Some("indirect-branch"),
            ),
            (
                "foo.o: warning: objtool: f+0x1: return with modified stack",
                None,
            ),
            ("", None),
        ];
        for (line, code) in cases {
            assert_eq!(by_words(line).map(|e| e.code), code, "{line}");
        }
    }

    #[test]
    fn what_is_mistyped_is_guessed() {
        assert_eq!(similar("retrun-with-frame")[0], "return-with-frame");
        assert_eq!(similar("unreachabel"), ["unreachable"]);
        assert!(similar("intra-function").contains(&"unannotated-intra-function-call"));
        assert!(similar("qqqq").is_empty());
        assert!(similar("").is_empty());
    }
}
