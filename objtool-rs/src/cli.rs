//! The command line, as C objtool takes it.
//!
//! clap parses; what it refuses is said in the words of the kernel's option parser
//! (`tools/lib/subcmd/parse-options.c`), because build scripts and people know those. Not here:
//! what options mean ([`objtool_rs::Options`]), how usage is laid out (`usage`).

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{value_parser, Arg, ArgAction, ArgMatches, Command};
use objtool_rs::Options;

use crate::usage::{self, OptionHelp};

/// What is to be done.
pub enum Request {
    /// Validate a file.
    Run(Invocation),
    /// Print a file's ORC data.
    Dump(PathBuf),
    /// Print this.
    Print(String),
}

/// A run on one file.
#[derive(Debug)]
pub struct Invocation {
    /// The file.
    pub path: PathBuf,
    /// What to do with it.
    pub options: Options,
}

/// A command line that can't be carried out.
#[derive(Debug)]
pub struct UsageError {
    /// What to print.
    pub text: String,
    /// Exit status.
    pub status: u8,
}

/// Exit status of the kernel's option parser.
const BAD_USAGE: u8 = 129;

/// Usage line of the command.
const USAGE: &str = "objtool <actions> [<options>] file.o";
/// Usage line of the environment variable.
const ENVIRONMENT_USAGE: &str = "OBJTOOL_ARGS=\"<options>\"";

const ACTIONS: &str = "Actions";
const OPTIONS: &str = "Options";

/// An option without a value: short name, long name, help, and what it sets.
type Switch = (
    Option<char>,
    &'static str,
    &'static str,
    fn(&mut Options) -> &mut bool,
);

const ACTION_SWITCHES: &[Switch] = &[
    (Some('i'), "ibt", "validate and annotate IBT", |o| {
        &mut o.ibt
    }),
    (
        Some('m'),
        "mcount",
        "annotate mcount/fentry calls for ftrace",
        |o| &mut o.mcount,
    ),
    (Some('n'), "noinstr", "validate noinstr rules", |o| {
        &mut o.noinstr
    }),
    (Some('o'), "orc", "generate ORC metadata", |o| &mut o.orc),
    (
        Some('r'),
        "retpoline",
        "validate and annotate retpoline usage",
        |o| &mut o.retpoline,
    ),
    (
        None,
        "rethunk",
        "validate and annotate rethunk usage",
        |o| &mut o.rethunk,
    ),
    (None, "unret", "validate entry unret placement", |o| {
        &mut o.unret
    }),
    (
        Some('l'),
        "sls",
        "validate straight-line-speculation mitigations",
        |o| &mut o.sls,
    ),
    (
        None,
        "cfi",
        "annotate kernel control flow integrity (kCFI) function preambles",
        |o| &mut o.cfi,
    ),
    (Some('s'), "stackval", "validate frame pointer rules", |o| {
        &mut o.stackval
    }),
    (Some('t'), "static-call", "annotate static calls", |o| {
        &mut o.static_call
    }),
    (
        Some('u'),
        "uaccess",
        "validate uaccess rules for SMAP",
        |o| &mut o.uaccess,
    ),
];

const OPTION_SWITCHES: &[Switch] = &[
    (None, "backtrace", "unwind on error", |o| &mut o.backtrace),
    (
        None,
        "backup",
        "create .orig files before modification",
        |o| &mut o.backup,
    ),
    (None, "dry-run", "don't write modifications", |o| {
        &mut o.dry_run
    }),
    (
        None,
        "explain",
        "show findings with their path, code and source",
        |o| &mut o.explain,
    ),
    (None, "link", "object is a linked object", |o| &mut o.link),
    (None, "mnop", "nop out mcount call sites", |o| &mut o.mnop),
    (None, "module", "object is part of a kernel module", |o| {
        &mut o.module
    }),
    (
        None,
        "no-unreachable",
        "skip 'unreachable instruction' warnings",
        |o| &mut o.no_unreachable,
    ),
    (
        None,
        "sec-address",
        "print section addresses in warnings",
        |o| &mut o.sec_address,
    ),
    (None, "stats", "print statistics", |o| &mut o.stats),
    (Some('v'), "verbose", "verbose warnings", |o| &mut o.verbose),
];

fn switches() -> impl Iterator<Item = &'static Switch> {
    ACTION_SWITCHES.iter().chain(OPTION_SWITCHES)
}

/// The name that takes a switch back: `--no-x`, or `--x` for `--no-x`.
fn negation(long: &str) -> String {
    long.strip_prefix("no-")
        .map_or_else(|| format!("no-{long}"), str::to_owned)
}

