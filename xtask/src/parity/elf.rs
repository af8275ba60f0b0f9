//! Comparing two ELF files by what they mean: header, sections, relocations, symbols. Each
//! difference is named.
//!
//! Not compared is what carries no meaning of its own: where a section lies in the file, and how
//! the string tables are laid out, whose strings are compared as names.

use std::collections::btree_map::{BTreeMap, Entry};
use std::fmt;

use anyhow::{Context, Result};
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, Rela, SectionHeader, Sym, SymbolTable};
use object::LittleEndian;

type Header = elf::FileHeader64<LittleEndian>;

/// How many differences of one kind, in one section, are spelled out.
const SHOWN: usize = 5;

/// Every difference between two relocatable or linked ELF files, in words that call the first
/// file's things *missing* where the second has not got them.
///
/// # Errors
/// Either is no 64-bit little-endian ELF file that can be read.
pub fn differences(theirs: &[u8], ours: &[u8]) -> Result<Vec<String>> {
    let theirs = Contents::read(theirs).context("the first file")?;
    let ours = Contents::read(ours).context("the second file")?;
    let mut found = Vec::new();
    for (theirs, ours) in theirs.header.iter().zip(&ours.header) {
        if theirs != ours {
            found.push(format!(
                "header: {} is {}, not {}",
                ours.0, ours.1, theirs.1
            ));
        }
    }

    let names = |contents: &Contents| -> Vec<String> {
        contents
            .sections
            .iter()
            .map(|section| section.name.clone())
            .collect()
    };
    found.extend(lists(
        "section",
        &names(&theirs),
        &names(&ours),
        Clone::clone,
    ));
    let mut partner: BTreeMap<&str, Vec<&Section>> = BTreeMap::new();
    for section in ours.sections.iter().rev() {
        partner.entry(&section.name).or_default().push(section);
    }
    for section in &theirs.sections {
        // Sections of the same name are compared in their order.
        if let Some(ours) = partner.get_mut(section.name.as_str()).and_then(Vec::pop) {
            found.extend(section.differences(ours));
        }
    }
    found.extend(lists("symbol", &theirs.symbols, &ours.symbols, |symbol| {
        symbol.name.clone()
    }));
    Ok(found)
}

/// Every difference between the loaded segments of two linked ELF files.
///
/// # Errors
/// As [`differences`].
pub fn segment_differences(theirs: &[u8], ours: &[u8]) -> Result<Vec<String>> {
    let theirs = segments(theirs).context("the first file")?;
    let ours = segments(ours).context("the second file")?;
    let mut found = Vec::new();
    if theirs.len() != ours.len() {
        found.push(format!(
            "{} loaded segments, not {}",
            ours.len(),
            theirs.len()
        ));
    }
    for (index, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        let place = format!("segment {index} at {:#x}", theirs.fields[0].1);
        found.extend(fields(&place, &theirs.fields, &ours.fields));
        found.extend(bytes(&place, theirs.data, ours.data));
    }
    Ok(found)
}

/// How many loaded segments a linked ELF file has.
///
/// # Errors
/// As [`differences`].
pub fn segment_count(data: &[u8]) -> Result<usize> {
    Ok(segments(data)?.len())
}

struct Segment<'a> {
    fields: [(&'static str, u64); 6],
    data: &'a [u8],
}

fn segments(data: &[u8]) -> Result<Vec<Segment<'_>>> {
    let header = Header::parse(data)?;
    let e = header.endian()?;
    let mut segments = Vec::new();
    for segment in header.program_headers(e, data)? {
        if segment.p_type(e) != elf::PT_LOAD {
            continue;
        }
        let content = segment
            .data(e, data)
            .ok()
            .context("a segment lies outside of the file")?;
        segments.push(Segment {
            fields: [
                ("address", segment.p_vaddr(e)),
                ("physical address", segment.p_paddr(e)),
                ("size in the file", segment.p_filesz(e)),
                ("size in memory", segment.p_memsz(e)),
                ("flags", segment.p_flags(e).0.into()),
                ("alignment", segment.p_align(e)),
            ],
            data: content,
        });
    }
    Ok(segments)
}

