//! Index types: a section, symbol, relocation or instruction of one file.
//!
//! Each is a position in that file's own table and means nothing for another file. They are 32
//! bits wide, as no table of an object file that the kernel can link is longer.

/// A section, by its index in the section header table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SectionId(pub u32);

impl SectionId {
    /// The null section, which stands for "defined in no section of this file".
    pub const UNDEFINED: Self = Self(0);

    /// Position in a table.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A symbol, by its index in the symbol table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SymbolId(pub u32);

impl SymbolId {
    /// Position in a table.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A relocation: the section that it applies to, and its index in that section's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelocId {
    /// The section whose bytes it changes.
    pub section: SectionId,
    /// Position in the relocation table, in file order.
    pub index: u32,
}
