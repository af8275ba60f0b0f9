//! `./x bench livepatch`: what live patching costs in a booted kernel, with our core and unwinder and
//! with the C ones that Linux 6.12 has: calls of patched functions, transitions over many sleeping
//! tasks, how long others are kept waiting meanwhile, and memory.
//!
//! QEMU counts instructions, and one is a nanosecond of the machine's clock (`-icount shift=0`), on
//! one processor: what is measured does not depend on the machine that runs QEMU, and a second boot
//! gives nearly the same. What caches and branch predictors make of the instructions it does not show.
//!
//! `kernel/initramfs/init-livepatch-cost` says what is done. Bars: nothing may cost more than with the C
//! core, and the longest wait must be shorter.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use super::{median, room};
use crate::configs::Config;
use crate::kernel::initramfs::{self, Contents};
use crate::kernel::{boot, build};
use crate::paths::{self, Tool};
use crate::{cmd, progress, setup};

/// A boot takes a minute or two; a loaded machine may take much longer.
const LIMIT: Duration = Duration::from_secs(1800);

/// Arguments of `./x bench livepatch`.
#[derive(clap::Args)]
pub struct Args {
    /// How often each kernel is booted, in turn
    #[arg(long, default_value_t = 2)]
    boots: u64,
    /// How often everything is measured in each boot
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// Sleeping tasks
    #[arg(long, default_value_t = 5000)]
    tasks: u64,
}

/// The kernels: ours, and what Linux 6.12 has.
const KERNELS: [(&str, Tool); 2] = [("x86_64-fp-livepatch", Tool::Rs), ("x86_64-fp", Tool::C)];

/// Runs `./x bench livepatch`.
///
/// # Errors
/// A kernel does not build or does not come through the measurements, or a bar is not met.
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    let mut built = Vec::new();
    for (config, tool) in KERNELS {
        built.push(build::run(Config::named(config)?, tool)?);
    }
    let mut measured: [Measured; 2] = Default::default();
    for round in 0..args.boots {
        for (built, measured) in built.iter().zip(&mut measured) {
            let spinner = progress::spinner(format!(
                "boot {} of {}, {}",
                round + 1,
                args.boots,
                built.config.name
            ));
            let log = measure(built, args)
                .with_context(|| format!("{} cannot be measured", built.config.name))?;
            measured.add(&log)?;
            spinner.finish_and_clear();
        }
    }
    let [ours, c] = &measured;
    println!(
        "instructions, the median of {} boots of each kernel with {} rounds in each:",
        args.boots, args.rounds
    );
    println!("  {:<42} {:>12} {:>12} {:>6}", "", "Rust", "C", "ratio");
    let mut missed = Vec::new();
    for row in rows(args.tasks) {
        let (Some(ours), Some(c)) = ((row.value)(ours), (row.value)(c)) else {
            bail!("`{}` was not measured", row.what);
        };
        let ratio = ours / c;
        println!("  {:<42} {ours:>12.0} {c:>12.0} {ratio:>6.3}", row.what);
        if row.bar.misses(ratio) {
            missed.push(format!("{}: {ratio:.3} of C's", row.what));
        }
    }
    let [ours, c] = [text(&built[0].dir, true)?, text(&built[1].dir, false)?];
    println!(
        "  the core's code: {ours} bytes, C's {c}: {:.2}",
        ours as f64 / c as f64
    );
    println!("  a difference of up to {NOISE} is taken for none");
    if missed.is_empty() {
        return Ok(());
    }
    bail!("bars are missed:\n  {}", missed.join("\n  "))
}

/// Differences that are taken for none.
const NOISE: f64 = 0.004;

/// What must hold of a ratio of ours to C's.
#[derive(Clone, Copy, Debug)]
enum Bar {
    /// It costs no more, but for the noise.
    NoMore,
    /// It is shorter, by more than the noise.
    Shorter,
}

impl Bar {
    fn misses(self, ratio: f64) -> bool {
        match self {
            Self::NoMore => ratio > 1.0 + NOISE,
            Self::Shorter => ratio >= 1.0 - NOISE,
        }
    }
}

/// Boots a kernel once; returns the console's log.
fn measure(built: &build::Built, args: &Args) -> Result<String> {
    let work = tempfile::Builder::new()
        .prefix("objtool-rs-cost-")
        .tempdir()?;
    let mut copy = Command::new("cp");
    copy.args(["--recursive", "--no-target-directory", "--"]);
    cmd::output(
        copy.arg(paths::project()?.join("kernel/bench/livepatch"))
            .arg(work.path()),
    )?;
    build::modules(built, &work.path().join("modules"))?;
    let own = build::own(&built.dir);
    let (archive, console) = (own.join("cost.gz"), own.join("cost.log"));
    let contents = Contents {
        init: "init-livepatch-cost",
        modules: &[],
        programs: &["livepatch-cost"],
        folder: Some((work.path(), "cost")),
    };
    initramfs::write(&contents, &archive)?;
    let line = format!(
        "{} rounds={} tasks={}",
        boot::COMMAND_LINE,
        args.rounds,
        args.tasks
    );
    let mut qemu = boot::machine(built, &archive, &line);
    // When nothing is to be done the clock goes on at once to when there is something.
    qemu.args([
        "-smp",
        "1",
        "-icount",
        "shift=0,sleep=off",
        "-rtc",
        "clock=vm",
    ]);
    let ended = boot::watch(&mut qemu, &console, LIMIT)?;
    let log = String::from_utf8_lossy(&fs::read(&console)?).into_owned();
    let fault = boot::report(&log).find(|(key, _)| *key == "complaint");
    if let Some((_, complaint)) = fault {
        bail!(
            "{complaint}; the serial console is in {}",
            console.display()
        );
    }
    if !boot::report(&log).any(|(key, _)| key == "end") {
        bail!(
            "the report has no end: {ended}; the serial console is in {}{}",
            console.display(),
            boot::last_lines(&log)
        );
    }
    Ok(log)
}

