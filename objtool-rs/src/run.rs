//! All phases for the bytes of one object.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use arch::insn::Wanted;
use arch_x86_64::X86_64;

use crate::check;
use crate::check::stack::walked::Walked;
use crate::decode::Insns;
use crate::emit::{self, Begun, NewFile, Output};
use crate::listing;
use crate::model::{Model, Purpose, Symbols};
use crate::options::Options;
use crate::parallel;
use crate::read::{ElfFile, ReadError};
use crate::report::rich::{gather::gather, Exhibit};
use crate::report::{Abort, Findings, Message, Names};
use crate::stats::Stats;

/// The architecture whose objects are validated.
pub(crate) type Target = X86_64;

/// Files from here on are worth starting threads for, in bytes.
const WORTH_THREADS: usize = 1 << 20;

/// Files from here on are worth beginning to write before they are checked, in bytes: it takes laying
/// them out twice.
const WORTH_BEGINNING: usize = 16 << 20;

/// Opens the file that is to be written.
pub type Open<'o> = &'o (dyn Fn() -> io::Result<File> + Sync);

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Findings, a line each, without the file's name.
    pub lines: Vec<String>,
    /// Findings as people want to see them, if asked for.
    pub exhibits: Vec<Exhibit>,
    /// Disassembly of the functions with findings, if asked for.
    pub listing: String,
    /// The changed file, if anything is to be changed and it is put together in memory.
    pub output: Option<Vec<u8>>,
    /// Whether the object is one that was linked from several although no option says so.
    pub forced_link: bool,
    /// Figures.
    pub stats: Stats,
}

/// What an analysis comes to.
pub struct Analyzed<'d> {
    /// What was found. [`Outcome::output`] is empty.
    pub outcome: Outcome,
    /// The changed file, if anything is to be changed.
    pub changed: Option<NewFile<'d>>,
    /// What is left of the analysis.
    pub remains: Remains,
}

/// What is left of an analysis: 100 MB of a kernel's.
#[derive(Default)]
pub struct Remains {
    worth: bool,
    parts: Vec<Box<dyn Send>>,
}

impl Remains {
    /// Drops it on a thread of its own, if it is worth one. The end of that is waited for when the
    /// result is dropped.
    pub fn drop_beside(self) -> Dropping {
        let Self { worth, parts } = self;
        let drop = || drop(parts);
        // Not one of rayon's, which the caller would have to become one of.
        let builder = std::thread::Builder::new();
        Dropping(worth.then(|| builder.spawn(drop).ok()).flatten())
    }
}

/// Something that is being dropped on another thread.
#[must_use = "to drop it is to wait for it"]
pub struct Dropping(Option<JoinHandle<()>>);

impl Drop for Dropping {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // Where dropping panics, that was said by the panic.
            thread.join().ok();
        }
    }
}

