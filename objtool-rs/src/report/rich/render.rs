//! Exhibits set for a terminal, in the form of a compiler's diagnostics.

use std::ops::Range;

use annotate_snippets::{
    Annotation, AnnotationKind, Element, Group, Level, Origin, Padding, Renderer, Snippet,
};

use super::{Code, Exhibit, SourceLine};
use crate::report::explain::wrap;

/// Lines of source shown before the one that is meant, and behind it.
const SOURCE_BEFORE: usize = 2;
const SOURCE_BEHIND: usize = 1;
/// Columns of prose.
const WIDTH: usize = 84;
/// What stands for the same state as on the line above.
const DITTO: &str = "\"";
/// Columns that are cut off: wide enough for the longest state, because a line that a terminal
/// breaks says more than one that is cut.
const CUT: usize = 220;
/// Columns between an instruction and the state of the stack.
const GAP: usize = 2;
/// Columns that instructions are padded to at the most; longer ones push their states out.
const MOST_COLUMNS: usize = 48;

/// Sets one exhibit. `object` is the file's name; `read` has the text of a source file, if it can be
/// had; colours are left out where `styled` is not set.
pub fn render(
    exhibit: &Exhibit,
    object: &str,
    read: &dyn Fn(&str) -> Option<String>,
    styled: bool,
) -> String {
    let renderer = if styled {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let renderer = renderer.term_width(CUT);
    let text = exhibit.source.first().and_then(|line| read(&line.path));
    let source = exhibit.source.first().map(|line| match &text {
        Some(text) => source_element(line, text),
        None => origin(line),
    });
    let codes: Vec<(String, Vec<Range<usize>>)> = exhibit.code.iter().map(code_text).collect();

    let mut groups = vec![Level::WARNING
        .primary_title(exhibit.line.as_str())
        .id(exhibit.explanation.code)
        .element(source.unwrap_or_else(|| Origin::path(object).into()))];
    for (code, (text, spans)) in exhibit.code.iter().zip(&codes) {
        let annotations = code.lines.iter().zip(spans).filter(|(line, _)| line.shown);
        let annotations = annotations.map(|(line, span)| match &line.mark {
            None => AnnotationKind::Visible.span(span.clone()),
            Some(mark) => {
                let kind = if mark.primary {
                    AnnotationKind::Primary
                } else {
                    AnnotationKind::Context
                };
                let label = (!mark.label.is_empty()).then_some(mark.label.as_str());
                kind.span(span.clone()).label(label)
            }
        });
        let title = Level::WARNING
            .no_name()
            .secondary_title(code.title.as_str());
        groups.push(
            title.element(
                Snippet::source(text.as_str())
                    .line_numbering(false)
                    .annotations(annotations.collect::<Vec<Annotation<'_>>>()),
            ),
        );
    }
    let last = groups.pop().map(|group| messages(exhibit, group));
    groups.extend(last);
    renderer.render(&groups) + "\n"
}

/// What is wrong, more about it, what fixes it, and where to read on.
fn messages<'e>(exhibit: &'e Exhibit, group: Group<'e>) -> Group<'e> {
    let explanation = exhibit.explanation;
    let inlined = exhibit.source.iter().skip(1).map(|line| {
        let function = line.function.as_deref().unwrap_or("?");
        format!("inlined into {function} at {}:{}", line.path, line.line)
    });
    let notes = std::iter::once(explanation.title.to_owned())
        .chain(inlined)
        .chain(exhibit.notes.iter().cloned());
    let fix = explanation.fix.split("\n\n").next().unwrap_or_default();
    let more = format!("`objtool-rs explain {}` says more", explanation.code);
    let note = |text: String| Level::NOTE.message(wrapped(&text));
    group
        .element(Padding)
        .elements(notes.map(note).map(Element::from))
        .element(Level::HELP.message(wrapped(fix)))
        .element(note(more))
}

fn wrapped(text: &str) -> String {
    wrap(text, WIDTH).join("\n")
}

fn origin(line: &SourceLine) -> Element<'_> {
    let origin = Origin::path(line.path.as_str()).line(line.line as usize);
    match line.column {
        0 => origin.into(),
        column => origin.char_column(column as usize).into(),
    }
}

/// A line of source with those around it.
fn source_element<'e>(line: &'e SourceLine, text: &'e str) -> Element<'e> {
    let index = (line.line as usize).saturating_sub(1);
    let first = index.saturating_sub(SOURCE_BEFORE);
    let mut start = 0;
    let mut meant = None;
    let mut span = 0..0;
    for (number, content) in text.split_inclusive('\n').enumerate() {
        if number < first {
            start += content.len();
        } else if number < index {
            span.start += content.len();
        } else if number == index {
            let code = without_comment(content.trim_end());
            let indent = code.len() - code.trim_start().len();
            let column = (line.column as usize).saturating_sub(1).max(indent);
            // Columns count bytes; one that is none of this line's means the line.
            let column = if code.is_char_boundary(column) && column < code.len() {
                column
            } else {
                indent
            };
            meant = Some(span.start + column..span.start + code.len());
            span.end = span.start + content.len();
        } else if number <= index + SOURCE_BEHIND {
            span.end += content.len();
        }
    }
    // A file that has changed since may be shorter.
    let Some(meant) = meant.filter(|meant| !meant.is_empty()) else {
        return origin(line);
    };
    Snippet::source(&text[start..start + span.end])
        .path(line.path.as_str())
        .line_start(first + 1)
        .fold(false)
        .annotation(AnnotationKind::Primary.span(meant))
        .into()
}

/// A line without the comment that ends it; all of it where there is nothing else.
fn without_comment(line: &str) -> &str {
    let starts = ["//", "/*", " #", "\t#"];
    let end = starts.iter().filter_map(|start| line.find(start)).min();
    let code = line[..end.unwrap_or(line.len())].trim_end();
    if code.trim_start().is_empty() {
        line
    } else {
        code
    }
}

/// Code as a text of one line an instruction, and where in it each instruction stands.
fn code_text(code: &Code) -> (String, Vec<Range<usize>>) {
    let width = |text: &dyn Fn(&super::CodeLine) -> usize| {
        let shown = code.lines.iter().filter(|line| line.shown);
        shown.map(text).max().unwrap_or(0)
    };
    let offsets = width(&|line| line.offset.len());
    let insns = width(&|line| line.text.chars().count()).min(MOST_COLUMNS);
    let mut text = String::new();
    let mut spans = Vec::new();
    let mut above = "";
    for line in &code.lines {
        text += &format!("{:offsets$}  ", line.offset);
        spans.push(text.len()..text.len() + line.text.len());
        text += &line.text;
        if !line.state.is_empty() {
            let gap = insns.saturating_sub(line.text.chars().count()) + GAP;
            let is_end = line.mark.as_ref().is_some_and(|mark| mark.primary);
            let state = if line.state == above && !is_end {
                DITTO
            } else {
                &line.state
            };
            text += &format!("{:gap$}{state}", "");
            above = &line.state;
        }
        text.push('\n');
    }
    (text, spans)
}
