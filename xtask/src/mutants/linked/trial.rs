//! Trying a batch of mutants: an image with all of its changes is judged, and the verdict must be the
//! one on the whole image, but for the broken functions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use iced_x86::FlowControl;

use super::operators::Edit;
use super::oracle::is_part;
use super::program::{Function, Program};
use crate::judge::{self, Exception, Judged};
use crate::mutants::memory;

/// A function in a verdict: what it is called and where it is.
type Named = (String, u64);

/// A function that a batch breaks.
#[derive(Clone, Debug)]
pub struct Broken<'a> {
    /// The function.
    pub function: &'a Function,
    /// The change to it.
    pub edit: &'a Edit,
    /// Functions, as indices into the program's, into whose midst it jumps now.
    pub entered: Vec<usize>,
}

/// A place for images and the program that judges them.
pub struct Bench<'a> {
    objtool: &'a Path,
    program: &'a Program,
    dir: tempfile::TempDir,
    /// The verdict on the whole image.
    whole: Judged,
}

/// How a verdict misses a broken function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// It is still said to be right.
    Trusted,
    /// It is said to keep no frame, but the table of text does not hold all of it.
    NotInTable,
    /// The image could not be judged.
    Failed(String),
}

impl Missed {
    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::Trusted => "it is still trusted".to_owned(),
            Self::NotInTable => "its text is not in the table".to_owned(),
            Self::Failed(said) => format!("the image is not judged: {said}"),
        }
    }
}

/// What came of a batch.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// By mutant of the batch: nothing if it was found.
    pub missed: Vec<Option<Missed>>,
    /// Anything else that is not as it was in the whole image.
    pub otherwise: Vec<String>,
}

impl<'a> Bench<'a> {
    /// Judges the whole image first.
    ///
    /// # Errors
    /// It cannot be judged, or the promise does not hold for it, so that there is nothing to break.
    pub fn new(objtool: &'a Path, image: &Path, program: &'a Program) -> Result<Self> {
        let whole = judge::run(objtool, &[image])?.remove(0);
        if !whole.reliable {
            bail!("{}: the promise does not hold for it", image.display());
        }
        let dir = tempfile::Builder::new()
            .prefix("objtool-rs-mutants-")
            .tempdir_in(memory())
            .context("cannot make a temporary folder")?;
        Ok(Self {
            objtool,
            program,
            dir,
            whole,
        })
    }

    /// The functions that are right in the whole image, as indices into the program's: none of
    /// their names keeps no frame, and none of their text is distrusted.
    pub fn right(&self) -> Vec<usize> {
        let exceptions: BTreeSet<u64> = self.whole.exceptions.iter().map(|e| e.address).collect();
        let functions = self.program.functions.iter().enumerate();
        functions
            .filter(|(_, function)| {
                !exceptions.contains(&function.address)
                    && !self.whole.unreliable_text.iter().any(|stretch| {
                        stretch.section == function.section
                            && stretch.touches(function.offset, function.size)
                    })
            })
            .map(|(number, _)| number)
            .collect()
    }

    /// The verdict on the whole image.
    pub fn whole(&self) -> &Judged {
        &self.whole
    }

    /// The verdict on an image with these changes.
    ///
    /// # Errors
    /// The image cannot be written, or not be judged.
    pub fn judge(&self, name: &str, edits: &[&Edit]) -> Result<Judged> {
        let path = self.write(name, edits)?;
        let judged = judge::run(self.objtool, &[&path]);
        fs::remove_file(&path)?;
        Ok(judged?.remove(0))
    }

