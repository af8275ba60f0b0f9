//! The two objtools: this checkout's, which is built on demand, and the C one that a kernel build
//! leaves behind.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};

use crate::paths::{self, Kernel, Tool};

/// The cargo that runs xtask, so that what it builds comes from the same toolchain.
pub fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Builds objtool-rs for release and returns the binary's absolute path.
///
/// # Errors
/// It does not build.
pub fn ours() -> Result<PathBuf> {
    let mut command = Command::new(cargo());
    command.current_dir(paths::project()?);
    command.args(["build", "--quiet", "--release", "--package", "objtool-rs"]);
    let artifacts = artifacts(&mut command, &[]).context("objtool-rs does not build")?;
    artifacts
        .into_iter()
        .find(|artifact| artifact.executable && artifact.target == "objtool-rs")
        .map(|artifact| artifact.path)
        .context("cargo built objtool-rs, but named no executable")
}

/// The C objtool that the C build of a configuration made.
///
/// # Errors
/// That build is not there.
pub fn c(kernel: &Kernel, config: &str) -> Result<PathBuf> {
    let path = kernel.build(config, Tool::C).join("tools/objtool/objtool");
    if !path.is_file() {
        bail!(
            "no C objtool at {}; run ./x kernel build {config} --objtool c",
            path.display()
        );
    }
    Ok(path)
}

/// A file that cargo made.
pub struct Artifact {
    /// The target's name: a library's or a binary's.
    pub target: String,
    /// Where the file is.
    pub path: PathBuf,
    /// Whether it is a program; the other files are libraries and their metadata.
    pub executable: bool,
}

/// Runs a cargo command that builds something and returns the files it made or found up to date.
/// The compiler's messages go to standard error as ever; `compiler` is for the compiler itself,
/// where cargo's command takes that.
///
/// # Errors
/// Cargo fails, or speaks something other than its JSON messages.
pub fn artifacts(command: &mut Command, compiler: &[&str]) -> Result<Vec<Artifact>> {
    command.arg("--message-format=json-render-diagnostics");
    if !compiler.is_empty() {
        command.arg("--").args(compiler);
    }
    let line = crate::cmd::line(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({})", output.status);
    }
    let mut artifacts = Vec::new();
    for message in serde_json::Deserializer::from_slice(&output.stdout).into_iter() {
        let message: serde_json::Value =
            message.with_context(|| format!("cannot read the messages of `{line}`"))?;
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        let target = message["target"]["name"].as_str().unwrap_or_default();
        let executable = message["executable"].as_str();
        for file in message["filenames"].as_array().into_iter().flatten() {
            let path = file.as_str().unwrap_or_default();
            artifacts.push(Artifact {
                target: target.to_owned(),
                path: path.into(),
                executable: executable == Some(path),
            });
        }
    }
    Ok(artifacts)
}
