//! `./x mutants --havoc`: a great many objects with random damage go through objtool-rs's library;
//! none may make it panic, abort or hang.
//!
//! The work is done in processes of their own (`worker`), so that whatever happens there can be
//! seen from here, counted and gone on from. They are built with overflow checks and debug
//! assertions, with which more faults show.

mod damage;
#[cfg(feature = "havoc")]
mod worker;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};

use super::image::Image;
use super::joined::Parts;
use super::plan::Object;
use crate::paths::Kernel;
use crate::{objtool, paths, progress};
use damage::Stock;

/// How many objects a run takes when not told.
const COUNT: u64 = 1_000_000;

/// How long one object may take.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// How many failures end a run: there is enough to do by then.
const ENOUGH: usize = 50;

/// Arguments of `./x mutants` about havoc.
#[derive(clap::Args)]
#[group(id = "damage")]
pub struct Args {
    /// Damage whole objects at random and look only whether objtool-rs survives
    #[arg(long)]
    havoc: bool,
    /// Write the damaged object of this index to the file given with --to
    #[arg(long, value_name = "INDEX", requires = "havoc", requires = "to")]
    index: Option<u64>,
    /// The file that --index writes
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// What a worker is to do
    #[arg(long, hide = true, value_name = "FILE")]
    havoc_worker: Option<PathBuf>,
}

impl Args {
    /// Whether this is about havoc at all.
    pub fn is_wanted(&self) -> bool {
        self.havoc || self.havoc_worker.is_some()
    }
}

/// What a worker is told.
#[derive(Serialize, Deserialize)]
struct Task {
    seed: u64,
    from: u64,
    to: u64,
    objects: Vec<Whole>,
    /// Where the worker notes how far it is.
    state: PathBuf,
    /// Where the worker notes panics.
    panics: PathBuf,
    /// What the worker writes to standard error.
    words: PathBuf,
}

/// A whole object to start from.
#[derive(Clone, Serialize, Deserialize)]
struct Whole {
    name: String,
    input: PathBuf,
    args: Vec<String>,
}

/// How far a worker is: what stands in its state file, as little-endian words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// The index that is being worked on.
    index: u64,
    /// Objects that were refused with an error.
    refused: u64,
    /// Objects with findings.
    warned: u64,
}

