//! Damaging an ELF object on purpose: single fields by name, at their places in the file.
//!
//! Works on the bytes alone, by the layout of 64-bit little-endian ELF (System V gABI, chapter 4),
//! so that nothing has to accept the object once it is damaged.

use anyhow::{Context, Result};

/// A whole object, and where its parts are.
#[derive(Clone)]
pub struct Image {
    /// The file's bytes.
    pub bytes: Vec<u8>,
}

/// Offsets of fields in the file header.
pub mod header {
    /// `EI_CLASS`, one byte: 1 for 32 bits, 2 for 64.
    pub const CLASS: usize = 4;
    /// `EI_DATA`, one byte: 1 for little endian, 2 for big.
    pub const DATA: usize = 5;
    /// `e_type`, two bytes.
    pub const TYPE: usize = 16;
    /// `e_machine`, two bytes.
    pub const MACHINE: usize = 18;
    /// `e_shoff`, eight bytes.
    pub const SECTIONS_AT: usize = 40;
    /// `e_shentsize`, two bytes.
    pub const SECTION_SIZE: usize = 58;
    /// `e_shnum`, two bytes.
    pub const SECTION_COUNT: usize = 60;
    /// `e_shstrndx`, two bytes.
    pub const NAMES: usize = 62;
}

/// Offsets of fields in a section header.
pub mod section {
    /// `sh_name`, four bytes.
    pub const NAME: usize = 0;
    /// `sh_addr`, eight bytes.
    pub const ADDRESS: usize = 16;
    /// `sh_offset`, eight bytes.
    pub const OFFSET: usize = 24;
    /// `sh_size`, eight bytes.
    pub const SIZE: usize = 32;
    /// `sh_link`, four bytes.
    pub const LINK: usize = 40;
    /// `sh_info`, four bytes.
    pub const INFO: usize = 44;
    /// `sh_entsize`, eight bytes.
    pub const ENTRY_SIZE: usize = 56;
}

/// Offsets of fields in a symbol.
pub mod symbol {
    /// `st_name`, four bytes.
    pub const NAME: usize = 0;
    /// `st_shndx`, two bytes.
    pub const SECTION: usize = 6;
    /// `st_value`, eight bytes.
    pub const VALUE: usize = 8;
    /// `st_size`, eight bytes.
    pub const SIZE: usize = 16;
    /// Bytes of one symbol.
    pub const BYTES: usize = 24;
}

/// Offsets of fields in a relocation.
pub mod relocation {
    /// `r_offset`, eight bytes.
    pub const OFFSET: usize = 0;
    /// The symbol half of `r_info`, four bytes.
    pub const SYMBOL: usize = 12;
}

impl Image {
    /// Writes `value` at `at`, in as many bytes as its type has.
    pub fn put<const N: usize>(&mut self, at: usize, value: [u8; N]) {
        self.bytes[at..at + N].copy_from_slice(&value);
    }

    fn number(&self, at: usize, bytes: usize) -> usize {
        let bytes = &self.bytes[at..at + bytes];
        bytes
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    /// Where the header of the section named `name` starts in the file.
    ///
    /// # Errors
    /// There is no such section.
    pub fn section(&self, name: &str) -> Result<usize> {
        let index = self.section_index(name)?;
        Ok(self.number(header::SECTIONS_AT, 8) + 64 * index)
    }

    /// The index of the section named `name`.
    ///
    /// # Errors
    /// There is no such section.
    pub fn section_index(&self, name: &str) -> Result<usize> {
        let table = self.number(header::SECTIONS_AT, 8);
        let names = table + 64 * self.number(header::NAMES, 2);
        let names = self.number(names + section::OFFSET, 8);
        (0..self.number(header::SECTION_COUNT, 2))
            .find(|index| {
                let at = names + self.number(table + 64 * index + section::NAME, 4);
                self.bytes[at..].starts_with(&[name.as_bytes(), &[0]].concat())
            })
            .with_context(|| format!("no section {name}"))
    }

    /// Where the content of the section named `name` lies in the file, and how long it is.
    ///
    /// # Errors
    /// There is no such section.
    pub fn content(&self, name: &str) -> Result<std::ops::Range<usize>> {
        let at = self.section(name)?;
        let start = self.number(at + section::OFFSET, 8);
        Ok(start..start + self.number(at + section::SIZE, 8))
    }

    /// Where the symbol named `name` starts in the file.
    ///
    /// # Errors
    /// There is no such symbol.
    pub fn symbol(&self, name: &str) -> Result<usize> {
        let names = self.content(".strtab")?.start;
        self.content(".symtab")?
            .step_by(symbol::BYTES)
            .find(|at| {
                let at = names + self.number(at + symbol::NAME, 4);
                self.bytes[at..].starts_with(&[name.as_bytes(), &[0]].concat())
            })
            .with_context(|| format!("no symbol {name}"))
    }
}