/// A file's contents, by meaning.
struct Contents<'a> {
    header: Vec<(&'static str, u64)>,
    sections: Vec<Section<'a>>,
    symbols: Vec<Symbol>,
}

struct Section<'a> {
    name: String,
    fields: Vec<(&'static str, u64)>,
    /// The name of the section that `sh_link` points to.
    link: String,
    body: Body<'a>,
}

enum Body<'a> {
    /// Compared byte by byte.
    Bytes(&'a [u8]),
    /// Compared one by one.
    Relocations(Vec<Relocation>),
    /// A table of strings or of symbols, compared through those who use it.
    Elsewhere,
}

impl<'a> Contents<'a> {
    fn read(data: &'a [u8]) -> Result<Self> {
        let header = Header::parse(data)?;
        let e = header.endian()?;
        let table = header.sections(e, data)?;
        let section_name = |index: usize| -> Result<String> {
            let section = table.section(object::SectionIndex(index))?;
            Ok(String::from_utf8_lossy(table.section_name(e, section)?).into_owned())
        };
        let read_symbols = |symbols: SymbolTable<'a, Header>| -> Result<Vec<Symbol>> {
            let mut named = Vec::new();
            for (index, symbol) in symbols.iter().enumerate() {
                let place = object::SymbolIndex(index);
                let section = match symbols.symbol_section(e, symbol, place)? {
                    Some(section) => section_name(section.0)?,
                    None => match symbol.st_shndx(e) {
                        elf::SHN_UNDEF => "undefined".to_owned(),
                        elf::SHN_ABS => "absolute".to_owned(),
                        elf::SHN_COMMON => "common".to_owned(),
                        other => format!("{other:?}"),
                    },
                };
                let name = String::from_utf8_lossy(symbols.symbol_name(e, symbol)?).into_owned();
                named.push(Symbol {
                    // A section's symbol has no name of its own.
                    name: if name.is_empty() {
                        format!("({section})")
                    } else {
                        name
                    },
                    section,
                    value: symbol.st_value(e),
                    size: symbol.st_size(e),
                    info: symbol.st_info().0,
                    other: symbol.st_other().0,
                });
            }
            Ok(named)
        };
        let symbols = read_symbols(table.symbols(e, data, elf::SHT_SYMTAB)?)?;

        // Relocations name symbols of the table their section links to: read each but once.
        let mut tables = BTreeMap::new();
        let mut sections = Vec::new();
        for section in table.iter() {
            let kind = section.sh_type(e);
            let mut relocations = Vec::new();
            if kind == elf::SHT_RELA {
                let (entries, link) = section
                    .rela(e, data)?
                    .context("a relocation section is not one")?;
                let symbols = match tables.entry(link.0) {
                    Entry::Occupied(known) => known.into_mut(),
                    // A program's load-time relocations may do without symbols.
                    Entry::Vacant(new) if link.0 == 0 => new.insert(vec![Symbol::NONE]),
                    Entry::Vacant(new) => {
                        let table = table.symbol_table_by_index(e, data, link)?;
                        new.insert(read_symbols(table)?)
                    }
                };
                for entry in entries {
                    let symbol = entry.r_sym(e, false);
                    let symbol = symbols
                        .get(symbol as usize)
                        .context("a relocation names a symbol that is not there")?;
                    relocations.push(Relocation {
                        offset: entry.r_offset(e),
                        kind: entry.r_type(e, false).0,
                        symbol: format!("{}@{}+{:#x}", symbol.name, symbol.section, symbol.value),
                        addend: entry.r_addend(e),
                    });
                }
            }
            let tables = [elf::SHT_STRTAB, elf::SHT_SYMTAB, elf::SHT_SYMTAB_SHNDX];
            let body = match kind {
                elf::SHT_RELA => Body::Relocations(relocations),
                kind if tables.contains(&kind) => Body::Elsewhere,
                _ => Body::Bytes(section.data(e, data)?),
            };
            let mut fields = vec![
                ("type", u64::from(kind.0)),
                ("flags", section.sh_flags(e).0),
                ("address", section.sh_addr(e)),
                ("alignment", section.sh_addralign(e)),
                ("entry size", section.sh_entsize(e)),
                ("info", section.sh_info(e).into()),
            ];
            if matches!(body, Body::Bytes(_)) {
                fields.push(("size", section.sh_size(e)));
            }
            sections.push(Section {
                name: String::from_utf8_lossy(table.section_name(e, section)?).into_owned(),
                fields,
                link: section_name(section.sh_link(e) as usize).unwrap_or_default(),
                body,
            });
        }

