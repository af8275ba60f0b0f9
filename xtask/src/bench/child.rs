//! A program's CPU time and peak memory, from the kernel's account of the process alone.
//!
//! The kernel counts into a process's peak what the process that started it had in memory by then.
//! So the program is not started from here but by a shell, the smallest process at hand, which
//! ends before the program begins; this process then inherits the program, as a subreaper
//! (prctl(2), PR_SET_CHILD_SUBREAPER), and gets its account (wait4(2)).

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

/// Says which process will be the program, and lets it begin when standard input ends.
const SCRIPT: &str = r#"exec 3<&0; { read _ <&3; exec "$@" 3<&- >/dev/null 2>&1; } & echo $!"#;

/// What a program used, from the shell's exec to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time that passed.
    pub wall: Duration,
    /// User and system time.
    pub cpu: Duration,
    /// The most memory it had at a time, in KiB.
    pub peak: u64,
}

/// Makes orphaned descendants this process's children.
///
/// # Errors
/// The system refuses.
pub fn adopt() -> Result<()> {
    let own = Some(rustix::process::getpid());
    rustix::process::set_child_subreaper(own).context("cannot become a subreaper")
}

/// Runs a program in a folder, with what it says thrown away. [`adopt`] comes first.
///
/// # Errors
/// It cannot be started, or does not end with status 0.
pub fn measure(program: &Path, args: &[String], dir: &Path) -> Result<Usage> {
    let (status, usage) = account(program, args, dir)?;
    if !status.success() {
        bail!(
            "`{} {}` failed ({status})",
            program.display(),
            args.join(" ")
        );
    }
    Ok(usage)
}

/// As [`measure`], but for a program whose status means something.
///
/// # Errors
/// It cannot be started.
pub fn account(program: &Path, args: &[String], dir: &Path) -> Result<(ExitStatus, Usage)> {
    let mut shell = Command::new("sh")
        .args(["-c", SCRIPT, "sh"])
        .arg(program)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start sh")?;
    let begin = shell.stdin.take();
    let said = shell.stdout.take().context("sh has no standard output")?;
    let mut number = String::new();
    BufReader::new(said).read_line(&mut number)?;
    let ended = shell.wait()?;
    let Ok(pid) = number.trim().parse() else {
        bail!("sh ended with {ended} and started nothing");
    };
    let start = Instant::now();
    drop(begin);
    let (status, usage) = wait(pid)?;
    let wall = start.elapsed();
    Ok((status, Usage { wall, ..usage }))
}

/// Waits for a child: how it ended and what it used.
fn wait(pid: libc::pid_t) -> Result<(ExitStatus, Usage)> {
    let mut status = 0;
    // SAFETY: rusage is a C structure of integers, for which all zeroes are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live values of the types that wait4 writes.
        let ended = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
        if ended == pid {
            break;
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error).context("cannot wait for a program");
        }
    }
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs())
            + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    Ok((
        ExitStatus::from_raw(status),
        Usage {
            wall: Duration::ZERO,
            cpu: time(usage.ru_utime) + time(usage.ru_stime),
            peak: usage.ru_maxrss.unsigned_abs(),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Result<Usage> {
        adopt()?;
        let args = ["-c".to_owned(), script.to_owned()];
        measure(Path::new("sh"), &args, Path::new("/"))
    }

    #[test]
    fn work_and_memory_show_in_the_account() {
        let little = sh("exit 0").unwrap();
        let work = sh("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done").unwrap();
        assert!(work.cpu > little.cpu + Duration::from_millis(20));
        // A variable of 20 MB.
        let memory = sh("x=$(head -c 20000000 /dev/zero | tr '\\0' x); : ${#x}").unwrap();
        assert!(memory.peak > little.peak + 15_000, "{memory:?} {little:?}");
    }

    #[test]
    fn this_process_s_own_memory_does_not_show() {
        let own = vec![1_u8; 64 << 20];
        let usage = sh("exit 0").unwrap();
        assert!(
            usage.peak < 32 << 10,
            "{usage:?} with {} bytes here",
            own.len()
        );
    }

    #[test]
    fn a_failing_program_is_an_error() {
        let error = sh("exit 3").unwrap_err().to_string();
        assert!(error.contains("failed (exit status: 3)"), "{error}");
        adopt().unwrap();
        let missing = measure(Path::new("/no/such/program"), &[], Path::new("/"));
        assert!(missing.is_err());
    }
}