/// What was measured of one kernel: for each key of the report, each of its numbers, every time.
#[derive(Default, Debug)]
struct Measured(BTreeMap<String, Vec<Vec<f64>>>);

impl Measured {
    fn add(&mut self, log: &str) -> Result<()> {
        for (key, value) in boot::report(log) {
            if matches!(key, "kernel" | "end") {
                continue;
            }
            let numbers: Result<Vec<f64>, _> = value.split(' ').map(str::parse).collect();
            let numbers = numbers.with_context(|| format!("`{key} {value}` is no measurement"))?;
            let columns = self.0.entry(key.to_owned()).or_default();
            columns.resize_with(numbers.len().max(columns.len()), Vec::new);
            for (column, number) in columns.iter_mut().zip(numbers) {
                column.push(number);
            }
        }
        Ok(())
    }

    fn median(&self, key: &str, column: usize) -> Option<f64> {
        Some(median(self.0.get(key)?.get(column)?.clone()))
    }

    /// What being patched adds to a call.
    fn call(&self, key: &str) -> Option<f64> {
        let extra = self.median(key, 1)? - self.median(key, 2)?;
        let before = self.median("calls-before", 1)? - self.median("calls-before", 2)?;
        Some((extra - before) / self.median(key, 0)?)
    }

    /// What a task adds to patching. In unpatching the wait for all tasks to have left the tracer is
    /// longer than anything else.
    fn task(&self, tasks: u64) -> Option<f64> {
        let more = self.median("many", 0)? - self.median("few", 0)?;
        Some(more / tasks as f64)
    }

    /// What a reliable walk over the stack of one of the sleeping tasks takes.
    fn walk(&self) -> Option<f64> {
        Some(self.median("walk", 1)? / self.median("walk", 0)?)
    }

    fn memory(&self) -> Option<f64> {
        Some(self.median("slab", 0)? + self.median("module", 0)?)
    }
}

/// How a value comes of what was measured.
type Value = Box<dyn Fn(&Measured) -> Option<f64>>;

/// A line of the result.
struct Row {
    what: String,
    value: Value,
    bar: Bar,
}

fn rows(tasks: u64) -> Vec<Row> {
    let row = |what: &str, value: Value| Row {
        what: what.to_owned(),
        bar: match what {
            _ if what.starts_with("longest") => Bar::Shorter,
            _ => Bar::NoMore,
        },
        value,
    };
    let call = |key: &'static str| Box::new(move |m: &Measured| m.call(key));
    let is = |key: &'static str, column| Box::new(move |m: &Measured| m.median(key, column));
    vec![
        row("a patched call adds", call("calls-patched")),
        row(
            "… in transition, by a task that switched",
            call("calls-switched"),
        ),
        row("… by one that has not", call("calls-unswitched")),
        row("patching, few tasks", is("few", 0)),
        row(&format!("patching, {tasks} more"), is("many", 0)),
        row("… for each task", Box::new(move |m| m.task(tasks))),
        row("… of which its stack's walk", Box::new(Measured::walk)),
        row(
            "… and the rest",
            Box::new(move |m| Some(m.task(tasks)? - m.walk()?)),
        ),
        row("unpatching, few tasks", is("few", 1)),
        row(&format!("unpatching, {tasks} more"), is("many", 1)),
        row(
            "longest wait for the processor, patching",
            is("many-wait", 0),
        ),
        row("longest wait, unpatching", is("many-wait", 1)),
        row("memory for a patch, bytes", Box::new(Measured::memory)),
    ]
}

/// Bytes of the core's code.
fn text(build: &Path, is_ours: bool) -> Result<u64> {
    let folder = build.join("kernel/livepatch");
    let names: &[&str] = if is_ours {
        &[
            "livepatch",
            "rust_livepatch",
            "shim",
            "messages",
            "blockers",
        ]
    } else {
        &["core", "patch", "shadow", "state", "transition"]
    };
    let mut bytes = 0;
    for name in names {
        let sub = if is_ours { "rust/" } else { "" };
        bytes += room::code(&folder.join(format!("{sub}{name}.o")))?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_what_a_call_and_a_task_add() {
        let mut measured = Measured::default();
        let log = "objtool-rs: kernel 6.12\n\
                   objtool-rs: calls-before 100 700 600\n\
                   objtool-rs: calls-patched 100 9700 600\n\
                   objtool-rs: few 1000 2000\n\
                   objtool-rs: many 11000 22000\n\
                   objtool-rs: slab 4000 20\n\
                   objtool-rs: module 8192\n\
                   objtool-rs: end\n";
        measured.add(log).unwrap();
        measured.add(&log.replace("9700", "9900")).unwrap();
        assert_eq!(measured.call("calls-patched"), Some(91.0));
        assert_eq!(measured.task(10), Some(1000.0));
        assert_eq!(measured.memory(), Some(12192.0));
        assert_eq!(measured.call("calls-switched"), None);
        assert!(measured.add("objtool-rs: few none\n").is_err());
    }

    #[test]
    fn bars_are_held_to_the_thousandth() {
        let (no_more, shorter) = (Bar::NoMore, Bar::Shorter);
        assert!(!no_more.misses(1.0) && !no_more.misses(1.003));
        assert!(no_more.misses(1.005) && no_more.misses(1.1));
        assert!(shorter.misses(1.0) && shorter.misses(0.998));
        assert!(!shorter.misses(0.99));
    }
}
