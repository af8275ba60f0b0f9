//! Relocations of livepatch modules (`Documentation/livepatch/module-elf-format.rst`) for the tests:
//! what a patch may use of other modules and of the image without its being exported. Compilers do not
//! make them, so a built module is rewritten. Beside the good one come some with a mistake each, which
//! the kernel must refuse.
//!
//! An undefined symbol `klp__OBJECT__SYMBOL__POSITION` becomes `.klp.sym.OBJECT.SYMBOL,POSITION`, and the
//! relocations that use it go to `.klp.rela.OBJECT.SECTION`. It has to be weak, so that the kernel's
//! build leaves it alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use object::elf::{
    self, FileHeader64, Rela64, RelocationType, SectionFlags, SectionHeader64, Sym64, SymbolSection,
};
use object::pod::{self, Pod};
use object::read::elf::{FileHeader, Sym};
use object::LittleEndian as LE;
use object::{U16, U32, U64};

/// What a symbol begins with that is to be found when the patch is applied.
const PREFIX: &[u8] = b"klp__";

/// `SHN_LIVEPATCH` and `SHF_RELA_LIVEPATCH` of the kernel's `elf.h`.
const SHN_LIVEPATCH: SymbolSection = SymbolSection(0xff20);
const SHF_RELA_LIVEPATCH: SectionFlags = SectionFlags(0x0010_0000);

/// A relocation that x86_64 has not.
const NO_TYPE: RelocationType = RelocationType(0x42);

/// Mistakes, each with the name of the module that has it, behind the good one's.
const MISTAKES: &[(&str, Mistake)] = &[
    ("unmarked", Mistake::Unmarked),
    (
        "misnamed",
        Mistake::Named(
            "relocations_secret",
            ".klp.sym.relocations_target.relocations_secret",
        ),
    ),
    (
        "of-image",
        Mistake::Named(
            "relocations_secret",
            ".klp.sym.vmlinux.saved_command_line,0",
        ),
    ),
    (
        "unknown",
        Mistake::Named(
            "relocations_secret",
            ".klp.sym.relocations_target.there_is_none,0",
        ),
    ),
    (
        "ambiguous",
        Mistake::Named(
            "relocations_secret",
            ".klp.sym.relocations_target.relocations_number,0",
        ),
    ),
    (
        "no-position",
        Mistake::Named(
            "relocations_secret",
            ".klp.sym.relocations_target.relocations_number,3",
        ),
    ),
    (
        "second",
        Mistake::Named(
            "relocations_other",
            ".klp.sym.relocations_target.there_is_none,0",
        ),
    ),
    ("half", Mistake::LastType),
    (
        "unknown-in-image",
        Mistake::Named("saved_command_line", ".klp.sym.vmlinux.there_is_none,0"),
    ),
    ("section-misnamed", Mistake::Section),
];

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    /// The first symbol does not say that it is one of a livepatch.
    Unmarked,
    /// The symbol of this name is called so.
    Named(&'static str, &'static str),
    /// The last relocation is none that there is.
    LastType,
    /// A section's name has no object.
    Section,
}

/// Rewrites a built module where it is, and writes those with mistakes beside it:
/// `NAME-MISTAKE.ko`.
///
/// # Errors
/// It is no module, or has not what the mistakes are about.
pub fn rewrite(module: &Path) -> Result<()> {
    let built = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let convert = |mistake| {
        converted(&built, mistake).with_context(|| format!("cannot rewrite {}", module.display()))
    };
    for (name, mistake) in MISTAKES {
        let stem = module.with_extension("");
        let path = format!("{}-{name}.ko", stem.display());
        fs::write(path, convert(Some(*mistake))?)?;
    }
    fs::write(module, convert(None)?)?;
    Ok(())
}

/// One after the other, from some place on.
fn read<T: Pod>(bytes: &[u8], at: u64, count: usize) -> Result<Vec<T>> {
    let bytes = bytes
        .get(usize::try_from(at)?..)
        .context("a place behind the end")?;
    match pod::slice_from_bytes::<T>(bytes, count) {
        Ok((all, _)) => Ok(all.to_vec()),
        Err(()) => bail!("a table behind the end"),
    }
}

