//! The project's tasks, started through `./x`: the commands and their arguments.
//!
//! Each command has a file of its own; `paths`, `cmd` and `objtool` are what they share.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task runner speaks to the person or the CI job that started it"
)]

mod bench;
mod cmd;
mod configs;
mod debian;
mod demo;
mod judge;
mod kernel;
mod lock;
mod mutants;
mod objtool;
mod parity;
mod paths;
mod progress;
mod setup;
mod test;
mod truth;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "./x",
    bin_name = "./x",
    about = "The tasks of objtool-rs",
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing: Debian's packages, bindgen, the kernel's source
    Setup,
    /// Build and boot kernels
    Kernel(kernel::Args),
    /// Show what it does: a finding, a whole kernel validated and built, its boot and a live patch
    Demo,
    /// Check everything: formatting, lints, tests, parity with C objtool, a boot
    Test(test::Args),
    /// Compare objtool-rs with C objtool: every object of a kernel build, then the kernel itself
    Parity(parity::Args),
    /// Break objects of a kernel build: objtool-rs must warn wherever C objtool does, and survive
    Mutants(Box<mutants::Args>),
    /// Hold walks over stacks against what really happened: kernel functions run in an emulator
    Truth(truth::Args),
    /// Measure objtool-rs against C objtool
    Bench(bench::Args),
    /// Try objtool-rs on kernels that Debian built; fetches them
    Debian(debian::Args),
}

impl Task {
    /// # Errors
    /// The task fails: it could not be done, or what it checks does not hold.
    fn run(self) -> anyhow::Result<()> {
        match self {
            Task::Setup => setup::run(),
            Task::Kernel(args) => kernel::run(args),
            Task::Demo => demo::run(),
            Task::Test(args) => test::run(args),
            Task::Parity(args) => parity::run(args),
            Task::Mutants(args) => mutants::run(&args),
            Task::Truth(args) => truth::run(&args),
            Task::Bench(args) => bench::run(args),
            Task::Debian(args) => debian::run(args),
        }
    }
}

/// Runs a task given as one would type it after `./x`.
///
/// # Errors
/// There is no such task, or it fails.
fn run_task(words: &[&str]) -> anyhow::Result<()> {
    Cli::try_parse_from(std::iter::once(&"./x").chain(words))?
        .command
        .run()
}

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
