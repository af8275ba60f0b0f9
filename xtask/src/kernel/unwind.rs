//! `./x kernel test unwind`: the unwinder's tests on booted kernels, one with frame pointers and one
//! with ORC.
//!
//! The module's results are KTAP. Beside them stand `/proc/<pid>/stack_verdict` and dumps of known
//! tasks. What is tested is said in `kernel/overlay/*/unwind-test`.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use super::boot::{self, COMMAND_LINE};
use super::build::{self, Built};
use super::initramfs::{self, Contents};
use super::ktap::{self, Results};
use crate::configs::Config;
use crate::paths::Tool;
use crate::{progress, setup};

/// The configurations, by what one types.
const CONFIGS: [&str; 2] = ["fp-unwind-test", "orc-unwind-test"];

/// Those of the configurations that are asked for: the one of this name, or all.
///
/// # Errors
/// None has this name; the message lists those there are.
pub fn chosen(name: Option<&str>) -> Result<Vec<&'static Config>> {
    let Some(name) = name else {
        return CONFIGS.iter().map(|name| Config::named(name)).collect();
    };
    match CONFIGS
        .iter()
        .find(|known| **known == name || name.strip_prefix("x86_64-") == Some(known))
    {
        Some(known) => Ok(vec![Config::named(known)?]),
        None => bail!(
            "no configuration `{name}` has the unwinder's tests; there are {}",
            CONFIGS.join(" and ")
        ),
    }
}

/// The test module's file below the build folder.
const MODULE: &str = "arch/x86/kernel/rust_unwind/test/unwind_test.ko";

/// How long a boot may take that does nothing long.
pub const LIMIT: Duration = Duration::from_secs(400);

/// How long a walk by both unwinders may take, with all that the load does in between. A tenth is
/// usual, but not on a busy host.
const WALK: Duration = Duration::from_millis(5);

/// `./x kernel test unwind …`
#[derive(clap::Args)]
pub struct Args {
    /// Only this configuration
    #[arg(long)]
    config: Option<String>,
    /// This many walks by both unwinders, ours and C's, while the kernel is busy
    #[arg(long, default_value_t = 2_000)]
    walks: u64,
    /// This many walks over damaged stacks
    #[arg(long, default_value_t = 100_000)]
    damaged: u64,
    /// Leave out the cases
    #[arg(long)]
    no_cases: bool,
}

/// Runs the command.
///
/// # Errors
/// A kernel does not build or boot, or a test fails.
pub fn run(args: &Args) -> Result<()> {
    let configs = chosen(args.config.as_deref())?;
    setup::run()?;
    let mut failures = Vec::new();
    for config in configs {
        let name = config.name;
        let built = build::run(config, Tool::Rs)?;
        println!("{}", built.summary());
        let words = [
            format!("cases={}", u8::from(!args.no_cases)),
            format!("damaged={}", args.damaged),
            "busy".to_owned(),
            "cases=0".to_owned(),
            format!("walks={}", args.walks),
        ];
        match test(
            &built,
            &words,
            LIMIT + WALK.saturating_mul(u32::try_from(args.walks).unwrap_or(u32::MAX)),
        ) {
            Ok(results) => {
                for remark in &results.remarks {
                    println!("  {remark}");
                }
                println!(
                    "{name}: {} passed",
                    progress::counted(results.passed.len(), "test")
                );
            }
            Err(error) => {
                println!("{name} FAILED: {error:#}");
                failures.push(name);
            }
        }
    }
    if !failures.is_empty() {
        bail!("the unwinder's tests fail on {}", failures.join(" and "));
    }
    Ok(())
}

/// Boots a kernel, has it run the test module with these parameters, and judges what it reports.
///
/// # Errors
/// It does not boot, or something is not as it must be.
pub fn test(built: &Built, parameters: &[String], limit: Duration) -> Result<Results> {
    let start = Instant::now();
    let own = build::own(&built.dir);
    let archive = own.join("initramfs-unwind.gz");
    let console = own.join("console-unwind.log");
    let spinner = progress::spinner(format!("testing {}", built.config.name));
    let contents = Contents {
        init: "init-unwind",
        modules: &[built.dir.join(MODULE)],
        programs: &["slow-fault", "compat-sleep"],
        folder: None,
    };
    initramfs::write(&contents, &archive)?;
    // The first word is the tests': a walk while the kernel reads it.
    let line = format!(
        "{COMMAND_LINE} unwind_test_early -- {}",
        parameters.join(" ")
    );
    let ended = boot::watch(&mut boot::machine(built, &archive, &line), &console, limit)?;
    spinner.finish_and_clear();
    let log = String::from_utf8_lossy(&fs::read(&console)?).into_owned();
    let orc = built.config.name.contains("-orc-");
    let with_cases = parameters.iter().any(|word| word == "cases=1");
    let runs: &[&str] = match parameters.iter().any(|word| word == "busy") {
        true => &["quiet", "busy"],
        false => &["quiet"],
    };
    let results = judge(&log, orc, with_cases, runs).with_context(|| {
        format!(
            "{ended} after {}; the serial console is in {}",
            progress::since(start),
            console.display()
        )
    })?;
    println!("booted and tested in {}", progress::since(start));
    Ok(results)
}

