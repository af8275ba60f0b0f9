//! From a place in a section to a line of the fixture, through the DWARF line table of an
//! unlinked object.
//!
//! In an unlinked object every section starts at address 0 and the line table names its section
//! only in a relocation, so the relocations are what this file reads first.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use anyhow::{bail, Context, Result};
use gimli::{DebugLineOffset, EndianSlice, LittleEndian, Reader, Relocate, RelocateReader};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget};

/// The lines of one fixture's code, by section name.
#[derive(Debug, Default)]
pub struct LineMap {
    sections: BTreeMap<String, Vec<Row>>,
}

#[derive(Debug)]
struct Row {
    code: Range<u64>,
    line: u32,
}

/// A section's index and an addend, packed into the one number that gimli passes through.
const SECTION_SHIFT: u32 = 40;

#[derive(Clone, Debug, Default)]
struct Targets(Rc<HashMap<usize, u64>>);

impl Relocate<usize> for Targets {
    fn relocate_address(&self, offset: usize, value: u64) -> gimli::Result<u64> {
        Ok(self.0.get(&offset).copied().unwrap_or(value))
    }

    fn relocate_offset(&self, offset: usize, value: usize) -> gimli::Result<usize> {
        let mask = (1 << SECTION_SHIFT) - 1;
        Ok(self
            .0
            .get(&offset)
            .map_or(value, |target| (target & mask) as usize))
    }
}

impl LineMap {
    /// Reads the line table of the object `data`, keeping the lines that lie in `source`.
    ///
    /// # Errors
    /// A line table that can't be read.
    pub fn read(data: &[u8], source: &Path) -> Result<LineMap> {
        let file = object::File::parse(data)?;
        let Some(section) = file.section_by_name(".debug_line") else {
            return Ok(LineMap::default()); // a source without code
        };
        let mut targets = HashMap::new();
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else {
                bail!(".debug_line+{offset:#x}: a relocation without a symbol");
            };
            let symbol = file.symbol_by_index(index)?;
            let in_section = symbol
                .section_index()
                .context("a line table of another file")?;
            let place = symbol.address().wrapping_add_signed(relocation.addend());
            targets.insert(
                offset as usize,
                (in_section.0 as u64) << SECTION_SHIFT | place,
            );
        }
        let strings = match file.section_by_name(".debug_line_str") {
            Some(section) => section.data()?,
            None => &[],
        };
        let bytes = EndianSlice::new(section.data()?, LittleEndian);
        let reader = RelocateReader::new(bytes, Targets(Rc::new(targets)));
        let table = gimli::DebugLine::from(reader);

        let mut map = LineMap::default();
        let mut offset = 0;
        while offset < bytes.len() {
            let program = table.program(DebugLineOffset(offset), 8, None, None)?;
            let header = program.header();
            let initial = if header.format() == gimli::Format::Dwarf64 {
                12
            } else {
                4
            };
            let next = offset + header.unit_length() + initial;
            map.add(program, &file, strings, source)?;
            offset = next;
        }
        for rows in map.sections.values_mut() {
            rows.sort_by_key(|row| row.code.start);
        }
        Ok(map)
    }

    fn add<R: Reader<Offset = usize>>(
        &mut self,
        program: gimli::IncompleteLineProgram<R>,
        file: &object::File<'_>,
        strings: &[u8],
        source: &Path,
    ) -> Result<()> {
        let mut rows = program.rows();
        let mut open: Option<(u64, u32)> = None;
        while let Some((header, row)) = rows.next_row()? {
            let address = row.address();
            if let Some((start, line)) = open.take() {
                let index = object::SectionIndex((start >> SECTION_SHIFT) as usize);
                let name = file.section_by_index(index)?.name()?.to_owned();
                let mask = (1 << SECTION_SHIFT) - 1;
                if address > start {
                    let code = start & mask..address & mask;
                    self.sections
                        .entry(name)
                        .or_default()
                        .push(Row { code, line });
                }
            }
            if row.end_sequence() {
                continue;
            }
            let name = row.file(header).map(|f| f.path_name());
            let name = match name {
                Some(gimli::AttributeValue::String(r)) => r.to_slice()?.into_owned(),
                Some(gimli::AttributeValue::DebugLineStrRef(at)) => {
                    let rest = strings.get(at.0..).unwrap_or_default();
                    rest.split(|b| *b == 0).next().unwrap_or_default().to_vec()
                }
                _ => continue,
            };
            let name = String::from_utf8_lossy(&name).into_owned();
            if Path::new(&name).file_name() == source.file_name() {
                open = row.line().map(|line| (address, line.get() as u32));
            }
        }
        Ok(())
    }

    fn row(&self, section: &str, offset: u64) -> Option<usize> {
        let rows = self.sections.get(section)?;
        let after = rows.partition_point(|row| row.code.start <= offset);
        after
            .checked_sub(1)
            .filter(|&at| rows[at].code.contains(&offset))
    }

    /// The source line of the code at `section`+`offset`.
    pub fn line(&self, section: &str, offset: u64) -> Option<u32> {
        self.row(section, offset)
            .map(|at| self.sections[section][at].line)
    }

    /// The bytes of the line at `section`+`offset`: the code around it that came from that line.
    pub fn extent(&self, section: &str, offset: u64) -> Option<Range<u64>> {
        let at = self.row(section, offset)?;
        let rows = &self.sections[section];
        let same = |row: &&Row| row.line == rows[at].line;
        let start = rows[..=at].iter().rev().take_while(same).last()?.code.start;
        let end = rows[at..].iter().take_while(same).last()?.code.end;
        Some(start..end)
    }
}
