//! The verdict for machines.
//!
//! One object a file, on one line. Sizes, offsets and counts are numbers, sizes and offsets in
//! bytes. An address is a string in hexadecimal (`0x…`), because it does not fit the numbers of
//! JSON; in a module, whose sections have no addresses, it is the offset in its section. Fields may
//! be added; none is left out.
//!
//! | field | type | meaning |
//! |---|---|---|
//! | `file` | string | the file, as it was named |
//! | `kind` | string | `image` or `module` |
//! | `reliable` | boolean | whether `HAVE_RELIABLE_STACKTRACE` holds, but for the exceptions |
//! | `reason` | string or null | why it does not: `orc` or `no-frame-pointers` |
//! | `functions.keep_frame` | number | functions that keep their frame |
//! | `functions.make_no_call` | number | functions that make no call, and need none |
//! | `functions.keep_no_frame` | number | functions that are not trusted |
//! | `text_size` | number | text in all, without replacement code |
//! | `unreliable_size` | number | how much of it must not be trusted |
//! | `exceptions[]` | list | functions that are not trusted, by section and address; empty if it does not hold, because then they are nearly all |
//! | `exceptions[].name` | string | its name; every name of a function has an entry of its own |
//! | `exceptions[].address` | address | its first byte |
//! | `exceptions[].size` | number | its size |
//! | `exceptions[].section` | string | its section |
//! | `exceptions[].subsystem` | string or null | folder of its object or source in the tree |
//! | `exceptions[].object` | string or null | the object that it was linked from, if the build is still there |
//! | `exceptions[].source` | string or null | its source file: a path by debug information, or a bare name by the symbol table |
//! | `exceptions[].code` | string | code of the finding; `objtool-rs explain` takes it |
//! | `exceptions[].reason` | string | words of the finding |
//! | `exceptions[].offset` | number or null | its place, from the function's first byte; outside of the function for code that it leads to |
//! | `unreliable_text[]` | list | the text that must not be trusted, by section and offset, disjoint; empty if it does not hold |
//! | `unreliable_text[].address` | address | first byte |
//! | `unreliable_text[].size` | number | size |
//! | `unreliable_text[].section` | string | section |
//! | `unreliable_text[].offset` | number | offset in the section |
//! | `phases_ms.*` | number | milliseconds that each phase took |

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
                "subsystem": function.origin.folder(),
                "object": function.origin.object,
                "source": function.origin.source,
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
