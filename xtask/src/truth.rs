//! `./x truth`: the functions of a kernel run in an emulator, and every walk over their stacks is held
//! against the calls that were really made. How, and what that cannot show, stands in the crate
//! `truth`; here it is built and given kernels.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::configs::Config;
use crate::kernel::build;
use crate::paths::{self, Tool};
use crate::{cmd, objtool, progress, setup};

/// How many functions must be stopped in for the figures to mean anything.
const LEAST: usize = 2000;

/// `./x truth …`
#[derive(clap::Args)]
pub struct Args {
    /// The configurations, files' names in kernel/configs
    #[arg(value_name = "CONFIG", default_values = ["x86_64-fp", "x86_64-orc"])]
    configs: Vec<String>,
    /// The objtool that the kernels are built with
    #[arg(long, value_enum, default_value_t = Tool::Rs)]
    objtool: Tool,
    /// About how many functions, spread over the text; all, if not given
    #[arg(long, value_name = "COUNT")]
    functions: Option<usize>,
    /// Only the function of this name
    #[arg(long, value_name = "NAME", conflicts_with = "functions")]
    only: Option<String>,
    /// How often each function runs
    #[arg(long, value_name = "COUNT")]
    runs: Option<u64>,
    /// Only the run of this number, from 0, as a failure names it
    #[arg(long, value_name = "NUMBER", conflicts_with = "runs")]
    run: Option<u64>,
}

/// Runs the command; its figures are printed by the program itself.
///
/// # Errors
/// A walk is wrong, or refused without a reason; or a kernel or the program does not build.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    let configs: Result<Vec<_>> = args
        .configs
        .iter()
        .map(|name| Config::named(name))
        .collect();
    let mut files = Vec::new();
    for config in configs? {
        let built = build::run(config, args.objtool)?;
        println!("{}", built.summary());
        files.push(built.dir.join("vmlinux"));
    }
    cmd::run(Command::new(program()?).args(options(args)).args(files))
        .context("walks do not agree with what really happened; what and where is printed above")
}

/// The program's options.
fn options(args: &Args) -> Vec<String> {
    let mut options = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        options.extend(value.map(|value| format!("--{name}={value}")));
    };
    add("functions", args.functions.map(|count| count.to_string()));
    add("only", args.only.clone());
    add("runs", args.runs.map(|count| count.to_string()));
    add("run", args.run.map(|number| number.to_string()));
    let all = args.only.is_none() && args.functions.is_none_or(|count| count >= LEAST);
    add("least", all.then(|| LEAST.to_string()));
    options
}

/// Builds the program, emulator and all.
fn program() -> Result<PathBuf> {
    let spinner = progress::spinner("building the emulator");
    let mut command = Command::new(objtool::cargo());
    command.current_dir(paths::project()?).args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "truth",
        "--features",
        "emulator",
    ]);
    let artifacts = objtool::artifacts(&mut command, &[]);
    spinner.finish_and_clear();
    artifacts
        .context("the program with the emulator does not build")?
        .into_iter()
        .find(|artifact| artifact.executable && artifact.target == "truth")
        .map(|artifact| artifact.path)
        .context("cargo built truth, but named no executable")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn of(words: &[&str]) -> Args {
        Line::parse_from(std::iter::once(&"truth").chain(words)).args
    }

    #[test]
    fn both_unwinders_are_asked_and_enough_is_asked_of_them() {
        let args = of(&[]);
        assert_eq!(args.configs, ["x86_64-fp", "x86_64-orc"]);
        for name in &args.configs {
            assert!(Config::named(name).is_ok(), "{name}");
        }
        assert_eq!(options(&args), ["--least=2000"]);
        let some = of(&["orc", "--functions", "2500", "--runs=1"]);
        assert_eq!(some.configs, ["orc"]);
        let expected = ["--functions=2500", "--runs=1", "--least=2000"];
        assert_eq!(options(&some), expected);
        let one = of(&["--only=schedule", "--run=4"]);
        assert_eq!(options(&one), ["--only=schedule", "--run=4"]);
    }
}