/// The command line.
pub fn command() -> Command {
    let mut command = Command::new("objtool-rs")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Validates kernel object files and makes the annotations that the kernel needs")
        .override_usage("objtool-rs <actions> [<options>] file.o")
        .after_help(
            "The environment's OBJTOOL_ARGS holds more options, separated by spaces; \
             OBJTOOL_VERBOSE=1 is --verbose.\n\
             Findings go to stderr, at a terminal as with --explain, and the exit status is 0; it \
             is 1 for a file that can't be understood or when nothing is to be done, and 129 for a\n\
             command line that can't be understood.\n\
             \n\
             objtool-rs explain [CODE]      what findings mean, and what fixes them\n\
             objtool-rs verify vmlinux      is a linked kernel's stack trace reliable, and where not\n\
             objtool-rs completions SHELL   completions for bash, zsh, fish and others\n\
             objtool-rs man [COMMAND]       the manual page",
        )
        .infer_long_args(true)
        .args_override_self(true)
        .arg(
            Arg::new("hacks")
                .long("hacks")
                .value_name("jump_label,noinstr,skylake")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("jump_label,noinstr,skylake")
                .action(ArgAction::Append)
                .help("patch toolchain bugs/limitations")
                .help_heading(ACTIONS),
        )
        .arg(
            Arg::new("dump")
                .long("dump")
                .value_name("orc")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("orc")
                .action(ArgAction::Append)
                .help("dump metadata")
                .help_heading(ACTIONS),
        )
        .arg(
            Arg::new("prefix")
                .long("prefix")
                .value_name("n")
                .value_parser(value_parser!(u32))
                .help("generate prefix symbols")
                .help_heading(ACTIONS),
        )
        .arg(
            Arg::new("file")
                .value_name("file.o")
                .value_parser(value_parser!(PathBuf))
                .num_args(0..)
                .help("the object file, which is replaced if anything is to be changed in it"),
        );
    let headed = ACTION_SWITCHES
        .iter()
        .map(|switch| (switch, ACTIONS))
        .chain(OPTION_SWITCHES.iter().map(|switch| (switch, OPTIONS)));
    for (&(short, long, help, _), heading) in headed {
        let no = negation(long);
        let mut arg = Arg::new(long)
            .long(long)
            .action(ArgAction::SetTrue)
            .help(help);
        if let Some(short) = short {
            arg = arg.short(short);
        }
        command = command
            .arg(arg.help_heading(heading).overrides_with(no.clone()))
            .arg(
                Arg::new(no.clone())
                    .long(no)
                    .action(ArgAction::SetTrue)
                    .hide(true)
                    .overrides_with(long),
            );
    }
    command
}

/// What the usage page lists: as clap knows it, in the order of C objtool's page.
fn option_help() -> Vec<(&'static str, Vec<OptionHelp>)> {
    let command = command();
    [ACTIONS, OPTIONS]
        .map(|heading| {
            let mut listed: Vec<OptionHelp> = command
                .get_arguments()
                .filter(|arg| arg.get_help_heading() == Some(heading) && !arg.is_hide_set())
                .map(|arg| OptionHelp {
                    short: arg.get_short(),
                    long: arg.get_long().unwrap_or_default().to_owned(),
                    value: match arg.get_id().as_str() {
                        "hacks" => Some("[=<jump_label,noinstr,skylake>]".to_owned()),
                        "dump" => Some("[=<orc>]".to_owned()),
                        "prefix" => Some(" <n>".to_owned()),
                        _ => None,
                    },
                    help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
                })
                .collect();
            listed.sort_by_key(|o| (o.short.is_none(), o.short, o.long.clone()));
            (heading, listed)
        })
        .into()
}

/// Reads the command line and the environment. Where a person reads what is printed, findings are
/// explained unless it is said otherwise.
///
/// # Errors
///
/// What to print, and the exit status, for what can't be carried out.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<String>,
    to_a_person: bool,
) -> Result<Request, UsageError> {
    let mut options = Options {
        explain: to_a_person,
        ..Options::default()
    };
    let mut dump = false;
    if let Some(more) = environment("OBJTOOL_ARGS") {
        let args = std::iter::once("OBJTOOL_ARGS")
            .chain(more.split(' '))
            .map(OsString::from);
        let matches = match command().try_get_matches_from(args) {
            Ok(matches) => matches,
            Err(error) => return refuse(&error, ENVIRONMENT_USAGE),
        };
        apply(&matches, &mut options, &mut dump, ENVIRONMENT_USAGE)?;
    }
    if environment("OBJTOOL_VERBOSE").as_deref() == Some("1") {
        options.verbose = true;
    }
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error, USAGE),
    };
    apply(&matches, &mut options, &mut dump, USAGE)?;

    let mut files = matches.get_many::<PathBuf>("file").into_iter().flatten();
    let (Some(path), None) = (files.next(), files.next()) else {
        return Err(bad_usage("", &usage::page(USAGE, &option_help())));
    };
    if options.any_action() {
        if dump {
            return Err(fatal("--dump can't be combined with other actions"));
        }
    } else if options.unret && !options.rethunk {
        return Err(fatal("--unret requires --rethunk"));
    } else if dump {
        return Ok(Request::Dump(path.clone()));
    } else {
        return Err(fatal("At least one action required"));
    }
    Ok(Request::Run(Invocation {
        path: path.clone(),
        options,
    }))
}

