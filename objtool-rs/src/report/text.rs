//! Places and names in the words of C objtool's lines.

use super::{Line, Place};
use crate::model::Symbols;
use crate::read::{ElfFile, SectionId, SymbolId};

/// Gives sections, symbols and places their names.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The file.
    pub file: &'a ElfFile<'a>,
    /// Its symbols by address.
    pub symbols: &'a Symbols,
    /// Print a place's section and offset beside its symbol.
    pub sec_address: bool,
}

impl Names<'_> {
    /// A symbol's name.
    pub fn symbol(&self, id: SymbolId) -> String {
        self.file.symbol(id).display_name().into_owned()
    }

    /// A section's name.
    pub fn section(&self, id: SectionId) -> String {
        self.file.section(id).display_name().into_owned()
    }

    /// A place, as the function or symbol that contains it and the distance from its start.
    pub fn place(&self, place: Place) -> String {
        let section = self.section(place.section);
        let function = if self.file.section(place.section).is_executable() {
            self.symbols
                .function_containing(place.section, place.offset)
        } else {
            None
        };
        let Some(id) = function.or_else(|| self.symbols.containing(place.section, place.offset))
        else {
            return format!("{section}+{:#x}", place.offset);
        };
        let start = self.file.symbol(id).value;
        let mut text = format!(
            "{}+{:#x}",
            self.symbol(id),
            place.offset.wrapping_sub(start)
        );
        if self.sec_address {
            text += &format!(" ({section}+{:#x})", place.offset);
        }
        text
    }

    /// A place, as its section and the distance from the section's start.
    pub fn offset(&self, place: Place) -> String {
        format!("{}+{:#x}", self.section(place.section), place.offset)
    }

    /// Who is called.
    pub fn callee(&self, callee: Option<SymbolId>) -> String {
        callee.map_or_else(|| "{dynamic}".into(), |id| self.symbol(id))
    }

    /// A line of the report, without the file's name in front.
    pub fn line(&self, line: &Line) -> String {
        match line {
            Line::Finding(finding) => {
                let message = finding.message.text(self);
                match finding.place {
                    Some(place) => format!("{}: {message}", self.place(place)),
                    None => message,
                }
            }
            Line::Trace(place, trace) => format!("  {}: {}", self.place(*place), trace.text()),
        }
    }
}
