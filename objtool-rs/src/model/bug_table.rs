//! Which traps are warnings, behind which execution goes on.
//!
//! Objects annotate the code after a `WARN()` as reachable; in linked code only the table that
//! the trap handler looks into is left (`__bug_table`, `include/asm-generic/bug.h`).

use arch::insn::InsnKind;
use arch::object::{Architecture, BugLayout, BUG_FLAG_WARNING};

use super::{tables, Model};
use crate::decode::InsnId;
use crate::read::{FileKind, SectionId};
use crate::report::{Abort, Findings, Message, Place};

const TABLE: &str = "__bug_table";

/// The traps that are warnings.
///
/// # Errors
///
/// [`Abort`] when the table has none of the layouts that are known.
pub(super) fn warnings<A: Architecture>(
    model: &Model<'_, A>,
    findings: &mut Findings,
) -> Result<Vec<InsnId>, Abort> {
    let Some((section, range)) = tables::find(model.file, TABLE) else {
        return Ok(Vec::new());
    };
    let found = A::BUG
        .iter()
        .find_map(|layout| read(model, section, range.clone(), layout));
    found.ok_or_else(|| {
        let offset = range.start;
        findings.add_at(Place { section, offset }, Message::NoOriginalInstruction);
        Abort
    })
}

/// The warnings of a table in this layout; nothing if it can't be the right one.
fn read<A>(
    model: &Model<'_, A>,
    section: SectionId,
    range: std::ops::Range<u64>,
    layout: &BugLayout,
) -> Option<Vec<InsnId>> {
    let data = model.file.section(section).data;
    let data = data.get(range.start as usize..range.end as usize)?;
    if !(data.len() as u64).is_multiple_of(layout.size) {
        return None;
    }
    let mut warnings = Vec::new();
    for (index, entry) in data.chunks_exact(layout.size as usize).enumerate() {
        let offset = range.start + index as u64 * layout.size + layout.insn;
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
