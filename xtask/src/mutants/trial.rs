//! Trying a mutant: both objtools run on copies of it, and what each says is set against what it
//! says of the whole object.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{pidfd_open, Pid, PidfdFlags};

use super::lines::Line;
use super::plan::Object;

/// How long a tool may take over an object before it counts as hung. Whole vmlinux.o files take
/// less.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// How a tool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// With a panic.
    Panic,
    /// Not within the time limit.
    Hang,
}

impl End {
    /// Whether the tool broke, rather than said what is wrong.
    pub fn is_crash(self) -> bool {
        !matches!(self, Self::Status(_))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit {status}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Panic => f.write_str("panic"),
            Self::Hang => write!(f, "no end in {} s", TIME_LIMIT.as_secs()),
        }
    }
}

/// What a tool did with an object.
#[derive(Clone, Debug)]
pub struct Run {
    /// How it ended.
    pub end: End,
    /// What it wrote to standard error.
    pub stderr: String,
    /// The same as places and messages.
    pub lines: BTreeSet<Line>,
    /// The object as the tool left it, as a number that tells it from others.
    pub output: u64,
}

impl Run {
    /// The lines that are not in another run's output.
    pub fn new_lines<'a>(&'a self, baseline: &'a Self) -> impl Iterator<Item = &'a Line> {
        self.lines.difference(&baseline.lines)
    }
}

/// A folder of its own for the copies that the tools rewrite.
pub struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// Makes the folder, in memory where the system has such a place.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("objtool-rs-mutants-")
            .tempdir_in(memory())
            .context("cannot make a temporary folder")?;
        Ok(Self { dir })
    }

    /// Runs a tool on a copy of an object, under the name and with the arguments that the kernel
    /// build gave it.
    ///
    /// # Errors
    /// The tool cannot be started, or the copy cannot be written.
    pub fn run(&self, tool: &Path, object: &Object, data: &[u8]) -> Result<Run> {
        let file = self.dir.path().join(&object.name);
        let folder = file.parent().context("an object needs a folder")?;
        fs::create_dir_all(folder)?;
        fs::write(&file, data).with_context(|| format!("cannot write {}", file.display()))?;

        let stderr = self.dir.path().join("stderr");
        let mut child = Command::new(tool)
            .args(&object.args)
            .arg(&object.name)
            .current_dir(self.dir.path())
            .env_remove("OBJTOOL_ARGS")
            .env_remove("OBJTOOL_VERBOSE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&stderr)?)
            .spawn()
            .with_context(|| format!("cannot start {}", tool.display()))?;

        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        let limit = Timespec::try_from(TIME_LIMIT)?;
        let mut events = [PollFd::new(&handle, PollFlags::IN)];
        let hung = loop {
            match poll(&mut events, Some(&limit)) {
                Ok(ended) => break ended == 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for a tool"),
            }
        };
        if hung {
            child.kill()?;
        }
        let status = child.wait()?;
        let mut hasher = DefaultHasher::new();
        fs::read(&file)
            .with_context(|| format!("cannot read {}", file.display()))?
            .hash(&mut hasher);
        fs::remove_file(&file).with_context(|| format!("{} is gone", file.display()))?;

        let said = String::from_utf8_lossy(&fs::read(&stderr)?).into_owned();
        let end = match (hung, status.code(), status.signal()) {
            (true, ..) => End::Hang,
            (_, Some(101), _) if said.contains("panicked at") => End::Panic,
            (_, Some(code), _) => End::Status(code),
            (_, None, Some(signal)) => End::Signal(signal),
            (_, None, None) => bail!("{} ended in no known way", tool.display()),
        };
        Ok(Run {
            end,
            lines: Line::set(&said, &object.name),
            stderr: said,
            output: hasher.finish(),
        })
    }
}

/// A place for temporary files that costs no disk access, where there is one with room for an image of
/// each thread. A container's has 64 MiB.
pub fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    match rustix::fs::statvfs(&memory) {
        Ok(there) if there.f_bavail * there.f_frsize >= ROOM => memory,
        _ => std::env::temp_dir(),
    }
}

/// Bytes.
const ROOM: u64 = 1 << 30;

/// What the two tools made of a mutant.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// C objtool's new lines.
    pub c_new: Vec<Line>,
    /// objtool-rs's new lines.
    pub ours_new: Vec<Line>,
    /// How C objtool ended.
    pub c_end: End,
    /// How objtool-rs ended.
    pub ours_end: End,
    /// Whether both wrote the same lines, in whatever order.
    pub same_lines: bool,
    /// Whether both wrote the same bytes.
    pub same_stderr: bool,
    /// Whether both left the same object.
    pub same_output: bool,
}

impl Verdict {
    /// Sets the runs of both tools on a mutant against those on the whole object.
    pub fn new(c: &Run, ours: &Run, c_whole: &Run, ours_whole: &Run) -> Self {
        Self {
            c_new: c.new_lines(c_whole).cloned().collect(),
            ours_new: ours.new_lines(ours_whole).cloned().collect(),
            c_end: c.end,
            ours_end: ours.end,
            same_lines: c.lines == ours.lines,
            same_stderr: c.stderr == ours.stderr,
            same_output: c.output == ours.output,
        }
    }

    /// Whether C objtool said something new. A crash says nothing.
    pub fn c_warned(&self) -> bool {
        !self.c_end.is_crash() && !self.c_new.is_empty()
    }

    /// Whether objtool-rs said something new.
    pub fn ours_warned(&self) -> bool {
        !self.ours_end.is_crash() && !self.ours_new.is_empty()
    }

    /// Whether both tools ran through and neither said something new.
    pub fn neither(&self) -> bool {
        let crashed = self.c_end.is_crash() || self.ours_end.is_crash();
        !crashed && !self.c_warned() && !self.ours_warned()
    }

    /// Whether both tools say the same of it and end alike, and yet leave other objects.
    pub fn only_output_differs(&self) -> bool {
        self.c_end == self.ours_end && self.same_lines && !self.same_output
    }

    /// Whether C objtool warned and objtool-rs did not: the failure this is all about.
    pub fn only_c(&self) -> bool {
        self.c_warned() && !self.ours_warned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::script;

    fn object() -> Object {
        Object {
            name: "fs/open.o".into(),
            input: PathBuf::new(),
            args: vec!["--stackval".into()],
        }
    }

    #[test]
    fn a_run_holds_how_the_tool_ended_and_what_it_said() {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::new().unwrap();
        let text = r#"echo "$2: warning: objtool: f+0x1: $(cat $2) $1" >&2; exit 3"#;
        let run = bench
            .run(&script(dir.path(), "tool", text), &object(), b"bytes")
            .unwrap();
        assert_eq!(run.end, End::Status(3));
        let line = run.lines.first().unwrap();
        assert_eq!(line.place, "f+0x1");
        assert_eq!(line.message, "bytes --stackval");
    }

    #[test]
    fn a_signal_and_a_panic_are_crashes() {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::new().unwrap();
        let run = |text| {
            bench
                .run(&script(dir.path(), "tool", text), &object(), b"")
                .unwrap()
        };
        assert_eq!(run("kill -SEGV $$").end, End::Signal(11));
        let panic = run("echo \"thread 'main' panicked at x.rs:1\" >&2; exit 101");
        assert_eq!(panic.end, End::Panic);
        assert!(!run("exit 101").end.is_crash());
    }
}
