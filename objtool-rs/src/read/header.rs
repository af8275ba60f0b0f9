//! File header and section headers, with every check that makes the rest safe to read.
//!
//! Source of the rules: the ELF gABI, chapters "ELF Header" and "Sections".

use object::elf::{
    FileHeader64, SectionHeader64, ELFCLASS64, ELFDATA2LSB, ELFMAG, ET_DYN, ET_EXEC, ET_REL,
    EV_CURRENT,
};
use object::read::elf::{FileHeader as _, SectionHeader as _};
use object::LittleEndian as LE;

use super::name::{printable, string};
use super::{elf, FileKind, ReadError, Section, SectionHeader, SectionId};

/// What the headers say.
pub(super) struct Headers<'d> {
    pub sections: Vec<Section<'d>>,
    pub section_names: SectionId,
    pub kind: FileKind,
}

/// Larger sections would not fit the 32-bit offsets of instruction records.
const MAX_SECTION: u64 = u32::MAX as u64 / 2;

/// More code could have more instructions than 32 bits number.
const MAX_CODE: u64 = u32::MAX as u64 / 2;

pub(super) fn read(data: &[u8], machine: u16) -> Result<Headers<'_>, ReadError> {
    let (header, kind) = file_header(data, machine)?;
    let table = section_table(data, header)?;

    let names_index = header
        .shstrndx(LE, data)
        .map_err(|_| ReadError::malformed("ELF header", "no section name table (e_shstrndx)"))?;
    let names_header = table.get(names_index as usize).ok_or_else(|| {
        ReadError::malformed(
            "ELF header",
            format!(
                "e_shstrndx is {names_index}, but there are {} sections",
                table.len()
            ),
        )
    })?;
    let names_header = convert(names_header);
    let names_place = format!("section name table [{names_index}]");
    if names_header.kind != elf::SHT_STRTAB {
        return Err(ReadError::malformed(
            names_place,
            format!("its type is {}, no string table", names_header.kind),
        ));
    }
    let names = contents(data, &names_header, &names_place)?;

    let mut code = 0;
    let mut sections = Vec::with_capacity(table.len());
    for (index, raw) in table.iter().enumerate() {
        let header = convert(raw);
        let name = string(names, header.name)
            .map_err(|what| ReadError::malformed(format!("section header {index}"), what))?;
        let place = place(name, index);
        if index == 0 && header.kind != elf::SHT_NULL {
            return Err(ReadError::malformed(
                place,
                format!(
                    "the first section is the null section, but its type is {}",
                    header.kind
                ),
            ));
        }
        check(&header, &place)?;
        let bytes = if index == 0 {
            &[]
        } else {
            contents(data, &header, &place)?
        };
        if header.flags & elf::SHF_EXECINSTR != 0 {
            code += bytes.len() as u64;
            if code > MAX_CODE {
                return Err(ReadError::malformed(
                    place,
                    format!("up to its end there are {code:#x} bytes of code, and {MAX_CODE:#x} are supported"),
                ));
            }
        }
        sections.push(Section {
            name,
            header,
            data: bytes,
            relocs: None,
            reloc_section: None,
            symbol: None,
        });
    }
    check_overlaps(&sections)?;
    Ok(Headers {
        kind,
        sections,
        section_names: SectionId(names_index),
    })
}

/// How messages name a section.
pub(super) fn place(name: &[u8], index: usize) -> String {
    format!("section {} [{index}]", printable(name))
}

