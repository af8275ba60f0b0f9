//! Functions walked side by side.
//!
//! Nearly every function is walked over instructions of its own, so it does not matter which is
//! walked first. They are divided into shards by their code alone, never by the number of threads;
//! each shard is walked by a walker with states and findings of its own, and these are joined in
//! the order of the functions. A function that comes to code which it may share with others (code
//! of no function, as in hand-written entry code) is taken back and walked afterwards, in order,
//! with all others of that sort. What comes out is what walking one function after the other gives.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arch::insn::Decode;
use arch::object::Architecture;
use rustc_hash::{FxHashMap, FxHashSet};

use super::super::state::{StateId, States};
use super::super::trail::Trail;
use super::super::walked::Failure;
use super::{Start, Walker};
use crate::decode::{InsnId, Marks};
use crate::model::{Effort, GroupId, Model, Purpose};
use crate::parallel;
use crate::read::SymbolId;
use crate::report::{Findings, Line};

/// How many shards there are at most. Each meets the common states anew, some 3 000 of them, which
/// takes it a millisecond; fewer would leave threads idle at the end.
const MOST: u64 = 16;

/// States that a kernel has in all, and in a shard, roughly.
const ALL_STATES: usize = 30_000;
const SHARD_STATES: usize = 6_000;

/// Bytes of code that are worth a shard.
const LEAST: u64 = 128 << 10;

/// What walking a function told, if anything; by its position among all functions.
struct Told {
    function: usize,
    lines: Vec<Line>,
    failures: Vec<Failure>,
}

/// What became of a shard.
pub(super) struct Shard {
    told: Vec<Told>,
    warned: FxHashSet<SymbolId>,
    /// Functions to be walked afterwards, by position.
    left: Vec<usize>,
    visits: usize,
    group_states: FxHashMap<GroupId, Vec<Option<StateId>>>,
    effort: Effort,
}

/// What all shards go by.
struct Common<'c, 'f, A> {
    model: &'c Model<'f, A>,
    trail: &'c Arc<Trail>,
    effort: &'c Effort,
    findings: &'c Findings,
    states: &'c Mutex<States>,
    starts: &'c [Start],
    shared: &'c [bool],
}

impl<A: Architecture + Decode + Sync> Walker<'_, '_, A> {
    /// Walks functions.
    pub(super) fn functions(&mut self, starts: &[Start]) {
        let shards = self.shards(starts);
        self.rest(starts, shards);
    }

    /// Divides functions among shards and walks them, if they are worth it.
    pub(super) fn shards(&mut self, starts: &[Start]) -> Option<Vec<Shard>> {
        let model = self.model;
        let len = |start: &Start| model.symbols.len(start.id);
        let total: u64 = starts.iter().map(len).sum();
        let each = (total / MOST).max(LEAST);
        // A finding is explained by what was reached at its time, which is another time here.
        let is_alone = model.options.explain || model.purpose == Purpose::Verify;
        if is_alone || total <= each {
            return None;
        }
        self.walk_shards(starts, each)
    }

    /// Walks the functions that no shard has walked.
    pub(super) fn rest(&mut self, starts: &[Start], shards: Option<Vec<Shard>>) {
        match shards {
            Some(shards) => self.join(starts, shards),
            None => starts.iter().for_each(|&start| self.function(start)),
        }
    }

    /// Divides functions among shards and walks them. Where there is no result the file causes too
    /// much work, and nothing has changed.
    fn walk_shards(&mut self, starts: &[Start], each: u64) -> Option<Vec<Shard>> {
        let shared = self.shared_starts(starts);
        let mut shards: Vec<Range<usize>> = Vec::new();
        let (mut first, mut len) = (0, 0);
        for (position, start) in starts.iter().enumerate() {
            len += self.model.symbols.len(start.id);
            if len >= each || position + 1 == starts.len() {
                shards.push(first..position + 1);
                (first, len) = (position + 1, 0);
            }
        }

        self.states.reserve(ALL_STATES);
        let states = Mutex::new(std::mem::take(&mut self.states));
        let common = Common {
            model: self.model,
            trail: &self.trail,
            effort: self.effort,
            findings: self.findings,
            states: &states,
            starts,
            shared: &shared,
        };
        let walked = parallel::map(true, shards, |shard| common.walk(shard));
        self.states = states.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !self.effort.join(walked.iter().map(|shard| &shard.effort)) {
            // What was reached is forgotten, but for the hints, which hold without it.
            self.trail.forget(0..self.model.insns.records() as u32);
            for (insn, hint) in self.model.hints() {
                let state = self.intern_hint(hint);
                self.trail.set_state(insn, state);
            }
            return None;
        }
        Some(walked)
    }