fn write<T: Pod>(bytes: &mut [u8], at: u64, all: &[T]) -> Result<()> {
    let new = pod::bytes_of_slice(all);
    let at = usize::try_from(at)?;
    let room = bytes
        .get_mut(at..at + new.len())
        .context("a place behind the end")?;
    room.copy_from_slice(new);
    Ok(())
}

/// Puts something at the file's end, where anything may be; says where.
fn append(bytes: &mut Vec<u8>, new: &[u8]) -> u64 {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let at = bytes.len() as u64;
    bytes.extend_from_slice(new);
    at
}

/// A table of strings that grows.
struct Strings(Vec<u8>);

impl Strings {
    fn of(bytes: &[u8], section: &SectionHeader64<LE>) -> Result<Self> {
        let size = usize::try_from(section.sh_size.get(LE))?;
        Ok(Self(read(bytes, section.sh_offset.get(LE), size)?))
    }

    fn at(&self, place: u32) -> &[u8] {
        let rest = self.0.get(place as usize..).unwrap_or_default();
        rest.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    fn add(&mut self, string: &str) -> u32 {
        let place = self.0.len() as u32;
        self.0.extend_from_slice(string.as_bytes());
        self.0.push(0);
        place
    }

    fn store(&self, bytes: &mut Vec<u8>, section: &mut SectionHeader64<LE>) {
        section.sh_offset = U64::new(LE, append(bytes, &self.0));
        section.sh_size = U64::new(LE, self.0.len() as u64);
    }
}

/// Object, symbol and position in such a symbol's name.
fn parts(name: &[u8]) -> Option<(String, String, String)> {
    let name = std::str::from_utf8(name.strip_prefix(PREFIX)?).ok()?;
    let mut parts = name.split("__").map(str::to_owned);
    Some((parts.next()?, parts.next()?, parts.next()?))
}

/// Relocations that are moved: for which object, of which section, and what was there.
struct Moved {
    object: String,
    from: usize,
    all: Vec<Rela64<LE>>,
}

/// A module's file that is being rewritten.
struct File {
    bytes: Vec<u8>,
    header: FileHeader64<LE>,
    sections: Vec<SectionHeader64<LE>>,
    /// The section of symbols, that of their names, and that of sections' names.
    symtab: usize,
    strtab: usize,
    shstrtab: usize,
    /// What is wrong on purpose, until it is done.
    mistake: Option<Mistake>,
}

fn converted(built: &[u8], mistake: Option<Mistake>) -> Result<Vec<u8>> {
    let header = *FileHeader64::<LE>::parse(built)?;
    ensure!(header.e_type(LE) == elf::ET_REL, "it is not relocatable");
    let count = usize::from(header.e_shnum.get(LE));
    let sections: Vec<SectionHeader64<LE>> = read(built, header.e_shoff.get(LE), count)?;
    let symtab = sections
        .iter()
        .position(|section| section.sh_type.get(LE) == elf::SHT_SYMTAB)
        .context("it has no symbols")?;
    let mut file = File {
        bytes: built.to_vec(),
        header,
        symtab,
        strtab: sections[symtab].sh_link.get(LE) as usize,
        shstrtab: usize::from(header.e_shstrndx.get(LE).0),
        sections,
        mistake,
    };
    let objects = file.rename()?;
    let mut moved = file.take_out(&objects)?;
    match file.mistake {
        Some(Mistake::LastType) => {
            let last = moved.last_mut().and_then(|moved| moved.all.last_mut());
            let last = last.context("there is no relocation")?;
            last.set_r_info(LE, false, last.r_sym(LE, false), NO_TYPE);
        }
        Some(Mistake::Section) => {
            let first = moved.first_mut().context("there is no section")?;
            first.object.clear();
        }
        Some(mistake) => bail!("there is nothing for the mistake {mistake:?}"),
        None => {}
    }
    file.put(moved)
}

impl File {
    /// Names and marks the symbols that are to be found later; the object of each, by its number.
    fn rename(&mut self) -> Result<BTreeMap<u32, String>> {
        let mut names = Strings::of(&self.bytes, &self.sections[self.strtab])?;
        let section = &self.sections[self.symtab];
        let at = section.sh_offset.get(LE);
        let count = usize::try_from(section.sh_size.get(LE))? / size_of::<Sym64<LE>>();
        let mut symbols: Vec<Sym64<LE>> = read(&self.bytes, at, count)?;
        let mut objects = BTreeMap::new();
        for (number, symbol) in (0..).zip(&mut symbols) {
            let Some((object, name, position)) = parts(names.at(symbol.st_name.get(LE))) else {
                continue;
            };
            ensure!(
                symbol.is_undefined(LE) && symbol.st_bind() == elf::STB_WEAK,
                "{name} is not weak"
            );
            let mut new = format!(".klp.sym.{object}.{name},{position}");
            let mut section = SHN_LIVEPATCH;
            match self.mistake {
                Some(Mistake::Named(wanted, wrong)) if wanted == name => {
                    self.mistake = None;
                    wrong.clone_into(&mut new);
                }
                Some(Mistake::Unmarked) if object != "vmlinux" => {
                    self.mistake = None;
                    section = elf::SHN_UNDEF;
                }
                _ => {}
            }
            symbol.st_name = U32::new(LE, names.add(&new));
            symbol.st_shndx = U16::new(LE, section);
            objects.insert(number, object);
        }
        ensure!(
            !objects.is_empty(),
            "no symbol is called klp__OBJECT__SYMBOL__POSITION"
        );
        write(&mut self.bytes, at, &symbols)?;
        names.store(&mut self.bytes, &mut self.sections[self.strtab]);
        Ok(objects)
    }

