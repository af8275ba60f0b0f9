//! Turning what a tool did with a fixture's object into notes on source lines.
//!
//! Knows the form of objtool's lines and of ELF files, not what any of it means.

use std::collections::{HashMap, VecDeque};

use anyhow::{bail, Context, Result};
use object::read::elf::{ElfFile64, ElfSection64, SectionHeader};
use object::{
    Endianness, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget,
    SectionFlags, SymbolFlags,
};

use crate::compare::warnings;
use crate::fixture::{Kind, Note};
use crate::lines::LineMap;
use crate::orc;
use crate::tool::Outcome;

type Elf<'data> = ElfFile64<'data, Endianness>;

const SHF_EXECINSTR: u64 = 4;
const STT_FUNC: u8 = 2;
const STT_SECTION: u8 = 3;

/// Notes on everything the run did to standard error's findings and to the object, sorted.
///
/// # Errors
/// An object that is no 64-bit ELF file, before or after.
pub fn notes(outcome: &Outcome, lines: &LineMap) -> Result<Vec<Note>> {
    let before = Elf::parse(&*outcome.before).context("the object before the run")?;
    let places = Places::new(&before, lines)?;
    let mut notes: Vec<Note> = warnings(&outcome.stderr)
        .map(|(_, text)| places.finding(text))
        .collect();
    if outcome.before != outcome.after {
        let after = Elf::parse(&*outcome.after).context("the object after the run")?;
        places.contents(&before, &after, &mut notes)?;
        places.relocations(&before, &after, &mut notes)?;
        places.sections(&before, &after, &mut notes)?;
        places.symbols(&before, &after, &mut notes)?;
    }
    notes.sort();
    Ok(notes)
}

/// What turns a name and an offset into a source line.
struct Places<'a> {
    lines: &'a LineMap,
    /// Symbol or section name to section name and address there.
    names: HashMap<String, (String, u64)>,
}

impl<'a> Places<'a> {
    fn new(file: &Elf<'_>, lines: &'a LineMap) -> Result<Self> {
        let mut names = HashMap::new();
        for section in file.sections() {
            let name = section.name()?.to_owned();
            names.entry(name.clone()).or_insert((name, 0));
        }
        // Functions last: where a name stands for both, objtool's place means the function.
        for functions in [false, true] {
            for symbol in file.symbols() {
                let Some(index) = symbol.section_index() else {
                    continue;
                };
                if symbol_type(&symbol) == STT_SECTION
                    || (symbol_type(&symbol) == STT_FUNC) != functions
                {
                    continue;
                }
                let section = file.section_by_index(index)?.name()?.to_owned();
                names.insert(symbol.name()?.to_owned(), (section, symbol.address()));
            }
        }
        Ok(Places { lines, names })
    }

    /// A warning's text with the place in front of it turned into a line.
    fn finding(&self, text: &str) -> Note {
        let (kind, rest) = match text.strip_prefix("  ") {
            Some(rest) => (Kind::Backtrace, rest),
            None => (Kind::Finding, text),
        };
        self.located(kind, rest).unwrap_or_else(|| Note {
            line: None,
            kind,
            text: rest.trim().to_owned(),
        })
    }

    fn located(&self, kind: Kind, text: &str) -> Option<Note> {
        let (name, rest) = text.split_once("+0x")?;
        let digits = rest.find(|c: char| !c.is_ascii_hexdigit())?;
        let offset = u64::from_str_radix(&rest[..digits], 16).ok()?;
        let (section, start) = self.names.get(name)?;
        let at = start + offset;
        let line = self.lines.line(section, at)?;
        let mut rest = &rest[digits..];
        let mut shown = String::new();
        if let Some(address) = rest.strip_prefix(" (") {
            let (address, behind) = address.split_once(')')?;
            if address != format!("{section}+{at:#x}") {
                return None;
            }
            shown = format!("({address}) ");
            rest = behind;
        }
        shown.push_str(rest.strip_prefix(": ")?.trim_end());
        Some(Note {
            line: Some(line),
            kind,
            text: shown,
        })
    }

    /// Changed bytes of sections that were there before.
    fn contents(&self, before: &Elf<'_>, after: &Elf<'_>, notes: &mut Vec<Note>) -> Result<()> {
        for (old, new) in pairs(before, after)? {
            let name = old.name()?;
            if is_table(name) {
                continue;
            }
            let Some(new) = new else {
                let text = format!("gone: {name}");
                notes.push(Note {
                    line: None,
                    kind: Kind::Changed,
                    text,
                });
                continue;
            };
            let (old_data, new_data) = (old.data()?, new.data()?);
            if old_data == new_data {
                continue;
            }
            let mut next = 0;
            let differing = (0..old_data.len().max(new_data.len()))
                .filter(|&at| old_data.get(at) != new_data.get(at));
            for at in differing {
                if (at as u64) < next {
                    continue;
                }
                let extent = self.lines.extent(name, at as u64);
                let Some(extent) = extent.filter(|_| is_code(&old)) else {
                    notes.push(Note {
                        line: None,
                        kind: Kind::Changed,
                        text: name.to_owned(),
                    });
                    break;
                };
                let bytes = new_data.get(extent.start as usize..extent.end as usize);
                let bytes: Vec<String> = bytes
                    .unwrap_or_default()
                    .iter()
                    .map(|b| format!("{b:02x}"))
                    .collect();
                notes.push(Note {
                    line: self.lines.line(name, at as u64),
                    kind: Kind::Bytes,
                    text: bytes.join(" "),
                });
                next = extent.end;
            }
        }
        Ok(())
    }

