//! The `objtool-rs` command: a stand-in for the kernel's objtool in a build.
//!
//! Reads the command line and the file, prints what was found, and puts the changed file in place.
//! `objtool-rs explain` says what findings mean. What is found and changed is the library's.

mod cli;
mod explain;
mod file;
mod manual;
mod objects;
mod print;
mod usage;
mod verify_command;

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use cli::{Invocation, Request};
use objtool_rs::{analyze, Analyzed, Open, RunError};

fn main() -> ExitCode {
    // No run of a build has these for its first argument: an action always comes before the file.
    match std::env::args_os().nth(1) {
        Some(command) if command == explain::NAME => {
            return explain::run(std::env::args_os().skip(2));
        }
        Some(command) if command == verify_command::NAME => {
            return verify_command::run(std::env::args_os().skip(1));
        }
        Some(command) => {
            let own = [manual::COMPLETIONS, manual::MAN];
            if let Some(name) = own.into_iter().find(|name| command == *name) {
                return manual::run(name, std::env::args_os().skip(1));
            }
        }
        None => {}
    }
    let environment = |name: &str| std::env::var(name).ok();
    let to_a_person = std::io::stderr().is_terminal();
    let invocation = match cli::parse(std::env::args_os(), environment, to_a_person) {
        Ok(Request::Run(invocation)) => invocation,
        Ok(Request::Dump(path)) => return dump(&path),
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

/// Prints a file's ORC data.
fn dump(path: &Path) -> ExitCode {
    let dumped = file::Input::open(path, false).and_then(|input| {
        objtool_rs::orc_dump::dump(input.bytes())
            .map_err(|error| file::Error::Input(error.to_string()))
    });
    match dumped {
        Ok(text) => {
            print::out(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            print::error(path, &error);
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
    let draft = input.draft();
    let open = || draft.open();
    let open: Option<Open<'_>> = if options.dry_run { None } else { Some(&open) };
    let analyzed = analyze(input.bytes(), options, &|| input.release(), open);
    let Analyzed {
        mut outcome,
        changed,
        remains,
    } = analyzed.map_err(|error| match error {
        RunError::Options(what) => file::Error::Options(what),
        other => file::Error::Input(other.to_string()),
    })?;
    if outcome.forced_link {
        print::err("error: objtool: Linked object detected, forcing --link\n");
    }
    if options.explain {
        print::exhibits(path, &outcome.exhibits);
    } else {
        print::findings(path, &outcome.lines);
    }
    print::err(&outcome.listing);
    let clock = Instant::now();
    // To give memory back takes the system as long as to write the rest of a file. To give up the old
    // file takes it nearly as long again, so that is not left for last.
    let dropped = remains.drop_beside();
    let replaced = match &changed {
        Some(changed) if !options.dry_run => draft.put_in_place(|to| changed.write_to(to)),
        _ => Ok(()),
    };
    drop(changed);
    drop(input);
    drop(dropped);
    if options.stats {
        outcome.stats.phases.push(("write", clock.elapsed()));
        print::out(&outcome.stats.to_string());
    }
    replaced
}