impl State {
    /// For the worker, and for the test of both directions.
    #[cfg(any(test, feature = "havoc"))]
    fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let words = [self.index, self.refused, self.warned];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |index: usize| -> Option<u64> {
            let bytes = bytes.get(index * 8..index * 8 + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        Some(Self {
            index: word(0)?,
            refused: word(1)?,
            warned: word(2)?,
        })
    }
}

/// Runs `./x mutants --havoc`; `actions` is for linked objects.
///
/// # Errors
/// There are no recorded objects, the worker does not build, or objtool-rs did not survive.
pub fn run(args: &Args, actions: bool, seed: u64, count: Option<usize>, jobs: usize) -> Result<()> {
    if let Some(task) = &args.havoc_worker {
        return work(task);
    }
    let folder = super::folder()?;
    let kernel = Kernel::installed()?;
    let corpus = match actions {
        true => super::linked_corpus(&kernel, folder.path(), Parts::Many)?,
        false => super::corpus(&kernel)?,
    };
    if let (Some(index), Some(to)) = (args.index, &args.to) {
        return write_one(&corpus, seed, index, to);
    }
    let count = count.map_or(COUNT, |count| count as u64);
    let worker = build()?;
    let start = Instant::now();
    let mut run = Run::start(&worker, &corpus, seed, count, jobs)?;
    let bar = progress::bar(count, "damaged objects");
    while !run.step()? {
        bar.set_position(run.done());
        std::thread::sleep(Duration::from_millis(100));
    }
    bar.finish_and_clear();
    run.finish()?;

    let (refused, warned) = run.totals();
    println!(
        "{} damaged objects in {}: {refused} refused with an error, {warned} with findings, the \
         others without; {} panics, crashes and hangs",
        run.done(),
        progress::since(start),
        run.failures.len()
    );
    if !run.failures.is_empty() {
        print!("{}", kinds(&run.failures));
        bail!(
            "objtool-rs did not survive all of them; \
             ./x mutants --havoc{} --seed {seed} --index INDEX --to FILE.o writes one",
            if actions { " --actions" } else { "" }
        );
    }
    if run.done() < count {
        bail!("only {} of {count} objects were gone through", run.done());
    }
    Ok(())
}

/// Failures of the same words as one, with the indices of a few of them.
fn kinds(failures: &[Failure]) -> String {
    let mut kinds: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for failure in failures {
        kinds.entry(&failure.what).or_default().push(failure.index);
    }
    let lines = kinds.iter().map(|(what, indices)| {
        let few: Vec<_> = indices.iter().take(5).map(u64::to_string).collect();
        format!(
            "  {what}\n    {} times, index {}\n",
            indices.len(),
            few.join(", ")
        )
    });
    lines.collect()
}

#[cfg(feature = "havoc")]
fn work(task: &Path) -> Result<()> {
    worker::run(task)
}

#[cfg(not(feature = "havoc"))]
fn work(_: &Path) -> Result<()> {
    bail!("this xtask was built without the feature `havoc`; start ./x mutants --havoc instead")
}

/// Builds an xtask that holds objtool-rs's library.
fn build() -> Result<PathBuf> {
    let mut command = Command::new(objtool::cargo());
    command.current_dir(paths::project()?).args([
        "build",
        "--quiet",
        "--package",
        "xtask",
        "--features",
        "havoc",
        "--profile",
        "havoc",
    ]);
    objtool::artifacts(&mut command, &[])
        .context("the worker does not build")?
        .into_iter()
        .find(|artifact| artifact.executable && artifact.target == "xtask")
        .map(|artifact| artifact.path)
        .context("cargo built xtask, but named no executable")
}

fn stock(objects: &[Whole]) -> Result<Stock> {
    let images = objects.iter().map(|object| {
        let data = fs::read(&object.input)
            .with_context(|| format!("cannot read {}", object.input.display()))?;
        Image::parse(data).with_context(|| format!("cannot read {}", object.input.display()))
    });
    Ok(Stock::new(images.collect::<Result<_>>()?))
}

fn wholes(corpus: &[Object]) -> Vec<Whole> {
    let objects = corpus.iter();
    objects
        .map(|object| Whole {
            name: object.name.clone(),
            input: object.input.clone(),
            args: object.args.clone(),
        })
        .collect()
}

fn write_one(corpus: &[Object], seed: u64, index: u64, to: &Path) -> Result<()> {
    let (object, data) = stock(&wholes(corpus))?
        .object(seed, index)
        .context("there are no objects to damage")?;
    fs::write(to, data).with_context(|| format!("cannot write {}", to.display()))?;
    println!(
        "{} comes from {}. Arguments of the build:\n  {} {}",
        to.display(),
        corpus[object].name,
        corpus[object].args.join(" "),
        corpus[object].name
    );
    Ok(())
}

/// Something that must not happen.
struct Failure {
    what: String,
    /// The object it happened with.
    index: u64,
}

/// A worker process and the part of the run that is its own.
struct Part {
    child: Child,
    task: Task,
    file: PathBuf,
    /// What earlier processes of this part counted.
    before: State,
    seen: State,
    since: Instant,
    finished: bool,
    first: u64,
}

/// A run: its workers and what they came upon.
struct Run {
    dir: tempfile::TempDir,
    worker: PathBuf,
    parts: Vec<Part>,
    failures: Vec<Failure>,
}

impl Run {
    fn start(worker: &Path, corpus: &[Object], seed: u64, count: u64, jobs: usize) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("objtool-rs-havoc-")
            .tempdir_in(super::memory())?;
        let jobs = jobs.max(1) as u64;
        let mut parts = Vec::new();
        for number in 0..jobs {
            let task = Task {
                seed,
                from: count * number / jobs,
                to: count * (number + 1) / jobs,
                objects: wholes(corpus),
                state: dir.path().join(format!("state-{number}")),
                panics: dir.path().join(format!("panics-{number}")),
                words: dir.path().join(format!("words-{number}")),
            };
            let file = dir.path().join(format!("task-{number}"));
            parts.push(Part {
                child: spawn(worker, &task, &file)?,
                before: State::default(),
                seen: State {
                    index: task.from,
                    ..State::default()
                },
                since: Instant::now(),
                finished: false,
                first: task.from,
                task,
                file,
            });
        }
        Ok(Self {
            dir,
            worker: worker.to_owned(),
            parts,
            failures: Vec::new(),
        })
    }