/// What /proc shows of a program that sleeps in nanosleep(2), of kthreadd, and of a program that
/// waits for a page that the kernel reads for it. Where 32-bit programs may call the same, a system call
/// is a function of its own.
const SLEEP: &[&str] = &[
    "hrtimer_nanosleep",
    "__do_sys_clock_nanosleep",
    "do_syscall_64",
    "entry_SYSCALL_64_after_hwframe",
];
const KTHREADD: &[&str] = &["kthreadd", "ret_from_fork", "ret_from_fork_asm"];
const SLOW_FAULT: &[&str] = &[
    "handle_userfault",
    "asm_exc_page_fault",
    "do_syscall_64",
    "entry_SYSCALL_64_after_hwframe",
];

/// The same of a program that reads the page itself.
const USER_FAULT: &[&str] = &["handle_userfault", "asm_exc_page_fault"];

/// The same of a program that sleeps in pause(2), which it has called by the door of 32-bit programs.
const COMPAT: &[&str] = &[
    "__do_sys_pause",
    "do_int80_emulation",
    "asm_int80_emulation",
];

/// Of a program that reads its own verdict.
const ITSELF: &[&str] = &[
    "stack_verdict_show",
    "proc_pid_stack_verdict",
    "proc_single_show",
    "do_syscall_64",
    "entry_SYSCALL_64_after_hwframe",
];

/// All that others show of the first, who leave out the scheduler's functions; with ORC, functions that
/// only call another one jump to it. And of an event in the midst of these.
const STACK_OF_SLEEP: [&str; 2] = [
    "hrtimer_nanosleep common_nsleep __do_sys_clock_nanosleep __x64_sys_clock_nanosleep \
     x64_sys_call do_syscall_64 entry_SYSCALL_64_after_hwframe",
    "hrtimer_nanosleep common_nsleep __do_sys_clock_nanosleep do_syscall_64 \
     entry_SYSCALL_64_after_hwframe",
];
const STACK_OF_EVENT: &str =
    "trace_event_raw_event_sched_switch __traceiter_sched_switch __schedule schedule do_nanosleep";

/// The calls of the thread that dies of a mistake.
const MISTAKE: &[&str] = &[
    "inner",
    "outer",
    "victim_thread",
    "kthread",
    "ret_from_fork",
    "ret_from_fork_asm",
];

/// What stands between the marks of a run of the test module.
fn between<'a>(log: &'a str, run: &str) -> Option<&'a str> {
    let (_, rest) = log.split_once(&format!("objtool-rs: {run}-begin"))?;
    Some(rest.split_once(&format!("objtool-rs: {run}-end"))?.0)
}

