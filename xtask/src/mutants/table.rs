//! The tables a run prints.

use std::fmt::Write as _;

use super::trial::Verdict;

/// What is counted for an operator, or for all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Mutants tried.
    pub mutants: usize,
    /// C objtool warned.
    pub c: usize,
    /// objtool-rs warned.
    pub ours: usize,
    /// Both warned.
    pub both: usize,
    /// C objtool warned, objtool-rs did not.
    pub only_c: usize,
    /// objtool-rs warned, C objtool did not.
    pub only_ours: usize,
    /// Neither warned, and neither crashed.
    pub neither: usize,
    /// The exit statuses differ.
    pub status_differs: usize,
    /// Both wrote the same lines.
    pub same_lines: usize,
    /// Both wrote the same bytes to standard error.
    pub same_stderr: usize,
    /// Both left the same object.
    pub same_output: usize,
    /// C objtool crashed or hung.
    pub c_crashed: usize,
    /// objtool-rs crashed or hung.
    pub ours_crashed: usize,
}

impl Counts {
    /// Counts a mutant.
    pub fn add(&mut self, verdict: &Verdict) {
        let (c, ours) = (verdict.c_warned(), verdict.ours_warned());
        self.mutants += 1;
        self.c += usize::from(c);
        self.ours += usize::from(ours);
        self.both += usize::from(c && ours);
        self.only_c += usize::from(c && !ours);
        self.only_ours += usize::from(ours && !c);
        self.neither += usize::from(verdict.neither());
        self.status_differs += usize::from(verdict.c_end != verdict.ours_end);
        self.same_lines += usize::from(verdict.same_lines);
        self.same_stderr += usize::from(verdict.same_stderr);
        self.same_output += usize::from(verdict.same_output);
        self.c_crashed += usize::from(verdict.c_end.is_crash());
        self.ours_crashed += usize::from(verdict.ours_end.is_crash());
    }

    /// Whether objtool-rs may be used in place of C objtool, as far as these mutants tell.
    pub fn pass(&self) -> bool {
        self.only_c == 0 && self.ours_crashed == 0
    }

    fn cells(&self) -> Vec<String> {
        let share = |part: usize| match self.mutants {
            0 => "-".to_owned(),
            all => format!("{:.1}%", part as f64 * 100.0 / all as f64),
        };
        vec![
            self.mutants.to_string(),
            self.c.to_string(),
            self.ours.to_string(),
            self.both.to_string(),
            self.only_c.to_string(),
            self.only_ours.to_string(),
            self.neither.to_string(),
            self.status_differs.to_string(),
            share(self.same_lines),
            share(self.same_stderr),
            share(self.same_output),
            self.c_crashed.to_string(),
            self.ours_crashed.to_string(),
        ]
    }
}

/// The heads of the columns of [`counts`].
const HEADS: [&str; 14] = [
    "operator",
    "mutants",
    "C",
    "ours",
    "both",
    "only C",
    "only ours",
    "neither",
    "exit differs",
    "same lines",
    "same stderr",
    "same output",
    "C crashed",
    "ours crashed",
];

/// The table by operator, with a sum at its end.
pub fn counts(rows: &[(&str, Counts)], sum: &Counts) -> String {
    let mut table = vec![HEADS.map(str::to_owned).to_vec()];
    for (name, counts) in rows.iter().map(|(name, counts)| (*name, counts)) {
        table.push([vec![name.to_owned()], counts.cells()].concat());
    }
    table.push([vec!["all".to_owned()], sum.cells()].concat());
    align(&table)
}

/// Rows of cells as text: the first column to the left, the others to the right.
pub fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            // Writing to a string cannot fail.
            let _ = match column {
                0 => write!(line, "{cell:<width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::lines::Line;
    use crate::mutants::trial::End;

    fn verdict(c: bool, ours: bool, ours_end: End) -> Verdict {
        let lines = |warned: bool| {
            let line = Line {
                place: "f+0x1".into(),
                message: "wrong".into(),
            };
            if warned {
                vec![line]
            } else {
                Vec::new()
            }
        };
        Verdict {
            c_new: lines(c),
            ours_new: lines(ours),
            c_end: End::Status(0),
            ours_end,
            same_lines: c == ours,
            same_stderr: c == ours,
            same_output: c == ours,
        }
    }

    #[test]
    fn each_mutant_that_no_tool_crashes_on_is_in_one_of_four_columns() {
        let mut counts = Counts::default();
        for (c, ours) in [(true, true), (true, false), (false, true), (false, false)] {
            counts.add(&verdict(c, ours, End::Status(0)));
        }
        assert_eq!(
            [counts.both, counts.only_c, counts.only_ours, counts.neither],
            [1; 4]
        );
        assert!(!counts.pass());
    }

    #[test]
    fn what_a_crashing_tool_said_does_not_count() {
        let mut counts = Counts::default();
        counts.add(&verdict(true, true, End::Panic));
        assert_eq!((counts.only_c, counts.ours_crashed), (1, 1));
        assert_eq!((counts.both, counts.ours), (0, 0));

        let mut counts = Counts::default();
        counts.add(&verdict(false, false, End::Hang));
        assert_eq!(counts.neither, 0);
        assert!(!counts.pass());
    }
}