    /// Changed relocations of sections that were there before.
    fn relocations(&self, before: &Elf<'_>, after: &Elf<'_>, notes: &mut Vec<Note>) -> Result<()> {
        for (old, new) in pairs(before, after)? {
            let Some(new) = new else { continue };
            let name = old.name()?;
            let old_list = Relocation::list(before, &old)?;
            let new_list = Relocation::list(after, &new)?;
            if old_list.len() != new_list.len() {
                let text = format!("relocations of {name}");
                notes.push(Note {
                    line: None,
                    kind: Kind::Changed,
                    text,
                });
                continue;
            }
            for (old, new) in old_list
                .iter()
                .zip(&new_list)
                .filter(|(old, new)| old != new)
            {
                let text = match new.kind {
                    0 => format!("none, was {}", old.target),
                    _ => format!("{new:?}, was {old:?}"),
                };
                let line = self.lines.line(name, new.offset);
                notes.push(match line {
                    Some(_) => Note {
                        line,
                        kind: Kind::Reloc,
                        text,
                    },
                    None => Note {
                        line,
                        kind: Kind::Changed,
                        text: format!("relocation {name}+{:#x}: {text}", new.offset),
                    },
                });
            }
        }
        Ok(())
    }

    /// Entries of sections that were not there before.
    fn sections(&self, before: &Elf<'_>, after: &Elf<'_>, notes: &mut Vec<Note>) -> Result<()> {
        // Seen from the object after the run, what has no partner before is new.
        for (section, old) in pairs(after, before)? {
            let name = section.name()?;
            if old.is_some() || is_table(name) || name == orc::ENTRIES {
                continue;
            }
            if name == orc::ADDRESSES {
                self.orc(after, &section, notes)?;
                continue;
            }
            if section.size() == 0 {
                notes.push(Note {
                    line: None,
                    kind: Kind::Site,
                    text: format!("{name} is empty"),
                });
            }
            let endian = after.endian();
            let entry_size = section.elf_section_header().sh_entsize(endian).max(1);
            let list = Relocation::list(after, &section)?;
            for entry in 0..section.size() / entry_size {
                let in_entry = |r: &&Relocation| r.offset / entry_size == entry;
                let mut line = None;
                let mut targets = String::new();
                for relocation in list.iter().filter(in_entry) {
                    let place = self.names.get(&relocation.symbol);
                    let place = place.and_then(|(section, start)| {
                        let at = start.checked_add_signed(relocation.addend)?;
                        self.lines.line(section, at)
                    });
                    if line.is_none() && place.is_some() {
                        line = place;
                    } else {
                        targets.push_str(&format!(" -> {}", relocation.target));
                    }
                }
                notes.push(Note {
                    line,
                    kind: Kind::Site,
                    text: format!("{name}[{entry}]{targets}"),
                });
            }
        }
        Ok(())
    }

    /// Entries of new ORC data, in `.orc_unwind`, by the places that `addresses` says.
    fn orc(
        &self,
        after: &Elf<'_>,
        addresses: &ElfSection64<'_, '_, Endianness>,
        notes: &mut Vec<Note>,
    ) -> Result<()> {
        let entries = after
            .section_by_name(orc::ENTRIES)
            .context("there are places of ORC entries, but no entries")?;
        let places = Relocation::list(after, addresses)?;
        let data = entries.data()?;
        if places.len() * orc::SIZE != data.len() {
            bail!(
                "{} places for {} bytes of ORC data",
                places.len(),
                data.len()
            );
        }
        for (place, entry) in places.iter().zip(data.chunks_exact(orc::SIZE)) {
            let line = u64::try_from(place.addend).ok();
            let line = line.and_then(|at| self.lines.line(&place.symbol, at));
            let mut text = orc::describe(entry);
            if line.is_none() {
                text.push_str(&format!(" from {}", place.target));
            }
            notes.push(Note {
                line,
                kind: Kind::Orc,
                text,
            });
        }
        Ok(())
    }