fn apply(
    matches: &ArgMatches,
    options: &mut Options,
    dump: &mut bool,
    usage: &str,
) -> Result<(), UsageError> {
    for what in matches.get_many::<String>("dump").into_iter().flatten() {
        if what != "orc" {
            return Err(bad_usage("", &usage::one(usage, &option_help(), "dump")));
        }
        *dump = true;
    }
    for (_, long, _, field) in switches() {
        if matches.get_flag(long) {
            *field(options) = true;
        }
        if matches.get_flag(&negation(long)) {
            *field(options) = false;
        }
    }
    for hacks in matches.get_many::<String>("hacks").into_iter().flatten() {
        // Anything that contains a name asks for it.
        let mut found = false;
        for (name, field) in [
            ("jump_label", &mut options.hack_jump_label),
            ("noinstr", &mut options.hack_noinstr),
            ("skylake", &mut options.hack_skylake),
        ] {
            if hacks.contains(name) {
                *field = true;
                found = true;
            }
        }
        if !found {
            return Err(bad_usage("", &usage::one(usage, &option_help(), "hacks")));
        }
    }
    if let Some(&prefix) = matches.get_one::<u32>("prefix") {
        options.prefix = prefix;
    }
    Ok(())
}

fn bad_usage(error: &str, page: &str) -> UsageError {
    UsageError {
        text: format!("{error}{page}"),
        status: BAD_USAGE,
    }
}

fn fatal(what: &str) -> UsageError {
    UsageError {
        text: format!("error: objtool: {what}\n"),
        status: 1,
    }
}

/// clap's refusal in the words of the kernel's option parser.
fn refuse(error: &clap::Error, usage_line: &str) -> Result<Request, UsageError> {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return Ok(Request::Print(error.render().ansi().to_string()));
    }
    let given = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => arg.as_str(),
        _ => "",
    };
    let help = option_help();
    let page = usage::page(usage_line, &help);
    let long = given
        .strip_prefix("--")
        .map(|long| long.split([' ', '=', '[']).next().unwrap_or(long));
    let about = |what: &str| {
        let name = long.unwrap_or(given);
        bad_usage(
            &format!(" Error: option `{name}' {what}"),
            &usage::one(usage_line, &help, name),
        )
    };
    Err(match (error.kind(), long) {
        (ErrorKind::UnknownArgument, Some(long)) => {
            let matching: Vec<&str> = help
                .iter()
                .flat_map(|(_, options)| options)
                .map(|option| option.long.as_str())
                .filter(|option| option.starts_with(long))
                .collect();
            match matching[..] {
                [first, second, ..] => bad_usage(
                    &format!(
                        " Error: Ambiguous option: {long} (could be --{first} or --{second})\n"
                    ),
                    &page,
                ),
                _ => bad_usage(&format!("  Error: unknown option `{long}'\n"), &page),
            }
        }
        (ErrorKind::UnknownArgument, None) => {
            let switch = given.trim_start_matches('-');
            bad_usage(&format!("  Error: unknown switch `{switch}'\n"), &page)
        }
        (ErrorKind::TooManyValues | ErrorKind::NoEquals, _) => about("takes no value"),
        (ErrorKind::ValueValidation, _) => about("expects a numerical value"),
        (ErrorKind::InvalidValue, _) => about("requires a value"),
        _ => bad_usage(&format!("  Error: {}\n", error.kind()), &page),
    })
}

#[cfg(test)]
mod tests {
    use super::{parse, Options, Request, UsageError};
    use std::ffi::OsString;

