//! How much room compiled objects take in the kernel's memory.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags};

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Bytes of an object's sections that are loaded, but for what is given back after the start.
///
/// # Errors
/// It cannot be read.
pub fn loaded(file: &Path) -> Result<u64> {
    let data = read(file)?;
    let object = object::File::parse(&*data)?;
    let loaded = object.sections().filter(|section| {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
            return false;
        };
        let name = section.name().unwrap_or_default();
        sh_flags.0 & object::elf::SHF_ALLOC.0 != 0
            && !name.starts_with(".init")
            && !name.starts_with(".orc_")
    });
    Ok(loaded.map(|section| section.size()).sum())
}

/// Bytes of an object's code, but for what is given back after the start.
///
/// # Errors
/// As [`loaded`].
pub fn code(file: &Path) -> Result<u64> {
    let data = read(file)?;
    let object = object::File::parse(&*data)?;
    let code = object.sections().filter(|section| {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
            return false;
        };
        let is_for_start = section.name().is_ok_and(|name| name.starts_with(".init"));
        sh_flags.0 & object::elf::SHF_EXECINSTR.0 != 0 && !is_for_start
    });
    Ok(code.map(|section| section.size()).sum())
}

/// Bytes of the symbols whose names contain this.
///
/// # Errors
/// As [`loaded`].
pub fn symbols(file: &Path, part: &str) -> Result<u64> {
    let data = read(file)?;
    let object = object::File::parse(&*data)?;
    let named = object
        .symbols()
        .filter(|symbol| symbol.name().is_ok_and(|name| name.contains(part)));
    Ok(named.map(|symbol| symbol.size()).sum())
}
