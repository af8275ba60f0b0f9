//! KTAP, the format in which the kernel's tests tell their results
//! (`Documentation/dev-tools/ktap.rst`): a plan, and a line for each test.
//!
//! Only what one module prints at the top level; nothing is known here of what is tested.

use anyhow::{bail, Context, Result};

/// The results of a suite: all tests of its plan have passed.
#[derive(Debug, Default)]
pub struct Results {
    /// The tests' names, in order.
    pub passed: Vec<String>,
    /// What the tests said beside their results, without the mark in front.
    pub remarks: Vec<String>,
}

/// Reads the results.
///
/// # Errors
/// There is no plan or more than one, the results are not those of the plan, in its order and its
/// number, or one of them is a failure; the message shows all failures with their remarks.
pub fn read(log: &str) -> Result<Results> {
    let (mut plan, mut passed, mut remarks) = (None, Vec::new(), Vec::new());
    let (mut failures, mut count) = (Vec::new(), 0);
    let mut in_failure = false;
    for line in log.lines().map(str::trim_end) {
        if let Some(remark) = line.strip_prefix('#') {
            remarks.push(remark.trim_start().to_owned());
            if in_failure {
                failures.push(line.to_owned());
            }
            continue;
        }
        if let Some(number) = line.strip_prefix("1..") {
            let number: usize = number
                .parse()
                .with_context(|| format!("`{line}` is no plan of tests"))?;
            if plan.replace(number).is_some() {
                bail!("there is more than one plan of tests");
            }
            continue;
        }
        let (failed, rest) = match (line.strip_prefix("ok "), line.strip_prefix("not ok ")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => continue,
        };
        count += 1;
        let (number, name) = rest.split_once(' ').unwrap_or((rest, ""));
        if number.parse() != Ok(count) {
            bail!("result {count} has another number: `{line}`");
        }
        in_failure = failed;
        if failed {
            failures.push(line.to_owned());
        } else {
            passed.push(name.to_owned());
        }
    }
    let plan = plan.context("the tests printed no plan")?;
    if !failures.is_empty() {
        bail!(
            "of {plan} tests, {} did not pass:\n{}",
            count - passed.len(),
            failures.join("\n")
        );
    }
    if count != plan {
        bail!("{plan} tests were planned, but there are {count} results");
    }
    Ok(Results { passed, remarks })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "noise\nKTAP version 1\n1..2\r\nok 1 first\r\n# a remark\nok 2 second\n";

    #[test]
    fn good_results_are_read() {
        let results = read(GOOD).unwrap();
        assert_eq!(results.passed, ["first", "second"]);
        assert_eq!(results.remarks, ["a remark"]);
    }

    #[test]
    fn a_failure_fails_with_what_is_said_of_it() {
        let log = GOOD.replace("ok 1 first", "not ok 1 first # wrong\n# expected: x");
        let error = read(&log).unwrap_err().to_string();
        assert!(error.starts_with("of 2 tests, 1 did not pass:"), "{error}");
        assert!(error.contains("not ok 1 first # wrong\n# expected: x"));
    }

    #[test]
    fn fewer_or_more_results_than_planned_fail() {
        let error = read(&GOOD.replace("ok 2 second\n", "")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "2 tests were planned, but there are 1 results"
        );
        let error = read(&format!("{GOOD}ok 3 third\n")).unwrap_err();
        assert!(error.to_string().ends_with("there are 3 results"));
        assert!(read("").is_err());
        assert!(read(&GOOD.replace("1..2", "")).is_err());
    }

    #[test]
    fn a_result_that_is_skipped_over_fails() {
        assert!(read(&GOOD.replace("ok 2", "ok 3")).is_err());
    }
}