    /// Functions that begin where another one's code is: who of them is walked first matters.
    fn shared_starts(&self, starts: &[Start]) -> Vec<bool> {
        let owner = |start: &Start| start.insn.and_then(|insn| self.model.function_of(insn));
        let strange = starts.iter().filter(|start| owner(start) != Some(start.id));
        let shared: FxHashSet<SymbolId> = strange
            .flat_map(|start| [Some(start.id), owner(start)])
            .flatten()
            .collect();
        let is_shared = |start: &Start| shared.contains(&start.id);
        starts.iter().map(is_shared).collect()
    }

    /// Takes what the shards found, walks what they left, and puts all that was told in order.
    fn join(&mut self, starts: &[Start], shards: Vec<Shard>) {
        let before = self.findings.take_lines();
        let failed_before = std::mem::take(&mut self.failures);
        let mut told = Vec::new();
        let mut left = Vec::new();
        for shard in shards {
            told.extend(shard.told);
            left.extend(shard.left);
            self.findings.warned_too(shard.warned);
            self.visits += shard.visits;
            self.group_states.extend(shard.group_states);
        }
        for function in left {
            self.function(starts[function]);
            told.push(Told {
                function,
                lines: self.findings.take_lines(),
                failures: std::mem::take(&mut self.failures),
            });
        }
        told.sort_by_key(|told| told.function);
        self.findings.append(before);
        self.failures = failed_before;
        for told in told {
            self.findings.append(told.lines);
            self.failures.extend(told.failures);
        }
    }

    /// Whether a function may share an instruction, or a state that is kept for it, with another.
    pub(super) fn may_be_shared(&self, function: Option<SymbolId>, insn: InsnId) -> bool {
        let model = self.model;
        let marks = model.insn(insn).marks;
        if self.own.whole != function || marks.has(Marks::RESTORE) {
            return true;
        }
        if !marks.has(Marks::IN_GROUP) {
            return false;
        }
        let is_own = |insn: InsnId| {
            let own = model.function_of(insn);
            own.is_some_and(|own| function == Some(model.symbols.parent(own)))
        };
        let original = model.group_of(insn).map(|id| {
            let group = model.group(id);
            model.group(group.original.unwrap_or(id)).first
        });
        original.is_some_and(|first| !first.is_some_and(is_own))
    }

    fn forget_groups(&mut self, insns: Range<u32>) {
        for insn in insns.map(InsnId) {
            if let Some(id) = self.model.group_of(insn) {
                let group = self.model.group(id);
                self.group_states.remove(&group.original.unwrap_or(id));
            }
        }
    }
}

impl<A: Architecture + Decode + Sync> Common<'_, '_, A> {
    /// Walks the functions of a shard.
    fn walk(&self, shard: Range<usize>) -> Shard {
        let model = self.model;
        let effort = self.effort.fork();
        let mut findings = self.findings.fork();
        let mut walker = Walker::new(model, Arc::clone(self.trail), &effort, &mut findings);
        walker.reached = Some(Vec::new());
        walker.states.reserve(SHARD_STATES);
        walker.transitions.reserve(4 * SHARD_STATES);
        let mut told = Vec::new();
        let mut left = Vec::new();
        let mut reached = Vec::new();
        for position in shard {
            if self.shared[position] {
                left.push(position);
                continue;
            }
            let visits = walker.visits;
            walker.function(self.starts[position]);
            let own = walker.reached.replace(Vec::new()).unwrap_or_default();
            let lines = walker.findings.take_lines();
            let failures = std::mem::take(&mut walker.failures);
            if std::mem::take(&mut walker.is_shared) {
                for insns in own {
                    walker.forget_groups(insns.clone());
                    self.trail.forget(insns);
                }
                walker.visits = visits;
                left.push(position);
                continue;
            }
            reached.extend(own);
            if !lines.is_empty() || !failures.is_empty() {
                told.push(Told {
                    function: position,
                    lines,
                    failures,
                });
            }
        }
        let (visits, mut group_states) = (walker.visits, walker.group_states);
        let numbers = {
            let mut all = self.states.lock().unwrap_or_else(PoisonError::into_inner);
            all.absorb(&walker.states)
        };
        for insns in reached {
            self.trail.renumber(insns, &numbers);
        }
        let of_groups = group_states.values_mut().flatten().flatten();
        of_groups.for_each(|state| *state = numbers[state.number()]);
        Shard {
            told,
            warned: findings.into_warned(),
            left,
            visits,
            group_states,
            effort,
        }
    }
}
