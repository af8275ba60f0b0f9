//! Tests of live patching in a booted kernel: the kernel's own selftests
//! (`tools/testing/selftests/livepatch`), as they are in the source, and this project's
//! (`kernel/tests/livepatch`). Every script must pass, and every case of it must have run.
//!
//! Some of this project's tests are about what the C core has no right answer to. With the C core
//! each of their cases must fail: a test that passes there shows nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Result};

use super::boot;
use super::build::{self, Built};
use super::initramfs::{self, Contents};
use super::Which;
use crate::paths::{self, Kernel};
use crate::{cmd, progress};

/// Where the kernel's tests stand in its source, and ours in the project.
const KERNELS: &str = "tools/testing/selftests/livepatch";
const OURS: &str = "kernel/tests/livepatch";

/// The one program of the kernel's tests, without `.c`.
const PROGRAM: &str = "test_klp-call_getpid";

/// What a script says at its top that is about what the C core has no right answer to.
const NOT_FOR_C: &str = "# What the C core does not pass";

/// They take a few minutes under TCG; a loaded machine may take much longer.
const LIMIT: Duration = Duration::from_secs(1800);

/// Whose tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suite {
    Kernel,
    Own,
}

impl Suite {
    const ALL: [Suite; 2] = [Suite::Kernel, Suite::Own];

    /// The folder of its scripts in the root file system, below that of all tests.
    fn folder(self) -> &'static str {
        match self {
            Suite::Kernel => "kernel",
            Suite::Own => "own",
        }
    }

    /// The folder of its modules, below that of its scripts.
    fn modules(self) -> &'static str {
        match self {
            Suite::Kernel => "test_modules",
            Suite::Own => "modules",
        }
    }

    /// What each case of a script begins with.
    fn begins(self) -> &'static str {
        match self {
            Suite::Kernel => "start_test ",
            Suite::Own => "begin ",
        }
    }
}

/// A script, and what it is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Script {
    /// Its path below the folder of all tests.
    name: String,
    /// How many cases it holds.
    cases: usize,
    /// Whether all of them must fail, because the core is known to have no right answer.
    fails: bool,
}

/// How a script went.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Went {
    script: Script,
    /// Cases that passed.
    passed: usize,
    /// Its exit status, as it was reported, and the seconds that it took.
    end: Option<(String, String)>,
    /// What it said beside the cases that passed.
    rest: Vec<String>,
}

impl Went {
    fn is_good(&self) -> bool {
        let status = self.end.as_ref().map(|(status, _)| status.as_str());
        if self.script.fails {
            let failed =
                |line: &&String| line.starts_with("TEST: ") && line.contains(" ... not ok");
            let failed = self.rest.iter().filter(failed).count();
            self.passed == 0 && failed == self.script.cases && status == Some("1")
        } else {
            self.passed == self.script.cases && self.rest.is_empty() && status == Some("0")
        }
    }
}

/// `./x kernel test livepatch …`
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Only the scripts whose path contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// Runs them all, or those that are asked for.
///
/// # Errors
/// They do not build, the kernel does not come through them, or one does not pass; the message
/// names the serial console's log.
pub fn run(args: &Args) -> Result<()> {
    let built = &args.which.built()?;
    let work = tempfile::Builder::new()
        .prefix("objtool-rs-livepatch-")
        .tempdir()?;
    let is_c = !fs::read_to_string(built.dir.join(".config"))?
        .lines()
        .any(|line| line == "CONFIG_RUST_LIVEPATCH=y");
    let mut scripts = Vec::new();
    for suite in Suite::ALL {
        prepare(built, suite, work.path(), is_c, &mut scripts)?;
    }
    if let Some(text) = &args.only {
        let (wanted, others) = scripts
            .into_iter()
            .partition(|script: &Script| script.name.contains(text));
        scripts = wanted;
        let others: Vec<Script> = others;
        for script in others {
            fs::remove_file(work.path().join(script.name))?;
        }
    }
    if scripts.is_empty() {
        bail!("no script is called so");
    }

    let own = build::own(&built.dir);
    let (archive, console) = (own.join("livepatch.gz"), own.join("livepatch.log"));
    let contents = Contents {
        init: "livepatch-tests",
        modules: &[],
        programs: &[],
        folder: Some((work.path(), "tests")),
    };
    initramfs::write(&contents, &archive)?;
    let spinner = progress::spinner(format!(
        "running the livepatch tests of {}",
        built.config.name
    ));
    let mut qemu = boot::machine(built, &archive, boot::COMMAND_LINE);
    let ended = boot::watch(&mut qemu, &console, LIMIT)?;
    spinner.finish_and_clear();

    let log = String::from_utf8_lossy(&fs::read(&console)?).into_owned();
    let judged = judge(&log, &scripts);
    for went in &judged.went {
        println!("{}", line(went));
        if !went.is_good() {
            for said in &went.rest {
                println!("    {said}");
            }
        }
    }
    let (passed, all) = count(&judged.went);
    let core = if is_c { "C" } else { "Rust" };
    println!("{passed} of {all} cases passed with the {core} core");
    if let Some(what) = judged.wrong {
        bail!(
            "the livepatch tests of {} do not pass: {what}; {ended}; the serial console is in {}",
            built.config.name,
            console.display()
        );
    }
    Ok(())
}

