//! Booting a built kernel under QEMU's TCG and judging what its init script reports: the modules
//! load, the live patch takes and goes away again, and the kernel complains of nothing.

use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use super::build::{self, Built};
use super::initramfs::{self, Contents};
use crate::configs::{Config, Module};
use crate::{cmd, progress};

/// A boot takes about ten seconds under TCG; a loaded machine may take much longer.
const LIMIT: Duration = Duration::from_secs(240);

/// What the patched /proc/cmdline shows: the sample's own text.
const PATCHED: &str = "this has been live patched";

/// The command line of the kernel, which the unpatched /proc/cmdline shows.
///
/// On a busy host the emulated timer may come too late for the kernel's check of it, and an emulated
/// processor may not run for as long as it takes to be called stalled.
pub const COMMAND_LINE: &str =
    "console=ttyS0 quiet panic=-1 no_timer_check rcupdate.rcu_cpu_stall_timeout=90";

/// Calls that are on the stack of a task which sleeps, from the innermost on: of a program in
/// nanosleep(2) as x86's entry code and `kernel/time` have them, of kthreadd as `kernel/kthread.c` has.
const STACKS: [(&str, &[&str]); 2] = [
    (
        "sleep",
        &[
            "hrtimer_nanosleep",
            "__x64_sys_clock_nanosleep",
            "do_syscall_64",
            "entry_SYSCALL_64_after_hwframe",
        ],
    ),
    (
        "kthreadd",
        &["kthreadd", "ret_from_fork", "ret_from_fork_asm"],
    ),
];

/// What starts each line of the init script's report.
const MARK: &str = "objtool-rs: ";

/// What a boot showed: every expectation was met.
pub struct Report {
    lines: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

/// Boots the kernel with its modules.
///
/// # Errors
/// QEMU fails or runs out of time, or the kernel does not show what it must; the message names
/// what was expected and what came, and the serial console's log.
pub fn run(built: &Built) -> Result<Report> {
    let config = built.config;
    let start = Instant::now();
    let own = build::own(&built.dir);
    let archive = own.join("initramfs.gz");
    let console = own.join("console.log");
    let spinner = progress::spinner(format!("booting {}", config.name));
    let modules: Vec<_> = config
        .modules
        .iter()
        .map(|m| built.dir.join(m.path()))
        .collect();
    let contents = Contents {
        init: "init",
        modules: &modules,
        programs: &[],
        folder: None,
    };
    initramfs::write(&contents, &archive)?;
    let mut qemu = machine(built, &archive, COMMAND_LINE);
    let ended = watch(&mut qemu, &console, LIMIT)?;
    spinner.finish_and_clear();

    let log = String::from_utf8_lossy(&fs::read(&console)?).into_owned();
    judge(&log, config.modules)
        .map(|mut lines| {
            lines.push(format!("booted and checked in {}", progress::since(start)));
            Report { lines }
        })
        .with_context(|| format!("{ended}; the serial console is in {}", console.display()))
        .with_context(|| format!("{} does not boot as it must", config.name))
}

/// A machine that boots a kernel: two processors, its serial console on standard output.
pub fn machine(built: &Built, archive: &Path, command_line: &str) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    // One thread runs both processors in turn. With a thread for each, QEMU 7.2 may translate code
    // while the other processor changes it, and keep the old translation: the kernel then dies of a
    // breakpoint (`int3`) that it had put there while it patched its text, and taken away.
    qemu.args([
        "-accel",
        "tcg,thread=single",
        "-cpu",
        "max",
        "-smp",
        "2",
        "-m",
        "1024",
    ]);
    qemu.args([
        "-nodefaults",
        "-display",
        "none",
        "-serial",
        "stdio",
        "-no-reboot",
    ]);
    qemu.arg("-kernel")
        .arg(built.image())
        .arg("-initrd")
        .arg(archive);
    qemu.args(["-append", command_line]);
    qemu
}

/// Lets a machine's clock go by the instructions that it has run, and leap to the next timer where there
/// are none to run. What waits for a second then waits for few instructions, and how busy the host is
/// makes no difference: a long run of what mostly waits takes a fifth of the time.
pub fn count_instructions(qemu: &mut Command, config: &Config) {
    qemu.arg("-icount")
        .arg(format!("shift={},sleep=off", config.instruction()));
}

/// Runs QEMU until the report is complete, QEMU ends, or the time is up; says which it was.
pub fn watch(qemu: &mut Command, console: &Path, limit: Duration) -> Result<String> {
    let log = File::create(console)
        .with_context(|| format!("cannot make the log {}", console.display()))?;
    let line = cmd::line(qemu);
    let child = qemu
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let mut child = Running(child);
    let start = Instant::now();
    loop {
        if let Some(status) = child.0.try_wait()? {
            return Ok(format!("QEMU ended by itself ({status})"));
        }
        if is_complete(&String::from_utf8_lossy(&fs::read(console)?)) {
            return Ok("the kernel's report is complete".to_owned());
        }
        if start.elapsed() > limit {
            return Ok(format!("QEMU was stopped after {} s", limit.as_secs()));
        }
        sleep(Duration::from_millis(100));
    }
}

