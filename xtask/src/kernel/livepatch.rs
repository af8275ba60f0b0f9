//! Tests of live patching in a booted kernel: the kernel's own selftests
//! (`tools/testing/selftests/livepatch`), as they are in the source, and this project's
//! (`kernel/tests/livepatch`). Every script must pass, and every case of it must have run.
//!
//! Some of this project's tests are about what the C core has no right answer to. With the C core
//! each of their cases must fail: a test that passes there shows nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Result};

use super::boot;
use super::build::{self, Built};
use super::initramfs::{self, Contents};
use super::klp_relocations;
use super::Which;
use crate::configs::Config;
use crate::paths::{self, Kernel};
use crate::{cmd, progress};

/// Where the kernel's tests stand in its source, and ours in the project.
const KERNELS: &str = "tools/testing/selftests/livepatch";
const OURS: &str = "kernel/tests/livepatch";

/// The kernel's samples of patches, in a build folder; one of our scripts takes them.
const SAMPLES: &str = "samples/livepatch";

/// What a script says at its top: that it is about what the C core has no right answer to, a line of
/// the configuration that it takes, and what the kernel's command line must say.
const NOT_FOR_C: &str = "# What the C core does not pass";
const NEEDS: &str = "# Needs ";
const BOOT_WITH: &str = "# Boot with ";

/// What a script begins a line with that only tells what it counted.
const FIGURE: &str = "FIGURE: ";

/// They take some minutes under TCG, a kernel that looks for mistakes several times as long; a loaded
/// machine may take much longer.
const LIMIT: Duration = Duration::from_secs(5400);

/// What a cycle may take beyond that.
const LIMIT_OF_CYCLE: Duration = Duration::from_secs(2);

/// Lines of a broken kernel that the init script puts into the kernel's log, to see them found.
const PROBES: &str = "9";

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
    /// What the kernel's command line must say.
    boot_with: String,
}

/// How a script went.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Went {
    script: Script,
    /// Cases that passed.
    passed: usize,
    /// Its exit status, as it was reported, and the seconds that it took.
    end: Option<(String, String)>,
    /// What it counted.
    figures: Vec<String>,
    /// What it said beside these and the cases that passed.
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
    /// Patches come and go at random until so many have been enabled, reversed, disabled or replaced
    #[arg(long, value_name = "N")]
    cycles: Option<u32>,
    /// Run them on this configuration, too, and show side by side what each passes
    #[arg(long, value_name = "CONFIG")]
    beside: Option<String>,
}

/// Runs them all, or those that are asked for.
///
/// # Errors
/// They do not build, the kernel does not come through them, or one does not pass; the message
/// names the serial console's log.
pub fn run(args: &Args) -> Result<()> {
    let first = run_on(args, &args.which.built()?)?;
    first.print();
    if let Some(name) = &args.beside {
        let which = Which {
            config: Config::named(name)?.name.to_owned(),
            objtool: args.which.objtool,
        };
        let second = run_on(args, &which.built()?)?;
        second.print();
        println!("{}", beside(&first, &second));
        // What that core does not pass is what is to be seen here.
    }
    match first.wrong {
        Some(wrong) => bail!("{wrong}"),
        None => Ok(()),
    }
}

/// A run of the scripts on a kernel.
struct Ran {
    core: &'static str,
    went: Vec<Went>,
    /// Scripts that were left out, and what of the configuration they take.
    left_out: Vec<(String, String)>,
    /// What is wrong, with the console's log.
    wrong: Option<String>,
}

impl Ran {
    fn print(&self) {
        for went in &self.went {
            println!("{}", line(went));
            for figure in &went.figures {
                println!("    {}", figure.trim_start_matches(FIGURE));
            }
            if !went.is_good() {
                for said in &went.rest {
                    println!("    {said}");
                }
            }
        }
        for (name, needs) in &self.left_out {
            println!("{name:<28} left out: it needs {needs}");
        }
        let (passed, all) = count(&self.went);
        println!("{passed} of {all} cases passed with the {} core", self.core);
    }
}

