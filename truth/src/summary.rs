//! The counts of a kernel, for people.

use std::collections::BTreeSet;
use std::fmt;

use crate::compare::Question;
use crate::judge::Sentence;
use crate::tally::Tally;

/// Width of a column.
const WIDTH: usize = 18;

/// How many names are listed.
const NAMES: usize = 24;

const QUESTIONS: [(Question, &str); 3] = [
    (Question::AsleepAtCall, "asleep at a call"),
    (Question::Preempted, "preempted"),
    (Question::FromRegisters, "from registers"),
];

/// The counts, as a table.
pub struct Summary<'a>(pub &'a Tally);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = self.0;
        writeln!(
            f,
            "  stopped {} times at {} instructions of {} functions, in {} runs; up to {} frames",
            grouped(tally.stops),
            grouped(tally.places.len() as u64),
            grouped(tally.functions.len() as u64),
            grouped(tally.runs),
            tally.deepest
        )?;
        let mut ends: Vec<_> = tally.ends.iter().collect();
        ends.sort_by_key(|(why, count)| (std::cmp::Reverse(**count), **why));
        let ends = ends
            .iter()
            .map(|(why, n)| format!("{why} {}", grouped(**n)));
        let ends: Vec<String> = ends.collect();
        writeln!(f, "  how runs ended: {}", ends.join(", "))?;

        write!(f, "  {:<60}", "walks")?;
        for (_, head) in QUESTIONS {
            write!(f, "{head:>WIDTH$}")?;
        }
        writeln!(f)?;
        let came_up = tally.walks.keys().map(|(_, sentence)| *sentence);
        let mut rows: BTreeSet<Sentence> = came_up.collect();
        rows.extend([Sentence::Right, Sentence::Wrong]);
        for row in rows {
            write!(f, "  {:<60}", row.text())?;
            for (question, _) in QUESTIONS {
                let count = tally.count_of(|q, sentence| q == question && sentence == row);
                write!(f, "{:>WIDTH$}", grouped(count))?;
            }
            writeln!(f)?;
        }
        for (why, names) in &tally.refused_in {
            let shown: Vec<&str> = names.iter().take(NAMES).map(String::as_str).collect();
            let more = match names.len() - shown.len() {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            writeln!(f, "  refused, {}: {}{more}", why.text(), shown.join(", "))?;
        }
        if !tally.damaged.is_empty() {
            let all: u64 = tally.damaged.values().sum();
            writeln!(f, "  walks over damaged stacks: {}", grouped(all))?;
            for (outcome, count) in &tally.damaged {
                writeln!(f, "  {:>WIDTH$}  {}", grouped(*count), outcome.text())?;
            }
        }
        for failure in tally.failures.values() {
            writeln!(f, "\n  {}", failure.trim_end().replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Why;

    #[test]
    fn numbers_are_grouped() {
        let all = [0, 999, 1000, 123_456, 1_234_567].map(grouped);
        assert_eq!(all, ["0", "999", "1 000", "123 456", "1 234 567"]);
    }

    #[test]
    fn every_count_and_every_failure_is_shown() {
        let mut tally = Tally {
            runs: 7,
            stops: 1234,
            ..Tally::default()
        };
        tally.ends.insert("returned", 7);
        tally.take(Question::AsleepAtCall, Sentence::Right, "");
        let undefined = Sentence::Refused(Why::OrcUndefined);
        tally.take(Question::Preempted, undefined, "clear_bhb_loop");
        tally.take(Question::Preempted, Sentence::Wrong, "");
        let place = (1, Question::Preempted);
        tally.failures.insert(place, "all\nabout it\n".into());
        let text = Summary(&tally).to_string();
        for part in [
            "stopped 1 234 times",
            "returned 7",
            "WRONG",
            "says that nothing is known: clear_bhb_loop",
            "\n  all\n  about it\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let wrong = text.lines().find(|line| line.starts_with("  WRONG"));
        let cells: Vec<_> = wrong.unwrap().split_whitespace().collect();
        assert_eq!(cells, ["WRONG", "0", "1", "0"]);
    }
}
