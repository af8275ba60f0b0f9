//! What came of the walks, counted.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashSet;

use crate::compare::Question;
use crate::damage::Outcome;
use crate::judge::{Sentence, Why};

/// How many failures are kept with all that there is to say about them.
pub const KEPT: usize = 20;

/// Counts of a number of runs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many runs there were.
    pub runs: u64,
    /// Instructions that were stopped at, each time they ran.
    pub stops: u64,
    /// The different ones of them.
    pub places: FxHashSet<u64>,
    /// The functions that were stopped in, by their first byte.
    pub functions: FxHashSet<u64>,
    /// The most frames of a stack.
    pub deepest: usize,
    /// Why runs ended.
    pub ends: BTreeMap<&'static str, u64>,
    /// How many walks there were of each kind, and what came of them.
    pub walks: BTreeMap<(Question, Sentence), u64>,
    /// The functions in which walks got lost because of what is said about those.
    pub refused_in: BTreeMap<Why, BTreeSet<String>>,
    /// What came of walks over damaged copies of stacks.
    pub damaged: BTreeMap<Outcome, u64>,
    /// Walks that must not be, with all that there is to say about them: one for each instruction
    /// and kind of walk.
    pub failures: BTreeMap<(u64, Question), String>,
}

impl Tally {
    /// Adds the counts of other runs, which came later.
    pub fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.stops += other.stops;
        self.places.extend(other.places);
        self.functions.extend(other.functions);
        self.deepest = self.deepest.max(other.deepest);
        for (end, count) in other.ends {
            *self.ends.entry(end).or_default() += count;
        }
        for (kind, count) in other.walks {
            *self.walks.entry(kind).or_default() += count;
        }
        for (outcome, count) in other.damaged {
            *self.damaged.entry(outcome).or_default() += count;
        }
        for (why, names) in other.refused_in {
            self.refused_in.entry(why).or_default().extend(names);
        }
        for (place, about) in other.failures {
            if self.failures.len() < KEPT {
                self.failures.entry(place).or_insert(about);
            }
        }
    }

    /// Counts a walk, which was lost in the function `lost_in`, if it was.
    pub fn take(&mut self, question: Question, sentence: Sentence, lost_in: &str) {
        *self.walks.entry((question, sentence)).or_default() += 1;
        let Sentence::Refused(why @ (Why::KeepsNoFrame | Why::OrcUndefined)) = sentence else {
            return;
        };
        let names = self.refused_in.entry(why).or_default();
        if !names.contains(lost_in) {
            names.insert(lost_in.to_owned());
        }
    }

    /// Whether there is room for what there is to say about a failure.
    pub fn wants(&self, place: (u64, Question)) -> bool {
        self.failures.len() < KEPT && !self.failures.contains_key(&place)
    }

    /// How many walks there were that must not be.
    pub fn failed(&self) -> u64 {
        let bad = self
            .damaged
            .iter()
            .filter(|(outcome, _)| outcome.is_failure());
        let bad: u64 = bad.map(|(_, count)| count).sum();
        self.count_of(|_, sentence| sentence.is_failure()) + bad
    }

    /// How many walks there were.
    pub fn count(&self) -> u64 {
        self.walks.values().sum()
    }

    /// How many walks there were of which `which` is true.
    pub fn count_of(&self, which: impl Fn(Question, Sentence) -> bool) -> u64 {
        let all = self.walks.iter();
        all.filter(|((question, sentence), _)| which(*question, *sentence))
            .map(|(_, count)| count)
            .sum()
    }
}
