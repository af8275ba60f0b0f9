//! Lines to stdout and stderr, coloured where a person reads them.
//!
//! In a pipe or a log the bytes are exactly those of C objtool's line format.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use objtool_rs::report::rich::{render, Exhibit};

use crate::file::Error;

const BOLD: Style = Style::new().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Prints text to stdout; nobody reading it is no error.
pub fn out(text: &str) {
    let _ = anstream::stdout().write_all(text.as_bytes());
}

/// Prints text to stderr.
pub fn err(text: &str) {
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Prints what clap has to say instead of a parsed command line: help, or what is wrong with it. The
/// exit status is that of commands which no build of a kernel runs.
pub fn usage(error: &clap::Error) -> ExitCode {
    // Nobody reading it is no error.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Prints findings, a line each.
pub fn findings(path: &Path, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let mut text = String::new();
    for line in lines {
        text += &format!(
            "{BOLD}{}{BOLD:#}: {WARNING}warning{WARNING:#}: objtool: {line}\n",
            path.display()
        );
    }
    err(&text);
}

/// Prints findings with the code and the source that they are about.
pub fn exhibits(path: &Path, exhibits: &[Exhibit]) {
    let object = path.display().to_string();
    let read = |source: &str| std::fs::read_to_string(source).ok();
    let shown = exhibits
        .iter()
        .map(|exhibit| render(exhibit, &object, &read, true) + "\n");
    // At once, because the commands of a build print at the same time.
    let shown: String = shown.collect();
    err(&shown);
}

/// Prints why a file could not be processed.
pub fn error(path: &Path, error: &Error) {
    let path = path.display();
    err(&match error {
        Error::Options(e) => format!("error: objtool: {e}\n"),
        Error::Open(e) => format!("objtool: Can't open '{path}': {e}\n"),
        other => format!("{BOLD}{path}{BOLD:#}: {ERROR}error{ERROR:#}: objtool: {other}\n"),
    });
}
