//! Tests of live patching in a booted kernel: the kernel's own selftests
//! (`tools/testing/selftests/livepatch`), as they are in the source, and this project's
//! (`kernel/tests/livepatch`). Every script must pass, and every case of it must have run.
//!
//! Some of this project's tests are about what the C core has no right answer to. With the C core
//! each of their cases must fail: a test that passes there shows nothing.

mod judge;

use std::collections::BTreeMap;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Result};

use self::judge::{count, judge, line, sum, Judged, Script, Went, COMPLAINS};
use super::boot;
use super::build::{self, Built};
use super::initramfs::{self, Contents};
use super::klp_relocations;
use super::Which;
use crate::configs::Config;
use crate::paths::{self, Kernel, Tool};
use crate::{cmd, progress};

/// Where the kernel's tests stand in its source, and ours in the project.
const KERNELS: &str = "tools/testing/selftests/livepatch";
const OURS: &str = "kernel/tests/livepatch";

/// The kernel's samples of patches, in a build folder; one of our scripts takes them.
const SAMPLES: &str = "samples/livepatch";

/// What a script says at its top: that it is about what the C core has no right answer to, a line of
/// the configuration that it takes, what the kernel's command line must say, and that it goes another
/// way with another seed.
const NOT_FOR_C: &str = "# What the C core does not pass";
const NEEDS: &str = "# Needs ";
const BOOT_WITH: &str = "# Boot with ";
const TAKES_SEED: &str = "# Takes a seed";

/// The first process, which says how the init script ended if it does.
const FIRST: &str = "first";

/// They take some minutes under TCG, a kernel that looks for mistakes several times as long; a loaded
/// machine may take much longer.
const LIMIT: Duration = Duration::from_secs(5400);

/// What a cycle may take beyond that, though all of them were done one after the other.
const LIMIT_OF_CYCLE: Duration = Duration::from_secs(2);

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

/// Frame pointers and ORC.
const DEFAULT: [&str; 2] = ["x86_64-fp-livepatch", "x86_64-orc-livepatch"];

/// `./x kernel test livepatch …`
#[derive(clap::Args)]
pub struct Args {
    /// The configurations, files' names in kernel/configs, one after the other
    #[arg(value_name = "CONFIG", default_values = DEFAULT)]
    configs: Vec<String>,
    /// The objtool: the kernel's own, which records every object, or this project's
    #[arg(long, value_enum, default_value_t = Tool::Rs)]
    objtool: Tool,
    /// Only the scripts whose path contains this, or one of these
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Patches come and go at random until so many have been enabled, reversed, disabled or replaced.
    /// The machine's clock then goes by the instructions that it has run
    #[arg(long, value_name = "N")]
    cycles: Option<u32>,
    /// Divide these over so many machines that run at the same time, each from another seed. Each keeps a
    /// processor of the host busy and takes some 2 GB
    #[arg(long, value_name = "B", default_value_t = 1, requires = "cycles",
        value_parser = clap::value_parser!(u32).range(1..))]
    boots: u32,
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
    if args.cycles.is_some_and(|cycles| cycles < args.boots) {
        bail!("there are fewer cycles than machines");
    }
    let mut built = Vec::new();
    for name in args.configs.iter().chain(&args.beside) {
        let which = Which {
            config: Config::named(name)?.name.to_owned(),
            objtool: args.objtool,
        };
        built.push(which.built()?);
    }
    // Those that are compared run at the same time, so that the host is as busy for one as for the other.
    let at_once = match args.beside {
        Some(_) => built.len(),
        None => 1,
    };
    let mut all = Vec::new();
    for some in built.chunks(at_once) {
        // What one of them has shown is told though another could not be run.
        let came = together(some, |built| run_on(args, built));
        for ran in came.iter().flatten() {
            ran.print();
        }
        all.extend(came.into_iter().collect::<Result<Vec<_>>>()?);
    }
    // What the core beside does not pass is what is to be seen of it, and no failure.
    let (tested, other) = all.split_at(args.configs.len());
    if let [other] = other {
        for ran in tested {
            println!("{}", beside(ran, other));
        }
    }
    let wrong: Vec<&str> = tested
        .iter()
        .flat_map(|ran| ran.wrong.iter().map(String::as_str))
        .collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        bail!("{}", wrong.join("\n"))
    }
}

/// A run of the scripts on a kernel.
struct Ran {
    core: &'static str,
    went: Vec<Went>,
    /// Scripts that were left out, and what of the configuration they take.
    left_out: Vec<(String, String)>,
    /// What is wrong, with the consoles' logs.
    wrong: Vec<String>,
}

