//! `./x bench vmlinux`: one whole kernel object through C objtool and through objtool-rs, in turn,
//! with all the flags that the build gave it.
//!
//! The bars are on the medians over the rounds of what objtool-rs takes of C objtool's time, CPU
//! time and memory, and on how its time grows: with the same object doubled, and with objects that
//! are made to find searches whose time grows with the square (`worst`). Beside it stands the
//! floor: what it takes to read the file, to decode its code and to write the result, and nothing
//! else (`floor`).

mod floor;
mod inputs;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, Context, Result};

use super::child::{self, Usage};
use super::{median, mib};
use crate::mutants::memory;
use crate::paths::{CorpusObject, Kernel};
use crate::{objtool, progress};

/// The configuration whose kernel is measured.
const CONFIG: &str = "x86_64-defconfig";

/// The object that is all of the kernel.
const OBJECT: &str = "vmlinux.o";

/// The most that objtool-rs may take of what C objtool takes: of time, CPU time and memory.
const BARS: [f64; 3] = [1.0 / 10.0, 1.0 / 5.0, 1.0 / 6.0];

/// The most by which its time may grow when the input is doubled.
const GROWTH: f64 = 2.1;

/// Arguments of `./x bench vmlinux`.
#[derive(clap::Args)]
pub struct Args {
    /// How often each input is measured
    #[arg(long, default_value = "5")]
    rounds: NonZeroUsize,
    /// The configuration whose recorded vmlinux.o is measured
    #[arg(long, default_value = CONFIG)]
    config: String,
    /// Use this program in place of C objtool
    #[arg(long, value_name = "FILE")]
    c: Option<PathBuf>,
    /// Use this program in place of objtool-rs
    #[arg(long, value_name = "FILE")]
    ours: Option<PathBuf>,
    /// Only measure the object itself
    #[arg(long)]
    short: bool,
}

/// Runs `./x bench vmlinux`.
///
/// # Errors
/// There is no recorded object, a tool fails on it, the tools differ, or a bar is not met.
pub fn run(args: &Args) -> Result<()> {
    let kernel = Kernel::installed()?;
    let program = |path: &PathBuf| {
        fs::canonicalize(path).with_context(|| format!("there is no program {}", path.display()))
    };
    let c = match &args.c {
        Some(path) => program(path)?,
        None => objtool::c(&kernel, &args.config)?,
    };
    let ours = match &args.ours {
        Some(path) => program(path)?,
        None => objtool::ours()?,
    };
    let corpus = kernel.corpus(&args.config)?;
    let object = corpus
        .into_iter()
        .find(|object| object.name == OBJECT)
        .with_context(|| {
            format!(
                "no {OBJECT} was recorded; delete {} and run ./x kernel build {} --objtool c",
                kernel.corpus_dir(&args.config).display(),
                args.config
            )
        })?;
    child::adopt()?;
    let dir = tempfile::Builder::new()
        .prefix("objtool-rs-bench-")
        .tempdir_in(memory())?;
    let bench = Bench {
        c,
        ours,
        args: object.args.clone(),
        rounds: args.rounds.get(),
        dir: dir.path(),
    };
    bench.run(&object, args.short)
}

/// The inputs made for quadratic searches take a tenth of a second each, so that chance shows more in
/// them: they are run so many times as often.
const MORE_ROUNDS: usize = 4;

/// Who is measured, and on what.
struct Bench<'b> {
    c: PathBuf,
    ours: PathBuf,
    args: Vec<String>,
    rounds: usize,
    dir: &'b Path,
}

/// A way to run one of the tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    C,
    Ours,
    /// On one thread.
    OursAlone,
}