    /// Takes the relocations that use those symbols out of their sections.
    fn take_out(&mut self, objects: &BTreeMap<u32, String>) -> Result<Vec<Moved>> {
        let mut all_moved = Vec::new();
        for (from, section) in self.sections.iter_mut().enumerate() {
            if section.sh_type.get(LE) != elf::SHT_RELA {
                continue;
            }
            let (at, size) = (section.sh_offset.get(LE), section.sh_size.get(LE));
            let count = usize::try_from(size)? / size_of::<Rela64<LE>>();
            let mut kept = Vec::new();
            let mut moved: BTreeMap<&String, Vec<Rela64<LE>>> = BTreeMap::new();
            for rela in read::<Rela64<LE>>(&self.bytes, at, count)? {
                match objects.get(&rela.r_sym(LE, false)) {
                    Some(object) => moved.entry(object).or_default().push(rela),
                    None => kept.push(rela),
                }
            }
            write(&mut self.bytes, at, &kept)?;
            section.sh_size = U64::new(LE, size_of_val(&*kept) as u64);
            all_moved.extend(moved.into_iter().map(|(object, all)| Moved {
                object: object.clone(),
                from,
                all,
            }));
        }
        Ok(all_moved)
    }

    /// Puts them into sections of their own; the file as it is then.
    fn put(mut self, all_moved: Vec<Moved>) -> Result<Vec<u8>> {
        let mut names = Strings::of(&self.bytes, &self.sections[self.shstrtab])?;
        for Moved { object, from, all } in all_moved {
            let mut section = self.sections[from];
            let target = &self.sections[section.sh_info.get(LE) as usize];
            let target = String::from_utf8_lossy(names.at(target.sh_name.get(LE)));
            let name = format!(".klp.rela.{object}.{target}");
            section.sh_name = U32::new(LE, names.add(&name));
            let flags = section.sh_flags.get(LE) | elf::SHF_ALLOC | SHF_RELA_LIVEPATCH;
            section.sh_flags = U64::new(LE, flags);
            let all = pod::bytes_of_slice(&all);
            section.sh_offset = U64::new(LE, append(&mut self.bytes, all));
            section.sh_size = U64::new(LE, all.len() as u64);
            self.sections.push(section);
        }
        names.store(&mut self.bytes, &mut self.sections[self.shstrtab]);
        let at = append(&mut self.bytes, pod::bytes_of_slice(&self.sections));
        self.header.e_shoff = U64::new(LE, at);
        self.header.e_shnum = U16::new(LE, u16::try_from(self.sections.len())?);
        write(&mut self.bytes, 0, &[self.header])?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use object::read::elf::{ElfFile64, SectionHeader};
    use object::{Object, ObjectSection, ObjectSymbol};

    use super::*;
    use crate::cmd;

    const SOURCE: &str = r"
extern int klp__target__secret__0 __attribute__((weak));
extern int klp__target__twin__2(void) __attribute__((weak));
extern char *klp__vmlinux__line__0 __attribute__((weak));
extern int exported;
int *pointer = &klp__target__secret__0;
int f(void) { return klp__target__twin__2() + *klp__vmlinux__line__0 + exported; }
";

    fn built() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let (source, object) = (folder.path().join("a.c"), folder.path().join("a.o"));
        fs::write(&source, SOURCE).unwrap();
        let mut compiler = Command::new("gcc");
        compiler.args(["-O1", "-fno-pic", "-mcmodel=kernel", "-c", "-o"]);
        cmd::output(compiler.arg(&object).arg(&source)).unwrap();
        fs::read(object).unwrap()
    }