    /// Symbols that were not there before, and those that are gone.
    fn symbols(&self, before: &Elf<'_>, after: &Elf<'_>, notes: &mut Vec<Note>) -> Result<()> {
        let mut old = symbols(before)?;
        for new in symbols(after)? {
            if let Some(at) = old.iter().position(|symbol| *symbol == new) {
                old.swap_remove(at);
                continue;
            }
            let line = match new.kind {
                STT_SECTION => None,
                _ => self.lines.line(&new.section, new.value),
            };
            notes.push(Note {
                line,
                kind: Kind::Symbol,
                text: new.describe(),
            });
        }
        for gone in old {
            let text = format!("gone: {}", gone.describe());
            notes.push(Note {
                line: None,
                kind: Kind::Symbol,
                text,
            });
        }
        Ok(())
    }
}

/// Each section of `one` with the section of `other` that has the same name and the same place
/// among those of that name.
fn pairs<'f, 'd>(one: &'f Elf<'d>, other: &'f Elf<'d>) -> Result<Vec<SectionPair<'f, 'd>>> {
    let mut others: HashMap<&str, VecDeque<ElfSection64<'d, 'f, Endianness>>> = HashMap::new();
    for section in other.sections() {
        let name = std::str::from_utf8(section.name_bytes()?)?;
        others.entry(name).or_default().push_back(section);
    }
    let mut pairs = Vec::new();
    for section in one.sections() {
        let name = std::str::from_utf8(section.name_bytes()?)?;
        let partner = others.get_mut(name).and_then(VecDeque::pop_front);
        pairs.push((section, partner));
    }
    Ok(pairs)
}

type SectionPair<'f, 'd> = (
    ElfSection64<'d, 'f, Endianness>,
    Option<ElfSection64<'d, 'f, Endianness>>,
);

/// Whether a section is one of those that describe the others, which notes on symbols, sections and
/// relocations speak of.
fn is_table(name: &str) -> bool {
    [".symtab", ".strtab", ".shstrtab", ".symtab_shndx"].contains(&name)
        || name.starts_with(".rela")
}

/// A relocation by what it says, not by the symbol's index, which may move.
#[derive(Debug, PartialEq, Eq)]
struct Relocation {
    offset: u64,
    kind: u32,
    symbol: String,
    addend: i64,
    target: String,
}

impl Relocation {
    fn list<'data: 'file, 'file>(
        file: &'file Elf<'data>,
        section: &impl ObjectSection<'data>,
    ) -> Result<Vec<Relocation>> {
        let mut list = Vec::new();
        for (offset, relocation) in section.relocations() {
            let RelocationFlags::Elf { r_type } = relocation.flags() else {
                continue;
            };
            let symbol = match relocation.target() {
                RelocationTarget::Symbol(index) => symbol_name(file, index)?,
                other => format!("{other:?}"),
            };
            let addend = relocation.addend();
            let target = match addend {
                0 => symbol.clone(),
                1.. => format!("{symbol}+{addend:#x}"),
                _ => format!("{symbol}-{:#x}", addend.unsigned_abs()),
            };
            list.push(Relocation {
                offset,
                kind: r_type.0,
                symbol,
                addend,
                target,
            });
        }
        Ok(list)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Symbol {
    name: String,
    section: String,
    value: u64,
    size: u64,
    kind: u8,
    binding: u8,
}

impl Symbol {
    fn describe(&self) -> String {
        let binding = ["local", "global", "weak"]
            .get(self.binding as usize)
            .unwrap_or(&"other");
        if self.kind == STT_SECTION {
            return format!("{binding} section {}", self.section);
        }
        format!("{binding} {} size {}", self.name, self.size)
    }
}

fn symbols(file: &Elf<'_>) -> Result<Vec<Symbol>> {
    let mut list = Vec::new();
    for symbol in file.symbols() {
        let SymbolFlags::Elf { st_info, .. } = symbol.flags() else {
            continue;
        };
        let section = match symbol.section_index() {
            Some(index) => file.section_by_index(index)?.name()?.to_owned(),
            None => String::new(),
        };
        list.push(Symbol {
            name: symbol_name(file, symbol.index())?,
            section,
            value: symbol.address(),
            size: symbol.size(),
            kind: st_info.0 & 15,
            binding: st_info.0 >> 4,
        });
    }
    Ok(list)
}

fn symbol_name(file: &Elf<'_>, index: object::SymbolIndex) -> Result<String> {
    let symbol = file.symbol_by_index(index)?;
    match symbol.section_index() {
        Some(section) if symbol_type(&symbol) == STT_SECTION => {
            Ok(file.section_by_index(section)?.name()?.to_owned())
        }
        _ => Ok(symbol.name()?.to_owned()),
    }
}

fn symbol_type<'data>(symbol: &impl ObjectSymbol<'data>) -> u8 {
    match symbol.flags() {
        SymbolFlags::Elf { st_info, .. } => st_info.0 & 15,
        _ => 0,
    }
}

fn is_code<'data>(section: &impl ObjectSection<'data>) -> bool {
    matches!(section.flags(), SectionFlags::Elf { sh_flags, .. } if sh_flags.0 & SHF_EXECINSTR != 0)
}
