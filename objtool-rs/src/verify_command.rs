//! `objtool-rs verify`: the verdict on images and modules.
//!
//! Reads the command line and the files, shows progress, prints and writes the result. The verdict
//! itself is the library's.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clap::{Command, CommandFactory as _, Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use objtool_rs::report::rich::render;
use objtool_rs::verify::{self, assembly, human, json, Request};

use crate::file::{self, Input};
use crate::objects::Objects;
use crate::print;

/// Says whether the stack trace of a linked kernel is reliable, where not, and why.
///
/// The exit status is 0 when HAVE_RELIABLE_STACKTRACE holds for every file, 2 when it does not for
/// one of them, and 1 when a file can't be judged or the command line is wrong.
#[derive(Debug, Parser)]
#[command(name = "objtool-rs verify", bin_name = "objtool-rs verify", version)]
struct Args {
    /// A linked kernel (vmlinux), or modules (.ko)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Form of the verdict on stdout
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Write the text that must not be trusted as assembly that the kernel links in
    #[arg(long, value_name = "FILE")]
    unreliable_text: Option<PathBuf>,
    /// Show each function that keeps no frame: the source line where there is DWARF, the path, and
    /// the code with the state of the stack; at a terminal the first ones are shown anyway
    #[arg(long)]
    explain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Human,
    /// For machines: one object for each file, a line each
    Json,
}

/// What the command is called on the command line.
pub const NAME: &str = "verify";

/// Exit status when the promise does not hold.
const DOES_NOT_HOLD: u8 = 2;

/// Exhibits that a terminal gets unasked.
const UNASKED: usize = 3;

/// How long a person waits without a sign.
const PATIENCE: Duration = Duration::from_secs(1);

/// The command line.
pub fn command() -> Command {
    Args::command()
}

/// Runs the command.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        // clap's own status for a wrong command line is the one for "does not hold" here.
        Err(error) => return print::usage(&error),
    };
    if args.unreliable_text.is_some() && args.files.len() > 1 {
        print::err("error: objtool: --unreliable-text takes one file at a time\n");
        return ExitCode::FAILURE;
    }
    let (mut all_hold, mut all_judged) = (true, true);
    for path in &args.files {
        match judge(path, &args) {
            Ok(holds) => all_hold &= holds,
            Err(error) => {
                print::error(path, &error);
                all_judged = false;
            }
        }
    }
    match (all_judged, all_hold) {
        (false, _) => ExitCode::FAILURE,
        (true, false) => ExitCode::from(DOES_NOT_HOLD),
        (true, true) => ExitCode::SUCCESS,
    }
}

fn judge(path: &Path, args: &Args) -> Result<bool, file::Error> {
    let unreadable = |error: objtool_rs::read::ReadError| file::Error::Input(error.to_string());
    if path.is_dir() {
        return Err(file::Error::Input(
            "is a directory; name the files in it (vmlinux, or what `find -name '*.ko'` finds)"
                .into(),
        ));
    }
    let input = Input::open(path, false)?;
    let to_a_person = args.format == Format::Human && std::io::stdout().is_terminal();
    let explain = args.explain || to_a_person;
    let file = verify::read(input.bytes()).map_err(unreadable)?;
    let objects = Objects::of_image(path);
    let report = with_bar(|bar| {
        let request = Request {
            explain,
            definitions: &|functions| objects.definitions(functions),
        };
        verify::verify(&file, request, &|done| {
            bar.set_position((done * 100.0) as u64);
        })
    });
    let report = report.map_err(unreadable)?;

    // First what may fail: a verdict that was printed is one that is complete.
    if let Some(to) = &args.unreliable_text {
        let table = assembly::source(&report, &file).map_err(unreadable)?;
        write_table(path, to, &table)?;
    }
    let name = path.display().to_string();
    show(&match args.format {
        Format::Human => {
            let most = if args.explain { usize::MAX } else { UNASKED };
            exhibits(&report, &name, most) + &human::render(&report, &name)
        }
        Format::Json => format!("{}\n", json::render(&report, &file, &name)),
    })?;
    Ok(report.verdict.holds())
}

/// The first exhibits, and how to see the others. The summary comes behind them, because that is
/// where one looks first.
fn exhibits(report: &verify::Report, name: &str, most: usize) -> String {
    let read = |source: &str| fs::read_to_string(source).ok();
    let shown = report.exhibits.iter().take(most);
    let mut text: String = shown
        .map(|exhibit| render(exhibit, name, &read, true) + "\n")
        .collect();
    let left = report.exhibits.len().saturating_sub(most);
    if left > 0 {
        text += &format!("{left} more: objtool-rs verify --explain {name}\n\n");
    }
    text
}

/// Writes the table as a whole or not at all.
fn write_table(input: &Path, to: &Path, table: &str) -> Result<(), file::Error> {
    let to = &table_file(to)?;
    let is_input = match (input.canonicalize(), to.canonicalize()) {
        (Ok(input), Ok(to)) => input == to,
        _ => false,
    };
    if is_input {
        return Err(file::Error::Input(
            "--unreliable-text names the input itself, which the table would replace; name \
             another file"
                .into(),
        ));
    }
    file::write_whole(to, "the table", table.as_bytes())
}

/// The file that the table goes to. It takes the place of what is there, so that must be a file and
/// not a device, a pipe, or a way to an open file (`/dev/stdout`); behind a link it is the link's
/// target.
fn table_file(to: &Path) -> Result<PathBuf, file::Error> {
    let Ok(old) = fs::symlink_metadata(to) else {
        return Ok(to.to_owned());
    };
    if old.is_file() {
        return Ok(to.to_owned());
    }
    let folder = to.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new(".")).canonicalize();
    let is_systems = folder.is_ok_and(|f| f.starts_with("/dev") || f.starts_with("/proc"));
    let target = to.canonicalize().ok().filter(|target| target.is_file());
    match target {
        Some(target) if old.is_symlink() && !is_systems => Ok(target),
        _ => Err(file::Error::Write {
            what: "the table",
            path: to.to_owned(),
            error: std::io::Error::other("it is there, and is no regular file"),
        }),
    }
}

/// Prints the verdict. Nobody reading it to the end is no error; that it can't be written is one.
fn show(text: &str) -> Result<(), file::Error> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(file::Error::Input(format!(
            "can't write the verdict to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Does something with a bar that comes when it takes long, at a terminal; it stays hidden elsewhere.
fn with_bar<T>(work: impl FnOnce(&ProgressBar) -> T) -> T {
    let style = ProgressStyle::with_template("{bar:40} {pos:>3} % {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::hidden());
    bar.set_style(style);
    let (done, waiting) = mpsc::channel::<Infallible>();
    let result = thread::scope(|scope| {
        if std::io::stderr().is_terminal() {
            // A phase may take longer than a person waits, so that it is not its end which counts.
            let bar = &bar;
            scope.spawn(move || {
                if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                    bar.tick();
                }
            });
        }
        let result = work(&bar);
        drop(done);
        result
    });
    bar.finish_and_clear();
    result
}