/// Why an object could not be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// The file can't be read as an object.
    Read(ReadError),
    /// The options contradict each other, or the object.
    Options(&'static str),
    /// The result can't be written as one.
    Write(emit::WriteError),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(e) => e.fmt(f),
            Self::Options(what) => f.write_str(what),
            Self::Write(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

/// Validates an object and makes its annotations.
///
/// # Errors
///
/// [`RunError`] if the bytes are no object that can be understood. Findings are no error.
pub fn run(data: &[u8], options: &Options) -> Result<Outcome, RunError> {
    let analyzed = analyze(data, options, &|| {}, None)?;
    let mut outcome = analyzed.outcome;
    outcome.output = analyzed.changed.map(|changed| changed.to_vec());
    Ok(outcome)
}

/// The same, but that the changed file is still to be written.
///
/// `release` is called where most of what was read of `data` so far is not read again soon. Who has
/// mapped a file can let go of its pages then; they come back where they are needed. With its pages
/// kept, a kernel's file would be a third of a run's memory.
///
/// `open` gives the file that the changed one is going to be written to, where there is one. Of a large
/// file, what is known of it is written while checks are at work; whether the file is used, and when,
/// is for who opened it to say.
///
/// # Errors
///
/// See [`run`].
pub fn analyze<'d>(
    data: &'d [u8],
    options: &Options,
    release: &(dyn Fn() + Sync),
    open: Option<Open<'_>>,
) -> Result<Analyzed<'d>, RunError> {
    let mut outcome = Outcome::default();
    let mut clock = Instant::now();
    let mut lap = |stats: &mut Stats, phase| {
        let now = Instant::now();
        stats.phases.push((phase, now - clock));
        clock = now;
    };

    let file = ElfFile::parse(data, <Target as arch::object::Architecture>::MACHINE)
        .map_err(RunError::Read)?;
    let file = Arc::new(file);
    let stats = &mut outcome.stats;
    stats.sections = file.sections.len();
    stats.symbols = file.symbols.len();
    for table in file.sections.iter().filter_map(|s| s.relocs.as_ref()) {
        stats.relocs += u64::from(table.len());
        stats.max_relocs = stats.max_relocs.max(table.len().into());
    }
    lap(stats, "read");

    let mut options = options.clone();
    if options.mnop && !options.mcount {
        return Err(RunError::Options("--mnop requires --mcount"));
    }
    outcome.forced_link = !options.link && is_linked(&file);
    options.link |= outcome.forced_link;
    for (asked, refusal) in [
        (options.noinstr, "--noinstr requires --link"),
        (options.ibt, "--ibt requires --link"),
        (options.unret, "--unret requires --link"),
    ] {
        if asked && !options.link {
            return Err(RunError::Options(refusal));
        }
    }

    let arch = Target::default();
    let ((symbols, joined), insns) = parallel::join(
        data.len() >= WORTH_THREADS,
        || Symbols::new(&file),
        || Insns::decode(&arch, &file, Wanted::Build),
    );
    if let Err(orphan) = joined {
        let names = Names {
            file: &file,
            symbols: &symbols,
            sec_address: options.sec_address,
        };
        let what = Message::NoParentFunction(orphan.0).text(&names);
        return Err(RunError::Read(ReadError::malformed("symbol table", what)));
    }

    let mut findings = Findings::default();
    let insns = insns.map_err(RunError::Read)?;
    let mut model = Model::new(Purpose::Build, arch, &options, &file, symbols, insns);
    lap(&mut outcome.stats, "decode");
    // The code is not read any more.
    let worth = data.len() >= WORTH_THREADS;
    let (resolved, ()) = parallel::join(worth, || model.resolve(&mut findings), release);
    outcome.stats.insns = model.insns.len() as usize;
    outcome.stats.jump_labels = model.jump_labels;
    lap(&mut outcome.stats, "model");

    let aborted = resolved.is_err();
    // Where the code could not be made out, what was found stands, and the file stays as it is.
    let mut begun = None;
    let mut walked = None;
    let output = match resolved {
        Ok(()) => {
            let begin = |early: &mut emit::Early| {
                let open = open.filter(|_| data.len() >= WORTH_BEGINNING)?;
                early.begin(&file, &mut open().ok()?, release)
            };
            let stats = &mut outcome.stats;
            let validated = validate(&model, &mut findings, stats, &mut lap, release, &begin);
            begun = validated.begun;
            walked = validated.walked;
            validated.output
        }
        Err(_) => None,
    };
    model.effort.check(&file).map_err(RunError::Read)?;
    let names = Names {
        file: &file,
        symbols: &model.symbols,
        sec_address: options.sec_address,
    };
    outcome.lines = findings
        .lines()
        .iter()
        .map(|line| names.line(line))
        .collect();
    if options.explain {
        outcome.exhibits = gather(&model, &names, &findings, aborted);
    }
    if options.verbose && findings.any_warned() {
        outcome.listing = listing::functions(&model, &findings);
        model.effort.check(&file).map_err(RunError::Read)?;
    }
    let output = output.filter(|output| !output.is_empty());
    let remains = Remains {
        worth,
        parts: vec![Box::new(model.into_bulk()), Box::new(walked)],
    };
    let changed = output.map(|output| match begun {
        Some(begun) => begun.finish(output),
        None => NewFile::new(file, output),
    });
    let changed = changed.transpose().map_err(RunError::Write)?;
    lap(&mut outcome.stats, "report and layout");
    Ok(Analyzed {
        outcome,
        changed,
        remains,
    })
}

