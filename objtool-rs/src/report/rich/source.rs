//! From a place in the code to lines of source, by DWARF.
//!
//! In an object that is not linked yet every section starts at address 0 and the debug information
//! names sections only in its relocations. Here each section of code gets addresses of its own, and
//! the relocations are applied as DWARF is read. Debug information is only ever looked at to show a
//! finding; where it is missing, compressed or broken, the finding is shown without.

use std::rc::Rc;

use addr2line::Context;
use gimli::{EndianSlice, LittleEndian, Relocate, RelocateReader, SectionId as DwarfSection};

use crate::read::{elf, ElfFile, FileKind, SectionId};
use crate::report::Place;

/// A line of source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The file, as the compiler was given it or below the folder that it ran in.
    pub path: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The column in bytes, counted from 1; 0 where it is not known.
    pub column: u32,
    /// The function that the line belongs to.
    pub function: Option<String>,
}

/// The lines of a file.
pub struct Lines<'d> {
    context: Context<Bytes<'d>>,
    address: Rc<dyn Fn(Place) -> Option<u64> + 'd>,
}

/// What DWARF reads: bytes of a section whose relocations are applied on the way.
type Bytes<'d> = RelocateReader<EndianSlice<'d, LittleEndian>, Relocations<'d>>;

/// What the relocations of a debug section come to; `None` for a file that is linked.
#[derive(Clone)]
struct Relocations<'d>(Option<Rc<dyn Fn(usize) -> Option<u64> + 'd>>);

impl std::fmt::Debug for Relocations<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Relocations")
    }
}

impl Relocate<usize> for Relocations<'_> {
    fn relocate_address(&self, offset: usize, value: u64) -> gimli::Result<u64> {
        let relocated = self.0.as_ref().and_then(|relocated| relocated(offset));
        Ok(relocated.unwrap_or(value))
    }

    fn relocate_offset(&self, offset: usize, value: usize) -> gimli::Result<usize> {
        let relocated = self.0.as_ref().and_then(|relocated| relocated(offset));
        Ok(relocated.map_or(value, |value| value as usize))
    }
}

/// Bytes of address space for each section of an object: more than any section of code has.
const SECTION_SPACE: u64 = 1 << 32;

/// Where a section of an object that is not linked stands, for as long as its DWARF is read. Debug
/// sections refer to each other by offset, so they stand at 0.
fn base(file: &ElfFile<'_>, section: SectionId) -> u64 {
    if file.section(section).header.flags & elf::SHF_ALLOC == 0 {
        0
    } else {
        u64::from(section.0) * SECTION_SPACE
    }
}

/// A section of debug information, unless it is compressed.
fn dwarf_section<'d>(file: &ElfFile<'d>, name: &str) -> Option<(SectionId, &'d [u8])> {
    let id = file.section_by_name(name.as_bytes())?;
    let section = file.section(id);
    let is_compressed = section.header.flags & object::elf::SHF_COMPRESSED.0 != 0;
    (!is_compressed).then_some((id, section.data))
}

impl<'d> Lines<'d> {
    /// The lines of a file, linked or not; `None` where it has no DWARF that can be read.
    pub fn of_file(file: &'d ElfFile<'d>) -> Option<Self> {
        match file.kind {
            FileKind::Object => Self::of_object(file),
            FileKind::Image => Self::of_image(file),
        }
    }

    fn of_object(file: &'d ElfFile<'d>) -> Option<Self> {
        let bytes = |name: &str| dwarf_section(file, name);
        bytes(".debug_info")?;
        let relocated = move |section: SectionId, offset: usize| {
            let (_, reloc) = file.reloc_at(section, offset as u64)?;
            let symbol = file.symbol(reloc.symbol);
            if symbol.section.index() >= file.sections.len() {
                return None;
            }
            let value = base(file, symbol.section).wrapping_add(symbol.value);
            Some(value.wrapping_add_signed(reloc.addend))
        };
        let load = |section: DwarfSection| {
            let (relocations, data) = match bytes(section.name()) {
                None => (None, &[][..]),
                Some((id, data)) => {
                    let relocations: Rc<dyn Fn(usize) -> Option<u64> + 'd> =
                        Rc::new(move |offset| relocated(id, offset));
                    (Some(relocations), data)
                }
            };
            let slice = EndianSlice::new(data, LittleEndian);
            Ok(RelocateReader::new(slice, Relocations(relocations)))
        };
        let address = move |place: Place| base(file, place.section).checked_add(place.offset);
        Self::new(load, Rc::new(address))
    }

    fn of_image(file: &'d ElfFile<'d>) -> Option<Self> {
        dwarf_section(file, ".debug_info")?;
        let load = |section: DwarfSection| {
            let data = dwarf_section(file, section.name()).map_or(&[][..], |(_, data)| data);
            let slice = EndianSlice::new(data, LittleEndian);
            Ok(RelocateReader::new(slice, Relocations(None)))
        };
        let address = move |place: Place| Some(file.address(place.section, place.offset));
        Self::new(load, Rc::new(address))
    }

    fn new(
        load: impl FnMut(DwarfSection) -> gimli::Result<Bytes<'d>>,
        address: Rc<dyn Fn(Place) -> Option<u64> + 'd>,
    ) -> Option<Self> {
        let dwarf = gimli::Dwarf::load(load).ok()?;
        let context = Context::from_dwarf(dwarf).ok()?;
        Some(Self { context, address })
    }

    /// The line of a place, then the lines into which it was inlined, inside out. Empty where
    /// nothing is known.
    pub fn find(&self, place: Place) -> Vec<SourceLine> {
        (self.address)(place).map_or_else(Vec::new, |address| self.at(address))
    }

    fn at(&self, address: u64) -> Vec<SourceLine> {
        let mut lines = Vec::new();
        let Ok(mut frames) = self.context.find_frames(address).skip_all_loads() else {
            return lines;
        };
        while let Ok(Some(frame)) = frames.next() {
            let Some(location) = frame.location else {
                continue;
            };
            let (Some(path), Some(line)) = (location.file, location.line) else {
                continue;
            };
            let name = frame.function.and_then(|function| {
                let raw = function.raw_name().ok()?;
                Some(rustc_demangle::demangle(&raw).to_string())
            });
            lines.push(SourceLine {
                path: path.to_owned(),
                line,
                column: location.column.unwrap_or(0),
                function: name,
            });
        }
        lines
    }
}