fn run_on(args: &Args, built: &Built) -> Result<Ran> {
    let work = tempfile::Builder::new()
        .prefix("objtool-rs-livepatch-")
        .tempdir()?;
    let config = fs::read_to_string(built.dir.join(".config"))?;
    let has = |wanted: &str| config.lines().any(|line| line == wanted);
    let is_c = !has("CONFIG_RUST_LIVEPATCH=y");
    let (mut scripts, mut left_out) = (Vec::new(), Vec::new());
    for suite in Suite::ALL {
        let all = scripts_of(suite, is_c)?;
        let wanted = |(script, _): &(Script, _)| match &args.only {
            Some(text) => script.name.contains(text),
            None => true,
        };
        let mut is_needed = false;
        for (script, needs) in all.into_iter().filter(wanted) {
            match needs {
                Some(needs) if !has(&needs) => left_out.push((script.name, needs)),
                _ => {
                    scripts.push(script);
                    is_needed = true;
                }
            }
        }
        if is_needed {
            prepare(built, suite, work.path())?;
        }
    }
    if scripts.is_empty() {
        bail!("no script is called so, or the kernel has not what it takes");
    }

    let mut boots: BTreeMap<String, Vec<Script>> = BTreeMap::new();
    for script in scripts {
        let same = boots.entry(script.boot_with.clone()).or_default();
        same.push(script);
    }
    for (number, scripts) in boots.values().enumerate() {
        let list: String = scripts.iter().map(|s| format!("{}\n", s.name)).collect();
        fs::write(work.path().join(format!("list-{number}")), list)?;
    }
    let own = build::own(&built.dir);
    let archive = own.join("livepatch.gz");
    let contents = Contents {
        init: "livepatch-tests",
        modules: &[],
        programs: &[],
        folder: Some((work.path(), "tests")),
    };
    initramfs::write(&contents, &archive)?;

    let mut ran = Ran {
        core: if is_c { "C" } else { "Rust" },
        went: Vec::new(),
        left_out,
        wrong: None,
    };
    for (number, (boot_with, scripts)) in boots.iter().enumerate() {
        let console = own.join(format!("livepatch-{number}.log"));
        // On a busy host the emulated timer may come too late for the kernel's check of it, and an
        // emulated processor may not run for as long as it takes to be called stalled.
        let mut line = format!(
            "{} no_timer_check rcupdate.rcu_cpu_stall_timeout=90 log_buf_len=4M LIST=list-{number} {boot_with}",
            boot::COMMAND_LINE
        );
        let mut limit = LIMIT;
        if let Some(cycles) = args.cycles {
            line.push_str(&format!(" STEPS={cycles}"));
            limit += LIMIT_OF_CYCLE * cycles;
        }
        let spinner = progress::spinner(format!(
            "running the livepatch tests of {} {boot_with}",
            built.config.name
        ));
        let ended = boot::watch(
            &mut boot::machine(built, &archive, line.trim_end()),
            &console,
            limit,
        )?;
        spinner.finish_and_clear();

        let log = String::from_utf8_lossy(&fs::read(&console)?).into_owned();
        let judged = judge(&log, scripts);
        ran.went.extend(judged.went);
        if let (None, Some(what)) = (&ran.wrong, judged.wrong) {
            ran.wrong = Some(format!(
                "the livepatch tests of {} do not pass: {what}; {ended}; the serial console is in {}",
                built.config.name,
                console.display()
            ));
        }
    }
    Ok(ran)
}

/// Where a suite's scripts stand.
fn folder_of(suite: Suite) -> Result<std::path::PathBuf> {
    Ok(match suite {
        Suite::Kernel => Kernel::installed()?.source().join(KERNELS),
        Suite::Own => paths::project()?.join(OURS),
    })
}

/// A suite's scripts, each with the line of the configuration that it takes.
fn scripts_of(suite: Suite, is_c: bool) -> Result<Vec<(Script, Option<String>)>> {
    let folder = folder_of(suite)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("test-") && name.ends_with(".sh") {
            names.push(name);
        }
    }
    names.sort();
    if names.is_empty() {
        bail!("{} holds no script", folder.display());
    }
    let mut scripts = Vec::new();
    for name in names {
        let text = fs::read_to_string(folder.join(&name))?;
        let cases = cases(&text, suite);
        if cases == 0 {
            bail!("{} holds no case", folder.join(name).display());
        }
        let says = |what: &str| text.lines().find_map(|line| line.strip_prefix(what));
        let script = Script {
            name: format!("{}/{name}", suite.folder()),
            cases,
            fails: is_c && says(NOT_FOR_C).is_some(),
            boot_with: says(BOOT_WITH).unwrap_or_default().to_owned(),
        };
        scripts.push((script, says(NEEDS).map(str::to_owned)));
    }
    Ok(scripts)
}