impl Ran {
    fn print(&self) {
        for went in &self.went {
            println!("{}", line(went));
            for figure in &went.figures {
                println!("    {figure}");
            }
            if !went.is_good() {
                for said in &went.rest {
                    println!("    {said}");
                }
            }
        }
        for (name, figure) in sums(&self.went) {
            println!("{name:<28} on all machines\n    {figure}");
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
        let wanted = |(script, _): &(Script, _)| {
            args.only.is_empty() || args.only.iter().any(|text| script.name.contains(text))
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

    let mut boots: BTreeMap<(String, Option<String>), Vec<Script>> = BTreeMap::new();
    for script in scripts {
        // What a core has no right answer to may leave it as it can't be used any more.
        let alone = script.fails.then(|| script.name.clone());
        let same = boots.entry((script.boot_with.clone(), alone)).or_default();
        same.push(script);
    }
    let own = build::own(&built.dir);
    let mut rounds = Vec::new();
    for (number, ((boot_with, _), scripts)) in boots.into_iter().enumerate() {
        let machines = machines(number, &scripts, args.cycles, args.boots);
        for machine in &machines {
            let list: String = machine
                .scripts
                .iter()
                .map(|script| format!("{}\n", script.name))
                .collect();
            fs::write(work.path().join(&machine.name), list)?;
        }
        rounds.push((boot_with, machines));
    }
    let archive = own.join("livepatch.gz");
    let contents = Contents {
        init: "livepatch-tests",
        modules: &[],
        programs: &[FIRST],
        folder: Some((work.path(), "tests")),
    };
    initramfs::write(&contents, &archive)?;

    let mut ran = Ran {
        core: if is_c { "C" } else { "Rust" },
        went: Vec::new(),
        left_out,
        wrong: Vec::new(),
    };
    for (boot_with, machines) in &rounds {
        let spinner = progress::spinner(format!(
            "running the livepatch tests of {} {boot_with}",
            built.config.name
        ));
        let start = Instant::now();
        let limit = LIMIT + LIMIT_OF_CYCLE * args.cycles.unwrap_or(0);
        let came: Vec<Result<_>> = together(machines, |machine| {
            let console = own.join(format!("livepatch-{}.log", machine.name));
            let line = machine.command_line(boot_with);
            let mut qemu = boot::machine(built, &archive, &line);
            if machine.cycles.is_some() {
                boot::count_instructions(&mut qemu, built.config);
            }
            let ended = boot::watch(&mut qemu, &console, limit)?;
            let log = String::from_utf8_lossy(&fs::read(&console)?).into_owned();
            Ok((console, ended, judge(&log, &machine.scripts)))
        });
        spinner.finish_and_clear();
        println!(
            "{} in {}",
            progress::counted(machines.len(), "boot"),
            progress::since(start)
        );
        for machine in came {
            let (console, ended, Judged { went, wrong }) = machine?;
            ran.went.extend(went);
            if let Some(what) = wrong {
                ran.wrong.push(format!(
                    "the livepatch tests of {} do not pass: {what}; {ended}; the serial console is in {}",
                    built.config.name,
                    console.display()
                ));
            }
        }
    }
    Ok(ran)
}

/// A machine, and what it is to run.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    /// The name of its list of scripts, and of its console's log.
    name: String,
    scripts: Vec<Script>,
    seed: u32,
    cycles: Option<u32>,
}

impl Machine {
    fn command_line(&self, boot_with: &str) -> String {
        let mut line = format!(
            "{} rdinit=/programs/{FIRST} print-fatal-signals=1 log_buf_len=4M LIST={} SEED={}",
            boot::COMMAND_LINE,
            self.name,
            self.seed
        );
        if let Some(cycles) = self.cycles {
            line.push_str(&format!(" STEPS={cycles}"));
        }
        if !boot_with.is_empty() {
            line.push_str(&format!(" {boot_with}"));
        }
        line
    }
}

/// Divides the cycles over machines. The first runs all scripts; the others those that go another way
/// with another seed, if there are such.
fn machines(number: usize, scripts: &[Script], cycles: Option<u32>, boots: u32) -> Vec<Machine> {
    let seeded: Vec<Script> = scripts.iter().filter(|it| it.takes_seed).cloned().collect();
    let boots = if seeded.is_empty() { 1 } else { boots };
    (1..=boots)
        .map(|seed| Machine {
            name: match seed {
                1 => format!("list-{number}"),
                _ => format!("list-{number}-seed-{seed}"),
            },
            scripts: if seed == 1 {
                scripts.to_vec()
            } else {
                seeded.clone()
            },
            seed,
            cycles: cycles.map(|all| all / boots + u32::from(seed <= all % boots)),
        })
        .collect()
}

/// Does something for all of these at the same time.
fn together<M: Sync, T: Send>(all: &[M], run: impl Fn(&M) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let running: Vec<_> = all.iter().map(|one| scope.spawn(|| run(one))).collect();
        running
            .into_iter()
            .map(|it| it.join().unwrap_or_else(|why| panic::resume_unwind(why)))
            .collect()
    })
}