        let header = vec![
            ("type", header.e_type(e).0.into()),
            ("machine", header.e_machine(e).0.into()),
            ("entry", header.e_entry(e)),
            ("flags", header.e_flags(e).0.into()),
            ("OS ABI", header.e_ident().os_abi.0.into()),
            ("ABI version", header.e_ident().abi_version.into()),
        ];
        Ok(Self {
            header,
            sections,
            symbols,
        })
    }
}

impl Section<'_> {
    fn differences(&self, ours: &Self) -> Vec<String> {
        let place = format!("section {}", self.name);
        let mut found = fields(&place, &self.fields, &ours.fields);
        if self.link != ours.link {
            found.push(format!(
                "{place}: its link is {}, not {}",
                ours.link, self.link
            ));
        }
        match (&self.body, &ours.body) {
            (Body::Bytes(theirs), Body::Bytes(ours)) => found.extend(bytes(&place, theirs, ours)),
            (Body::Relocations(theirs), Body::Relocations(ours)) => {
                let what = format!("{place}: relocation");
                found.extend(lists(&what, theirs, ours, |relocation| relocation.offset));
            }
            // Bodies of two kinds come from two types, which the fields have told.
            _ => {}
        }
        found
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Relocation {
    offset: u64,
    kind: u32,
    symbol: String,
    addend: i64,
}

impl fmt::Display for Relocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            offset,
            kind,
            symbol,
            addend,
        } = self;
        write!(f, "at {offset:#x} (type {kind}, {symbol}, addend {addend})")
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Symbol {
    name: String,
    section: String,
    value: u64,
    size: u64,
    info: u8,
    other: u8,
}

impl Symbol {
    const NONE: Self = Self {
        name: String::new(),
        section: String::new(),
        value: 0,
        size: 0,
        info: 0,
        other: 0,
    };
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            section,
            value,
            size,
            info,
            other,
        } = self;
        write!(
            f,
            "{name} ({section}+{value:#x}, size {size:#x}, info {info:#x}, other {other})"
        )
    }
}

