//! Which traps are warnings, behind which execution goes on.
//!
//! Objects annotate the code after a `WARN()` as reachable; in linked code only the table that
//! the trap handler looks into is left (`__bug_table`, `include/asm-generic/bug.h`).

use arch::insn::InsnKind;
use arch::object::{Architecture, BugLayout, BUG_FLAG_WARNING};

use super::Model;
use crate::decode::InsnId;
use crate::read::FileKind;
use crate::report::Place;

const TABLE: &[u8] = b"__bug_table";

/// The traps that are warnings.
pub(super) fn warnings<A: Architecture>(model: &Model<'_, A>) -> Vec<InsnId> {
    let layouts = A::BUG.iter();
    layouts
        .filter_map(|layout| read(model, layout))
        .next()
        .unwrap_or_default()
}

/// The warnings of a table in this layout; nothing if it can't be the right one.
fn read<A>(model: &Model<'_, A>, layout: &BugLayout) -> Option<Vec<InsnId>> {
    let section = model.file.section_by_name(TABLE)?;
    let data = model.file.section(section).data;
    if !(data.len() as u64).is_multiple_of(layout.size) {
        return None;
    }
    let mut warnings = Vec::new();
    for (index, entry) in data.chunks_exact(layout.size as usize).enumerate() {
        let offset = index as u64 * layout.size + layout.insn;
        let place = match model.file.kind {
            FileKind::Image => model.relative_place(section, offset)?,
            FileKind::Object => {
                let (_, reloc) = model.file.reloc_at(section, offset)?;
                let symbol = model.file.symbol(reloc.symbol);
                Place {
                    section: symbol.section,
                    offset: symbol.value.wrapping_add_signed(reloc.addend),
                }
            }
        };
        let insn = model.insns.at(place.section, place.offset)?;
        if model.insn(insn).kind != InsnKind::Bug {
            return None;
        }
        let flags = entry.get(layout.flags as usize..)?.first_chunk()?;
        if u16::from_le_bytes(*flags) & BUG_FLAG_WARNING != 0 {
            warnings.push(insn);
        }
    }
    Some(warnings)
}