/// Puts a suite's scripts, modules and programs below a folder.
fn prepare(built: &Built, suite: Suite, work: &Path) -> Result<()> {
    let folder = work.join(suite.folder());
    let mut copy = Command::new("cp");
    copy.args(["--recursive", "--no-target-directory", "--"]);
    cmd::output(copy.arg(folder_of(suite)?).arg(&folder))?;
    build::modules(built, &folder.join(suite.modules()))?;
    for entry in fs::read_dir(&folder)? {
        let source = entry?.path();
        if source.extension().is_some_and(|extension| extension == "c") {
            let mut compiler = Command::new("gcc");
            compiler.args(["-static", "-O1", "-o"]);
            cmd::output(compiler.arg(source.with_extension("")).arg(&source))?;
        }
    }
    if suite == Suite::Own {
        klp_relocations::rewrite(&folder.join(suite.modules()).join("relocations_patch.ko"))?;
        let samples = folder.join("samples");
        fs::create_dir(&samples)?;
        for entry in fs::read_dir(built.dir.join(SAMPLES))? {
            let module = entry?.path();
            if module
                .extension()
                .is_some_and(|extension| extension == "ko")
            {
                fs::copy(
                    &module,
                    samples.join(module.file_name().unwrap_or_default()),
                )?;
            }
        }
    }
    Ok(())
}

/// What two kernels pass, side by side.
fn beside(a: &Ran, b: &Ran) -> String {
    let passed = |ran: &Ran, name: &str| {
        let went = ran.went.iter().find(|went| went.script.name == name);
        went.map_or("-".to_owned(), |went| {
            format!("{} of {}", went.passed, went.script.cases)
        })
    };
    let mut lines = vec![format!("{:<28} {:>10} {:>10}", "", a.core, b.core)];
    for Went { script, .. } in &a.went {
        let name = &script.name;
        lines.push(format!(
            "{name:<28} {:>10} {:>10}",
            passed(a, name),
            passed(b, name)
        ));
    }
    let all = |ran: &Ran| {
        let (passed, all) = count(&ran.went);
        format!("{passed} of {all}")
    };
    lines.push(format!("{:<28} {:>10} {:>10}", "all", all(a), all(b)));
    let complaint = |ran: &Ran| match &ran.wrong {
        Some(wrong) if wrong.contains(COMPLAINS) => "yes",
        _ => "no",
    };
    lines.push(format!(
        "{:<28} {:>10} {:>10}",
        "the kernel complains",
        complaint(a),
        complaint(b)
    ));
    lines.join("\n")
}

/// How it is said that the kernel printed a warning, or lost memory.
const COMPLAINS: &str = "the kernel complains";

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
            let (figures, said): (Vec<&str>, Vec<&str>) =
                said.partition(|line| line.starts_with(FIGURE));
            let (good, rest): (Vec<&str>, Vec<&str>) = said
                .into_iter()
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
                figures: figures.into_iter().map(str::to_owned).collect(),
                rest: rest.into_iter().map(str::to_owned).collect(),
            }
        })
        .collect();
    let complaint = report
        .iter()
        .find(|(key, _)| ["complaint", "leak"].contains(key));
    let value = |wanted: &str| report.iter().find(|(key, _)| *key == wanted).map(|it| it.1);
    let wrong = if let Some((_, complaint)) = complaint {
        Some(format!("{COMPLAINS}: {complaint}"))
    } else if let Some(went) = went.iter().find(|went| !went.is_good()) {
        Some(line(went))
    } else if value("end").is_none() {
        Some(format!("the report has no end{}", boot::last_lines(log)))
    } else if value("probes") != Some(PROBES) {
        Some(format!(
            "of {PROBES} lines like those of a broken kernel {} were found",
            value("probes").unwrap_or("none")
        ))
    } else {
        None
    };
    Judged { went, wrong }
}

fn line(went: &Went) -> String {
    let Script {
        name, cases, fails, ..
    } = &went.script;
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
                boot_with: String::new(),
            })
            .to_vec()
    }

    const GOOD: &str = "objtool-rs: kernel 6.12\r\n\
        objtool-rs: probes 9\r\n\
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
        let leak = wrong(
            "objtool-rs: end",
            "objtool-rs: leak unreferenced object 0x1 (size 8):\r\nobjtool-rs: end",
        );
        assert!(leak.starts_with("the kernel complains: unref"), "{leak}");
        let blind = wrong("probes 9", "probes 8");
        assert!(blind.contains("8 were found"), "{blind}");
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