/// Judges a console's log.
fn judge(log: &str, orc: bool, with_cases: bool, runs: &[&str]) -> Result<Results> {
    let report: Vec<(&str, &str)> = boot::report(log).collect();
    let value = |key: &str| {
        let mut values = report.iter().filter(|(k, _)| *k == key);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Ok(*value),
            (None, _) => bail!("the kernel reported no `{key}`{}", boot::last_lines(log)),
            _ => bail!("the kernel reported `{key}` more than once"),
        }
    };
    let expect = |key: &str, wanted: &str| match value(key)? {
        got if got == wanted => Ok(()),
        got => Err(anyhow::anyhow!(
            "`{key}` is to be `{wanted}`, but is `{got}`"
        )),
    };
    let mut results = Results::default();
    for run in runs {
        let lines = between(log, run).with_context(|| {
            let last = boot::last_lines(log);
            format!("the kernel reported no results of the tests that ran {run}{last}")
        })?;
        let more = ktap::read(lines)?;
        results.passed.extend(more.passed);
        results.remarks.extend(more.remarks);
    }
    expect("verdict-mode", "400 0 400")?;
    let verdict = |task: &str, frames: Option<&[&str]>, wanted: &str| {
        let got = value(&format!("verdict-of-{task}"))?;
        let (shown, said) = got.split_once("| ").unwrap_or((got, ""));
        let right = said == wanted || said.starts_with("unreliable at") && said.ends_with(wanted);
        if !right {
            bail!("the verdict on {task} is to be `{wanted}`, but is `{got}`");
        }
        match frames {
            Some(frames) => boot::whole(shown.trim_end(), frames)
                .with_context(|| format!("the frames of {task} are `{shown}`")),
            None => Ok(()),
        }
    };
    let system_call = "reliable: it ends at a system call";
    verdict("sleep", Some(SLEEP), system_call)?;
    verdict(
        "kthreadd",
        Some(KTHREADD),
        "reliable: it ends at the first instruction of a new task",
    )?;
    verdict("self", Some(ITSELF), system_call)?;
    verdict("compat", Some(COMPAT), system_call)?;
    verdict("running", None, "unreliable: the task is running")?;
    let of_sleep = STACK_OF_SLEEP[usize::from(orc)];
    expect("stack-of-sleep", of_sleep)?;
    expect("wchan-of-sleep", "hrtimer_nanosleep")?;
    expect("stack-of-event", &format!("{STACK_OF_EVENT} {of_sleep}"))?;
    if orc {
        verdict("slow-fault-of-kernel", Some(SLOW_FAULT), system_call)?;
    } else {
        let why = ": interrupted in the kernel by a page fault";
        verdict("slow-fault-of-kernel", None, why)?;
    }
    // The interruption is where the kernel was entered.
    verdict(
        "slow-fault-of-user",
        Some(USER_FAULT),
        "reliable: it ends at an interrupt or exception of user space",
    )?;
    let dump = |task: &str, frames: &[&str]| {
        let shown = value(&format!("dump-of-{task}"))?;
        boot::whole(shown, frames)
            .with_context(|| format!("the dump of {task} shows `{shown}` without doubt"))
    };
    dump("sleep", SLEEP)?;
    if with_cases {
        dump("mistake", MISTAKE)?;
    }
    for (_, complaint) in report.iter().filter(|(key, _)| *key == "complaint") {
        // One case is a thread that makes a mistake.
        let expected = complaint.starts_with("Oops: invalid opcode");
        if !(expected && with_cases) {
            bail!("the kernel complains: {complaint}");
        }
    }
    value("end")?;
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "objtool-rs: kernel 6.12.117\r\n\
        objtool-rs: verdict-mode 400 0 400\r\n\
        objtool-rs: verdict-of-sleep schedule hrtimer_nanosleep __do_sys_clock_nanosleep \
        do_syscall_64 entry_SYSCALL_64_after_hwframe | reliable: it ends at a system call\r\n\
        objtool-rs: verdict-of-kthreadd schedule kthreadd ret_from_fork ret_from_fork_asm \
        | reliable: it ends at the first instruction of a new task\r\n\
        objtool-rs: verdict-of-slow-fault-of-kernel schedule handle_userfault asm_exc_page_fault \
        pipe_write do_syscall_64 entry_SYSCALL_64_after_hwframe | reliable: it ends at a system \
        call\r\n\
        objtool-rs: verdict-of-slow-fault-of-user schedule handle_userfault asm_exc_page_fault \
        | reliable: it ends at an interrupt or exception of user space\r\n\
        objtool-rs: verdict-of-self stack_verdict_show proc_pid_stack_verdict proc_single_show \
        ksys_lseek do_syscall_64 entry_SYSCALL_64_after_hwframe | reliable: it ends at a system call\r\n\
        objtool-rs: stack-of-sleep hrtimer_nanosleep common_nsleep __do_sys_clock_nanosleep \
        do_syscall_64 entry_SYSCALL_64_after_hwframe\r\n\
        objtool-rs: wchan-of-sleep hrtimer_nanosleep\r\n\
        objtool-rs: stack-of-event trace_event_raw_event_sched_switch __traceiter_sched_switch \
        __schedule schedule do_nanosleep hrtimer_nanosleep common_nsleep __do_sys_clock_nanosleep \
        do_syscall_64 entry_SYSCALL_64_after_hwframe\r\n\
        objtool-rs: verdict-of-compat schedule __do_sys_pause do_int80_emulation \
        asm_int80_emulation | reliable: it ends at a system call\r\n\
        objtool-rs: verdict-of-running | unreliable: the task is running\r\n\
        objtool-rs: dump-of-sleep hrtimer_nanosleep __do_sys_clock_nanosleep do_syscall_64 \
        entry_SYSCALL_64_after_hwframe\r\n\
        objtool-rs: quiet loaded\r\n\
        ok 7 what the kernel says by itself after a mistake\r\n\
        objtool-rs: quiet-begin\r\n\
        KTAP version 1\r\n1..1\r\nok 1 current\r\n# end\r\n\
        objtool-rs: quiet-end\r\n\
        objtool-rs: complaint Oops: invalid opcode: 0000 [#1] PREEMPT SMP\r\n\
        objtool-rs: dump-of-mistake inner outer victim_thread kthread ret_from_fork \
        ret_from_fork_asm\r\n\
        objtool-rs: busy-begin\r\n\
        KTAP version 1\r\n1..1\r\nok 1 both unwinders\r\n# end\r\n\
        objtool-rs: busy-end\r\n\
        objtool-rs: end\r\n";

    const RUNS: &[&str] = &["quiet", "busy"];

    /// What is said of the good log with one thing changed.
    fn failure(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        let error = judge(&GOOD.replacen(from, to, 1), true, true, RUNS).unwrap_err();
        format!("{error:#}")
    }

    #[test]
    fn only_configurations_with_the_tests_can_be_chosen() {
        let names = |name| -> Vec<_> { chosen(name).unwrap().iter().map(|c| c.name).collect() };
        let all = ["x86_64-fp-unwind-test", "x86_64-orc-unwind-test"];
        assert_eq!(names(None), all);
        assert_eq!(names(Some("orc-unwind-test")), all[1..]);
        assert_eq!(names(Some("x86_64-fp-unwind-test")), all[..1]);
        // One that there is, but without the tests; a part of a name; and none.
        for name in ["fp-unwind", "orc", "orc-unwind-tests", ""] {
            let error = chosen(Some(name)).unwrap_err().to_string();
            let known = "there are fp-unwind-test and orc-unwind-test";
            assert!(
                error.contains(&format!("`{name}`")) && error.ends_with(known),
                "{error}"
            );
        }
    }

    #[test]
    fn a_good_boot_passes() {
        let results = judge(GOOD, true, true, RUNS).unwrap();
        assert_eq!(results.passed, ["current", "both unwinders"]);
    }

    #[test]
    fn a_failed_test_and_a_missing_run_fail() {
        let error = failure("ok 1 both", "not ok 1 both");
        assert!(error.contains("1 did not pass"), "{error}");
        let error = failure("objtool-rs: busy-end", "");
        assert!(
            error.contains("no results of the tests that ran busy"),
            "{error}"
        );
        let error = failure("1..1\r\nok 1 current", "1..2\r\nok 1 current");
        assert!(error.contains("2 tests were planned"), "{error}");
    }

    #[test]
    fn a_verdict_that_all_may_read_fails() {
        let error = failure("verdict-mode 400", "verdict-mode 444");
        assert!(error.contains("`400 0 400`, but is `444 0 400`"), "{error}");
    }

    #[test]
    fn another_verdict_or_a_stack_that_is_not_whole_fails() {
        let error = failure(
            "entry_SYSCALL_64_after_hwframe | reliable: it ends at a system call",
            "entry_SYSCALL_64_after_hwframe | unreliable at frame 9: no ORC entry for an address",
        );
        assert!(error.contains("the verdict on sleep is to be"), "{error}");
        let error = failure("handle_userfault ", "");
        assert!(
            error.contains("the frames of slow-fault-of-kernel"),
            "{error}"
        );
        let error = failure("interrupt or exception of user space", "system call");
        assert!(
            error.contains("the verdict on slow-fault-of-user"),
            "{error}"
        );
        let error = failure("dump-of-mistake inner", "dump-of-mistake");
        assert!(error.contains("the dump of mistake"), "{error}");
        // With frame pointers that fault cannot be reliable.
        assert!(judge(GOOD, false, true, RUNS).is_err());
    }

    #[test]
    fn what_others_show_of_a_stack_must_be_all_of_it_and_no_more() {
        let error = failure("stack-of-sleep hrtimer_nanosleep", "stack-of-sleep");
        assert!(error.contains("`stack-of-sleep` is to be"), "{error}");
        let error = failure("wchan-of-sleep hrtimer_nanosleep", "wchan-of-sleep 0");
        assert!(error.contains("`wchan-of-sleep` is to be"), "{error}");
        let error = failure(
            "stack-of-event trace_event_raw_event_sched_switch",
            "stack-of-event",
        );
        assert!(error.contains("`stack-of-event` is to be"), "{error}");
        let error = failure("asm_int80_emulation |", "asm_int80_emulation x |");
        assert!(error.contains("the frames of compat"), "{error}");
        let error = failure("the task is running", "the task has run meanwhile");
        assert!(error.contains("the verdict on running"), "{error}");
    }

    #[test]
    fn complaints_fail_but_for_the_mistake_of_a_case() {
        let error = failure(
            "objtool-rs: end",
            "objtool-rs: complaint WARNING: x\r\n\
            objtool-rs: end",
        );
        assert_eq!(error, "the kernel complains: WARNING: x");
        assert!(judge(GOOD, true, false, RUNS).is_err());
    }
}
