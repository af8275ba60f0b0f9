//! `objtool-rs verify`: the verdict on images and modules.
//!
//! Reads the command line and the files, shows progress, prints and writes the result. The verdict
//! itself is the library's.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use objtool_rs::verify::{self, assembly, human, json};

use crate::file::{self, Input};
use crate::print;

/// Says whether the stack trace of a linked kernel is reliable, where not, and why.
///
/// The exit status is 0 when HAVE_RELIABLE_STACKTRACE holds for every file, 2 when it does not for
/// one of them, and 1 when a file can't be judged.
#[derive(Debug, Parser)]
#[command(name = "objtool-rs verify", version)]
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

/// How long a person waits without a sign.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs the command.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    if args.unreliable_text.is_some() && args.files.len() > 1 {
        print::err("error: objtool: --unreliable-text takes one file at a time\n");
        return ExitCode::FAILURE;
    }
    let mut all_hold = true;
    for path in &args.files {
        match judge(path, &args) {
            Ok(holds) => all_hold &= holds,
            Err(error) => {
                print::error(path, &error);
                return ExitCode::FAILURE;
            }
        }
    }
    if all_hold {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DOES_NOT_HOLD)
    }
}

fn judge(path: &std::path::Path, args: &Args) -> Result<bool, file::Error> {
    let unreadable = |error: objtool_rs::read::ReadError| file::Error::Input(error.to_string());
    let input = Input::open(path, false)?;
    let file = verify::read(input.bytes()).map_err(unreadable)?;
    let bar = progress_bar();
    let report = verify::verify(&file, &|done| {
        if bar.elapsed() >= PATIENCE {
            bar.set_position((done * 100.0) as u64);
        }
    })
    .map_err(unreadable)?;
    bar.finish_and_clear();

    let name = path.display().to_string();
    match args.format {
        Format::Human => print::out(&human::render(&report, &file, &name)),
        Format::Json => print::out(&format!("{}\n", json::render(&report, &file, &name))),
    }
    if let Some(to) = &args.unreliable_text {
        let source = assembly::source(&report, &file);
        file::write_whole(to, "the table", source.as_bytes())?;
    }
    Ok(report.verdict.holds())
}

/// A bar at a terminal, nothing elsewhere.
fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos:>3} % {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(100).with_style(style)
}
