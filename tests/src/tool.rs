//! Finding a tool and running it on one object, with everything it did written down.
//!
//! Knows nothing of fixtures; says what happened, not whether it was right.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

/// Longest run of a tool on one fixture before it counts as hung.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Mode of the object before the tool runs; unusual, so that losing it shows.
pub const OBJECT_MODE: u32 = 0o640;

/// A program with objtool's command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The program.
    pub path: PathBuf,
}

/// Everything that one run did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Exit status; `None` when a signal ended the tool.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The object before the run.
    pub before: Vec<u8>,
    /// The object after the run.
    pub after: Vec<u8>,
    /// The object's mode bits after the run.
    pub mode: u32,
    /// Whether the object is the same file as before: inode and modification time.
    pub untouched: bool,
    /// Names of files that came to be beside the object, sorted.
    pub created: Vec<String>,
}

impl Tool {
    /// The tool under test: `$OBJTOOL_TOOL`, else this workspace's `objtool-rs`, built once.
    ///
    /// # Errors
    /// The build fails, or the variable names no file.
    pub fn under_test() -> Result<Tool> {
        static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        if let Some(path) = std::env::var_os("OBJTOOL_TOOL") {
            return Tool::at(PathBuf::from(path), "OBJTOOL_TOOL");
        }
        let built = BUILT.get_or_init(|| {
            escargot::CargoBuild::new()
                .manifest_path(crate::root().join("Cargo.toml"))
                .package("objtool-rs")
                .bin("objtool-rs")
                .current_release()
                .run()
                .map(|run| run.path().to_path_buf())
                .map_err(|e| format!("objtool-rs can't be built: {e}"))
        });
        match built {
            Ok(path) => Ok(Tool { path: path.clone() }),
            Err(message) => bail!("{message}"),
        }
    }

    /// The program at `path`, as `origin` named it.
    pub(crate) fn at(path: PathBuf, origin: &str) -> Result<Tool> {
        let path = fs::canonicalize(&path)
            .with_context(|| format!("{origin} names {}, which is not there", path.display()))?;
        Ok(Tool { path })
    }

    /// A command for this tool in folder `dir`, without the caller's objtool variables.
    pub fn command(&self, dir: &Path) -> Command {
        let mut command = Command::new(&self.path);
        clean(&mut command).current_dir(dir);
        command
    }

    /// Runs the tool on a fresh copy of `object`, alone in a folder of its own.
    ///
    /// # Errors
    /// The tool can't be started or takes longer than a minute.
    pub fn run(&self, object: &Path, args: &[String], env: &[(String, String)]) -> Result<Outcome> {
        let dir = tempfile::tempdir()?;
        let name = object.file_name().context("an object has a name")?;
        let file = dir.path().join(name);
        let before = fs::read(object).with_context(|| format!("{}", object.display()))?;
        fs::write(&file, &before)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(OBJECT_MODE))?;
        let old = fs::metadata(&file)?;

        let mut command = self.command(dir.path());
        command.args(args).arg(name).envs(env.iter().cloned());
        let finished = finish(&mut command)?;

        let new = fs::metadata(&file)
            .with_context(|| format!("{} took its input away", self.path.display()))?;
        let mut created = Vec::new();
        for entry in fs::read_dir(dir.path())? {
            let entry = entry?.file_name();
            if entry != name {
                created.push(entry.to_string_lossy().into_owned());
            }
        }
        created.sort();
        Ok(Outcome {
            status: finished.status,
            stdout: finished.stdout,
            stderr: finished.stderr,
            before,
            after: fs::read(&file)?,
            mode: new.mode() & 0o7777,
            untouched: (old.ino(), old.mtime(), old.mtime_nsec())
                == (new.ino(), new.mtime(), new.mtime_nsec()),
            created,
        })
    }
}

/// Takes the variables that objtool reads, and those that say whether it colours, out of a command's
/// environment.
pub fn clean(command: &mut Command) -> &mut Command {
    for name in [
        "OBJTOOL_ARGS",
        "OBJTOOL_VERBOSE",
        "CROSS_COMPILE",
        "NO_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
    ] {
        command.env_remove(name);
    }
    command
}

/// What a finished process said.
#[derive(Debug)]
pub struct Finished {
    /// Exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `command` to its end, at most a minute.
///
/// # Errors
/// It can't be started, or it was stopped at the time limit.
pub fn finish(command: &mut Command) -> Result<Finished> {
    // Files instead of pipes: a tool that writes much can't block while we only wait.
    let mut stdout = tempfile::tempfile()?;
    let mut stderr = tempfile::tempfile()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .with_context(|| format!("{:?} can't be started", command.get_program()))?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > TIME_LIMIT {
            child.kill()?;
            child.wait()?;
            bail!(
                "{command:?} was still running after {} s",
                TIME_LIMIT.as_secs()
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    Ok(Finished {
        status: status.code(),
        stdout: text(&mut stdout)?,
        stderr: text(&mut stderr)?,
    })
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
