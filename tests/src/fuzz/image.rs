//! Object files put together from parts, right or wrong.
//!
//! Writers of objects refuse what must be tested here: sizes that are lies, symbols in a wrong
//! order, sections that nothing can mean. So this one writes whatever it is given. Not here: what
//! the parts mean to the analyzer.

/// Number of the null section, and of "no section".
pub const UNDEFINED: u16 = 0;

/// ELF's numbers, as far as objects are made of them here (gABI, "Object Files").
pub mod elf {
    /// Bytes that the program gives a meaning.
    pub const PROGBITS: u32 = 1;
    /// Symbols.
    pub const SYMTAB: u32 = 2;
    /// Strings.
    pub const STRTAB: u32 = 3;
    /// Relocations with addends.
    pub const RELA: u32 = 4;
    /// Part of the running image.
    pub const ALLOC: u64 = 2;
    /// Holds instructions.
    pub const EXECINSTR: u64 = 4;
    /// `st_info` of a local symbol that stands for a section.
    pub const SECTION_SYMBOL: u8 = 3;
    /// Size of a file header.
    pub const FILE_HEADER: usize = 64;
    /// Size of a section header.
    pub const SECTION_HEADER: usize = 64;
    /// Size of a symbol.
    pub const SYMBOL: usize = 24;
    /// Size of a relocation.
    pub const RELOCATION: usize = 24;
}

/// A section: header fields as they are to stand in the file, and its bytes.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Name.
    pub name: Vec<u8>,
    /// `sh_type`.
    pub kind: u32,
    /// `sh_flags`.
    pub flags: u64,
    /// `sh_link`.
    pub link: u32,
    /// `sh_info`.
    pub info: u32,
    /// `sh_addralign`.
    pub align: u64,
    /// `sh_entsize`.
    pub entsize: u64,
    /// Contents.
    pub data: Vec<u8>,
    /// Relocations of its bytes; a section of their own is made of them.
    pub relocations: Vec<Relocation>,
}

impl Section {
    /// A section with contents, aligned to nothing.
    pub fn new(name: &str, flags: u64, data: Vec<u8>) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            kind: elf::PROGBITS,
            flags,
            align: 1,
            data,
            ..Self::default()
        }
    }

    /// A section of code.
    pub fn code(name: &str, data: Vec<u8>) -> Self {
        Self::new(name, elf::ALLOC | elf::EXECINSTR, data)
    }
}

/// A relocation.
#[derive(Clone, Copy, Debug)]
pub struct Relocation {
    /// Offset in its section, in bytes.
    pub offset: u64,
    /// Index of the symbol.
    pub symbol: u32,
    /// Type.
    pub kind: u32,
    /// Constant to add.
    pub addend: i64,
}

/// A symbol.
#[derive(Clone, Debug, Default)]
pub struct Symbol {
    /// Name; none has the null name.
    pub name: Vec<u8>,
    /// Binding and type, `st_info`.
    pub info: u8,
    /// Section index, `st_shndx`.
    pub section: u16,
    /// Offset in its section, in bytes.
    pub value: u64,
    /// Size in bytes.
    pub size: u64,
}

/// An object file to be.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Sections from number 1 on. Sections of relocations follow them, then symbols and names.
    pub sections: Vec<Section>,
    /// Symbols from number 1 on; those that are not local must follow those that are.
    pub symbols: Vec<Symbol>,
}

impl Image {
    /// Adds a section; the result is its number.
    pub fn section(&mut self, section: Section) -> u16 {
        self.sections.push(section);
        self.sections.len() as u16
    }

    /// Adds a symbol; the result is its number.
    pub fn symbol(&mut self, symbol: Symbol) -> u32 {
        self.symbols.push(symbol);
        self.symbols.len() as u32
    }

    /// Adds a symbol for each section so far, in order; the result is the number of the first.
    pub fn section_symbols(&mut self) -> u32 {
        let first = self.symbols.len() as u32 + 1;
        for number in 1..=self.sections.len() as u16 {
            self.symbol(Symbol {
                info: elf::SECTION_SYMBOL,
                section: number,
                ..Symbol::default()
            });
        }
        first
    }

