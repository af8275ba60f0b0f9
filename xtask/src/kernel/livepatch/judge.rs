//! Judges what the console of a machine says of the tests of live patching: which cases passed, what
//! was counted, and whether the kernel complained.

use crate::kernel::boot;

/// What a script begins a line with that only tells what it counted.
const FIGURE: &str = "FIGURE: ";

/// Lines of a broken kernel that the init script puts into the kernel's log, to see them found.
const PROBES: &str = "9";

/// How it is said that the kernel printed a warning, or lost memory.
pub const COMPLAINS: &str = "the kernel complains";

/// A script, and what it is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its path below the folder of all tests.
    pub name: String,
    /// How many cases it holds.
    pub cases: usize,
    /// Whether all of them must fail, because the core is known to have no right answer.
    pub fails: bool,
    /// What the kernel's command line must say.
    pub boot_with: String,
    /// Whether what it does depends on a seed, and its length on how many cycles are asked for.
    pub takes_seed: bool,
}

/// How a script went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Went {
    pub script: Script,
    /// Cases that passed.
    pub passed: usize,
    /// Its exit status, as it was reported, and the seconds that it took.
    end: Option<(String, String)>,
    /// What it counted.
    pub figures: Vec<String>,
    /// What it said beside these and the cases that passed.
    pub rest: Vec<String>,
}

impl Went {
    /// Whether it showed what it is to show.
    pub fn is_good(&self) -> bool {
        let status = self.end.as_ref().map(|(status, _)| status.as_str());
        if self.script.fails {
            let failed =
                |line: &&String| line.starts_with("TEST: ") && line.contains(" ... not ok");
            let failed = self.rest.iter().filter(failed).count();
            self.passed == 0 && failed == self.script.cases && status == Some("1")
        } else {
            self.passed == self.script.cases && self.rest.is_empty() && status == Some("0")
        }
    }
}

/// What came of all scripts.
#[derive(Debug)]
pub struct Judged {
    pub went: Vec<Went>,
    /// The first thing that is wrong.
    pub wrong: Option<String>,
}

/// Judges the console's log of a machine that ran these scripts.
pub fn judge(log: &str, scripts: &[Script]) -> Judged {
    let report: Vec<(&str, &str)> = boot::report(log).collect();
    let went: Vec<Went> = scripts
        .iter()
        .map(|script| {
            let said = report.iter().filter_map(|&(key, value)| {
                (key.strip_suffix(':') == Some(&script.name)).then_some(value)
            });
            let (figures, said): (Vec<&str>, Vec<&str>) =
                said.partition(|line| line.starts_with(FIGURE));
            let (good, rest): (Vec<&str>, Vec<&str>) = said
                .into_iter()
                .filter(|line| !line.trim().is_empty())
                .partition(|line| line.starts_with("TEST: ") && line.ends_with(" ... ok"));
            let end = report.iter().find_map(|&(key, value)| {
                let mut words = value.split(' ');
                let is_it = key == "status" && words.next() == Some(&script.name);
                let mut word = || Some(words.next()?.to_owned());
                is_it.then(|| Some((word()?, word()?))).flatten()
            });
            Went {
                script: script.clone(),
                passed: good.len(),
                end,
                figures: figures
                    .into_iter()
                    .map(|line| line[FIGURE.len()..].to_owned())
                    .collect(),
                rest: rest.into_iter().map(str::to_owned).collect(),
            }
        })
        .collect();
    let complaint = report
        .iter()
        .find(|(key, _)| ["complaint", "leak"].contains(key));
    let value = |wanted: &str| report.iter().find(|(key, _)| *key == wanted).map(|it| it.1);
    let wrong = if let Some((_, complaint)) = complaint {
        Some(format!("{COMPLAINS}: {complaint}"))
    } else if let Some(how) = value("died") {
        let last = boot::last_lines(log);
        Some(format!("the init script died {how}{last}"))
    } else if let Some(went) = went.iter().find(|went| !went.is_good()) {
        Some(line(went))
    } else if value("end").is_none() {
        Some(format!("the report has no end{}", boot::last_lines(log)))
    } else if value("probes") != Some(PROBES) {
        Some(format!(
            "of {PROBES} lines like those of a broken kernel {} were found",
            value("probes").unwrap_or("none")
        ))
    } else {
        None
    };
    Judged { went, wrong }
}

/// How a script went, in a line.
pub fn line(went: &Went) -> String {
    let Script {
        name, cases, fails, ..
    } = &went.script;
    let cases = format!("{name:<28} {:>2} of {cases:>2} cases", went.passed);
    match &went.end {
        _ if went.is_good() && *fails => format!("{cases}: the C core has no right answer"),
        _ if went.is_good() => format!("{cases}: ok"),
        Some((status, seconds)) => format!("{cases}: FAILED, status {status} after {seconds} s"),
        None => format!("{cases}: FAILED, without an end"),
    }
}

/// Cases that passed, and all.
pub fn count(went: &[Went]) -> (usize, usize) {
    let passed = went.iter().map(|went| went.passed).sum();
    (passed, went.iter().map(|went| went.script.cases).sum())
}

/// What several machines counted, added up. They must say the same words, or there is no sum.
pub fn sum(figures: &[&str]) -> Option<String> {
    let mut all = figures.iter().map(|line| parts(line));
    let mut sum = all.next()?;
    for other in all {
        if other.len() != sum.len() {
            return None;
        }
        for (sum, part) in sum.iter_mut().zip(other) {
            *sum = match (*sum, part) {
                (Part::Number(a), Part::Number(b)) => Part::Number(a.checked_add(b)?),
                (Part::Words(a), Part::Words(b)) if a == b => Part::Words(a),
                _ => return None,
            };
        }
    }
    let said = sum.iter().map(|part| match part {
        Part::Number(number) => number.to_string(),
        Part::Words(words) => (*words).to_owned(),
    });
    Some(said.collect())
}

