//! `./x bench objects`: every object of the frame-pointer build through C objtool and through
//! objtool-rs, one after the other, in several rounds.
//!
//! What is measured is what a kernel build pays: the whole process, from its start to its end, on
//! a copy of the object in memory that the tool rewrites. The bar is on CPU time in total.

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

/// The configuration whose objects are measured.
const CONFIG: &str = "x86_64-fp";

/// The most CPU time objtool-rs may take, as a share of C objtool's.
const BAR: f64 = 0.7;

/// Upper bounds of the size classes of the table, in bytes.
const CLASSES: [(u64, &str); 5] = [
    (4 << 10, "to 4 KiB"),
    (16 << 10, "to 16 KiB"),
    (64 << 10, "to 64 KiB"),
    (256 << 10, "to 256 KiB"),
    (u64::MAX, "larger"),
];

/// Arguments of `./x bench objects`.
#[derive(clap::Args)]
pub struct Args {
    /// How often every object is measured
    #[arg(long, default_value = "5")]
    rounds: NonZeroUsize,
    /// Use this program in place of C objtool
    #[arg(long, value_name = "FILE")]
    c: Option<PathBuf>,
    /// Use this program in place of objtool-rs
    #[arg(long, value_name = "FILE")]
    ours: Option<PathBuf>,
}

/// Runs `./x bench objects`.
///
/// # Errors
/// There are no recorded objects, a tool fails on one, or objtool-rs takes too long.
pub fn run(args: Args) -> Result<()> {
    let kernel = Kernel::installed()?;
    let corpus = kernel.corpus(CONFIG)?;
    let program = |path: &PathBuf| {
        fs::canonicalize(path).with_context(|| format!("there is no program {}", path.display()))
    };
    let c = match &args.c {
        Some(path) => program(path)?,
        None => objtool::c(&kernel, CONFIG)?,
    };
    let ours = match &args.ours {
        Some(path) => program(path)?,
        None => objtool::ours()?,
    };
    child::adopt()?;
    let dir = tempfile::Builder::new()
        .prefix("objtool-rs-bench-")
        .tempdir_in(memory())?;
    let empty = child::measure(Path::new("true"), &[], dir.path())?;
    let rounds = args.rounds.get();
    let objects = measure(&corpus, [&c, &ours], rounds, dir.path())?;

    let all: Vec<&Measured> = objects.iter().collect();
    println!(
        "{} objects, {}, each by C objtool and by objtool-rs in turn; CPU time is user and system, \
         process start included (an empty program: {:.2} ms, {:.1} MiB)\n",
        objects.len(),
        progress::counted(rounds, "round"),
        empty.cpu.as_secs_f64() * 1000.0,
        mib(empty.peak)
    );
    println!("{}", classes(&objects));
    let total = Sum::of(&all, rounds);
    println!("{}", total.rounds());
    verdict(&total)
}

/// One object and what both tools used for it, by round.
struct Measured {
    size: u64,
    runs: Vec<[Usage; 2]>,
}