    /// Relocations of a section, by the names of their symbols.
    fn of(bytes: &[u8], wanted: &str) -> Vec<String> {
        let file = ElfFile64::<LE>::parse(bytes).unwrap();
        let mut found = Vec::new();
        for section in file.sections() {
            let Ok(Some((all, _))) = section.elf_section_header().rela(LE, bytes) else {
                continue;
            };
            if section.name() == Ok(wanted) {
                for rela in all {
                    let symbol = object::SymbolIndex(rela.r_sym(LE, false) as usize);
                    found.push(
                        file.symbol_by_index(symbol)
                            .unwrap()
                            .name()
                            .unwrap()
                            .to_owned(),
                    );
                }
            }
        }
        found
    }

    #[test]
    fn relocations_go_to_their_objects() {
        let bytes = converted(&built(), None).unwrap();
        let text = of(&bytes, ".klp.rela.target..text");
        assert_eq!(text, [".klp.sym.target.twin,2"]);
        assert_eq!(
            of(&bytes, ".klp.rela.target..data"),
            [".klp.sym.target.secret,0"]
        );
        assert_eq!(
            of(&bytes, ".klp.rela.vmlinux..text"),
            [".klp.sym.vmlinux.line,0"]
        );
        assert_eq!(of(&bytes, ".rela.text"), ["exported"], "the rest stays");
        let file = ElfFile64::<LE>::parse(&*bytes).unwrap();
        let sections = file.sections().filter(|section| {
            let flags = section.elf_section_header().sh_flags(LE);
            flags.0 & SHF_RELA_LIVEPATCH.0 != 0 && flags.0 & elf::SHF_ALLOC.0 != 0
        });
        assert_eq!(sections.count(), 3);
        let marked = file.symbols().filter(|symbol| {
            let raw = symbol.elf_symbol();
            raw.st_shndx.get(LE) == SHN_LIVEPATCH
        });
        assert_eq!(marked.count(), 3);
    }

    #[test]
    fn mistakes_are_made_or_said_to_be_impossible() {
        let wrong = Some(Mistake::Named("secret", ".klp.sym.target.none,0"));
        let bytes = converted(&built(), wrong).unwrap();
        assert_eq!(
            of(&bytes, ".klp.rela.target..data"),
            [".klp.sym.target.none,0"]
        );
        let nowhere = Some(Mistake::Named("nowhere", ".klp.sym.target.none,0"));
        assert!(converted(&built(), nowhere).is_err());
        let misnamed = converted(&built(), Some(Mistake::Section)).unwrap();
        assert_eq!(of(&misnamed, ".klp.rela...text").len(), 1);
    }
}