    /// Looks after the workers; true when none is left.
    fn step(&mut self) -> Result<bool> {
        for part in &mut self.parts {
            if part.finished {
                continue;
            }
            let state = part.read();
            if state != part.seen {
                part.seen = state;
                part.since = Instant::now();
            }
            let why = if let Some(status) = part.child.try_wait()? {
                part.seen = part.read();
                if status.success() {
                    part.finished = true;
                    continue;
                }
                format!(
                    "the process ended: {status}{}",
                    last_words(&part.task.words)
                )
            } else if part.since.elapsed() > TIME_LIMIT {
                part.child.kill()?;
                part.child.wait()?;
                format!("no end in {} s", TIME_LIMIT.as_secs())
            } else {
                continue;
            };
            self.failures.push(Failure {
                what: why,
                index: part.seen.index,
            });
            if self.failures.len() >= ENOUGH {
                part.finished = true;
            } else {
                part.go_on(&self.worker)?;
            }
        }
        if self.failures.len() >= ENOUGH {
            for part in self.parts.iter_mut().filter(|part| !part.finished) {
                part.child.kill()?;
                part.child.wait()?;
                part.finished = true;
            }
        }
        Ok(self.parts.iter().all(|part| part.finished))
    }

    /// Gathers the panics that workers caught themselves.
    fn finish(&mut self) -> Result<()> {
        for part in &self.parts {
            let Ok(text) = fs::read_to_string(&part.task.panics) else {
                continue;
            };
            for line in text.lines() {
                let (index, what) = line
                    .split_once(' ')
                    .context("a worker's notes are not as they should be")?;
                self.failures.push(Failure {
                    what: what.to_owned(),
                    index: index.parse()?,
                });
            }
        }
        // The state files are needed until here.
        let _ = self.dir.path();
        Ok(())
    }

    fn done(&self) -> u64 {
        let parts = self.parts.iter();
        parts.map(|part| part.seen.index - part.first).sum()
    }

    fn totals(&self) -> (u64, u64) {
        let parts = self.parts.iter();
        parts.fold((0, 0), |(refused, warned), part| {
            (
                refused + part.before.refused + part.seen.refused,
                warned + part.before.warned + part.seen.warned,
            )
        })
    }
}

impl Part {
    fn read(&self) -> State {
        let mut bytes = Vec::new();
        let read = File::open(&self.task.state).and_then(|mut file| file.read_to_end(&mut bytes));
        match read {
            Ok(_) => State::from_bytes(&bytes).unwrap_or(self.seen),
            // The worker has not begun.
            Err(_) => self.seen,
        }
    }

    /// Starts another process behind the object that ended the last one.
    fn go_on(&mut self, worker: &Path) -> Result<()> {
        self.before.refused += self.seen.refused;
        self.before.warned += self.seen.warned;
        self.task.from = self.seen.index + 1;
        self.seen = State {
            index: self.task.from,
            ..State::default()
        };
        if self.task.from >= self.task.to {
            self.finished = true;
            return Ok(());
        }
        match fs::remove_file(&self.task.state) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        self.child = spawn(worker, &self.task, &self.file)?;
        self.since = Instant::now();
        Ok(())
    }
}

/// What a process said before it ended, such as how much memory it wanted; numbers are left out,
/// so that failures of one kind are told as one.
fn last_words(file: &Path) -> String {
    let said = fs::read(file).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let Some(line) = said.lines().find(|line| !line.is_empty()) else {
        return String::new();
    };
    let mut words = String::new();
    for c in line.chars() {
        match c {
            '0'..='9' if words.ends_with('N') => {}
            '0'..='9' => words.push('N'),
            _ => words.push(c),
        }
    }
    format!(": {words}")
}

