//! `.cfi_sites`: the preambles that control flow integrity puts before functions, to be rewritten
//! at boot when another scheme is used (`apply_fineibt()` in the kernel).

use arch::object::Architecture;

use super::{exists, places_section, Output};
use crate::model::Model;
use crate::report::{Findings, Place};

const NAME: &str = ".cfi_sites";

/// Prefix of the symbols over preambles.
const PREAMBLE: &[u8] = b"__cfi_";

pub(super) fn emit<A: Architecture>(
    model: &Model<'_, A>,
    output: &mut Output,
    findings: &mut Findings,
) {
    if exists(model, findings, NAME, " section") {
        return;
    }
    let mut places = Vec::new();
    for section in model.file.section_ids() {
        for &id in model.symbols.of_section(section) {
            let symbol = model.file.symbol(id);
            if symbol.is_function() && symbol.name.starts_with(PREAMBLE) {
                places.push(Place {
                    section,
                    offset: symbol.value,
                });
            }
        }
    }
    // Unlike other lists it is there even when it is empty.
    let section = places_section(model, output, NAME, places.into_iter());
    output.add_section(section);
}
