//! Figures about a run, for `--stats`.

use std::fmt;
use std::time::Duration;

use crate::model::JumpLabelCounts;

/// What a run has met, and how long its phases took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sections in the file.
    pub sections: usize,
    /// Symbols in the file.
    pub symbols: usize,
    /// Relocations in the file.
    pub relocs: u64,
    /// Relocations of the section that has most.
    pub max_relocs: u64,
    /// Instructions.
    pub insns: usize,
    /// Instructions reached by the walk.
    pub visited: usize,
    /// Different states of the stack.
    pub states: usize,
    /// Jump labels.
    pub jump_labels: JumpLabelCounts,
    /// Time of each phase, in order.
    pub phases: Vec<(&'static str, Duration)>,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "nr_sections: {}", self.sections)?;
        writeln!(f, "nr_symbols: {}", self.symbols)?;
        writeln!(f, "max_reloc: {}", self.max_relocs)?;
        writeln!(f, "num_relocs: {}", self.relocs)?;
        writeln!(f, "nr_insns: {}", self.insns)?;
        let labels = &self.jump_labels;
        writeln!(f, "jl\\\tNOP\tJMP")?;
        writeln!(f, "short:\t{}\t{}", labels.nop_short, labels.jump_short)?;
        writeln!(f, "long:\t{}\t{}", labels.nop_long, labels.jump_long)?;
        writeln!(f, "nr_insns_visited: {}", self.visited)?;
        writeln!(f, "nr_cfi: {}", self.states)?;
        self.table(f)
    }
}

impl Stats {
    /// How long each phase took, and which part of the whole that is.
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: Duration = self.phases.iter().map(|(_, time)| *time).sum();
        let rows = self.phases.iter().copied().chain([("total", total)]);
        let width = self.phases.iter().map(|(phase, _)| phase.len()).max();
        let width = width.unwrap_or(0).max("total".len());
        writeln!(f, "{:width$}  {:>9}  {:>6}", "phase", "ms", "%")?;
        for (phase, time) in rows {
            let share = if total.is_zero() {
                0.0
            } else {
                time.as_secs_f64() / total.as_secs_f64()
            };
            let (ms, percent) = (time.as_secs_f64() * 1e3, share * 100.0);
            writeln!(f, "{phase:width$}  {ms:>9.3}  {percent:>6.1}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_a_table_with_its_sum() {
        let stats = Stats {
            phases: vec![
                ("read", Duration::from_millis(250)),
                ("decode", Duration::from_millis(750)),
            ],
            ..Stats::default()
        };
        let text = stats.to_string();
        let table: Vec<&str> = text.lines().rev().take(4).collect();
        assert_eq!(
            table,
            [
                "total    1000.000   100.0",
                "decode    750.000    75.0",
                "read      250.000    25.0",
                "phase          ms       %",
            ]
        );
    }
}