/// A stretch of a line: a number, or what stands between two.
#[derive(Clone, Copy)]
enum Part<'a> {
    Number(u64),
    Words(&'a str),
}

fn parts(line: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_digit);
        let (part, behind) = rest.split_at(end.unwrap_or(rest.len()));
        parts.push(match part.parse() {
            Ok(number) => Part::Number(number),
            Err(_) => Part::Words(part),
        });
        rest = behind;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scripts() -> Vec<Script> {
        [("test-a.sh", 2), ("test-b.sh", 1)]
            .map(|(name, cases)| Script {
                name: name.to_owned(),
                cases,
                fails: false,
                boot_with: String::new(),
                takes_seed: false,
            })
            .to_vec()
    }

    const GOOD: &str = "objtool-rs: kernel 6.12\r\n\
        objtool-rs: probes 9\r\n\
        objtool-rs: test-a.sh: TEST: basic ... ok\r\n\
        objtool-rs: test-a.sh: TEST: multiple targets ... ok\r\n\
        objtool-rs: status test-a.sh 0 12\r\n\
        objtool-rs: test-b.sh: TEST: sysfs test ... ok\r\n\
        objtool-rs: status test-b.sh 0 3\r\n\
        objtool-rs: end\r\n";

    fn wrong(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from));
        let judged = judge(&GOOD.replacen(from, to, 1), &scripts());
        judged.wrong.unwrap()
    }

    #[test]
    fn all_cases_passed() {
        let judged = judge(GOOD, &scripts());
        assert_eq!(judged.wrong, None);
        assert_eq!(count(&judged.went), (3, 3));
    }

    #[test]
    fn what_is_not_shown_did_not_pass() {
        let case = wrong("multiple targets ... ok", "multiple targets ... not ok");
        assert!(case.contains("1 of  2 cases: FAILED"), "{case}");
        let case = wrong("objtool-rs: test-b.sh: TEST: sysfs test ... ok\r\n", "");
        assert!(case.contains("0 of  1 cases: FAILED"), "{case}");
        let status = wrong("test-b.sh 0", "test-b.sh 4");
        assert!(status.contains("status 4 after 3 s"), "{status}");
        let status = wrong("objtool-rs: status test-b.sh 0 3\r\n", "");
        assert!(status.contains("without an end"), "{status}");
        let more = wrong(
            "status test-b.sh",
            "test-b.sh: ERROR: x\r\nobjtool-rs: status test-b.sh",
        );
        assert!(more.contains("1 of  1 cases: FAILED"), "{more}");
        let end = wrong("objtool-rs: end", "");
        assert!(end.starts_with("the report has no end"), "{end}");
        let complaint = wrong(
            "objtool-rs: end",
            "objtool-rs: complaint BUG: x\r\nobjtool-rs: end",
        );
        assert_eq!(complaint, "the kernel complains: BUG: x");
        let leak = wrong(
            "objtool-rs: end",
            "objtool-rs: leak unreferenced object 0x1 (size 8):\r\nobjtool-rs: end",
        );
        assert!(leak.starts_with("the kernel complains: unref"), "{leak}");
        let died = wrong(
            "objtool-rs: test-b.sh: TEST",
            "objtool-rs: died of signal 11, x\r\nobjtool-rs: end\r\nx",
        );
        assert!(
            died.starts_with("the init script died of signal 11, x; the console"),
            "{died}"
        );
        let blind = wrong("probes 9", "probes 8");
        assert!(blind.contains("8 were found"), "{blind}");
    }

    #[test]
    fn what_must_fail_must_fail_as_a_whole() {
        let mut scripts = scripts();
        scripts[0].fails = true;
        let passes = judge(GOOD, &scripts).wrong.unwrap();
        assert!(passes.contains("2 of  2 cases: FAILED"), "{passes}");
        let bad = GOOD
            .replace("basic ... ok", "basic ... not ok: why")
            .replace("test-a.sh 0", "test-a.sh 1");
        assert!(judge(&bad, &scripts).wrong.is_some(), "one passes");
        let bad = bad.replace("targets ... ok", "targets ... not ok: why");
        assert_eq!(judge(&bad, &scripts).wrong, None);
        let aborted = bad.replace("objtool-rs: test-a.sh: TEST: multiple", "objtool-rs: x");
        assert!(judge(&aborted, &scripts).wrong.is_some(), "one did not run");
    }

    #[test]
    fn figures_are_told_apart_and_added_up() {
        let log = GOOD.replace(
            "objtool-rs: status test-b.sh",
            "objtool-rs: test-b.sh: FIGURE: cycles 12: enabled 3\r\nobjtool-rs: status test-b.sh",
        );
        let judged = judge(&log, &scripts());
        assert_eq!(judged.wrong, None);
        assert_eq!(judged.went[1].figures, ["cycles 12: enabled 3"]);

        let other = "cycles 130: enabled 40";
        let both = sum(&["cycles 12: enabled 3", other]);
        assert_eq!(both.as_deref(), Some("cycles 142: enabled 43"));
        assert_eq!(sum(&[other]).as_deref(), Some(other));
        assert_eq!(sum(&["cycles 12: reversed 3", other]), None);
        assert_eq!(sum(&["cycles 12: enabled 3, 4", other]), None);
        assert_eq!(sum(&["cycles x: enabled 3", other]), None);
        assert_eq!(sum(&[]), None);
    }
}
