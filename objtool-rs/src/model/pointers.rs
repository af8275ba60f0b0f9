//! Addresses of text that stand in data.
//!
//! In a module they have relocations. An image's are gone, so there every aligned word of a data
//! section counts that is an address of text; the few that are so by chance do no harm to those who
//! only become more careful by them.

use arch::object::Architecture;

use super::Model;
use crate::read::{elf, FileKind, SectionId};
use crate::report::Place;

/// Size of an address in bytes.
const ADDRESS: usize = 8;

/// How names of sections begin that hold data of the program, and not what describes its code.
const DATA: [&[u8]; 4] = [b".data", b".rodata", b".init.data", b".init.rodata"];

impl<A: Architecture> Model<'_, A> {
    /// Each address of text in data: where it stands, and what it means.
    pub(crate) fn pointers(&self) -> Vec<(Place, Place)> {
        let mut found = Vec::new();
        for section in self.file.section_ids() {
            let data = self.file.section(section);
            let is_data = DATA.iter().any(|name| data.name.starts_with(name))
                && data.header.flags & elf::SHF_ALLOC != 0
                && !data.is_executable();
            if !is_data {
                continue;
            }
            match self.file.kind {
                FileKind::Image => self.words(section, &mut found),
                FileKind::Object => self.relocated(section, &mut found),
            }
        }
        found
    }

    fn words(&self, section: SectionId, found: &mut Vec<(Place, Place)>) {
        let header = &self.file.section(section).header;
        let skip = (header.addr.wrapping_neg() % ADDRESS as u64) as usize;
        let data = self.file.section(section).data.get(skip..).unwrap_or(&[]);
        for (index, word) in data.chunks_exact(ADDRESS).enumerate() {
            let address = word.iter().rev().fold(0, |sum, &b| sum << 8 | u64::from(b));
            let Some((to, to_offset)) = self.file.at_address(address) else {
                continue;
            };
            if self.file.section(to).is_executable() {
                let offset = (skip + index * ADDRESS) as u64;
                found.push((
                    Place { section, offset },
                    Place {
                        section: to,
                        offset: to_offset,
                    },
                ));
            }
        }
    }

    fn relocated(&self, section: SectionId, found: &mut Vec<(Place, Place)>) {
        let Some(relocs) = &self.file.section(section).relocs else {
            return;
        };
        for reloc in relocs.iter() {
            let symbol = self.file.symbol(reloc.symbol);
            let is_text = self.file.section(symbol.section).is_executable();
            if reloc.kind == A::RELOCATIONS.absolute64 && is_text {
                found.push((
                    Place {
                        section,
                        offset: reloc.offset,
                    },
                    Place {
                        section: symbol.section,
                        offset: symbol.value.wrapping_add_signed(reloc.addend),
                    },
                ));
            }
        }
    }
}