/// Puts a suite's scripts, modules and program below a folder, and takes down the scripts.
fn prepare(
    built: &Built,
    suite: Suite,
    work: &Path,
    is_c: bool,
    scripts: &mut Vec<Script>,
) -> Result<()> {
    let from = match suite {
        Suite::Kernel => Kernel::installed()?.source().join(KERNELS),
        Suite::Own => paths::project()?.join(OURS),
    };
    let folder = work.join(suite.folder());
    let mut copy = Command::new("cp");
    copy.args(["--recursive", "--no-target-directory", "--"]);
    cmd::output(copy.arg(&from).arg(&folder))?;
    build::modules(built, &folder.join(suite.modules()))?;
    if suite == Suite::Kernel {
        let program = folder.join(PROGRAM);
        let mut compiler = Command::new("gcc");
        compiler.args(["-static", "-O1", "-o"]).arg(&program);
        cmd::output(compiler.arg(program.with_extension("c")))?;
    }

    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("test-") && name.ends_with(".sh") {
            names.push(name);
        }
    }
    names.sort();
    if names.is_empty() {
        bail!("{} holds no script", from.display());
    }
    for name in names {
        let text = fs::read_to_string(folder.join(&name))?;
        let cases = cases(&text, suite);
        if cases == 0 {
            bail!("{} holds no case", from.join(name).display());
        }
        scripts.push(Script {
            name: format!("{}/{name}", suite.folder()),
            cases,
            fails: is_c && text.lines().any(|line| line.starts_with(NOT_FOR_C)),
        });
    }
    Ok(())
}

/// The cases of a script.
fn cases(script: &str, suite: Suite) -> usize {
    let begins = |line: &&str| line.trim_start().starts_with(suite.begins());
    script.lines().filter(begins).count()
}

/// What came of all scripts.
#[derive(Debug)]
struct Judged {
    went: Vec<Went>,
    /// The first thing that is wrong.
    wrong: Option<String>,
}

fn judge(log: &str, scripts: &[Script]) -> Judged {
    let report: Vec<(&str, &str)> = boot::report(log).collect();
    let went: Vec<Went> = scripts
        .iter()
        .map(|script| {
            let said = report.iter().filter_map(|&(key, value)| {
                (key.strip_suffix(':') == Some(&script.name)).then_some(value)
            });
            let (good, rest): (Vec<&str>, Vec<&str>) = said
                .filter(|line| !line.trim().is_empty())
                .partition(|line| line.starts_with("TEST: ") && line.ends_with(" ... ok"));
            let end = report.iter().find_map(|&(key, value)| {
                let mut words = value.split(' ');
                let is_it = key == "status" && words.next() == Some(&script.name);
                let mut word = || Some(words.next()?.to_owned());
                is_it.then(|| Some((word()?, word()?))).flatten()
            });
            Went {
                script: script.clone(),
                passed: good.len(),
                end,
                rest: rest.into_iter().map(str::to_owned).collect(),
            }
        })
        .collect();
    let complaint = report.iter().find(|(key, _)| *key == "complaint");
    let wrong = if let Some(went) = went.iter().find(|went| !went.is_good()) {
        Some(line(went))
    } else if let Some((_, complaint)) = complaint {
        Some(format!("the kernel complains: {complaint}"))
    } else if !report.iter().any(|(key, _)| *key == "end") {
        Some(format!("the report has no end{}", boot::last_lines(log)))
    } else {
        None
    };
    Judged { went, wrong }
}