fn measure(
    corpus: &[CorpusObject],
    tools: [&Path; 2],
    rounds: usize,
    dir: &Path,
) -> Result<Vec<Measured>> {
    let mut objects = Vec::with_capacity(corpus.len());
    for object in corpus {
        objects.push(Measured {
            size: fs::metadata(&object.input)?.len(),
            runs: Vec::with_capacity(rounds),
        });
    }
    let bar = progress::bar((corpus.len() * rounds) as u64, "objects");
    for round in 0..rounds {
        for (object, measured) in corpus.iter().zip(&mut objects) {
            let mut usage = [Usage::default(); 2];
            // Who comes second finds warm caches, so they take turns.
            for tool in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                usage[tool] = one(object, tools[tool], dir)?;
            }
            measured.runs.push(usage);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(objects)
}

/// Measures one tool on a fresh copy of one object.
fn one(object: &CorpusObject, tool: &Path, dir: &Path) -> Result<Usage> {
    let file = dir.join(&object.name);
    let folder = file.parent().context("an object needs a folder")?;
    fs::create_dir_all(folder)?;
    fs::copy(&object.input, &file)
        .with_context(|| format!("cannot copy {}", object.input.display()))?;
    let mut args = object.args.clone();
    args.push(object.name.clone());
    let usage = child::measure(tool, &args, dir)?;
    fs::remove_file(&file)?;
    Ok(usage)
}

/// What both tools used for a set of objects; index 0 is C objtool, 1 is objtool-rs.
struct Sum {
    objects: usize,
    /// By round: CPU time of all objects, in seconds.
    cpu: Vec<[f64; 2]>,
    /// The highest peak of a process, in KiB.
    peak: [u64; 2],
    /// The sum over the objects of the median peak, in KiB.
    peaks: [u64; 2],
}

impl Sum {
    fn of(objects: &[&Measured], rounds: usize) -> Self {
        let cpu = |round: usize| {
            [0, 1].map(|tool| {
                let runs = objects.iter().map(|object| object.runs[round][tool].cpu);
                runs.sum::<Duration>().as_secs_f64()
            })
        };
        let peak = |tool: usize| {
            let runs = objects.iter().flat_map(|object| &object.runs);
            runs.map(|run| run[tool].peak).max().unwrap_or(0)
        };
        let peaks = |tool: usize| {
            objects
                .iter()
                .map(|object| {
                    let peaks = object.runs.iter().map(|run| run[tool].peak as f64);
                    median(peaks.collect()) as u64
                })
                .sum()
        };
        Self {
            objects: objects.len(),
            cpu: (0..rounds).map(cpu).collect(),
            peak: [peak(0), peak(1)],
            peaks: [peaks(0), peaks(1)],
        }
    }

    /// The median over the rounds of a tool's CPU time, in seconds.
    fn cpu(&self, tool: usize) -> f64 {
        median(self.cpu.iter().map(|round| round[tool]).collect())
    }

    /// The median over the rounds of objtool-rs's share of C objtool's CPU time.
    fn ratio(&self) -> f64 {
        median(self.cpu.iter().map(|[c, ours]| ours / c).collect())
    }

    /// The rounds, one a line.
    fn rounds(&self) -> String {
        let lines = self.cpu.iter().enumerate();
        lines
            .map(|(round, [c, ours])| {
                format!(
                    "round {}: C {c:.3} s, ours {ours:.3} s, ratio {:.3}\n",
                    round + 1,
                    ours / c
                )
            })
            .collect()
    }
}

/// The table by size class, with the sum at its end.
fn classes(objects: &[Measured]) -> String {
    let rounds = objects.first().map_or(0, |object| object.runs.len());
    let mut table = vec![[
        "objects of",
        "count",
        "C, ms each",
        "ours, ms each",
        "C, s",
        "ours, s",
        "ratio",
        "C peak, MiB",
        "ours peak, MiB",
        "ratio of peaks",
    ]
    .map(str::to_owned)
    .to_vec()];
    let mut row = |name: &str, objects: &[&Measured]| {
        if objects.is_empty() {
            return;
        }
        let sum = Sum::of(objects, rounds);
        let each = |tool| format!("{:.2}", sum.cpu(tool) * 1000.0 / sum.objects as f64);
        table.push(vec![
            name.to_owned(),
            sum.objects.to_string(),
            each(0),
            each(1),
            format!("{:.3}", sum.cpu(0)),
            format!("{:.3}", sum.cpu(1)),
            format!("{:.3}", sum.ratio()),
            format!("{:.1}", mib(sum.peak[0])),
            format!("{:.1}", mib(sum.peak[1])),
            format!("{:.3}", sum.peaks[1] as f64 / sum.peaks[0] as f64),
        ]);
    };
    let mut from = 0;
    for (to, name) in CLASSES {
        let class: Vec<_> = objects
            .iter()
            .filter(|object| (from..to).contains(&object.size))
            .collect();
        row(name, &class);
        from = to;
    }
    row("all", &objects.iter().collect::<Vec<_>>());
    crate::mutants::align(&table)
}

/// Says whether the bar is met.
fn verdict(total: &Sum) -> Result<()> {
    println!(
        "CPU time: C {:.3} s, ours {:.3} s, ratio {:.3} (the bar is {BAR})\n\
         Peak memory: C {:.1} MiB, ours {:.1} MiB at most; summed over the objects C {:.0} MiB, \
         ours {:.0} MiB, ratio {:.3}",
        total.cpu(0),
        total.cpu(1),
        total.ratio(),
        mib(total.peak[0]),
        mib(total.peak[1]),
        mib(total.peaks[0]),
        mib(total.peaks[1]),
        total.peaks[1] as f64 / total.peaks[0] as f64,
    );
    // A NaN, as from no objects at all, must not pass.
    if total.ratio() <= BAR {
        Ok(())
    } else {
        bail!(
            "objtool-rs takes {:.3} of C objtool's CPU time, more than {BAR}",
            total.ratio()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(size: u64, millis: &[[u64; 2]]) -> Measured {
        let run = |pair: &[u64; 2]| {
            pair.map(|millis| Usage {
                wall: Duration::from_millis(millis),
                cpu: Duration::from_millis(millis),
                peak: millis * 1024,
            })
        };
        Measured {
            size,
            runs: millis.iter().map(run).collect(),
        }
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn the_bar_is_on_the_ratio_of_totals() {
        let objects = [
            measured(1000, &[[10, 9], [10, 9], [10, 90]]),
            measured(9000, &[[90, 50], [90, 50], [90, 50]]),
        ];
        let all: Vec<_> = objects.iter().collect();
        let sum = Sum::of(&all, 3);
        assert_eq!(sum.ratio(), 0.59, "one bad round does not decide");
        assert!(verdict(&sum).is_ok());
        assert_eq!(sum.peak, [90 * 1024, 90 * 1024]);
        assert_eq!(sum.peaks, [100 * 1024, 59 * 1024]);

        let slow = [measured(1000, &[[10, 8]])];
        let slow: Vec<_> = slow.iter().collect();
        assert!(verdict(&Sum::of(&slow, 1)).is_err());
        assert!(verdict(&Sum::of(&[], 1)).is_err());
    }

    #[test]
    fn every_object_is_in_one_class() {
        let sizes = [0, 4095, 4096, 20_000, 100_000, 1_000_000];
        let objects: Vec<_> = sizes.map(|size| measured(size, &[[2, 1]])).into();
        let table = classes(&objects);
        let counts: Vec<usize> = table
            .lines()
            .skip(1)
            .map(|line| {
                let cells: Vec<_> = line.split("  ").filter(|cell| !cell.is_empty()).collect();
                cells[1].trim().parse().unwrap()
            })
            .collect();
        assert_eq!(counts, [2, 1, 1, 1, 1, 6], "{table}");
    }
}