impl Bench<'_> {
    fn run(&self, object: &CorpusObject, short: bool) -> Result<()> {
        println!(
            "{OBJECT}: {:.1} MB, {}\nflags: {}\n",
            fs::metadata(&object.input)?.len() as f64 / 1e6,
            progress::counted(self.rounds, "round"),
            self.args.join(" ")
        );
        let single = self.measure(&every_tool(&object.input), self.rounds)?;
        println!("{}", single.table());
        self.same_outputs(&object.input)?;
        floor::print(&object.input, &object.output, self.dir, single.ours().wall)?;

        let mut missed = single.missed();
        if !short {
            let double = self.dir.join("double.o");
            inputs::double(&object.input, &double)?;
            let doubled = self.measure(&every_tool(&double), self.rounds)?;
            fs::remove_file(&double)?;
            println!(
                "\nThe same object twice, linked into one:\n{}",
                doubled.table()
            );
            let mut growths = vec![Growth {
                what: format!("{OBJECT} twice"),
                once: single.least(),
                twice: doubled.least(),
            }];
            growths.extend(self.worst_cases()?);
            println!(
                "Growth with twice the input, by the least of all rounds:\n{}",
                growth_table(&growths)
            );
            let too_much = growths.iter().filter(|growth| !growth.is_met());
            missed.extend(too_much.map(|growth| {
                format!(
                    "{} takes {:.2} times as long, and may take {GROWTH}",
                    growth.what,
                    growth.cpu()
                )
            }));
        }
        if !missed.is_empty() {
            bail!("not every bar is met: {}", missed.join("; "));
        }
        println!("Every bar is met.");
        Ok(())
    }

    /// Runs tools in turn on fresh copies of objects.
    fn measure(&self, what: &[(&Path, Tool)], rounds: usize) -> Result<Measured> {
        let mut runs = Vec::with_capacity(rounds);
        let bar = progress::bar((rounds * what.len()) as u64, "runs");
        for round in 0..rounds {
            let mut usage = vec![Usage::default(); what.len()];
            // Who comes second finds warm caches, so they take turns.
            for step in 0..what.len() {
                let column = (round + step) % what.len();
                let (object, tool) = what[column];
                usage[column] = self.one(object, tool, "run.o")?;
                bar.inc(1);
            }
            runs.push(usage);
        }
        bar.finish_and_clear();
        Ok(Measured {
            tools: what.iter().map(|&(_, tool)| tool).collect(),
            runs,
        })
    }

    /// Measures one run on a fresh copy, which stays there changed.
    fn one(&self, object: &Path, tool: Tool, name: &str) -> Result<Usage> {
        let threads = (tool == Tool::OursAlone).then_some(1);
        self.one_with(object, tool, threads, name)
    }

    fn one_with(
        &self,
        object: &Path,
        tool: Tool,
        threads: Option<usize>,
        name: &str,
    ) -> Result<Usage> {
        fs::copy(object, self.dir.join(name))
            .with_context(|| format!("cannot copy {}", object.display()))?;
        let mut args = self.args.clone();
        args.push(name.to_owned());
        let program = match tool {
            Tool::C => &self.c,
            Tool::Ours | Tool::OursAlone => &self.ours,
        };
        let Some(threads) = threads else {
            return child::measure(program, &args, self.dir);
        };
        // env(1) becomes the program, so it does not show.
        args.insert(0, program.display().to_string());
        args.insert(0, format!("RAYON_NUM_THREADS={threads}"));
        child::measure(Path::new("env"), &args, self.dir)
    }

    /// A measurement is of no use if the tools do not do the same; and the number of threads must
    /// not show.
    fn same_outputs(&self, object: &Path) -> Result<()> {
        self.one(object, Tool::C, "c.o")?;
        let expected = fs::read(self.dir.join("c.o"))?;
        for threads in [1, 2, 8] {
            self.one_with(object, Tool::Ours, Some(threads), "ours.o")?;
            if fs::read(self.dir.join("ours.o"))? != expected {
                bail!("with {threads} threads the output differs from C objtool's");
            }
        }
        println!("The outputs of both, and with 1, 2 and 8 threads, are the same.\n");
        Ok(())
    }

    /// How time grows with the inputs that are made for it.
    fn worst_cases(&self) -> Result<Vec<Growth>> {
        let mut growths = Vec::new();
        for case in inputs::WORST {
            let objects = [1, 2].map(|times| (times, self.dir.join(format!("worst-{times}.o"))));
            for (times, object) in &objects {
                inputs::assemble(&(case.source)(*times), object)?;
            }
            let both = objects
                .each_ref()
                .map(|(_, object)| (&**object, Tool::Ours));
            let measured = self.measure(&both, self.rounds * MORE_ROUNDS)?;
            growths.push(Growth {
                what: case.what.to_owned(),
                once: measured.least_of(0),
                twice: measured.least_of(1),
            });
        }
        Ok(growths)
    }
}