    fn run(args: &[&str], environment: &[(&str, &str)]) -> Result<Options, UsageError> {
        let args = std::iter::once("objtool")
            .chain(args.iter().copied())
            .map(OsString::from);
        let find = |name: &str| {
            environment
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        match parse(args, find, false)? {
            Request::Run(invocation) => Ok(invocation.options),
            Request::Print(text) => panic!("{text}"),
            Request::Dump(path) => panic!("{}", path.display()),
        }
    }

    fn refused(args: &[&str]) -> (u8, String) {
        let error = run(args, &[]).expect_err("the command line is refused");
        (
            error.status,
            error.text.lines().next().unwrap_or_default().to_owned(),
        )
    }

    #[test]
    fn the_command_is_consistent() {
        super::command().debug_assert();
    }

    #[test]
    fn a_kernel_build_is_understood() {
        let options = run(
            &[
                "--hacks=jump_label",
                "--hacks=noinstr",
                "--hacks=skylake",
                "--retpoline",
                "--rethunk",
                "--stackval",
                "--static-call",
                "--uaccess",
                "--prefix=16",
                "--module",
                "x.o",
            ],
            &[],
        )
        .expect("the line of a 6.12 build");
        let expected = Options {
            hack_jump_label: true,
            hack_noinstr: true,
            hack_skylake: true,
            retpoline: true,
            rethunk: true,
            stackval: true,
            static_call: true,
            uaccess: true,
            prefix: 16,
            module: true,
            ..Options::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn later_switches_take_earlier_ones_back() {
        let options =
            run(&["--stackval", "-u", "--no-stackval", "x.o"], &[]).expect("one action is left");
        assert!(!options.stackval && options.uaccess);
        let options = run(&["-s", "--no-unreachable", "--unreachable", "x.o"], &[]).expect("valid");
        assert!(!options.no_unreachable);
    }

    #[test]
    fn names_may_be_shortened_and_switches_joined() {
        let options = run(&["--stackv", "-ru", "x.o"], &[]).expect("valid");
        assert!(options.stackval && options.retpoline && options.uaccess);
    }

    #[test]
    fn findings_are_explained_to_a_person_and_on_request() {
        let explains = |args: &[&str], to_a_person| {
            let args = std::iter::once("objtool")
                .chain(args.iter().copied())
                .map(OsString::from);
            match parse(args, |_| None, to_a_person) {
                Ok(Request::Run(invocation)) => invocation.options.explain,
                _ => panic!("a valid command line"),
            }
        };
        assert!(!explains(&["-s", "x.o"], false));
        assert!(explains(&["-s", "--explain", "x.o"], false));
        assert!(explains(&["-s", "x.o"], true));
        assert!(!explains(&["-s", "--no-explain", "x.o"], true));
    }

    #[test]
    fn the_environment_adds_options() {
        let environment = [
            ("OBJTOOL_ARGS", "--stackval --stats"),
            ("OBJTOOL_VERBOSE", "1"),
        ];
        let options = run(&["x.o"], &environment).expect("the action is in the environment");
        assert!(options.stackval && options.stats && options.verbose);
        let error = run(&["-s", "x.o"], &[("OBJTOOL_ARGS", "--bogus")]).expect_err("refused");
        assert!(
            error.text.contains("Usage: OBJTOOL_ARGS=\"<options>\""),
            "{}",
            error.text
        );
    }

    #[test]
    fn refusals_have_the_words_of_the_kernels_parser() {
        let cases = [
            (&["--foo", "x.o"][..], 129, "  Error: unknown option `foo'"),
            (&["-z", "x.o"], 129, "  Error: unknown switch `z'"),
            (
                &["--stackval=3", "x.o"],
                129,
                " Error: option `stackval' takes no value",
            ),
            (
                &["--prefix=abc", "x.o"],
                129,
                " Error: option `prefix' expects a numerical value",
            ),
            (
                &["--prefix", "x.o"],
                129,
                " Error: option `prefix' expects a numerical value",
            ),
            (
                &["-s", "x.o", "--prefix"],
                129,
                " Error: option `prefix' requires a value",
            ),
            (
                &["--re", "x.o"],
                129,
                " Error: Ambiguous option: re (could be --retpoline or --rethunk)",
            ),
            (&["--hacks=foo", "x.o"], 129, ""),
            (&["--stackval"], 129, ""),
            (&["--stackval", "a.o", "b.o"], 129, ""),
            (&["x.o"], 1, "error: objtool: At least one action required"),
            (
                &["--no-stackval", "x.o"],
                1,
                "error: objtool: At least one action required",
            ),
        ];
        for (args, status, first_line) in cases {
            assert_eq!(refused(args), (status, first_line.to_owned()), "{args:?}");
        }
    }

    #[test]
    fn dumping_stands_alone() {
        let args = ["objtool", "--dump", "x.o"].map(OsString::from);
        assert!(matches!(parse(args, |_| None, false), Ok(Request::Dump(_))));
        let (status, line) = refused(&["--dump=orc", "--orc", "x.o"]);
        assert_eq!(status, 1);
        assert_eq!(
            line,
            "error: objtool: --dump can't be combined with other actions"
        );
        assert_eq!(refused(&["--dump=bla", "x.o"]), (129, String::new()));
        let (_, line) = refused(&["--unret", "x.o"]);
        assert_eq!(line, "error: objtool: --unret requires --rethunk");
    }
}
