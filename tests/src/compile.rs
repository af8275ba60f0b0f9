//! Assembling and compiling a fixture.
//!
//! Two objects come out: the one the tool is given, and one with a line table, whose code is the
//! same byte for byte and which serves only to find source lines.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::fixture::Fixture;

/// The two objects of a fixture.
pub struct Built {
    /// The object for the tool, named after the fixture.
    pub object: PathBuf,
    /// The object with a line table.
    pub with_lines: PathBuf,
}

/// What the compiler is told for each architecture folder below `fixtures/`.
const ARCHITECTURES: [(&str, &[&str]); 1] = [("x86_64", &["-m64"])];

/// As the kernel compiles C: no code that needs a run-time library.
pub(crate) const C_FLAGS: [&str; 12] = [
    "-std=gnu11",
    "-O2",
    "-ffreestanding",
    "-fno-asynchronous-unwind-tables",
    "-fno-stack-protector",
    "-fno-pic",
    "-fno-pie",
    "-fcf-protection=none",
    "-mno-red-zone",
    "-mgeneral-regs-only",
    "-mcmodel=kernel",
    "-Wall",
];

/// As the kernel keeps frame pointers.
const FRAME_FLAGS: [&str; 2] = ["-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"];

/// The architecture that a source is for, and what the compiler is told for it.
///
/// # Errors
/// A source outside an architecture folder.
pub(crate) fn architecture(source: &Path) -> Result<(&'static str, &'static [&'static str])> {
    ARCHITECTURES
        .into_iter()
        .find(|(name, _)| source.iter().any(|part| part == *name))
        .with_context(|| {
            format!(
                "{}: no folder on the way names an architecture",
                source.display()
            )
        })
}

/// Builds both objects of `fixture` below `dir`; the tool's object lies in a folder of its own.
///
/// # Errors
/// A compiler that is not there, its complaints, and a fixture outside an architecture folder.
pub fn build(fixture: &Fixture, dir: &Path) -> Result<Built> {
    let stem = fixture
        .path
        .file_stem()
        .context("a fixture has a name")?
        .to_string_lossy();
    let object = dir.join("object").join(format!("{stem}.o"));
    let with_lines = dir.join(format!("{stem}.lines.o"));
    std::fs::create_dir_all(dir.join("object"))?;
    compile(fixture, &["-g"], &with_lines)?;
    let debug: &[&str] = if fixture.debug { &["-g"] } else { &[] };
    compile(fixture, debug, &object)?;
    Ok(Built { object, with_lines })
}

fn compile(fixture: &Fixture, more: &[&str], out: &Path) -> Result<()> {
    let source = &fixture.path;
    let (_, flags) = architecture(source)?;
    let compiler = std::env::var("CC").unwrap_or_else(|_| "gcc".into());
    let mut command = Command::new(&compiler);
    command
        .args(flags)
        .arg("-I")
        .arg(crate::root().join("fixtures/include"));
    if source.extension().is_some_and(|e| e == "c") {
        command.args(C_FLAGS).args(FRAME_FLAGS);
    }
    command
        .arg("-Wa,--fatal-warnings")
        .args(more)
        .args(&fixture.cc);
    command.arg("-c").arg(source).arg("-o").arg(out);
    let output = command.output().with_context(|| {
        format!(
            "{}: can't run the compiler `{compiler}`; install gcc or set CC",
            source.display()
        )
    })?;
    if !output.status.success() || !output.stderr.is_empty() {
        bail!(
            "{}: the compiler complains:\n{}",
            source.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