/// What scripts that ran on several machines counted there in all.
fn sums(went: &[Went]) -> Vec<(&str, String)> {
    let mut by_name: BTreeMap<&str, Vec<&Went>> = BTreeMap::new();
    for went in went {
        by_name.entry(&went.script.name).or_default().push(went);
    }
    let mut sums = Vec::new();
    for (name, all) in by_name {
        let most = all.iter().map(|it| it.figures.len()).max();
        for number in 0..most.unwrap_or(0) {
            let figures: Vec<&str> = all
                .iter()
                .filter_map(|it| it.figures.get(number).map(String::as_str))
                .collect();
            if all.len() > 1 {
                let sum =
                    sum(&figures).unwrap_or_else(|| "no sum: they say different things".into());
                sums.push((name, sum));
            }
        }
    }
    sums
}

/// Where a suite's scripts stand.
fn folder_of(suite: Suite) -> Result<PathBuf> {
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
            takes_seed: says(TAKES_SEED).is_some(),
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
        let its: Vec<Went> = ran
            .went
            .iter()
            .filter(|went| went.script.name == name)
            .cloned()
            .collect();
        match count(&its) {
            (_, 0) => "-".to_owned(),
            (passed, all) => format!("{passed} of {all}"),
        }
    };
    let mut lines = vec![format!("{:<28} {:>10} {:>10}", "", a.core, b.core)];
    let mut names: Vec<&str> = Vec::new();
    for went in &a.went {
        if !names.contains(&went.script.name.as_str()) {
            names.push(&went.script.name);
        }
    }
    for name in names {
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
    let complaint = |ran: &Ran| match ran.wrong.iter().any(|it| it.contains(COMPLAINS)) {
        true => "yes",
        false => "no",
    };
    lines.push(format!(
        "{:<28} {:>10} {:>10}",
        "the kernel complains",
        complaint(a),
        complaint(b)
    ));
    lines.join("\n")
}

/// The cases of a script.
fn cases(script: &str, suite: Suite) -> usize {
    let begins = |line: &&str| line.trim_start().starts_with(suite.begins());
    script.lines().filter(begins).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted() {
        let script = "start_test \"a\"\n# start_test\nfor x; do\n\tstart_test \"b\"\ndone\n";
        assert_eq!(cases(script, Suite::Kernel), 2);
        assert_eq!(cases(script, Suite::Own), 0);
        assert_eq!(cases("begin \"a\"\nfinish\n", Suite::Own), 1);
    }

    fn script(name: &str, takes_seed: bool) -> Script {
        Script {
            name: name.to_owned(),
            cases: 2,
            fails: false,
            boot_with: String::new(),
            takes_seed,
        }
    }

    #[test]
    fn cycles_are_divided_over_machines() {
        let (plain, random) = (script("plain", false), script("random", true));
        let both = [plain.clone(), random.clone()];
        let all = machines(0, &both, Some(10), 4);
        let cycles: Vec<_> = all.iter().map(|machine| machine.cycles).collect();
        assert_eq!(cycles, [Some(3), Some(3), Some(2), Some(2)]);
        let seeds: Vec<_> = all.iter().map(|machine| machine.seed).collect();
        assert_eq!(seeds, [1, 2, 3, 4]);
        let mut names: Vec<_> = all.iter().map(|machine| &machine.name).collect();
        names.dedup();
        assert_eq!(names.len(), 4, "each has its own log");
        assert_eq!(all[0].scripts, both);
        assert!(all[1..].iter().all(|it| it.scripts == [random.clone()]));
        let line = all[3].command_line("livepatch.x=0");
        assert!(line.contains(&format!("LIST={} SEED=4 STEPS=2", all[3].name)));
        assert!(line.ends_with(" livepatch.x=0"), "{line}");

        assert_eq!(machines(0, &[plain], Some(10), 4).len(), 1);
        assert_eq!(machines(0, &[random], None, 1)[0].cycles, None);
    }

    #[test]
    fn all_machines_run_and_one_that_fails_is_seen() {
        let all = machines(0, &[script("random", true)], Some(30), 3);
        // None ends before all have begun.
        let begun = std::sync::Barrier::new(3);
        let seeds = together(&all, |machine| {
            begun.wait();
            machine.seed
        });
        assert_eq!(seeds, [1, 2, 3]);
        let failed: Result<Vec<u32>> = together(&all, |machine| match machine.seed {
            2 => bail!("no"),
            seed => Ok(seed),
        })
        .into_iter()
        .collect();
        assert_eq!(failed.unwrap_err().to_string(), "no");
    }

    #[test]
    fn figures_of_machines_are_added_up() {
        let log = |n| {
            format!(
                "objtool-rs: random: FIGURE: cycles {n}\r\n\
                 objtool-rs: random: TEST: a ... ok\r\n\
                 objtool-rs: random: TEST: b ... ok\r\n\
                 objtool-rs: status random 0 1\r\n"
            )
        };
        let random = [script("random", true)];
        let mut went = judge(&log(25), &random).went;
        assert_eq!(sums(&went), []);
        went.extend(judge(&log(17), &random).went);
        assert_eq!(sums(&went), [("random", "cycles 42".to_owned())]);
        assert_eq!(count(&went), (4, 4));
    }
}