fn file_header(data: &[u8], machine: u16) -> Result<(&FileHeader64<LE>, FileKind), ReadError> {
    if data.is_empty() {
        return Err(ReadError::Empty);
    }
    let magic = &data[..data.len().min(ELFMAG.len())];
    if magic != &ELFMAG[..magic.len()] {
        return Err(compressed(data).unwrap_or(ReadError::NotElf));
    }
    let short = || ReadError::Truncated {
        what: "the ELF header".into(),
        offset: 0,
        len: size_of::<FileHeader64<LE>>() as u64,
        file_len: data.len() as u64,
    };
    let (&class, &endianness) = data.get(4).zip(data.get(5)).ok_or_else(short)?;
    if class != ELFCLASS64.0 {
        return Err(ReadError::Unsupported(format!(
            "not a 64-bit object: byte 0x4 of the ELF header (class) is {class}, not {}",
            ELFCLASS64.0
        )));
    }
    if endianness != ELFDATA2LSB.0 {
        return Err(ReadError::Unsupported(format!(
            "not a little-endian object: byte 0x5 of the ELF header (data encoding) is {endianness}, not {}",
            ELFDATA2LSB.0
        )));
    }
    let (header, _) = object::pod::from_bytes::<FileHeader64<LE>>(data).map_err(|()| short())?;
    if header.e_version.get(LE) != u32::from(EV_CURRENT.0) || data[6] != EV_CURRENT.0 {
        return Err(ReadError::malformed("ELF header", "unknown ELF version"));
    }
    if header.e_machine.get(LE).0 != machine {
        return Err(ReadError::Unsupported(format!(
            "unexpected ELF machine type {} (e_machine), not {machine}",
            header.e_machine.get(LE).0
        )));
    }
    let kind = match header.e_type.get(LE) {
        ET_REL => FileKind::Object,
        ET_EXEC => FileKind::Image,
        ET_DYN => {
            return Err(ReadError::Unsupported(
                "a position-independent executable or shared library (e_type is ET_DYN), \
                 neither a kernel image nor an object"
                    .into(),
            ));
        }
        other => {
            return Err(ReadError::Unsupported(format!(
                "neither an object nor an image: its type (e_type) is {}",
                other.0
            )));
        }
    };
    Ok((header, kind))
}

/// What people give by mistake: kernels and modules that are packed.
fn compressed(data: &[u8]) -> Option<ReadError> {
    // The header of a bootable image; the kernel's boot.rst, "The Real-Mode Kernel Header".
    let is_boot_image = data.get(0x202..0x206) == Some(b"HdrS");
    let packed = [
        (&b"\x1f\x8b"[..], "gunzip"),
        (b"\xfd7zXZ\0", "unxz"),
        (b"\x28\xb5\x2f\xfd", "unzstd"),
    ];
    let with = packed
        .iter()
        .find(|(magic, _)| data.starts_with(magic))
        .map(|(_, with)| with);
    let what = match with {
        _ if is_boot_image => "a compressed boot image (bzImage), which has no symbols; take the \
                               vmlinux from the top of its build tree, or from the \
                               distribution's debug package"
            .to_owned(),
        Some(with) => format!("a compressed file; unpack it first ({with})"),
        None => return None,
    };
    Some(ReadError::Unsupported(what))
}

fn section_table<'d>(
    data: &'d [u8],
    header: &FileHeader64<LE>,
) -> Result<&'d [SectionHeader64<LE>], ReadError> {
    let entry = size_of::<SectionHeader64<LE>>() as u64;
    let offset = header.e_shoff.get(LE);
    if offset == 0 {
        return Err(ReadError::malformed(
            "ELF header",
            "no section header table (e_shoff is 0)",
        ));
    }
    if u64::from(header.e_shentsize.get(LE)) != entry {
        return Err(ReadError::malformed(
            "ELF header",
            format!("e_shentsize is {}, not {entry}", header.e_shentsize.get(LE)),
        ));
    }
    let truncated = |len: u64| ReadError::Truncated {
        what: "the section header table".into(),
        offset,
        len,
        file_len: data.len() as u64,
    };
    let count = match header.shnum(LE, data) {
        Ok(count) => u64::from(count),
        Err(_) => return Err(truncated(entry)),
    };
    let len = count * entry;
    let bytes = usize::try_from(offset)
        .ok()
        .and_then(|start| data.get(start..))
        .filter(|tail| tail.len() as u64 >= len)
        .ok_or_else(|| truncated(len))?;
    let (table, _) =
        object::pod::slice_from_bytes(bytes, count as usize).map_err(|()| truncated(len))?;
    Ok(table)
}

