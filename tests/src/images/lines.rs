//! From an address of a linked image to a line of its source, through the DWARF line table.
//!
//! Modules are not linked; their lines are read by [`crate::lines`].

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;
use gimli::{DebugLineOffset, EndianSlice, LittleEndian, Reader as _};
use object::{Object, ObjectKind, ObjectSection};

use crate::lines::LineMap;

/// Lines of some sources by place.
pub enum Lines {
    /// Of an image, by address: start, end, source, line.
    Image(Vec<(u64, u64, String, u32)>),
    /// Of a module, by section and offset, for each source.
    Module(HashMap<String, LineMap>),
}

impl Lines {
    /// Reads the line table of an image or a module.
    ///
    /// # Errors
    /// A line table that can't be read.
    pub fn read(data: &[u8], sources: &[&Path]) -> Result<Self> {
        let file = object::File::parse(data)?;
        if file.kind() == ObjectKind::Relocatable {
            let mut maps = HashMap::new();
            for source in sources {
                maps.insert(name(source), LineMap::read(data, source)?);
            }
            return Ok(Self::Module(maps));
        }
        let section = |name: &str| -> Result<&[u8]> {
            Ok(match file.section_by_name(name) {
                Some(section) => section.data()?,
                None => &[],
            })
        };
        let bytes = EndianSlice::new(section(".debug_line")?, LittleEndian);
        let strings = section(".debug_line_str")?;
        let table = gimli::DebugLine::from(bytes);
        let mut rows = Vec::new();
        let mut offset = 0;
        while offset < bytes.len() {
            let program = table.program(DebugLineOffset(offset), 8, None, None)?;
            offset += program.header().unit_length() + 4;
            let mut reader = program.rows();
            let mut open: Option<(u64, String, u32)> = None;
            while let Some((header, row)) = reader.next_row()? {
                if let Some((start, source, line)) = open.take() {
                    rows.push((start, row.address(), source, line));
                }
                let Some(line) = row.line().filter(|_| !row.end_sequence()) else {
                    continue;
                };
                let source = match row.file(header).map(|file| file.path_name()) {
                    Some(gimli::AttributeValue::String(text)) => text.to_slice()?.into_owned(),
                    Some(gimli::AttributeValue::DebugLineStrRef(at)) => {
                        let rest = strings.get(at.0..).unwrap_or_default();
                        rest.split(|b| *b == 0).next().unwrap_or_default().to_vec()
                    }
                    _ => continue,
                };
                let source = String::from_utf8_lossy(&source).into_owned();
                open = Some((row.address(), name(Path::new(&source)), line.get() as u32));
            }
        }
        rows.retain(|(start, end, ..)| start < end);
        rows.sort();
        Ok(Self::Image(rows))
    }

    /// The source and line of a place; for a module, the address is the offset in its section.
    pub fn line(&self, section: &str, address: u64) -> Option<(String, u32)> {
        match self {
            Self::Image(rows) => rows
                .iter()
                .find(|(start, end, ..)| (start..end).contains(&&address))
                .map(|(_, _, source, line)| (source.clone(), *line)),
            Self::Module(maps) => maps
                .iter()
                .find_map(|(name, map)| Some((name.clone(), map.line(section, address)?))),
        }
    }
}

/// What a source is called in the table: the name without the folder.
pub fn name(source: &Path) -> String {
    let name = source.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
