//! A bound on the work that a file may cause.
//!
//! Most passes go over the code once. A few follow what the file says: functions that share their
//! code, jumps that share their tables. Nothing real makes much of that, but a small file that was
//! made for it would keep an analyzer busy for days, or fill the machine's memory. So these passes
//! count their steps, and a run whose steps are out of all proportion to its file ends with an
//! error. Counted are steps and not seconds, so that the same file always has the same result.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

use crate::read::{ElfFile, ReadError, SymbolId};

/// Steps that any file may take, and more of them for each of its bytes. Of the objects of a kernel
/// none takes more than 15 steps a byte, and none a million; all of `vmlinux.o`, linked, takes one
/// a byte.
const STEPS: u64 = 1 << 22;
const STEPS_PER_BYTE: u64 = 64;

/// What steps are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Going over the instructions of functions.
    Functions,
    /// Looking for the tables of indirect jumps, and their targets.
    JumpTables,
    /// Keeping the different states of the stack: a whole kernel has a few hundred.
    StackStates,
    /// Finding the same of many places.
    Findings,
    /// Disassembling functions with findings.
    Listing,
}

impl Task {
    /// Steps that an item counts for: about one for every few nanoseconds or bytes that it takes.
    const fn cost(self) -> u64 {
        match self {
            Self::Functions => 1,
            Self::JumpTables => 4,
            Self::Listing => 16,
            Self::Findings => 64,
            Self::StackStates => 1024,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Functions => "functions that share their code",
            Self::JumpTables => "indirect jumps and their tables",
            Self::StackStates => "different stack states",
            Self::Findings => "calls that may go to many places",
            Self::Listing => "functions with findings that share their code",
        }
    }
}

/// Counts steps.
#[derive(Debug)]
pub struct Effort {
    left: AtomicU64,
    exceeded: OnceLock<(Task, Option<SymbolId>)>,
}

impl Effort {
    /// For a file of this length in bytes.
    pub fn new(file_len: usize) -> Self {
        let steps = STEPS.saturating_add(STEPS_PER_BYTE.saturating_mul(file_len as u64));
        Self {
            left: AtomicU64::new(steps),
            exceeded: OnceLock::new(),
        }
    }

    /// Takes steps for so many items, in a function if it is known. Where the result is false they
    /// are not to be taken; whatever comes out then, [`Effort::check`] fails.
    #[must_use]
    pub fn spend(&self, task: Task, function: Option<SymbolId>, items: u64) -> bool {
        // Two threads that meet here count less than they should, which is no harm.
        let left = self.left.load(Ordering::Relaxed);
        let steps = items.saturating_mul(task.cost());
        self.left
            .store(left.saturating_sub(steps), Ordering::Relaxed);
        if left < steps {
            self.exceeded.get_or_init(|| (task, function));
        }
        left >= steps
    }

    /// The same, for a part of the work that is done beside others.
    pub fn fork(&self) -> Self {
        Self {
            left: AtomicU64::new(self.left.load(Ordering::Relaxed)),
            exceeded: OnceLock::new(),
        }
    }

    /// Takes the steps that the parts took. Where the result is false, they are too many, and none
    /// is taken: the work is to be done over again in one, to see where it becomes too much.
    #[must_use]
    pub fn join<'e>(&self, parts: impl Iterator<Item = &'e Self>) -> bool {
        let before = self.left.load(Ordering::Relaxed);
        let mut left = before;
        for part in parts {
            let taken = before - part.left.load(Ordering::Relaxed);
            if part.exceeded.get().is_some() || taken > left {
                return false;
            }
            left -= taken;
        }
        self.left.store(left, Ordering::Relaxed);
        true
    }

    /// Whether all steps were taken that were needed.
    ///
    /// # Errors
    ///
    /// [`ReadError::TooComplex`] if the file causes more work than it may.
    pub fn check(&self, file: &ElfFile<'_>) -> Result<(), ReadError> {
        match self.exceeded.get() {
            None => Ok(()),
            Some(&(task, function)) => Err(ReadError::TooComplex {
                what: task.text(),
                function: function.map(|id| file.symbol(id).display_name().into_owned()),
            }),
        }
    }
}
