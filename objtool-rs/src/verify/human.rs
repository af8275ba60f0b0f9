//! The verdict as text for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::verdict::Why;
use super::{Class, Function, Report, Verdict};
use crate::read::FileKind;

/// Functions named for each subsystem before the rest is only counted.
const NAMED: usize = 12;

/// The whole report.
pub fn render(report: &Report, path: &str) -> String {
    let mut out = String::new();
    let counts = report.verdict.counts();
    let what = match report.kind {
        FileKind::Image => "image",
        FileKind::Object => "module",
    };
    match report.verdict {
        Verdict::Holds(_) if report.unreliable.is_empty() => {
            let _ = writeln!(
                out,
                "{path}: HAVE_RELIABLE_STACKTRACE holds for this {what}."
            );
        }
        Verdict::Holds(_) => {
            let _ = writeln!(
                out,
                "{path}: HAVE_RELIABLE_STACKTRACE holds for this {what}, but for the exceptions below."
            );
        }
        Verdict::No(why, _) => {
            let _ = writeln!(out, "{path}: no, HAVE_RELIABLE_STACKTRACE does not hold.");
            out += match why {
                Why::Orc => {
                    "The kernel is built for the ORC unwinder (it has .orc_unwind), so its functions \
                     keep no frame pointers. Stack traces by ORC can be reliable; frame pointers \
                     are not.\n"
                }
                Why::NoFramePointers => {
                    "Most of its functions that make calls set up no frame: it is built without \
                     frame pointers. Build it with CONFIG_UNWINDER_FRAME_POINTER.\n"
                }
            };
        }
    }
    let percent = |n: usize| 100.0 * n as f64 / counts.all().max(1) as f64;
    let _ = writeln!(out);
    let _ = writeln!(out, "{:>8} functions", counts.all());
    for (n, what) in [
        (counts.keep, "keep their frame"),
        (counts.no_call, "make no call, so need none"),
        (counts.no_frame, "keep no frame"),
    ] {
        let _ = writeln!(out, "{n:>8} {what} ({:.1} %)", percent(n));
    }
    let size: u64 = report.unreliable.iter().map(|range| range.size).sum();
    let _ = writeln!(
        out,
        "{size:>8} of {} bytes of text must not be trusted, in {} ranges ({:.2} %)",
        report.text_size,
        report.unreliable.len(),
        100.0 * size as f64 / report.text_size.max(1) as f64
    );
    if report.verdict.holds() {
        exceptions(&mut out, report);
    }
    let _ = writeln!(out, "\nTime by phase, the slowest first:");
    let mut phases = report.phases.clone();
    phases.sort_by_key(|&(_, time)| std::cmp::Reverse(time));
    for (phase, time) in phases {
        let _ = writeln!(out, "{:>8.1} ms  {phase}", time.as_secs_f64() * 1e3);
    }
    out
}

/// Functions that keep no frame, by subsystem.
fn exceptions(out: &mut String, report: &Report) {
    let mut by_subsystem: BTreeMap<String, Vec<&Function>> = BTreeMap::new();
    for function in &report.functions {
        if matches!(function.class, Class::KeepsNoFrame(_)) {
            by_subsystem
                .entry(function.origin.heading())
                .or_default()
                .push(function);
        }
    }
    if by_subsystem.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nFunctions that keep no frame, by subsystem:");
    for (subsystem, functions) in by_subsystem {
        let _ = writeln!(out, "  {subsystem}: {}", functions.len());
        for function in functions.iter().take(NAMED) {
            let Class::KeepsNoFrame(why) = &function.class else {
                continue;
            };
            let _ = writeln!(out, "    {}", why.line(&function.name));
        }
        if functions.len() > NAMED {
            let _ = writeln!(out, "    and {} more", functions.len() - NAMED);
        }
    }
}