fn fields(
    place: &str,
    theirs: &[(&'static str, u64)],
    ours: &[(&'static str, u64)],
) -> Vec<String> {
    let differs = theirs
        .iter()
        .zip(ours)
        .filter(|(theirs, ours)| theirs != ours);
    differs
        .map(|(theirs, ours)| format!("{place}: {} is {:#x}, not {:#x}", ours.0, ours.1, theirs.1))
        .collect()
}

fn bytes(place: &str, theirs: &[u8], ours: &[u8]) -> Option<String> {
    let mut differing = (0..theirs.len().min(ours.len())).filter(|&at| theirs[at] != ours[at]);
    let Some(first) = differing.next() else {
        let (theirs, ours) = (theirs.len(), ours.len());
        let end = theirs.min(ours);
        return (theirs != ours)
            .then(|| format!("{place}: {ours:#x} bytes, not {theirs:#x}; equal up to {end:#x}"));
    };
    let rest = differing.count();
    let hex = |data: &[u8]| {
        let shown = &data[first..data.len().min(first + 8)];
        shown
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let more = if rest == 0 {
        String::new()
    } else {
        format!(", and {rest} more bytes differ")
    };
    Some(format!(
        "{place}: at {first:#x} is {}, not {}{more}",
        hex(ours),
        hex(theirs)
    ))
}

/// The differences between two lists, entry by entry; entries with the same key are told as one
/// that has changed.
fn lists<T, K>(what: &str, theirs: &[T], ours: &[T], key: impl Fn(&T) -> K) -> Vec<String>
where
    T: Clone + Ord + fmt::Display,
    K: Ord,
{
    let mut missing = without(theirs, ours);
    let extra = without(ours, theirs);
    let mut found = Vec::new();
    for entry in extra {
        match missing
            .iter()
            .position(|candidate| key(candidate) == key(&entry))
        {
            Some(at) => {
                let theirs = missing.remove(at);
                found.push(format!("{what} changed: is {entry}, not {theirs}"));
            }
            None => found.push(format!("{what} extra: {entry}")),
        }
    }
    found.extend(
        missing
            .iter()
            .map(|entry| format!("{what} missing: {entry}")),
    );
    if found.is_empty() {
        let moved = theirs
            .iter()
            .zip(ours)
            .position(|(theirs, ours)| theirs != ours);
        found.extend(moved.map(|at| {
            format!(
                "{what}s in another order: number {at} is {}, not {}",
                ours[at], theirs[at]
            )
        }));
    }
    let more = found.len().saturating_sub(SHOWN);
    if more > 0 {
        found.truncate(SHOWN);
        found.push(format!("{what}: {more} more differences"));
    }
    found
}

/// What `a` has more than `b`, counting equal entries.
fn without<T: Clone + Ord>(a: &[T], b: &[T]) -> Vec<T> {
    let mut spare: BTreeMap<&T, usize> = BTreeMap::new();
    for entry in b {
        *spare.entry(entry).or_default() += 1;
    }
    let mut left = Vec::new();
    for entry in a {
        match spare.get_mut(entry) {
            Some(count) if *count > 0 => *count -= 1,
            _ => left.push(entry.clone()),
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::write;

    /// What a test may change about the object under comparison.
    #[derive(Clone)]
    struct Sample {
        text: Vec<u8>,
        function: (u64, u64),
        relocations: Vec<(u64, i64)>,
        extra_section: bool,
        writable: bool,
    }

    const GOOD: fn() -> Sample = || Sample {
        text: vec![0xe8, 0, 0, 0, 0, 0xc3, 0xcc, 0xcc, 0xe8, 0, 0, 0, 0, 0xc3],
        function: (0, 6),
        relocations: vec![(1, -4), (9, -4)],
        extra_section: false,
        writable: false,
    };

    fn build(sample: &Sample) -> Vec<u8> {
        let mut file = write::Object::new(
            object::BinaryFormat::Elf,
            object::Architecture::X86_64,
            object::Endianness::Little,
        );
        let text = file.section_id(write::StandardSection::Text);
        file.append_section_data(text, &sample.text, 16);
        if sample.writable {
            let flags = elf::SHF_ALLOC | elf::SHF_EXECINSTR | elf::SHF_WRITE;
            file.section_mut(text).flags = object::SectionFlags::Elf {
                sh_type: elf::SHT_PROGBITS,
                sh_flags: flags,
            };
        }
        if sample.extra_section {
            let kind = object::SectionKind::ReadOnlyData;
            let section = file.add_section(Vec::new(), b".extra".to_vec(), kind);
            file.append_section_data(section, &[1, 2], 1);
        }
        let symbol = |name: &[u8], section, (value, size)| write::Symbol {
            name: name.to_vec(),
            value,
            size,
            kind: object::SymbolKind::Text,
            scope: object::SymbolScope::Linkage,
            weak: false,
            section,
            flags: object::SymbolFlags::None,
        };
        file.add_symbol(symbol(
            b"f",
            write::SymbolSection::Section(text),
            sample.function,
        ));
        let callee = file.add_symbol(symbol(b"callee", write::SymbolSection::Undefined, (0, 0)));
        for &(offset, addend) in &sample.relocations {
            let flags = object::RelocationFlags::Elf {
                r_type: elf::R_X86_64_PLT32,
            };
            let relocation = write::Relocation {
                offset,
                symbol: callee,
                addend,
                flags,
            };
            file.add_relocation(text, relocation).unwrap();
        }
        file.write().unwrap()
    }

    fn changed(change: impl FnOnce(&mut Sample)) -> Vec<String> {
        let mut sample = GOOD();
        change(&mut sample);
        differences(&build(&GOOD()), &build(&sample)).unwrap()
    }

    #[test]
    fn equal_files_have_no_difference() {
        assert_eq!(changed(|_| ()), [""; 0]);
    }

    #[test]
    fn a_flipped_byte_is_named() {
        assert_eq!(
            changed(|sample| sample.text[6] = 0x90),
            ["section .text: at 0x6 is 90 cc e8 00 00 00 00 c3, not cc cc e8 00 00 00 00 c3"]
        );
    }

    #[test]
    fn longer_contents_are_named() {
        assert_eq!(
            changed(|sample| sample.text.push(0xcc)),
            [
                "section .text: size is 0xf, not 0xe",
                "section .text: 0xf bytes, not 0xe; equal up to 0xe"
            ]
        );
    }

    #[test]
    fn a_removed_or_changed_relocation_is_named() {
        assert_eq!(
            changed(|sample| sample.relocations.truncate(1)),
            [
                "section .rela.text: relocation missing: at 0x9 (type 4, callee@undefined+0x0, \
              addend -4)"
            ]
        );
        let found = changed(|sample| sample.relocations[0].1 = 0);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("section .rela.text: relocation changed: is at 0x1 (type 4"),
            "{found:?}"
        );
    }

    #[test]
    fn relocations_in_another_order_are_named() {
        let found = changed(|sample| sample.relocations.reverse());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("relocations in another order: number 0 is at 0x9"),
            "{found:?}"
        );
    }

    #[test]
    fn a_changed_symbol_is_named() {
        assert_eq!(
            changed(|sample| sample.function = (8, 6)),
            [
                "symbol changed: is f (.text+0x8, size 0x6, info 0x12, other 2), \
              not f (.text+0x0, size 0x6, info 0x12, other 2)"
            ]
        );
    }

    #[test]
    fn an_extra_section_and_changed_flags_are_named() {
        let found = changed(|sample| sample.extra_section = true);
        assert!(
            found.contains(&"section extra: .extra".to_owned()),
            "{found:?}"
        );
        assert_eq!(
            changed(|sample| sample.writable = true),
            ["section .text: flags is 0x7, not 0x6"]
        );
    }

    #[test]
    fn what_is_no_elf_file_is_an_error() {
        let error = differences(&build(&GOOD()), b"no ELF at all").unwrap_err();
        assert!(
            format!("{error:#}").starts_with("the second file"),
            "{error:#}"
        );
    }

    #[test]
    fn a_changed_segment_is_named() {
        // /bin/sh is there wherever these tests run, and has loaded segments.
        let theirs = std::fs::read("/bin/sh").unwrap();
        assert!(segment_count(&theirs).unwrap() > 0);
        assert_eq!(segment_differences(&theirs, &theirs).unwrap(), [""; 0]);
        let mut ours = theirs.clone();
        let header = Header::parse(theirs.as_slice()).unwrap();
        let e = header.endian().unwrap();
        let segments = header.program_headers(e, theirs.as_slice()).unwrap();
        let text = segments
            .iter()
            .find(|segment| segment.p_type(e) == elf::PT_LOAD && segment.p_offset(e) != 0)
            .unwrap();
        ours[text.p_offset(e) as usize + 16] ^= 1;
        let found = segment_differences(&theirs, &ours).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(": at 0x10 is "), "{found:?}");
    }
}