/// A child that does not outlive its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only when the child has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The report's lines, as key and value.
pub fn report(log: &str) -> impl Iterator<Item = (&str, &str)> {
    log.lines().filter_map(|line| {
        let line = line.trim_end().strip_prefix(MARK)?;
        Some(line.split_once(' ').unwrap_or((line, "")))
    })
}

fn is_complete(log: &str) -> bool {
    // Only a whole line counts: the console may be read while one is being written.
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    report(whole).any(|(key, _)| key == "end")
}

/// Judges a serial console's log; returns what was shown, in words.
///
/// # Errors
/// An expectation is not met: the message is the first that was not.
fn judge(log: &str, modules: &[Module]) -> Result<Vec<String>> {
    let report: Vec<(&str, &str)> = report(log).collect();
    let value = |key: &str| {
        let values: Vec<&str> = report
            .iter()
            .filter(|(k, _)| *k == key)
            .map(|(_, value)| *value)
            .collect();
        match values[..] {
            [value] => Ok(value),
            [] => Err(anyhow::anyhow!(
                "the kernel reported no `{key}`{}",
                last_lines(log)
            )),
            _ => Err(anyhow::anyhow!(
                "the kernel reported `{key}` more than once: {values:?}"
            )),
        }
    };
    let expect = |key: &str, wanted: &str| {
        let got = value(key)?;
        if got != wanted {
            bail!(
                "`{key}` is to be `{wanted}`, but is `{got}`{}",
                last_lines(log)
            );
        }
        Ok(())
    };
    let mut shown = vec![format!("kernel {} came up", value("kernel")?)];
    for module in modules {
        match module {
            Module::RustMinimal => {
                let states = states(&report, "rust_minimal");
                if states != ["loaded", "unloaded"] {
                    bail!("rust_minimal.ko is to load and unload, but: {states:?}");
                }
                expect(
                    "rust_minimal-says",
                    "rust_minimal: Rust minimal sample (init)",
                )?;
                shown.push("rust_minimal.ko loaded, spoke and was unloaded".to_owned());
            }
            Module::LivepatchSample => {
                expect("cmdline-before", COMMAND_LINE)?;
                let states = states(&report, "livepatch-sample");
                if states.first() != Some(&"loaded") {
                    bail!("livepatch-sample.ko is to load, but: {states:?}");
                }
                expect("livepatch-enabled", "1")?;
                expect("livepatch-transition", "0")?;
                expect("cmdline-patched", PATCHED)?;
                expect("cmdline-after", COMMAND_LINE)?;
                if states != ["loaded", "unloaded"] {
                    bail!("livepatch-sample.ko is to be unloaded in the end, but: {states:?}");
                }
                shown.push(format!(
                    "livepatch-sample.ko loaded; every task switched, and /proc/cmdline said \
                     \"{PATCHED}\" instead of \"{COMMAND_LINE}\""
                ));
                shown.push("the patch was disabled; /proc/cmdline was as before".to_owned());
            }
        }
    }
    for (task, wanted) in STACKS {
        let stack = value(&format!("stack-of-{task}"))?;
        whole(stack, wanted)
            .with_context(|| format!("/proc/<pid>/stack of {task} is `{stack}`"))?;
    }
    shown.push(
        "the stacks of a sleeping program and of a kernel thread are whole, to where the kernel was \
         entered"
            .to_owned(),
    );
    if let Some((_, complaint)) = report.iter().find(|(key, _)| *key == "complaint") {
        bail!("the kernel complains: {complaint}");
    }
    value("end")?;
    Ok(shown)
}

/// Whether a stack holds these calls in this order, and nothing behind the last. In front of the
/// first and in between the compiler may have merged some.
pub fn whole(stack: &str, wanted: &[&str]) -> Result<()> {
    let mut calls = stack.split(' ');
    for wanted in wanted {
        if !calls.any(|call| call == *wanted) {
            bail!("{wanted} is to be on it, behind those before it");
        }
    }
    match calls.next() {
        Some(call) => bail!("it goes on behind its end, with {call}"),
        None => Ok(()),
    }
}

fn states<'a>(report: &[(&str, &'a str)], key: &str) -> Vec<&'a str> {
    report
        .iter()
        .filter(|(k, _)| *k == key)
        .map(|(_, value)| *value)
        .collect()
}