/// What the checks and emission come to.
#[derive(Default)]
struct Validated<'d> {
    /// The changes; nothing if they would be wrong.
    output: Option<Output>,
    /// How much of them is written.
    begun: Option<Begun<'d>>,
    /// What the walk left, of which nothing is needed any more.
    walked: Option<Walked>,
}

/// Runs the checks and collects the changes. `begin` begins to write what is collected first.
fn validate<'d>(
    model: &Model<'_, Target>,
    findings: &mut Findings,
    stats: &mut Stats,
    lap: &mut impl FnMut(&mut Stats, &'static str),
    release: &(dyn Fn() + Sync),
    begin: &(dyn Fn(&mut emit::Early) -> Option<Begun<'d>> + Sync),
) -> Validated<'d> {
    if model.insns.is_empty() {
        return Validated::default();
    }
    // What depends on the model alone is collected while the checks are at work.
    let worth = model.file.data.len() >= WORTH_THREADS;
    let mut walk_stats = WalkStats::default();
    let (checked, (early, begun)) = parallel::join(
        worth,
        || check_all(model, findings, &mut walk_stats, release),
        || {
            release();
            let mut early = emit::early(model);
            let begun = early.as_mut().ok().and_then(begin);
            (early, begun)
        },
    );
    (stats.visited, stats.states) = (walk_stats.visited, walk_stats.states);
    lap(stats, "check");
    let mut walked = None;
    let output = match checked {
        Ok(checked) => {
            let output = emit::collect(model, early, &checked, findings).ok();
            walked = checked.walked;
            output
        }
        Err(Abort) => Some(emit::patches(model)),
    };
    lap(stats, "emit");
    Validated {
        output,
        begun,
        walked,
    }
}

/// Figures of the walk.
#[derive(Default)]
struct WalkStats {
    visited: usize,
    states: usize,
}

/// Runs the checks.
///
/// # Errors
///
/// [`Abort`] after a finding that leaves no output but the patches.
fn check_all(
    model: &Model<'_, Target>,
    findings: &mut Findings,
    stats: &mut WalkStats,
    release: &(dyn Fn() + Sync),
) -> Result<emit::Checked, Abort> {
    let options = model.options;
    let mut checked = emit::Checked::default();
    let mut violations = 0;
    let references = || check::ibt::references(model, release);
    let mut found = None;
    if options.retpoline {
        violations += check::retpoline::check(model, findings);
    }
    if options.walks_functions() {
        let beside = || options.ibt.then(references);
        let (walked, looked_up) = check::stack::walk::walk_beside(model, findings, beside);
        found = looked_up;
        violations += walked.failures.len();
        if violations == 0 {
            check::reachable::check(model, &walked, findings);
        }
        checked.walked = Some(walked);
    } else if options.noinstr {
        checked.walked = Some(check::stack::walk::walk_noinstr(model, findings));
    }
    if let Some(walked) = &mut checked.walked {
        stats.visited = walked.visits;
        stats.states = walked.states.len();
        // Nothing else is asked of states from here on.
        let states = std::mem::take(&mut walked.states);
        if options.orc {
            checked.entries = emit::orc::encode_all(model, &states);
        }
    }
    if options.unret {
        check::unret::check(model, findings)?;
    }
    if options.ibt {
        let found = found.unwrap_or_else(references);
        checked.landing_pads = Some(found.report(model, findings));
    }
    if options.sls {
        check::sls::check(model, findings);
    }
    Ok(checked)
}

/// An object that was linked from several names more than one source file. (It misses a module
/// of one file.)
fn is_linked(file: &ElfFile<'_>) -> bool {
    let is_file = |kind| kind == crate::read::SymbolKind::File;
    file.symbols
        .iter()
        .filter(|symbol| is_file(symbol.kind))
        .count()
        > 1
}
