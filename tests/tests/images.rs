//! One test per image: what `objtool-rs verify` says about it against the notes in its source, and
//! the table of text that must not be trusted against the image that has it linked in.
//!
//! `OBJTOOL_TOOL=PATH` puts another tool under test.
#![expect(clippy::print_stderr, reason = "what can't be listed has to be seen")]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use tests::images::{check, fixtures, root};
use tests::tool::Tool;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = match trials(arguments.list) {
        Ok(trials) => trials,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials(only_list: bool) -> anyhow::Result<Vec<Trial>> {
    let files = fixtures()?;
    anyhow::ensure!(!files.is_empty(), "no fixture found below fixtures/images/");
    let tool = if only_list {
        None
    } else {
        Some(Tool::under_test()?)
    };
    let mut trials = Vec::new();
    for path in files {
        let name = path.strip_prefix(root())?.display().to_string();
        let tool = tool.clone();
        trials.push(Trial::test(name, move || {
            let tool = tool.as_ref().ok_or("tests are only listed")?;
            check::check(&path, tool).map_err(|e| format!("{e:#}").into())
        }));
    }
    Ok(trials)
}
