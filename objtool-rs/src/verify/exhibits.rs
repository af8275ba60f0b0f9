//! What is shown of the functions that keep no frame: the path that led to the place, the code
//! around it with the state of the stack, and the source line where there is DWARF.
//!
//! Which functions they are, and why, is [`classify`](super::classify)'s.

use arch::insn::Disassemble;
use arch::object::Architecture;
use rustc_hash::FxHashMap;

use super::classify::{Class, Function, Reason};
use crate::model::Model;
use crate::report::rich::gather::{Gather, Shown};
use crate::report::rich::source::Lines;
use crate::report::rich::Exhibit;
use crate::report::{explain, Findings, Line, Names, Place};

/// An exhibit of each function that keeps no frame, by address, with the lines of source that there
/// are.
pub fn exhibits<'f, A: Architecture + Disassemble>(
    model: &Model<'f, A>,
    names: &Names<'_>,
    findings: &Findings,
    functions: &[Function],
    lines: Option<&Lines<'f>>,
) -> Vec<Exhibit> {
    // The same place may break several rules; the code tells which one is meant.
    let mut known = FxHashMap::default();
    for line in findings.lines() {
        if let Line::Finding(finding) = line {
            let code = finding.message.explanation().code;
            known.entry((finding.place, code)).or_insert(finding);
        }
    }
    let gather = Gather::new(model, names, lines);
    functions
        .iter()
        .filter_map(|function| {
            let Class::KeepsNoFrame(reason) = &function.class else {
                return None;
            };
            let place = place(model, function, reason);
            let finding = known.get(&(place, reason.code));
            Some(gather.exhibit(&Shown {
                explanation: explain::by_code(reason.code)?,
                line: reason.line(&function.name),
                place,
                path: finding.and_then(|f| Some((&f.message, f.detail.as_deref()?))),
            }))
        })
        .collect()
}

/// The place that a reason is about; where it names none, the function's start.
fn place<A>(model: &Model<'_, A>, function: &Function, reason: &Reason) -> Option<Place> {
    let symbol = model.file.symbol(function.symbol);
    let start = Place {
        section: symbol.section,
        offset: symbol.value,
    };
    let offset = reason.offset.unwrap_or(0);
    match start.offset.checked_add_signed(offset) {
        Some(offset) if offset < model.file.section(start.section).data.len() as u64 => {
            Some(Place { offset, ..start })
        }
        // It lies in another section of the image.
        _ => {
            let address = model.file.address(start.section, start.offset);
            let (section, offset) = model.file.at_address(address.wrapping_add_signed(offset))?;
            Some(Place { section, offset })
        }
    }
}
