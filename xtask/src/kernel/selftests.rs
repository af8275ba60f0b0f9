//! The kernel's own selftests of live patching (`tools/testing/selftests/livepatch`), as they are in
//! the source, in a booted kernel: every script must pass, and every case of it must have run.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use super::boot;
use super::build::{self, Built};
use super::initramfs::{self, Contents};
use crate::paths::Kernel;
use crate::{cmd, progress};

/// Where they stand in the source.
const FOLDER: &str = "tools/testing/selftests/livepatch";

/// Their modules, below that.
const MODULES: &str = "test_modules";

/// The one program of theirs, without `.c`.
const PROGRAM: &str = "test_klp-call_getpid";

/// They take two minutes under TCG; a loaded machine may take much longer.
const LIMIT: Duration = Duration::from_secs(900);

/// A script, and what it is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Script {
    name: String,
    /// How many cases it holds.
    cases: usize,
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
        self.passed == self.script.cases
            && self.rest.is_empty()
            && self.end.as_ref().is_some_and(|(status, _)| status == "0")
    }
}

/// Runs them all.
///
/// # Errors
/// They do not build, the kernel does not come through them, or one does not pass; the message
/// names the serial console's log.
pub fn run(built: &Built) -> Result<()> {
    let work = tempfile::Builder::new()
        .prefix("objtool-rs-selftests-")
        .tempdir()?;
    let folder = work.path().join("livepatch");
    let scripts = prepare(built, &folder)?;

    let own = build::own(&built.dir);
    let (archive, console) = (own.join("selftests.gz"), own.join("selftests.log"));
    let contents = Contents {
        init: "livepatch-selftests",
        modules: &[],
        programs: &[],
        folder: Some((&folder, "selftests")),
    };
    initramfs::write(&contents, &archive)?;
    let spinner = progress::spinner(format!("running the selftests of {}", built.config.name));
    let mut qemu = boot::machine(built, &archive, boot::COMMAND_LINE);
    let ended = boot::watch(&mut qemu, &console, LIMIT)?;
    spinner.finish_and_clear();

    let log = String::from_utf8_lossy(&fs::read(&console)?).into_owned();
    let judged = judge(&log, &scripts);
    for went in &judged.went {
        println!("{}", line(went));
        for said in &went.rest {
            println!("    {said}");
        }
    }
    let (passed, all) = count(&judged.went);
    println!("{passed} of {all} cases passed");
    if let Some(what) = judged.wrong {
        bail!(
            "the selftests of {} do not pass: {what}; {ended}; the serial console is in {}",
            built.config.name,
            console.display()
        );
    }
    Ok(())
}

/// Puts scripts, modules and the program into a folder; returns the scripts.
fn prepare(built: &Built, folder: &Path) -> Result<Vec<Script>> {
    let kernel = Kernel::installed()?;
    let mut copy = Command::new("cp");
    copy.args(["--recursive", "--no-target-directory", "--"]);
    cmd::output(copy.arg(kernel.source().join(FOLDER)).arg(folder))?;
    build::modules(built, &folder.join(MODULES))?;
    let program = folder.join(PROGRAM);
    let mut compiler = Command::new("gcc");
    compiler.args(["-static", "-O1", "-o"]).arg(&program);
    cmd::output(compiler.arg(program.with_extension("c")))?;

    let mut scripts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("test-") && name.ends_with(".sh") {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            scripts.push(Script {
                name: name.into_owned(),
                cases: cases(&text),
            });
        }
    }
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    if scripts.iter().map(|script| script.cases).sum::<usize>() == 0 {
        bail!("{FOLDER} of the kernel's source holds no case");
    }
    Ok(scripts)
}

/// The cases of a script: each begins with a call of `start_test`.
fn cases(script: &str) -> usize {
    let starts = |line: &&str| line.trim_start().starts_with("start_test ");
    script.lines().filter(starts).count()
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
    let Script { name, cases } = &went.script;
    let cases = format!("{name:<24} {:>2} of {cases:>2} cases", went.passed);
    match &went.end {
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
    fn cases_are_counted() {
        let script = "start_test \"a\"\n# start_test\nfor x; do\n\tstart_test \"b\"\ndone\n";
        assert_eq!(cases(script), 2);
    }
}
