//! Which symbol each instruction belongs to.
//!
//! Kept as runs of instructions of one symbol, since a function has some fifty instructions: that
//! takes half a byte an instruction, and tells at once how far a function reaches.

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::decode::InsnId;
use crate::read::SymbolId;

/// Instructions for each entry of the lookup table, of which few begin in one run and end in another.
const BLOCK: usize = 16;

/// A symbol, or none, and whether it is a function: nearly everyone who asks for the one asks for the
/// other, and a look at the symbol itself misses the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner(u32);

impl Owner {
    /// There is none. (An `Option` would take twice as much.)
    pub const NOBODY: Self = Self(u32::MAX);

    /// A symbol, of which there are less than 2^27, since sections are shorter than 2 GB (`read::header`).
    pub fn new(symbol: SymbolId, is_function: bool) -> Self {
        Self(symbol.0 << 1 | u32::from(is_function))
    }

    /// The symbol.
    pub fn symbol(self) -> Option<SymbolId> {
        (self != Self::NOBODY).then_some(SymbolId(self.0 >> 1))
    }

    /// The symbol, if it is a function.
    pub fn function(self) -> Option<SymbolId> {
        self.symbol().filter(|_| self.0 & 1 != 0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u32,
    owner: Owner,
}

/// The owners of all instructions.
///
/// # Invariants
///
/// Runs follow each other without a gap from the first instruction on; neighbours differ.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners {
    runs: Vec<Run>,
    /// For every [`BLOCK`] instructions, the run of the first.
    run_at: Vec<u32>,
    len: u32,
    /// What was changed since the runs were made.
    changed: FxHashMap<InsnId, Owner>,
}

impl Owners {
    /// So many instructions that belong to no symbol.
    pub fn nobody(len: usize) -> Self {
        let mut owners = Self {
            runs: vec![Run {
                first: 0,
                owner: Owner::NOBODY,
            }],
            len: len as u32,
            ..Self::default()
        };
        owners.index();
        owners
    }

    /// Gives instructions to symbols: each of these and all behind it, up to the next.
    pub fn assign(&mut self, starts: impl Iterator<Item = (InsnId, Owner)>) {
        self.runs.clear();
        let from_nobody = std::iter::once((InsnId(0), Owner::NOBODY));
        for (first, owner) in from_nobody.chain(starts) {
            self.push(first.0, owner);
        }
        self.index();
    }

    fn push(&mut self, first: u32, owner: Owner) {
        if self.runs.last().is_some_and(|last| last.first == first) {
            self.runs.pop();
        }
        if self.runs.last().is_none_or(|last| last.owner != owner) {
            self.runs.push(Run { first, owner });
        }
    }

    fn index(&mut self) {
        self.run_at.clear();
        let mut run = 0;
        for first in (0..self.len).step_by(BLOCK) {
            while self.runs.get(run + 1).is_some_and(|r| r.first <= first) {
                run += 1;
            }
            self.run_at.push(run as u32);
        }
    }

    fn run(&self, insn: InsnId) -> usize {
        let mut run = self.run_at[insn.index() / BLOCK] as usize;
        while self.runs.get(run + 1).is_some_and(|r| r.first <= insn.0) {
            run += 1;
        }
        run
    }

    /// Who an instruction belongs to.
    pub fn get(&self, insn: InsnId) -> Owner {
        if !self.changed.is_empty() {
            if let Some(&owner) = self.changed.get(&insn) {
                return owner;
            }
        }
        self.runs[self.run(insn)].owner
    }

    /// An instruction and all its neighbours of the same symbol.
    pub fn run_of(&self, insn: InsnId) -> Range<u32> {
        debug_assert!(self.changed.is_empty(), "changes are settled");
        let run = self.run(insn);
        let next = self.runs.get(run + 1);
        self.runs[run].first..next.map_or(self.len, |next| next.first)
    }

    /// Gives an instruction to a symbol; [`Self::settle`] is to follow.
    pub fn set(&mut self, insn: InsnId, owner: Owner) {
        self.len = self.len.max(insn.0 + 1);
        self.changed.insert(insn, owner);
    }

    /// Makes runs of what was changed.
    pub fn settle(&mut self) {
        if self.changed.is_empty() {
            return;
        }
        let mut changed: Vec<_> = std::mem::take(&mut self.changed).into_iter().collect();
        changed.sort_unstable_by_key(|&(insn, _)| insn);
        let mut changed = changed.into_iter().peekable();
        let old = std::mem::take(&mut self.runs);
        for (i, run) in old.iter().enumerate() {
            let end = old.get(i + 1).map_or(self.len, |next| next.first);
            self.push(run.first, run.owner);
            while let Some((insn, owner)) = changed.next_if(|&(insn, _)| insn.0 < end) {
                self.push(insn.0, owner);
                if insn.0 + 1 < end {
                    self.push(insn.0 + 1, run.owner);
                }
            }
        }
        self.index();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(owners: &Owners) -> Vec<Option<u32>> {
        let get = |id| owners.get(InsnId(id)).symbol().map(|symbol| symbol.0);
        (0..owners.len).map(get).collect()
    }

    #[test]
    fn runs_say_what_was_assigned_and_changed() {
        let mut owners = Owners::nobody(200);
        assert_eq!(all(&owners), [None; 200]);
        let symbol = |id| Owner::new(SymbolId(id), id % 2 == 0);
        let starts = [
            (10, symbol(1)),
            (70, Owner::NOBODY),
            (71, symbol(2)),
            (150, symbol(2)),
        ];
        owners.assign(starts.into_iter().map(|(id, owner)| (InsnId(id), owner)));
        assert_eq!(owners.get(InsnId(71)).function(), Some(SymbolId(2)));
        assert_eq!(owners.get(InsnId(10)).function(), None);
        assert_eq!(Owner::NOBODY.function(), None);
        let mut expected = vec![None; 200];
        expected[10..70].fill(Some(1));
        expected[71..].fill(Some(2));
        assert_eq!(all(&owners), expected);
        assert_eq!(owners.run_of(InsnId(80)), 71..200);
        assert_eq!(owners.run_of(InsnId(12)), 10..70);

        let nobody = Owner::NOBODY;
        for (id, owner) in [
            (0, symbol(3)),
            (9, nobody),
            (63, symbol(4)),
            (64, symbol(1)),
        ] {
            owners.set(InsnId(id), owner);
            expected[id as usize] = owner.symbol().map(|symbol| symbol.0);
        }
        owners.set(InsnId(200), symbol(2));
        expected.push(Some(2));
        assert_eq!(all(&owners), expected);
        owners.settle();
        assert_eq!(all(&owners), expected);
        assert_eq!(owners.run_of(InsnId(64)), 64..70);
        assert_eq!(owners.run_of(InsnId(199)), 71..201);
    }
}