fn line(went: &Went) -> String {
    let Script { name, cases, fails } = &went.script;
    let cases = format!("{name:<28} {:>2} of {cases:>2} cases", went.passed);
    match &went.end {
        _ if went.is_good() && *fails => format!("{cases}: the C core has no right answer"),
        _ if went.is_good() => format!("{cases}: ok"),
        Some((status, seconds)) => format!("{cases}: FAILED, status {status} after {seconds} s"),
        None => format!("{cases}: FAILED, without an end"),
    }
}

/// Cases that passed, and all.
fn count(went: &[Went]) -> (usize, usize) {
    let passed = went.iter().map(|went| went.passed).sum();
    (passed, went.iter().map(|went| went.script.cases).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scripts() -> Vec<Script> {
        [("test-a.sh", 2), ("test-b.sh", 1)]
            .map(|(name, cases)| Script {
                name: name.to_owned(),
                cases,
                fails: false,
            })
            .to_vec()
    }

    const GOOD: &str = "objtool-rs: kernel 6.12\r\n\
        objtool-rs: test-a.sh: TEST: basic ... ok\r\n\
        objtool-rs: test-a.sh: TEST: multiple targets ... ok\r\n\
        objtool-rs: status test-a.sh 0 12\r\n\
        objtool-rs: test-b.sh: TEST: sysfs test ... ok\r\n\
        objtool-rs: status test-b.sh 0 3\r\n\
        objtool-rs: end\r\n";

    fn wrong(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from));
        let judged = judge(&GOOD.replacen(from, to, 1), &scripts());
        judged.wrong.unwrap()
    }

    #[test]
    fn all_cases_passed() {
        let judged = judge(GOOD, &scripts());
        assert_eq!(judged.wrong, None);
        assert_eq!(count(&judged.went), (3, 3));
    }

    #[test]
    fn what_is_not_shown_did_not_pass() {
        let case = wrong("multiple targets ... ok", "multiple targets ... not ok");
        assert!(case.contains("1 of  2 cases: FAILED"), "{case}");
        let case = wrong("objtool-rs: test-b.sh: TEST: sysfs test ... ok\r\n", "");
        assert!(case.contains("0 of  1 cases: FAILED"), "{case}");
        let status = wrong("test-b.sh 0", "test-b.sh 4");
        assert!(status.contains("status 4 after 3 s"), "{status}");
        let status = wrong("objtool-rs: status test-b.sh 0 3\r\n", "");
        assert!(status.contains("without an end"), "{status}");
        let more = wrong(
            "status test-b.sh",
            "test-b.sh: ERROR: x\r\nobjtool-rs: status test-b.sh",
        );
        assert!(more.contains("1 of  1 cases: FAILED"), "{more}");
        let end = wrong("objtool-rs: end", "");
        assert!(end.starts_with("the report has no end"), "{end}");
        let complaint = wrong(
            "objtool-rs: end",
            "objtool-rs: complaint BUG: x\r\nobjtool-rs: end",
        );
        assert_eq!(complaint, "the kernel complains: BUG: x");
    }

    #[test]
    fn what_must_fail_must_fail_as_a_whole() {
        let mut scripts = scripts();
        scripts[0].fails = true;
        let passes = judge(GOOD, &scripts).wrong.unwrap();
        assert!(passes.contains("2 of  2 cases: FAILED"), "{passes}");
        let bad = GOOD
            .replace("basic ... ok", "basic ... not ok: why")
            .replace("test-a.sh 0", "test-a.sh 1");
        assert!(judge(&bad, &scripts).wrong.is_some(), "one passes");
        let bad = bad.replace("targets ... ok", "targets ... not ok: why");
        assert_eq!(judge(&bad, &scripts).wrong, None);
        let aborted = bad.replace("objtool-rs: test-a.sh: TEST: multiple", "objtool-rs: x");
        assert!(judge(&aborted, &scripts).wrong.is_some(), "one did not run");
    }

    #[test]
    fn cases_are_counted() {
        let script = "start_test \"a\"\n# start_test\nfor x; do\n\tstart_test \"b\"\ndone\n";
        assert_eq!(cases(script, Suite::Kernel), 2);
        assert_eq!(cases(script, Suite::Own), 0);
        assert_eq!(cases("begin \"a\"\nfinish\n", Suite::Own), 1);
    }
}
