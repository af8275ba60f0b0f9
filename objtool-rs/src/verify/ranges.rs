//! The text that an unwinder must not trust, as ranges of addresses.
//!
//! All text is distrusted but for trusted functions and filling: code without a symbol, code that
//! is no function, and functions that keep no frame. Replacement code is left out, because it
//! never runs where it stands.

use arch::insn::InsnKind;

use super::classify::{Class, Function};
use crate::model::Model;
use crate::read::{FileKind, SectionId};

/// A range of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its section.
    pub section: SectionId,
    /// Offset of its first byte in the section.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
    /// Address of its first byte; in a module, the offset.
    pub address: u64,
}

fn text_sections<'m, A>(model: &'m Model<'_, A>) -> impl Iterator<Item = SectionId> + 'm {
    model.file.section_ids().filter(|&id| {
        model.file.section(id).is_executable() && !model.sections[id.index()].replacement
    })
}

/// Bytes of text in all.
pub fn text_size<A>(model: &Model<'_, A>) -> u64 {
    text_sections(model)
        .map(|id| model.file.section(id).data.len() as u64)
        .sum()
}

/// The ranges, by section and offset; neighbours are merged over the filling between them.
pub fn unreliable<A>(model: &Model<'_, A>, functions: &[Function]) -> Vec<Range> {
    let mut ranges = Vec::new();
    for section in text_sections(model) {
        // Trusted functions by offset; where one overlaps a distrusted one, it is not trusted.
        let mut trusted = Vec::new();
        let mut distrusted = Vec::new();
        for function in functions
            .iter()
            .filter(|function| function.section == section)
        {
            let start = model.file.symbol(function.symbol).value;
            let span = start..start + function.size;
            match function.class {
                Class::KeepsNoFrame(_) => distrusted.push(span),
                _ => trusted.push(span),
            }
        }
        trusted.sort_unstable_by_key(|span| (span.start, span.end));
        distrusted.sort_unstable_by_key(|span| (span.start, span.end));

        let mut trusted = trusted.into_iter().peekable();
        let mut distrusted = distrusted.into_iter().peekable();
        let (mut trusted_end, mut distrusted_end) = (0, 0);
        let mut open: Option<(u64, u64)> = None;
        for insn in model.insns.ids_of(section) {
            let record = model.insn(insn);
            let at = u64::from(record.offset);
            while let Some(span) = trusted.next_if(|span| span.start <= at) {
                trusted_end = trusted_end.max(span.end);
            }
            while let Some(span) = distrusted.next_if(|span| span.start <= at) {
                distrusted_end = distrusted_end.max(span.end);
            }
            let is_distrusted = at < distrusted_end;
            let is_filling = matches!(record.kind, InsnKind::Nop | InsnKind::Trap)
                || is_zero_filling(model, section, at, record.end());
            if is_distrusted || (at >= trusted_end && !is_filling) {
                let start = open.map_or(at, |(start, _)| start);
                open = Some((start, record.end()));
            } else if at < trusted_end {
                close(model, section, &mut open, &mut ranges);
            }
        }
        close(model, section, &mut open, &mut ranges);
    }
    ranges
}

/// Linkers fill the gaps at the end of a section with zeros.
fn is_zero_filling<A>(model: &Model<'_, A>, section: SectionId, start: u64, end: u64) -> bool {
    let data = model.file.section(section).data;
    data.get(start as usize..end as usize)
        .is_some_and(|bytes| bytes.iter().all(|&b| b == 0))
}

fn close<A>(
    model: &Model<'_, A>,
    section: SectionId,
    open: &mut Option<(u64, u64)>,
    ranges: &mut Vec<Range>,
) {
    if let Some((start, end)) = open.take() {
        let address = match model.file.kind {
            FileKind::Image => model.file.address(section, start),
            FileKind::Object => start,
        };
        ranges.push(Range {
            section,
            offset: start,
            size: end - start,
            address,
        });
    }
}
