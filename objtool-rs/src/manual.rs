//! `objtool-rs completions` and `objtool-rs man`: what shells and readers of manuals need, made from the
//! same description of the command line that is parsed.
//!
//! Not here: the commands themselves, which are described where they are run.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{value_parser, Arg, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{cli, explain, print, verify_command};

/// What makes the first argument this command.
pub const COMPLETIONS: &str = "completions";

/// What makes the first argument this command.
pub const MAN: &str = "man";

fn completions_command() -> Command {
    Command::new(COMPLETIONS)
        .bin_name("objtool-rs completions")
        .about("Prints completions for a shell")
        .after_help("For bash: objtool-rs completions bash > /etc/bash_completion.d/objtool-rs")
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .required(true)
                .value_parser(value_parser!(Shell)),
        )
}

fn man_command() -> Command {
    Command::new(MAN)
        .bin_name("objtool-rs man")
        .about("Prints the manual page of objtool-rs, or of one of its commands")
        .after_help("To read it: objtool-rs man | man -l -")
        .arg(
            Arg::new("command").value_name("COMMAND").value_parser(
                commands()
                    .map(|command| command.get_name().to_owned())
                    .to_vec(),
            ),
        )
}

/// The commands that a first argument can name, but for those of this file.
fn commands() -> [Command; 2] {
    [
        explain::command().name(explain::NAME),
        verify_command::command().name(verify_command::NAME),
    ]
}

/// The whole command line.
fn whole() -> Command {
    cli::command()
        .subcommands(commands())
        .subcommand(completions_command())
        .subcommand(man_command())
        .disable_help_subcommand(true)
}

/// Runs one of the commands; `args` begins with its name.
pub fn run(name: &str, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = if name == MAN {
        man_command()
    } else {
        completions_command()
    };
    let matches = match command.try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => return print::usage(&error),
    };
    let text = match matches.try_get_one::<Shell>("shell") {
        Ok(Some(&shell)) => completions(shell),
        _ => page(matches.get_one::<String>("command").map(String::as_str)),
    };
    print::out(&text);
    ExitCode::SUCCESS
}

fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut whole(), "objtool-rs", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The page of a command, or that of all.
fn page(command: Option<&str>) -> String {
    let found = commands()
        .into_iter()
        .find(|known| Some(known.get_name()) == command);
    let command = match found {
        // Its usage names the program, and so does the page's title.
        Some(found) => {
            let name = format!("objtool-rs-{}", found.get_name());
            found.name(name)
        }
        None => whole(),
    };
    let mut text = Vec::new();
    match Man::new(command).render(&mut text) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        // Memory takes all that is written to it.
        Err(error) => format!("{error}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        whole().debug_assert();
    }

    /// Every option that the parser knows and that is not hidden is in both.
    #[test]
    fn every_option_is_completed_and_in_the_manual() {
        let manual = page(None).replace('\\', "");
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let completions = completions(shell);
            let dashes = if shell == Shell::Fish { "-l " } else { "--" };
            let command = cli::command();
            let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
            let mut count = 0;
            for long in shown.filter_map(Arg::get_long) {
                let option = format!("{dashes}{long}");
                assert!(completions.contains(&option), "{shell}: {option}");
                assert!(manual.contains(&format!("--{long}")), "manual: --{long}");
                count += 1;
            }
            assert!(count > 20, "{count} options are not all");
            assert!(completions.contains("unreliable-text"), "{shell}");
        }
        assert!(page(Some("verify")).contains("unreliable"));
        assert_ne!(page(Some("verify")), page(None));
    }
}