pub fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    match &lines[lines.len().saturating_sub(12)..] {
        [] => "; the console stayed empty".to_owned(),
        lines => format!("; the console's last lines:\n    {}", lines.join("\n    ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[Module] = &[Module::RustMinimal, Module::LivepatchSample];

    const GOOD: &str = "SeaBIOS\r\n\
        objtool-rs: kernel 6.12.117\r\n\
        objtool-rs: rust_minimal loaded\r\n\
        objtool-rs: rust_minimal-says rust_minimal: Rust minimal sample (init)\r\n\
        objtool-rs: rust_minimal unloaded\r\n\
        objtool-rs: cmdline-before COMMAND_LINE\r\n\
        objtool-rs: livepatch-sample loaded\r\n\
        objtool-rs: livepatch-enabled 1\r\n\
        objtool-rs: livepatch-transition 0\r\n\
        objtool-rs: cmdline-patched this has been live patched\r\n\
        objtool-rs: cmdline-after COMMAND_LINE\r\n\
        objtool-rs: livepatch-sample unloaded\r\n\
        objtool-rs: stack-of-sleep hrtimer_nanosleep common_nsleep __x64_sys_clock_nanosleep \
        do_syscall_64 entry_SYSCALL_64_after_hwframe\r\n\
        objtool-rs: stack-of-kthreadd kthreadd ret_from_fork ret_from_fork_asm\r\n\
        objtool-rs: end\r\n";

    fn good() -> String {
        GOOD.replace("COMMAND_LINE", COMMAND_LINE)
    }

    fn failure(from: &str, to: &str) -> String {
        assert!(good().contains(from));
        judge(&good().replacen(from, to, 1), BOTH)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_good_boot_passes() {
        let shown = judge(&good(), BOTH).unwrap();
        assert_eq!(shown.len(), 5, "{shown:?}");
        assert!(is_complete(&good()));
    }

    #[test]
    fn a_patch_that_does_not_take_fails() {
        let error = failure(
            "cmdline-patched this has been live patched",
            &format!("cmdline-patched {COMMAND_LINE}"),
        );
        let wanted = format!(
            "`cmdline-patched` is to be `this has been live patched`, but is `{COMMAND_LINE}`"
        );
        assert!(error.starts_with(&wanted), "{error}");
    }

    #[test]
    fn a_transition_that_stays_open_fails() {
        let error = failure("transition 0", "transition 1");
        assert!(
            error.starts_with("`livepatch-transition` is to be `0`, but is `1`"),
            "{error}"
        );
    }

    #[test]
    fn a_module_that_is_refused_fails() {
        let error = failure(
            "rust_minimal loaded",
            "rust_minimal refused: insmod: ERROR: Invalid module format",
        );
        assert!(error.contains("Invalid module format"), "{error}");
        let error = failure("livepatch-sample loaded", "livepatch-sample refused: no");
        assert!(error.contains("refused: no"), "{error}");
    }

    #[test]
    fn a_patch_that_cannot_be_taken_back_fails() {
        let error = failure(&format!("cmdline-after {COMMAND_LINE}"), "cmdline-after x");
        assert!(error.starts_with("`cmdline-after` is to be"), "{error}");
        let error = failure("objtool-rs: livepatch-sample unloaded\r\n", "");
        assert!(error.contains("is to be unloaded"), "{error}");
    }

    #[test]
    fn a_stack_that_is_not_whole_fails() {
        let error = failure(" entry_SYSCALL_64_after_hwframe", "");
        assert!(error.contains("/proc/<pid>/stack of sleep"), "{error}");
        let error = failure("common_nsleep __x64_sys_clock_nanosleep", "common_nsleep");
        assert!(error.contains("/proc/<pid>/stack of sleep"), "{error}");
        let error = failure("ret_from_fork_asm", "ret_from_fork_asm start");
        assert!(error.contains("/proc/<pid>/stack of kthreadd"), "{error}");
    }

    #[test]
    fn a_complaint_of_the_kernel_fails() {
        let error = failure(
            "objtool-rs: end",
            "objtool-rs: complaint WARNING: CPU: 0\r\nx",
        );
        assert_eq!(error, "the kernel complains: WARNING: CPU: 0");
    }

    #[test]
    fn a_boot_that_stops_early_fails() {
        let good = good();
        let early = &good[..good.find("objtool-rs: livepatch-enabled").unwrap()];
        assert!(!is_complete(early));
        let error = judge(early, BOTH).unwrap_err().to_string();
        assert!(
            error.starts_with("the kernel reported no `livepatch-enabled`"),
            "{error}"
        );
        let error = judge("", BOTH).unwrap_err().to_string();
        assert!(error.ends_with("the console stayed empty"), "{error}");
        assert!(judge(&good.replace("objtool-rs: end", ""), BOTH).is_err());
    }

    #[test]
    fn half_an_end_line_is_not_the_end() {
        assert!(!is_complete("objtool-rs: end"));
        assert!(is_complete("objtool-rs: end\r\n"));
    }

    #[test]
    fn qemu_is_stopped_when_its_time_is_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut forever = Command::new("sleep");
        let start = Instant::now();
        let ended = watch(
            forever.arg("60"),
            &dir.path().join("log"),
            Duration::from_millis(200),
        )
        .unwrap();
        assert!(ended.starts_with("QEMU was stopped"), "{ended}");
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