fn spawn(worker: &Path, task: &Task, file: &Path) -> Result<Child> {
    fs::write(file, serde_json::to_vec(task)?)?;
    Command::new(worker)
        .args(["mutants", "--havoc-worker"])
        .arg(file)
        // One thread each: there are as many workers as processors.
        .env("RAYON_NUM_THREADS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&task.words)?)
        .spawn()
        .with_context(|| format!("cannot start {}", worker.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::script;
    use crate::mutants::tests::rich_object;

    fn objects(dir: &Path) -> Vec<Object> {
        let input = dir.join("rich.o");
        fs::write(&input, rich_object()).unwrap();
        vec![Object {
            name: "rich.o".into(),
            input,
            args: Vec::new(),
        }]
    }

    #[test]
    fn a_state_reads_back() {
        let state = State {
            index: 7 << 40,
            refused: 3,
            warned: u64::MAX,
        };
        assert_eq!(State::from_bytes(&state.to_bytes()), Some(state));
        assert_eq!(State::from_bytes(&state.to_bytes()[1..]), None);
    }

    /// A worker that notes `index` in its state file and then does what `then` says.
    fn worker(dir: &Path, then: &str) -> PathBuf {
        script(
            dir,
            "worker",
            &format!(
                r#"state=$(sed 's/.*"state":"\([^"]*\)".*/\1/' "$3")
to=$(sed 's/.*"to":\([0-9]*\).*/\1/' "$3")
note() {{ printf "\\$(printf %o "$1")\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" >"$state"; }}
{then}"#
            ),
        )
    }

    fn drive(worker: &Path, corpus: &[Object]) -> Run {
        let mut run = Run::start(worker, corpus, 1, 10, 1).unwrap();
        let start = Instant::now();
        while !run.step().unwrap() {
            assert!(start.elapsed() < Duration::from_secs(60), "the run hangs");
            std::thread::sleep(Duration::from_millis(10));
        }
        run.finish().unwrap();
        run
    }

    #[test]
    fn a_worker_that_comes_to_the_end_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let worker = worker(dir.path(), "note $to");
        let run = drive(&worker, &objects(dir.path()));
        assert_eq!((run.done(), run.failures.len()), (10, 0));
    }

    #[test]
    fn a_crash_is_noted_with_its_object_and_the_run_goes_on_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let once = dir.path().join("once");
        let then = format!(
            "if [ -e {0} ]; then note $to; else touch {0}; note 4; echo got 17 of 9 >&2; \
             kill -SEGV $$; fi",
            once.display()
        );
        let worker = worker(dir.path(), &then);
        let run = drive(&worker, &objects(dir.path()));
        assert_eq!(run.failures.len(), 1);
        assert_eq!(run.failures[0].index, 4);
        let what = &run.failures[0].what;
        assert!(what.contains("signal: 11"), "{what}");
        assert!(what.ends_with(": got N of N"), "{what}");
        assert_eq!(run.done(), 10);
    }

    #[test]
    fn a_hang_ends_by_the_time_limit() {
        let dir = tempfile::tempdir().unwrap();
        let worker = worker(dir.path(), "note 9; exec sleep 60");
        let run = drive(&worker, &objects(dir.path()));
        assert_eq!(run.failures.len(), 1);
        assert!(run.failures[0].what.contains("no end in 5 s"));
    }

    #[test]
    fn a_panic_that_the_worker_caught_is_gathered() {
        let dir = tempfile::tempdir().unwrap();
        let then = r#"panics=$(sed 's/.*"panics":"\([^"]*\)".*/\1/' "$3")
echo "3 panicked at src/read.rs:1" >"$panics"; note $to"#;
        let worker = worker(dir.path(), then);
        let run = drive(&worker, &objects(dir.path()));
        assert_eq!(run.failures.len(), 1);
        assert_eq!(run.failures[0].index, 3);
        let told = kinds(&run.failures);
        assert_eq!(told, "  panicked at src/read.rs:1\n    1 times, index 3\n");
    }
}
