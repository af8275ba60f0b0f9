//! A file that is begun while part of its sections is still being made.
//!
//! Not here: what stands in it ([`write`](super)), and which sections are made later (the emitters).

use std::fs::File;
use std::sync::Arc;

use super::{NewFile, WriteError};
use crate::emit::{NewSection, Output};
use crate::read::ElfFile;

/// A file that is written as far as it was known.
#[derive(Debug)]
pub struct Begun<'d> {
    /// How it was laid out; without the changes themselves.
    new: NewFile<'d>,
    /// The first section that is not written.
    section: usize,
    collected: Collected,
}

/// How much was collected. Changes are only added to others, so that nothing else can be different
/// later.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Collected {
    /// Symbols, patches and types of relocations.
    changes: [usize; 3],
    /// Added sections, and whether they have relocations.
    sections: Vec<(&'static str, bool)>,
}

impl Collected {
    fn new(output: &Output) -> Self {
        let (patches, types) = (output.patches.len(), output.reloc_types.len());
        let sections = output.sections.iter();
        Self {
            changes: [output.symbols.len(), patches, types],
            sections: sections.map(|s| (s.name, s.relocs.is_some())).collect(),
        }
    }
}

impl<'d> Begun<'d> {
    /// Lays a changed file out, of which the sections in `open` will be known later, and writes what
    /// does not depend on them. `release` is called now and then ([`analyze`](crate::analyze)). Where
    /// that fails, nothing is begun. Either way the changes are there again afterwards.
    pub fn new(
        file: Arc<ElfFile<'d>>,
        output: &mut Output,
        open: &[NewSection],
        to: &mut File,
        release: &dyn Fn(),
    ) -> Option<Self> {
        let (sections, names) = (output.sections.len(), output.names.len());
        for section in open {
            output.add_section(section.clone());
        }
        let collected = Collected::new(output);
        let begun = match NewFile::lay_out(file, std::mem::take(output)) {
            Ok(mut new) => {
                let section = new.begin(to, sections, release).ok();
                *output = std::mem::take(&mut new.output);
                section.map(|section| Self {
                    new,
                    section,
                    collected,
                })
            }
            Err((_, changes)) => {
                *output = *changes;
                None
            }
        };
        output.sections.truncate(sections);
        output.names.truncate(names);
        begun
    }

    /// Lays the file out with all changes.
    ///
    /// # Errors
    ///
    /// See [`NewFile::new`].
    pub fn finish(self, output: Output) -> Result<NewFile<'d>, WriteError> {
        let collected = Collected::new(&output);
        if collected == self.collected {
            let mut new = self.new;
            new.output = output;
            new.written = Some(self.section);
            new.place()?;
            return Ok(new);
        }
        // What stands before the names of sections does not depend on which of them are added.
        let names = self.new.file.section_names.index();
        let mut new = NewFile::new(self.new.file, output)?;
        if collected.changes == self.collected.changes {
            new.written = Some(self.section.min(names));
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use arch::object::Architecture as _;

    use super::*;
    use crate::emit::{NewReloc, NewRelocs, NewSymbol, SymbolRef};
    use crate::read::{elf, SectionId, SymbolId};
    use crate::run::Target;

    /// An object with a section of code and nothing else.
    fn object() -> Vec<u8> {
        let names = b"\0.text\0.symtab\0.strtab\0.shstrtab\0";
        let contents: [(u32, u32, u64, Vec<u8>); 4] = [
            (1, elf::SHT_PROGBITS, 6, vec![0x90; 64]),
            (7, elf::SHT_SYMTAB, 0, vec![0; 24]),
            (15, elf::SHT_STRTAB, 0, vec![0]),
            (23, elf::SHT_STRTAB, 0, names.to_vec()),
        ];
        let mut file = vec![0; 64];
        let mut headers = vec![0; 64];
        for (name, kind, flags, data) in contents {
            file.resize(file.len().next_multiple_of(8), 0);
            let is_table = kind == elf::SHT_SYMTAB;
            headers.extend(name.to_le_bytes());
            headers.extend(kind.to_le_bytes());
            let [link, info] = if is_table { [3u32, 1] } else { [0, 0] };
            for word in [flags, 0, file.len() as u64, data.len() as u64] {
                headers.extend(word.to_le_bytes());
            }
            headers.extend(link.to_le_bytes());
            headers.extend(info.to_le_bytes());
            for word in [8, if is_table { 24u64 } else { 0 }] {
                headers.extend(word.to_le_bytes());
            }
            file.extend(data);
        }
        file.resize(file.len().next_multiple_of(8), 0);
        let table = file.len() as u64;
        file.extend(headers);
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16] = 1;
        file[18..20].copy_from_slice(&Target::MACHINE.to_le_bytes());
        file[20] = 1;
        file[40..48].copy_from_slice(&table.to_le_bytes());
        file[52..54].copy_from_slice(&64u16.to_le_bytes());
        file[58..64].copy_from_slice(&[64, 0, 5, 0, 4, 0]);
        file
    }

    fn sites(name: &'static str, count: usize) -> NewSection {
        let reloc = |number| NewReloc {
            offset: 4 * number as u64,
            symbol: SymbolRef::Existing(SymbolId(0)),
            kind: 2,
            addend: number as i64,
        };
        let list = NewRelocs::List((0..count).map(reloc).collect());
        NewSection::relocated(name, 4, count, list)
    }

    #[test]
    fn what_was_foreseen_wrongly_is_written_again() {
        let data = object();
        let file = Arc::new(ElfFile::parse(&data, Target::MACHINE).expect("a valid object"));
        let open = [sites(".open", 0), sites(".too", 0)];
        type Change = fn(&mut Output, &ElfFile<'_>);
        let changes: [(&str, Change, bool); 4] = [
            (
                "as foreseen",
                |output, _| {
                    output.add_section(sites(".open", 40));
                    output.add_section(sites(".too", 3));
                },
                true,
            ),
            (
                "a section fewer",
                |output, _| output.add_section(sites(".too", 3)),
                true,
            ),
            ("no more sections", |_, _| {}, true),
            (
                "a symbol more",
                |output, file| {
                    output.add_symbol(file, NewSymbol::Section(SectionId(1)));
                    output.add_section(sites(".open", 1));
                    output.add_section(sites(".too", 1));
                },
                false,
            ),
        ];
        for (what, change, is_kept) in changes {
            let mut output = Output::new(&file);
            output.add_section(sites(".known", 5));
            let before = output.names.clone();
            let mut to = tempfile::tempfile().expect("a temporary file");
            let begun = Begun::new(Arc::clone(&file), &mut output, &open, &mut to, &|| {});
            assert_eq!(
                (output.sections.len(), &output.names),
                (1, &before),
                "{what}"
            );
            change(&mut output, &file);
            let whole = NewFile::new(Arc::clone(&file), output.clone());
            let whole = whole.expect("there is room").to_vec();

            let begun = begun.expect("it was begun");
            let new = begun.finish(output).expect("there is room");
            assert_eq!(new.written.is_some(), is_kept, "{what}");
            new.write_to(&mut to).expect("the file takes it");
            let mut bytes = Vec::new();
            to.rewind().expect("a file");
            to.read_to_end(&mut bytes).expect("a file");
            assert!(
                bytes == whole,
                "{what}: {} bytes, not {}",
                bytes.len(),
                whole.len()
            );
        }
    }
}
