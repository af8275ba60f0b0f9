//! Running other programs: every failure names the command line, what it printed last and, where
//! there is one, the log that holds the rest.
//!
//! What to run, and with which environment, is the caller's affair.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

use anyhow::{bail, Context, Result};

/// How many lines of output an error message repeats.
const TAIL: usize = 25;

/// The command as one would type it, for messages.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| {
            let word = word.to_string_lossy();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+/.,:@%^~".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                word.into_owned()
            } else {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs a command that talks to the user's terminal itself.
///
/// # Errors
/// The program cannot be started, or it ends with a status other than 0.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    check(command, status, "")
}

/// Runs a command and returns what it printed.
///
/// # Errors
/// The program cannot be started, or it ends with a status other than 0; the message then carries
/// the end of what it wrote to standard error, or to standard output where that is empty.
pub fn output(command: &mut Command) -> Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| cannot_start(command))?;
    let said = if output.stderr.is_empty() {
        &output.stdout
    } else {
        &output.stderr
    };
    check(command, output.status, &String::from_utf8_lossy(said))?;
    Ok(output)
}

/// Runs a command and returns its standard output as text, without the white space around it.
///
/// # Errors
/// As [`output`], and when the output is not UTF-8.
pub fn stdout(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    let text = String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` printed something that is not UTF-8", line(command)))?;
    Ok(text.trim().to_owned())
}

/// Runs a long command with standard output and standard error, in the order of their writing,
/// appended to `log`; `on_line` sees each line as it comes.
///
/// # Errors
/// The program or the log cannot be opened, or the program ends with a status other than 0; the
/// message then carries the end of the log and the log's path.
pub fn logged(command: &mut Command, log: &Path, mut on_line: impl FnMut(&str)) -> Result<()> {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot open the log {}", log.display()))?;
    writeln!(file, "$ {}", line(command))?;

    // One pipe for both streams keeps their order; a shell is the portable way to share it.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"exec "$0" "$@" 2>&1"#])
        .arg(command.get_program());
    shell.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        shell.current_dir(dir);
    }
    shell.stdin(Stdio::null()).stdout(Stdio::piped());

    let mut child = shell.spawn().with_context(|| cannot_start(command))?;
    let pipe = child
        .stdout
        .take()
        .context("the child's standard output was not piped")?;
    let mut reader = BufReader::new(pipe);
    let mut raw = Vec::new();
    let mut tail = std::collections::VecDeque::with_capacity(TAIL);
    loop {
        raw.clear();
        if reader.read_until(b'\n', &mut raw)? == 0 {
            break;
        }
        file.write_all(&raw)?;
        let text = String::from_utf8_lossy(&raw);
        let text = text.trim_end();
        on_line(text);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(text.to_owned());
    }
    let status = child.wait()?;
    let tail = Vec::from(tail).join("\n");
    check(command, status, &tail).with_context(|| format!("the whole log is in {}", log.display()))
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}`", line(command))
}

fn check(command: &Command, status: ExitStatus, said: &str) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let lines: Vec<&str> = said.trim_end().lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n    ");
    let tail = if tail.is_empty() {
        String::new()
    } else {
        format!(":\n    {tail}")
    };
    bail!("`{}` failed ({status}){tail}", line(command))
}

/// A program that is a shell script, for tests. Another process writes it: a file that this one has open
/// for writing, if only for a moment, can't be run as long as a child that another thread starts at that
/// moment holds it open too.
#[cfg(test)]
pub fn script(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    let mut write = Command::new("sh");
    write.args([
        "-c",
        r#"printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod 755 "$1""#,
        "sh",
    ]);
    run(write.arg(&path).arg(text)).unwrap();
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failure_names_the_command_and_repeats_what_it_said() {
        let error = output(&mut sh("echo no such thing >&2; exit 3"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`sh -c 'echo no such thing >&2; exit 3'` failed"),
            "{error}"
        );
        assert!(error.ends_with(":\n    no such thing"), "{error}");
    }

    #[test]
    fn a_log_holds_both_streams_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut seen = Vec::new();
        let mut command = sh("echo one; echo two >&2; echo three");
        logged(&mut command, &log, |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(seen, ["one", "two", "three"]);
        assert!(std::fs::read_to_string(&log)
            .unwrap()
            .ends_with("\none\ntwo\nthree\n"));

        let error = logged(&mut sh("echo last words; exit 1"), &log, |_| ()).unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains("last words") && error.contains("log"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program-here"))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "cannot start `no-such-program-here`");
    }
}