    fn write(&self, name: &str, edits: &[&Edit]) -> Result<PathBuf> {
        let mut data = self.program.data.clone();
        for edit in edits {
            let at = self.program.at(edit.address).context("no such code")?;
            data[at..at + edit.bytes.len()].copy_from_slice(&edit.bytes);
        }
        let path = self.dir.path().join(name);
        fs::write(&path, &data).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Tries the mutants of a batch, in one image if that can be judged, else each in its own.
    ///
    /// # Errors
    /// An image cannot be written.
    pub fn try_batch(&self, name: &str, batch: &[Broken<'_>]) -> Result<Outcome> {
        let edits: Vec<&Edit> = batch.iter().map(|broken| broken.edit).collect();
        match (self.judge(name, &edits), batch) {
            (Ok(judged), _) => Ok(compare(self.program, &self.whole, &judged, batch)),
            (Err(error), [_]) => Ok(Outcome {
                missed: vec![Some(Missed::Failed(format!("{error:#}")))],
                otherwise: Vec::new(),
            }),
            (Err(_), _) => {
                let mut outcome = Outcome::default();
                for one in batch {
                    let one = self.try_batch(name, std::slice::from_ref(one))?;
                    outcome.missed.extend(one.missed);
                    outcome.otherwise.extend(one.otherwise);
                }
                Ok(outcome)
            }
        }
    }

    /// How the table that the kernel links in differs from the verdict, on an image with these
    /// changes.
    ///
    /// # Errors
    /// The image cannot be written, or not be judged.
    pub fn table_differs(&self, edits: &[&Edit]) -> Result<Option<String>> {
        let image = self.write("vmlinux-table", edits)?;
        let table = self.dir.path().join("table.S");
        let judged = judge::with_table(self.objtool, &image, &table)?;
        let text = fs::read_to_string(&table)?;
        Ok(judge::table_differs(&judged, &text))
    }
}

/// Sets the verdict on an image with broken functions against that on the whole one.
pub fn compare(
    program: &Program,
    whole: &Judged,
    judged: &Judged,
    batch: &[Broken<'_>],
) -> Outcome {
    let before = by_name(whole);
    let mut now = by_name(judged);
    let mut outcome = Outcome::default();
    if !judged.reliable {
        let text = "the promise is broken altogether";
        outcome.otherwise.push(text.to_owned());
    }
    if judged.exceptions.len() != judged.functions.keep_no_frame {
        outcome.otherwise.push(format!(
            "{} functions are counted as keeping no frame, and {} listed",
            judged.functions.keep_no_frame,
            judged.exceptions.len()
        ));
    }
    for Broken { function, .. } in batch {
        let mut is_listed = true;
        for name in &function.names {
            is_listed &= now.remove(&(name.clone(), function.address)).is_some();
        }
        let in_table = judged.unreliable_text.iter().any(|stretch| {
            stretch.section == function.section && stretch.covers(function.offset, function.size)
        });
        outcome.missed.push(match (is_listed, in_table) {
            (true, true) => None,
            (true, false) => Some(Missed::NotInTable),
            (false, _) => Some(Missed::Trusted),
        });
    }
    for name in before.keys() {
        if now.remove(name).is_none() {
            let text = format!("{} at {:#x} is trusted now", name.0, name.1);
            outcome.otherwise.push(text);
        }
    }
    for ((name, address), exception) in now {
        let depends = |broken: &Broken<'_>| {
            let entered = broken.entered.iter().map(|&i| &program.functions[i]);
            let others = || program.functions.iter().filter(|f| f.address == address);
            others().any(|other| {
                is_part(broken.function, other) || may_call(program, other, broken.function)
            }) || entered
                .into_iter()
                .any(|entered| entered.address == address || entered.names.contains(&name))
        };
        if !batch.iter().any(depends) {
            let why = &exception.reason;
            let text = format!("{name} at {address:#x} is not trusted now: {why}");
            outcome.otherwise.push(text);
        }
    }
    outcome
}

/// Whether a function calls another one in code that most machines have replaced.
fn may_call(program: &Program, function: &Function, callee: &Function) -> bool {
    // Code that cannot be read calls nothing that is known.
    let insns = program.insns(function).unwrap_or_default();
    insns.iter().any(|insn| {
        insn.flow_control() == FlowControl::Call
            && insn.near_branch_target() == callee.address
            && program.is_patched(insn.ip())
    })
}

fn by_name(judged: &Judged) -> BTreeMap<Named, &Exception> {
    let exceptions = judged.exceptions.iter();
    exceptions
        .map(|exception| ((exception.name.clone(), exception.address), exception))
        .collect()
}