/// Each of the ways to run a tool, on one object.
fn every_tool(object: &Path) -> [(&Path, Tool); 3] {
    [Tool::C, Tool::Ours, Tool::OursAlone].map(|tool| (object, tool))
}

/// What tools used, by round and tool.
struct Measured {
    tools: Vec<Tool>,
    runs: Vec<Vec<Usage>>,
}

/// One value of each kind for all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Values {
    /// Seconds that passed.
    wall: f64,
    /// Seconds of all processors.
    cpu: f64,
    /// KiB.
    peak: f64,
}

impl Measured {
    fn index(&self, tool: Tool) -> Option<usize> {
        self.tools.iter().position(|&known| known == tool)
    }

    fn median(&self, value: impl Fn(&[Usage]) -> f64) -> f64 {
        median(self.runs.iter().map(|run| value(run)).collect())
    }

    fn medians(&self, tool: usize) -> Values {
        Values {
            wall: self.median(|run| run[tool].wall.as_secs_f64()),
            cpu: self.median(|run| run[tool].cpu.as_secs_f64()),
            peak: self.median(|run| run[tool].peak as f64),
        }
    }

    fn ours(&self) -> Values {
        self.medians(self.index(Tool::Ours).unwrap_or(0))
    }

    /// The least that objtool-rs took in any round. How time grows shows better in it than in
    /// medians, since whoever else is at work only ever adds to it.
    fn least(&self) -> Values {
        self.least_of(self.index(Tool::Ours).unwrap_or(0))
    }

    fn least_of(&self, column: usize) -> Values {
        let least = |value: fn(&Usage) -> f64| {
            let all = self.runs.iter().map(|run| value(&run[column]));
            all.fold(f64::INFINITY, f64::min)
        };
        Values {
            wall: least(|usage| usage.wall.as_secs_f64()),
            cpu: least(|usage| usage.cpu.as_secs_f64()),
            peak: least(|usage| usage.peak as f64),
        }
    }

    /// The medians of the ratios to C objtool in the same round, of time, CPU time and memory.
    fn ratios(&self, tool: Tool) -> Option<[f64; 3]> {
        let (c, tool) = (self.index(Tool::C)?, self.index(tool)?);
        let share = |part: Duration, whole: Duration| part.as_secs_f64() / whole.as_secs_f64();
        Some([
            self.median(|run| share(run[tool].wall, run[c].wall)),
            self.median(|run| share(run[tool].cpu, run[c].cpu)),
            self.median(|run| run[tool].peak as f64 / run[c].peak as f64),
        ])
    }

    fn table(&self) -> String {
        let header = [
            "",
            "wall, s",
            "ratio",
            "CPU, s",
            "ratio",
            "peak, MiB",
            "ratio",
        ];
        let mut table = vec![header.map(str::to_owned).to_vec()];
        for (index, &tool) in self.tools.iter().enumerate() {
            let name = match tool {
                Tool::C => "C objtool",
                Tool::Ours => "objtool-rs",
                Tool::OursAlone => "objtool-rs, 1 thread",
            };
            let medians = self.medians(index);
            let ratios = self.ratios(tool).filter(|_| tool != Tool::C);
            let ratio = |i: usize| ratios.map_or(String::new(), |ratios| one_to(ratios[i]));
            table.push(vec![
                name.to_owned(),
                format!("{:.3}", medians.wall),
                ratio(0),
                format!("{:.3}", medians.cpu),
                ratio(1),
                format!("{:.1}", mib(medians.peak as u64)),
                ratio(2),
            ]);
        }
        crate::mutants::align(&table)
    }

