//! The `objtool-rs` command: a stand-in for the kernel's objtool in a build.
//!
//! Reads the command line and the file, prints what was found, and puts the changed file in place.
//! `objtool-rs explain` says what findings mean. What is found and changed is the library's.

mod cli;
mod explain;
mod file;
mod print;
mod usage;
mod verify_command;

use std::process::ExitCode;

use cli::{Invocation, Request};
use objtool_rs::run;

fn main() -> ExitCode {
    // No run of a build has one of these for its first argument: an action always comes before the
    // file.
    if let Some(command) = std::env::args_os().nth(1) {
        if command == "verify" {
            return verify_command::run(std::env::args_os().skip(1));
        }
        if command == explain::NAME {
            return explain::run(std::env::args_os().skip(2));
        }
    }
    let invocation = match cli::parse(std::env::args_os(), |name| std::env::var(name).ok()) {
        Ok(Request::Run(invocation)) => invocation,
        Ok(Request::Print(text)) => {
            print::out(&text);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            print::err(&error.text);
            return ExitCode::from(error.status);
        }
    };
    match process(&invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&invocation.path, &error);
            ExitCode::FAILURE
        }
    }
}

/// Validates one file and puts its new version in place.
fn process(invocation: &Invocation) -> Result<(), file::Error> {
    let Invocation { path, options } = invocation;
    let input = file::Input::open(path, !options.dry_run)?;
    if options.backup {
        input.backup()?;
    }
    let outcome =
        run(input.bytes(), options).map_err(|error| file::Error::Input(error.to_string()))?;
    if outcome.forced_link {
        print::err("error: objtool: Linked object detected, forcing --link\n");
    }
    print::findings(path, &outcome.lines);
    print::err(&outcome.listing);
    if options.stats {
        print::out(&outcome.stats.to_string());
    }
    match outcome.output {
        Some(bytes) if !options.dry_run => input.replace(&bytes),
        _ => Ok(()),
    }
}
