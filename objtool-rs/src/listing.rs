//! Disassembly of functions with findings, for `--verbose`.
//!
//! The form is `objdump -d`'s with the distance from the function's start in front, so that the
//! `func+0x1a` of a finding is found at once.

use std::fmt::Write as _;

use arch::insn::Disassemble;

use crate::model::{Model, Task};
use crate::report::Findings;

/// Columns that an instruction's bytes take, as `objdump -w` pads them.
const BYTE_COLUMNS: usize = 30;

/// All functions that had a finding, in the order in which they are looked at.
pub fn functions<A: Disassemble>(model: &Model<'_, A>, findings: &Findings) -> String {
    let mut out = String::new();
    for section in model.file.section_ids() {
        for &id in model.symbols.of_section(section) {
            if !findings.is_warned(id) {
                continue;
            }
            let symbol = model.file.symbol(id);
            let data = model.file.section(section).data;
            let start = usize::try_from(symbol.value)
                .unwrap_or(usize::MAX)
                .min(data.len());
            let end = usize::try_from(symbol.end())
                .unwrap_or(usize::MAX)
                .min(data.len());
            let code = &data[start..end];
            if !model
                .effort
                .spend(Task::Listing, Some(id), code.len() as u64)
            {
                return out;
            }
            let _ = writeln!(
                out,
                "0000 {:016x} <{}>:",
                symbol.value,
                symbol.display_name()
            );
            model
                .arch
                .disassemble(code, symbol.value, &mut |offset, len, text| {
                    let mut bytes = String::new();
                    for byte in &code[offset..offset + len] {
                        let _ = write!(bytes, "{byte:02x} ");
                    }
                    let at = symbol.value + offset as u64;
                    let _ = writeln!(out, "{offset:04x} {at:8x}:\t{bytes:BYTE_COLUMNS$}\t{text}");
                });
        }
    }
    out
}
