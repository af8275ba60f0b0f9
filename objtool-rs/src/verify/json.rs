//! The verdict for machines.
//!
//! One object; its fields are listed in [`render`]. Addresses are strings in hexadecimal, because
//! they do not fit the numbers of JSON.

use serde_json::{json, Value};

use super::verdict::Why;
use super::{Class, Report, Verdict};
use crate::read::{ElfFile, FileKind};

/// The whole report.
pub fn render(report: &Report, file: &ElfFile<'_>, path: &str) -> Value {
    let counts = report.verdict.counts();
    let reason = match report.verdict {
        Verdict::Holds(_) => Value::Null,
        Verdict::No(Why::Orc, _) => json!("orc"),
        Verdict::No(Why::NoFramePointers, _) => json!("no-frame-pointers"),
    };
    let section = |id| file.section(id).display_name();
    // Without the discipline the exceptions are nearly everything, and say nothing.
    let functions: Vec<Value> = report
        .functions
        .iter()
        .filter(|_| report.verdict.holds())
        .filter_map(|function| match &function.class {
            Class::KeepsNoFrame(why) => Some(json!({
                "name": function.name,
                "address": format!("{:#x}", function.address),
                "size": function.size,
                "section": section(function.section),
                "source": function.source,
                "code": why.code,
                "reason": why.text,
                "offset": why.offset,
            })),
            _ => None,
        })
        .collect();
    let ranges: Vec<Value> = report
        .unreliable
        .iter()
        .filter(|_| report.verdict.holds())
        .map(|range| {
            json!({
                "address": format!("{:#x}", range.address),
                "size": range.size,
                "section": section(range.section),
                "offset": range.offset,
            })
        })
        .collect();
    json!({
        "file": path,
        "kind": match report.kind {
            FileKind::Image => "image",
            FileKind::Object => "module",
        },
        "reliable": report.verdict.holds(),
        "reason": reason,
        "functions": {
            "keep_frame": counts.keep,
            "make_no_call": counts.no_call,
            "keep_no_frame": counts.no_frame,
        },
        "text_size": report.text_size,
        "unreliable_size": report.unreliable.iter().map(|range| range.size).sum::<u64>(),
        "exceptions": functions,
        "unreliable_text": ranges,
        "phases_ms": report
            .phases
            .iter()
            .map(|(phase, time)| ((*phase).to_owned(), json!(time.as_secs_f64() * 1e3)))
            .collect::<serde_json::Map<_, _>>(),
    })
}