fn convert(raw: &SectionHeader64<LE>) -> SectionHeader {
    SectionHeader {
        name: raw.sh_name(LE),
        kind: raw.sh_type(LE).0,
        flags: raw.sh_flags(LE).0,
        addr: raw.sh_addr(LE),
        offset: raw.sh_offset(LE),
        size: raw.sh_size(LE),
        link: raw.sh_link(LE),
        info: raw.sh_info(LE),
        addralign: raw.sh_addralign(LE),
        entsize: raw.sh_entsize(LE),
    }
}

fn check(header: &SectionHeader, place: &str) -> Result<(), ReadError> {
    if header.addralign != 0 && !header.addralign.is_power_of_two() {
        return Err(ReadError::malformed(
            place,
            format!("its alignment is {:#x}, no power of two", header.addralign),
        ));
    }
    // The null section's size may count the sections of a file with very many.
    if header.kind != elf::SHT_NULL && header.size > MAX_SECTION {
        return Err(ReadError::malformed(
            place,
            format!(
                "its size {:#x} is beyond what is supported ({MAX_SECTION:#x})",
                header.size
            ),
        ));
    }
    // Code may be rewritten; a table that the rewriting itself needs must not change under it.
    if header.flags & elf::SHF_EXECINSTR != 0
        && matches!(
            header.kind,
            elf::SHT_SYMTAB
                | elf::SHT_SYMTAB_SHNDX
                | elf::SHT_STRTAB
                | elf::SHT_RELA
                | elf::SHT_GROUP
        )
    {
        return Err(ReadError::malformed(
            place,
            format!(
                "it is executable, but its type is {}, a table of the linker's",
                header.kind
            ),
        ));
    }
    let entry = match header.kind {
        elf::SHT_SYMTAB | elf::SHT_RELA => 24,
        elf::SHT_SYMTAB_SHNDX => 4,
        elf::SHT_REL => {
            return Err(ReadError::malformed(
                place,
                "relocations without addends (SHT_REL)",
            ));
        }
        _ => return Ok(()),
    };
    if header.entsize != entry {
        return Err(ReadError::malformed(
            place,
            format!("its entry size is {}, not {entry}", header.entsize),
        ));
    }
    if !header.size.is_multiple_of(entry) {
        return Err(ReadError::malformed(
            place,
            format!(
                "its size {:#x} is no multiple of its entry size {entry}",
                header.size
            ),
        ));
    }
    Ok(())
}

fn contents<'d>(
    data: &'d [u8],
    header: &SectionHeader,
    place: &str,
) -> Result<&'d [u8], ReadError> {
    if matches!(header.kind, elf::SHT_NOBITS | elf::SHT_NULL) {
        return Ok(&[]);
    }
    let range = usize::try_from(header.offset)
        .ok()
        .zip(usize::try_from(header.size).ok())
        .and_then(|(start, size)| Some(start..start.checked_add(size)?));
    range
        .and_then(|range| data.get(range))
        .ok_or_else(|| ReadError::Truncated {
            what: place.into(),
            offset: header.offset,
            len: header.size,
            file_len: data.len() as u64,
        })
}

/// Two sections that share bytes would both be written back, and one of them wrongly.
fn check_overlaps(sections: &[Section<'_>]) -> Result<(), ReadError> {
    let mut order: Vec<usize> = (0..sections.len())
        .filter(|&i| !sections[i].data.is_empty())
        .collect();
    order.sort_unstable_by_key(|&i| sections[i].header.offset);
    for pair in order.windows(2) {
        let (a, b) = (&sections[pair[0]], &sections[pair[1]]);
        if a.header.offset + a.header.size > b.header.offset {
            return Err(ReadError::malformed(
                place(b.name, pair[1]),
                format!(
                    "overlaps {} in the file, at {:#x}",
                    place(a.name, pair[0]),
                    b.header.offset
                ),
            ));
        }
    }
    Ok(())
}
