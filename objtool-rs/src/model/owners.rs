//! Which symbol each instruction belongs to.
//!
//! Kept as runs of instructions of one symbol, since a function has some fifty instructions: that
//! takes half a byte an instruction, and tells at once how far a function reaches.

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::decode::InsnId;
use crate::read::SymbolId;

/// Instructions for each entry of the lookup table.
const BLOCK: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: u32,
    /// The symbol; [`NOBODY`] where there is none. (An `Option` would take half as much again.)
    symbol: u32,
}

const NOBODY: u32 = u32::MAX;

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
    changed: FxHashMap<InsnId, Option<SymbolId>>,
}

impl Owners {
    /// So many instructions that belong to no symbol.
    pub fn nobody(len: usize) -> Self {
        let mut owners = Self {
            runs: vec![Run {
                first: 0,
                symbol: NOBODY,
            }],
            len: len as u32,
            ..Self::default()
        };
        owners.index();
        owners
    }

    /// Gives instructions to symbols: each of these and all behind it, up to the next.
    pub fn assign(&mut self, starts: impl Iterator<Item = (InsnId, Option<SymbolId>)>) {
        self.runs.clear();
        let from_nobody = std::iter::once((InsnId(0), None));
        for (first, symbol) in from_nobody.chain(starts) {
            self.push(first.0, symbol.map_or(NOBODY, |symbol| symbol.0));
        }
        self.index();
    }

    fn push(&mut self, first: u32, symbol: u32) {
        if self.runs.last().is_some_and(|last| last.first == first) {
            self.runs.pop();
        }
        if self.runs.last().is_none_or(|last| last.symbol != symbol) {
            self.runs.push(Run { first, symbol });
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

    /// The symbol of an instruction.
    pub fn get(&self, insn: InsnId) -> Option<SymbolId> {
        if !self.changed.is_empty() {
            if let Some(&symbol) = self.changed.get(&insn) {
                return symbol;
            }
        }
        let symbol = self.runs[self.run(insn)].symbol;
        (symbol != NOBODY).then_some(SymbolId(symbol))
    }

    /// An instruction and all its neighbours of the same symbol.
    pub fn run_of(&self, insn: InsnId) -> Range<u32> {
        debug_assert!(self.changed.is_empty(), "changes are settled");
        let run = self.run(insn);
        let next = self.runs.get(run + 1);
        self.runs[run].first..next.map_or(self.len, |next| next.first)
    }

    /// Gives an instruction to a symbol; [`Self::settle`] is to follow.
    pub fn set(&mut self, insn: InsnId, symbol: Option<SymbolId>) {
        self.len = self.len.max(insn.0 + 1);
        self.changed.insert(insn, symbol);
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
            self.push(run.first, run.symbol);
            while let Some((insn, symbol)) = changed.next_if(|&(insn, _)| insn.0 < end) {
                self.push(insn.0, symbol.map_or(NOBODY, |symbol| symbol.0));
                if insn.0 + 1 < end {
                    self.push(insn.0 + 1, run.symbol);
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
        let get = |id| owners.get(InsnId(id)).map(|symbol| symbol.0);
        (0..owners.len).map(get).collect()
    }

    #[test]
    fn runs_say_what_was_assigned_and_changed() {
        let mut owners = Owners::nobody(200);
        assert_eq!(all(&owners), [None; 200]);
        let symbol = |id| Some(SymbolId(id));
        let starts = [
            (10, symbol(1)),
            (70, None),
            (71, symbol(2)),
            (150, symbol(2)),
        ];
        owners.assign(starts.into_iter().map(|(id, symbol)| (InsnId(id), symbol)));
        let mut expected = vec![None; 200];
        expected[10..70].fill(Some(1));
        expected[71..].fill(Some(2));
        assert_eq!(all(&owners), expected);
        assert_eq!(owners.run_of(InsnId(80)), 71..200);
        assert_eq!(owners.run_of(InsnId(12)), 10..70);

        for (id, symbol) in [(0, symbol(3)), (9, None), (63, symbol(4)), (64, symbol(1))] {
            owners.set(InsnId(id), symbol);
            expected[id as usize] = symbol.map(|symbol| symbol.0);
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
