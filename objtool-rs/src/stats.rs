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
        for (phase, time) in &self.phases {
            writeln!(f, "{phase}: {:.3} ms", time.as_secs_f64() * 1e3)?;
        }
        Ok(())
    }
}
