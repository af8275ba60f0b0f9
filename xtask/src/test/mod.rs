//! `./x test`: everything that must hold, a step after the other. A step that fails does not keep
//! the next ones from running; the last line counts both kinds.

mod kernel_crates;

use std::process::Command;
use std::time::Instant;

use anyhow::{bail, Result};

use crate::configs::Config;
use crate::kernel::{boot, build};
use crate::paths::{self, Tool};
use crate::{cmd, objtool, parity, progress, setup};

/// `./x test …`
#[derive(clap::Args)]
pub struct Args {
    /// The long suites too, an hour or so on two cores
    #[arg(long)]
    all: bool,
    /// Only the steps whose name contains this, and setup
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// One thing that must hold.
struct Step {
    name: &'static str,
    /// Whether only `--all` runs it.
    long: bool,
    what: What,
}

enum What {
    /// Returns what was shown, in a line.
    Check(fn() -> Result<String>),
    /// A task of `./x`, as one would type it.
    Task(&'static [&'static str]),
}

const fn check(name: &'static str, run: fn() -> Result<String>) -> Step {
    Step {
        name,
        long: false,
        what: What::Check(run),
    }
}

const fn short(name: &'static str, words: &'static [&'static str]) -> Step {
    Step {
        name,
        long: false,
        what: What::Task(words),
    }
}

const fn long(name: &'static str, words: &'static [&'static str]) -> Step {
    Step {
        name,
        long: true,
        what: What::Task(words),
    }
}

const SETUP: Step = check("setup", set_up);

const STEPS: &[Step] = &[
    check("formatting", formatting),
    check("lints", lints),
    check("tests and fixtures", tests),
    check("kernel crates: manifests", kernel_crates::manifests),
    check("kernel crates: Rust version", kernel_crates::rust_version),
    check("kernel crates: no panic", kernel_crates::no_panic),
    check("livepatch: every order", interleavings),
    check("parity with C objtool", parity_fp),
    short("verdict and objects", &["parity", "verify"]),
    short(
        "verdict on some mutants",
        &["mutants", "--image", "--count", "330"],
    ),
    check("boot and livepatch", boot_fp),
    long(
        "unwinder on booted kernels",
        &["kernel", "test", "unwind", "--walks", "500000"],
    ),
    long(
        "verdict on mutants",
        &["mutants", "--image", "--count", "6600"],
    ),
    short("mutants, a sample", &["mutants", "--count", "500"]),
    long("mutants", &["mutants", "--count", "5000"]),
    short(
        "walks against the truth, some",
        &["truth", "fp", "--functions", "2000", "--runs", "2"],
    ),
    long("walks against the truth", &["truth"]),
    long("parity of an ORC kernel", &["parity", "orc"]),
    short(
        "the unwinder and the livepatch core",
        &[
            "kernel",
            "test",
            "livepatch",
            "fp-livepatch",
            "--only",
            "kernel/",
        ],
    ),
    short(
        "some random patches under load",
        &[
            "kernel",
            "test",
            "livepatch",
            "fp-livepatch",
            "--only",
            "random",
        ],
    ),
    long("live patching", &["kernel", "test", "livepatch"]),
    long(
        "live patching, both cores, with lockdep",
        &[
            "kernel",
            "test",
            "livepatch",
            "fp-livepatch-debug",
            "--beside",
            "fp-debug",
        ],
    ),
    long(
        "a thousand random patches with KASAN",
        &[
            "kernel",
            "test",
            "livepatch",
            "fp-livepatch-kasan",
            "--only",
            "random",
            "--cycles",
            "1000",
        ],
    ),
    long(
        "ten thousand random patches",
        &[
            "kernel",
            "test",
            "livepatch",
            "fp-livepatch-debug",
            "--only",
            "random",
            "--cycles",
            "10000",
            "--boots",
            "2",
        ],
    ),
    long(
        "live patching with the C core",
        &["kernel", "test", "livepatch", "fp"],
    ),
    long("boot of an ORC kernel", &["kernel", "boot", "orc"]),
    long(
        "parity with defconfig",
        &["parity", "defconfig", "--objects"],
    ),
    long("parity with clang", &["parity", "clang", "--objects"]),
    long(
        "parity with clang and LTO",
        &["parity", "clang-lto", "--objects"],
    ),
    long(
        "parity with sanitizers",
        &["parity", "sanitizers", "--objects"],
    ),
    long("every flag", &["parity", "flags"]),
    long(
        "mutants of linked objects",
        &["mutants", "--actions", "--count", "8000"],
    ),
    long("Debian's vmlinux", &["debian", "vmlinux"]),
    long("verdicts on Debian's modules", &["debian", "modules"]),
    short(
        "some of Debian's modules",
        &["debian", "orc", "--sample", "50"],
    ),
    long("Debian's modules made anew", &["debian", "orc"]),
    long(
        "random damage",
        &["mutants", "--havoc", "--count", "1000000"],
    ),
    long(
        "random damage to linked objects",
        &["mutants", "--actions", "--havoc", "--count", "100000"],
    ),
    Step {
        name: "damaged stacks",
        long: true,
        what: What::Check(damaged_stacks),
    },
    long("speed and memory", &["bench", "objects"]),
    long("speed of the verdict", &["bench", "verify"]),
    long("speed of the unwinder", &["bench", "unwind"]),
    long("cost of live patching", &["bench", "livepatch"]),
    long("speed on a whole kernel", &["bench", "vmlinux"]),
    long("demonstration", &["demo"]),
];

/// Runs the command.
///
/// # Errors
/// A step failed; what and why is printed by then.
pub fn run(args: Args) -> Result<()> {
    let wanted = |step: &&Step| match &args.only {
        Some(text) => step.name.contains(text),
        None => args.all || !step.long,
    };
    let steps: Vec<&Step> = STEPS.iter().filter(wanted).collect();
    if steps.is_empty() {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        bail!("no step is called so; there are {}", names.join(", "));
    }
    let mut results = Vec::new();
    if take(&SETUP, &mut results) {
        for step in &steps {
            take(step, &mut results);
        }
    } else {
        println!("\nnothing else can run without it");
    }

    println!();
    for result in &results {
        let word = if result.passed { "ok" } else { "FAILED" };
        println!("{:<30} {word:<8} {:>12}", result.name, result.time);
    }
    let passed = results.iter().filter(|result| result.passed).count();
    let failed = results.len() - passed;
    println!("{passed} passed, {failed} failed");
    if failed > 0 {
        bail!("{} failed", progress::counted(failed, "step"));
    }
    Ok(())
}

struct Outcome {
    name: &'static str,
    passed: bool,
    time: String,
}

/// Takes a step, says how it went, and notes it.
fn take(step: &Step, results: &mut Vec<Outcome>) -> bool {
    progress::heading(step.name);
    let start = Instant::now();
    let result = match step.what {
        What::Check(run) => run(),
        What::Task(words) => crate::run_task(words).map(|()| format!("./x {}", words.join(" "))),
    };
    let time = progress::since(start);
    match &result {
        Ok(shown) => println!("ok: {shown} ({time})"),
        Err(error) => println!("FAILED ({time}): {error:#}"),
    }
    results.push(Outcome {
        name: step.name,
        passed: result.is_ok(),
        time,
    });
    result.is_ok()
}

/// A cargo command in the checkout.
fn cargo(args: &[&str]) -> Result<()> {
    cmd::run(
        Command::new(objtool::cargo())
            .args(args)
            .current_dir(paths::project()?),
    )
}

fn set_up() -> Result<String> {
    setup::run()?;
    Ok("all that the tests need is there".to_owned())
}

fn formatting() -> Result<String> {
    cargo(&["fmt", "--all", "--check"])?;
    Ok("every file is as rustfmt would have it".to_owned())
}

fn lints() -> Result<String> {
    cargo(&[
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ])?;
    // For release, so that the emulator is built once for this and for its runs.
    cargo(&[
        "clippy",
        "--quiet",
        "--release",
        "--package",
        "truth",
        "--features",
        "emulator",
        "--",
        "--deny",
        "warnings",
    ])?;
    Ok("no warning".to_owned())
}

fn tests() -> Result<String> {
    cargo(&["test", "--quiet", "--workspace"])?;
    Ok("all pass".to_owned())
}

/// Without optimization the same tests only go through some of them.
fn interleavings() -> Result<String> {
    cargo(&[
        "test",
        "--quiet",
        "--release",
        "--package",
        "livepatch",
        "--test",
        "loom",
        "--test",
        "properties",
    ])?;
    Ok("consistent in every order and in random lives; each barrier that is taken away is found out".to_owned())
}

fn damaged_stacks() -> Result<String> {
    cargo(&[
        "test",
        "--quiet",
        "--release",
        "--package",
        "unwind",
        "--test",
        "corrupted",
        "--",
        "--ignored",
        // The figures, by kind.
        "--nocapture",
    ])?;
    Ok("a million walks over damaged stacks".to_owned())
}

fn parity_fp() -> Result<String> {
    parity::compare(Config::named("x86_64-fp")?, None, false)
}

fn boot_fp() -> Result<String> {
    let report = boot::run(&build::run(Config::named("x86_64-fp")?, Tool::Rs)?)?;
    println!("{report}");
    Ok("the kernel that objtool-rs processed boots, and the live patch takes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn every_step_that_is_a_task_is_one() {
        for step in STEPS {
            if let What::Task(words) = step.what {
                let line = std::iter::once(&"./x").chain(words);
                assert!(crate::Cli::try_parse_from(line).is_ok(), "{words:?}");
            }
        }
    }
}