    /// The bars that are not met.
    fn missed(&self) -> Vec<String> {
        // Where there is nothing to compare with, none is met.
        let ratios = self.ratios(Tool::Ours).unwrap_or([f64::NAN; 3]);
        let names = ["wall time", "CPU time", "peak memory"];
        let all = names.iter().zip(ratios).zip(BARS);
        // What is no number is below no bar.
        let missed = all.filter(|((_, ratio), bar)| ratio.is_nan() || ratio > bar);
        missed
            .map(|((name, ratio), bar)| {
                format!(
                    "{name} is {} of C objtool's, and may be {}",
                    one_to(ratio),
                    one_to(bar)
                )
            })
            .collect()
    }
}

/// A ratio as people say it.
fn one_to(ratio: f64) -> String {
    format!("1/{:.1}", 1.0 / ratio)
}

/// An input once and twice.
struct Growth {
    what: String,
    once: Values,
    twice: Values,
}

impl Growth {
    fn wall(&self) -> f64 {
        self.twice.wall / self.once.wall
    }

    /// The bar is on this: time that passes depends on who else is at work.
    fn cpu(&self) -> f64 {
        self.twice.cpu / self.once.cpu
    }

    fn is_met(&self) -> bool {
        self.cpu() <= GROWTH
    }
}

fn growth_table(growths: &[Growth]) -> String {
    let header = [
        "",
        "CPU, s",
        "twice, s",
        "growth",
        "wall",
        "peak, MiB",
        "twice",
    ];
    let mut table = vec![header.map(str::to_owned).to_vec()];
    for growth in growths {
        table.push(vec![
            growth.what.clone(),
            format!("{:.3}", growth.once.cpu),
            format!("{:.3}", growth.twice.cpu),
            format!("{:.2}", growth.cpu()),
            format!("{:.2}", growth.wall()),
            format!("{:.1}", mib(growth.once.peak as u64)),
            format!("{:.1}", mib(growth.twice.peak as u64)),
        ]);
    }
    crate::mutants::align(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(millis: u64, mib: u64) -> Usage {
        Usage {
            wall: Duration::from_millis(millis),
            cpu: Duration::from_millis(millis),
            peak: mib << 10,
        }
    }

    fn measured(runs: &[[(u64, u64); 2]]) -> Measured {
        let round = |run: &[(u64, u64); 2]| run.map(|(millis, mib)| usage(millis, mib)).to_vec();
        Measured {
            tools: vec![Tool::C, Tool::Ours],
            runs: runs.iter().map(round).collect(),
        }
    }

    #[test]
    fn bars_are_on_medians_of_ratios() {
        let good = measured(&[[(1000, 600), (90, 90)]; 3]);
        assert_eq!(good.missed(), [""; 0]);
        let once = [
            [(1000, 600), (90, 90)],
            [(1000, 600), (900, 900)],
            [(1000, 600), (90, 90)],
        ];
        assert_eq!(
            measured(&once).missed(),
            [""; 0],
            "one bad round does not decide"
        );
        let slow = measured(&[[(1000, 600), (150, 90)]; 3]).missed();
        assert_eq!(
            slow,
            ["wall time is 1/6.7 of C objtool's, and may be 1/10.0"]
        );
        let large = measured(&[[(1000, 600), (90, 110)]; 3]).missed();
        assert_eq!(
            large,
            ["peak memory is 1/5.5 of C objtool's, and may be 1/6.0"]
        );
        assert_eq!(
            measured(&[]).missed().len(),
            3,
            "nothing measured is nothing met"
        );
    }

    #[test]
    fn growth_has_a_bar() {
        let medians = |cpu| Values {
            wall: 1.0,
            cpu,
            peak: 1.0,
        };
        let growth = |twice| Growth {
            what: String::new(),
            once: medians(1.0),
            twice: medians(twice),
        };
        assert!(growth(2.05).is_met());
        assert!(!growth(2.2).is_met());
        assert!(!growth(f64::NAN).is_met());
    }
}
