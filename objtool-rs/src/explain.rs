//! `objtool-rs explain`: what a finding means, why it matters, and what fixes it.
//!
//! The command line and the exit status; the pages are the library's
//! ([`objtool_rs::report::explain`]).

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Arg, Command};
use objtool_rs::report::explain::{by_code, by_words, list, page, similar};

use crate::print;

/// What makes the first argument this command.
pub const NAME: &str = "explain";

/// The command line.
pub fn command() -> Command {
    Command::new("objtool-rs explain")
        .about("Explains a finding: what it is, why it matters, an example, the usual fix")
        .override_usage("objtool-rs explain [CODE]...")
        .after_help(
            "Without a code, all of them are listed. A line of a build log will do for a code:\n  \
             objtool-rs explain 'foo.o: warning: objtool: f+0x1a: return with modified stack frame'",
        )
        .arg(
            Arg::new("code")
                .value_name("CODE")
                .num_args(0..)
                .help("the code of a finding, or its words"),
        )
}

/// Runs the command; `args` begins behind its name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = std::iter::once(OsString::from(NAME)).chain(args);
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => return print::usage(&error),
    };
    let given: Vec<&str> = matches
        .get_many::<String>("code")
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    match answer(&given) {
        Ok(text) => {
            print::out(&text);
            ExitCode::SUCCESS
        }
        Err(text) => {
            print::err(&text);
            ExitCode::FAILURE
        }
    }
}

/// The pages that are asked for, or why there are none.
fn answer(given: &[&str]) -> Result<String, String> {
    if given.is_empty() {
        return Ok(list());
    }
    let codes: Vec<_> = given.iter().filter_map(|code| by_code(code)).collect();
    if codes.len() == given.len() {
        let pages: Vec<String> = codes.into_iter().map(page).collect();
        return Ok(pages.join("\n\n"));
    }
    // A line of a log, quoted or not.
    let line = given.join(" ");
    if let Some(found) = by_words(&line) {
        return Ok(page(found));
    }
    let unknown = given.iter().find(|code| by_code(code).is_none());
    let unknown = unknown.copied().unwrap_or_default();
    let meant = similar(unknown);
    let guess = if meant.is_empty() {
        String::new()
    } else {
        format!("; did you mean `{}`?", meant.join("`, or `"))
    };
    Err(format!(
        "error: no finding has the code `{unknown}`{guess}\n\
         `objtool-rs explain` lists all codes.\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::{answer, command};

    #[test]
    fn the_command_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn codes_are_explained_and_the_list_has_them_all() {
        let page = answer(&["return-with-frame"]).expect("a code");
        assert!(page.contains("return with modified stack frame"), "{page}");
        let both = answer(&["return-with-frame", "unreachable"]).expect("two codes");
        assert!(both.starts_with(&page) && both.contains("unreachable instruction"));
        assert!(answer(&[]).expect("the list").contains("return-with-frame"));
    }

    #[test]
    fn a_line_need_not_be_quoted() {
        let line = "x.o: warning: objtool: f+0x1: return with DF set";
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(answer(&words), answer(&["return-with-direction"]));
        assert_eq!(answer(&[line]), answer(&["return-with-direction"]));
    }

    #[test]
    fn an_unknown_code_gets_a_guess() {
        let error = answer(&["call-without-fram"]).expect_err("no such code");
        assert!(
            error.contains("did you mean `call-without-frame`"),
            "{error}"
        );
        let error = answer(&["unreachable", "zzz"]).expect_err("no such code");
        assert!(
            error.starts_with("error: no finding has the code `zzz`\n"),
            "{error}"
        );
    }
}
