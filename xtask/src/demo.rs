//! `./x demo`: objtool-rs at its main job, shown and explained: a broken function is found, a whole
//! kernel is validated while it is built, that kernel boots and takes a live patch, the verdict on it,
//! and a kernel that unwinds and patches itself in Rust ends the show.

mod live;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};

use crate::configs::Config;
use crate::kernel::{boot, build};
use crate::paths::{Kernel, Tool};
use crate::{cmd, objtool, progress, setup};

/// A function that ends while %rbp is still on the stack.
const BROKEN: &str = "    .text
    .globl forgets_rbp
    .type forgets_rbp, @function
forgets_rbp:
    push %rbp
    mov %rsp, %rbp
    mov $1, %eax
    ret
    .size forgets_rbp, . - forgets_rbp
";

/// Runs the demonstration.
///
/// # Errors
/// A part of it does not show what it says.
pub fn run() -> Result<()> {
    println!(
        "objtool-rs checks the object files of a Linux kernel: that every path through every\n\
         function keeps the rules which stack traces, and with them live patches, rely on."
    );

    progress::heading("1. What it takes");
    setup::run()?;
    let objtool = objtool::ours()?;
    println!("Debian's packages, the kernel's source and objtool-rs are there.");

    progress::heading("2. A broken function");
    println!("This function pushes %rbp and returns without popping it:\n\n{BROKEN}");
    println!("objtool-rs says:\n\n    {}", broken(&objtool)?);

    progress::heading("3. A whole kernel");
    let config = Config::named("x86_64-fp")?;
    println!(
        "Debian's {} source, unmodified, is built with `make objtool=<objtool-rs>`: where the\n\
         build would run its own objtool, written in C, ours runs instead.",
        Kernel::installed()?.version()
    );
    let built = build::run(config, Tool::Rs)?;
    let (validated, findings) = (built.validated()?, built.findings()?);
    if validated == 0 {
        bail!(
            "the build in {} has no trace of objtool-rs",
            built.dir.display()
        );
    }
    println!("{}", built.summary());
    println!(
        "objtool-rs validated {} (C, assembly and Rust): {}.",
        progress::counted(validated, "object"),
        progress::counted(findings.len(), "finding")
    );
    for finding in &findings {
        println!("    {finding}");
    }

    progress::heading("4. That kernel, running");
    println!(
        "It boots under QEMU, loads a Rust module, and then a live patch. A live patch may only\n\
         switch a task whose stack is known to be free of the old function: the traces that show\n\
         it are what objtool's checks are for."
    );
    println!("{}", boot::run(&built)?);

    progress::heading("5. The verdict on it");
    println!(
        "What the objects promise is judged again where nobody else looks: on the linked vmlinux.\n\
         The functions named below are the ones whose stack traces must not be trusted.\n"
    );
    println!("{}", verdict(&objtool, &built.dir.join("vmlinux"))?);

    progress::heading("6. Patched while it works");
    println!(
        "The last kernel has this project's own unwinder and livepatch core, in Rust, in the place of\n\
         the C ones; building it takes some minutes the first time. A task counts a herd, again and\n\
         again, in herd_count(), which calls herd_next() for each animal. A live patch replaces both."
    );
    let live = build::run(Config::named("x86_64-fp-livepatch")?, Tool::Rs)?;
    println!("{}\n", live.summary());
    live::run(&live)?;
    println!(
        "\nA herd is never half of sheep and half of goats: the task had the old functions until its\n\
         stack was clear of both, and the kernel could say what it waited for, and where."
    );

    progress::heading("Next");
    println!(
        "objtool-rs verify --explain {}\n                shows why, with the code and the stack\n\
         ./x parity fp   compares every object, and the kernel, with what C objtool makes of them\n\
         ./x kernel test livepatch fp-livepatch\n                shows what else the livepatch core comes through\n\
         ./x test        runs everything that must hold",
        built.dir.join("vmlinux").display()
    );
    Ok(())
}

/// The verdict on the kernel; a demonstration whose kernel does not hold shows nothing.
fn verdict(objtool: &Path, vmlinux: &Path) -> Result<String> {
    let output = Command::new(objtool)
        .arg("verify")
        .arg(vmlinux)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", objtool.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!(
            "the verdict on {} is not that it holds: {}{said}",
            vmlinux.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(said.trim_end().to_owned())
}

/// Assembles the broken function and returns what objtool-rs says of it.
fn broken(objtool: &Path) -> Result<String> {
    let dir = tempfile::Builder::new()
        .prefix("objtool-rs-demo-")
        .tempdir()?;
    fs::write(dir.path().join("broken.S"), BROKEN)?;
    let mut assembler = Command::new("as");
    cmd::output(
        assembler
            .args(["-o", "broken.o", "broken.S"])
            .current_dir(dir.path()),
    )?;
    let output = Command::new(objtool)
        .args(["--stackval", "broken.o"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", objtool.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match said.lines().find(|line| line.contains("forgets_rbp")) {
        Some(line) => Ok(line.to_owned()),
        None => bail!(
            "objtool-rs does not find the broken function; it says: {}",
            said.trim()
        ),
    }
}