    /// The file's bytes, for the machine of that number.
    pub fn bytes(&self, machine: u16) -> Vec<u8> {
        let mut sections = self.sections.clone();
        let with_relocations = sections.iter().filter(|s| !s.relocations.is_empty());
        let symtab = (sections.len() + with_relocations.count() + 1) as u32;
        for number in 0..self.sections.len() {
            let relocations = std::mem::take(&mut sections[number].relocations);
            if !relocations.is_empty() {
                let base = (number + 1) as u32;
                sections.push(relocation_section(
                    &self.sections[number],
                    base,
                    symtab,
                    &relocations,
                ));
            }
        }
        let (symbols, names) = self.symbol_sections(symtab + 1);
        sections.push(symbols);
        sections.push(names);
        lay_out(machine, sections)
    }

    /// The symbol table and its names, which are to be the section of number `names`.
    fn symbol_sections(&self, names: u32) -> (Section, Section) {
        let mut table = vec![0; elf::SYMBOL];
        let mut strings = vec![0];
        for symbol in &self.symbols {
            table.extend(add_name(&mut strings, &symbol.name).to_le_bytes());
            table.extend([symbol.info, 0]);
            table.extend(symbol.section.to_le_bytes());
            table.extend(symbol.value.to_le_bytes());
            table.extend(symbol.size.to_le_bytes());
        }
        let locals = self.symbols.iter().take_while(|s| s.info >> 4 == 0);
        let symbols = Section {
            kind: elf::SYMTAB,
            link: names,
            info: locals.count() as u32 + 1,
            entsize: elf::SYMBOL as u64,
            ..Section::new(".symtab", 0, table)
        };
        let names = Section {
            kind: elf::STRTAB,
            ..Section::new(".strtab", 0, strings)
        };
        (symbols, names)
    }
}

fn relocation_section(of: &Section, number: u32, symtab: u32, list: &[Relocation]) -> Section {
    let mut data = Vec::with_capacity(list.len() * elf::RELOCATION);
    for relocation in list {
        data.extend(relocation.offset.to_le_bytes());
        let info = u64::from(relocation.symbol) << 32 | u64::from(relocation.kind);
        data.extend(info.to_le_bytes());
        data.extend(relocation.addend.to_le_bytes());
    }
    Section {
        name: [b".rela", of.name.as_slice()].concat(),
        kind: elf::RELA,
        link: symtab,
        info: number,
        align: 8,
        entsize: elf::RELOCATION as u64,
        ..Section::new("", 0, data)
    }
}

/// Appends a name to a string table; the result is its offset.
fn add_name(strings: &mut Vec<u8>, name: &[u8]) -> u32 {
    if name.is_empty() {
        return 0;
    }
    let offset = strings.len() as u32;
    strings.extend(name);
    strings.push(0);
    offset
}

/// Headers around the contents. The names of sections go last.
fn lay_out(machine: u16, mut sections: Vec<Section>) -> Vec<u8> {
    let mut names = vec![0];
    let mut offsets: Vec<u32> = sections
        .iter()
        .map(|section| add_name(&mut names, &section.name))
        .collect();
    offsets.push(add_name(&mut names, b".shstrtab"));
    sections.push(Section {
        kind: elf::STRTAB,
        ..Section::new(".shstrtab", 0, names)
    });

    let mut bytes = vec![0; elf::FILE_HEADER];
    let mut headers = vec![0; elf::SECTION_HEADER];
    for (section, name) in sections.iter().zip(offsets) {
        let align = section.align.clamp(1, 64) as usize;
        bytes.resize(bytes.len().next_multiple_of(align), 0);
        headers.extend(name.to_le_bytes());
        headers.extend(section.kind.to_le_bytes());
        for word in [
            section.flags,
            0,
            bytes.len() as u64,
            section.data.len() as u64,
        ] {
            headers.extend(word.to_le_bytes());
        }
        headers.extend(section.link.to_le_bytes());
        headers.extend(section.info.to_le_bytes());
        headers.extend(section.align.to_le_bytes());
        headers.extend(section.entsize.to_le_bytes());
        bytes.extend(&section.data);
    }
    let table = bytes.len().next_multiple_of(8);
    bytes.resize(table, 0);
    bytes.extend(&headers);

    // The file header: 64-bit, little-endian, version 1, relocatable.
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(16, &1u16.to_le_bytes());
    put(18, &machine.to_le_bytes());
    put(20, &1u32.to_le_bytes());
    put(40, &(table as u64).to_le_bytes());
    put(52, &(elf::FILE_HEADER as u16).to_le_bytes());
    put(58, &(elf::SECTION_HEADER as u16).to_le_bytes());
    put(60, &(sections.len() as u16 + 1).to_le_bytes());
    put(62, &(sections.len() as u16).to_le_bytes());
    bytes
}
