//! How much room compiled objects take in the kernel's memory.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use object::{Object, ObjectSection, SectionFlags};

/// The bytes of a file.
///
/// # Errors
/// It cannot be read.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Bytes of an object's code, but for what is given back after the start.
///
/// # Errors
/// It cannot be read.
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
