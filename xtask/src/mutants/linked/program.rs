//! A linked kernel as a program: its functions by address, what stands at an address, and where the
//! kernel patches its own code.
//!
//! Decoding is iced-x86's. Nothing here rests on objtool-rs.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{bail, Context, Result};
use iced_x86::{Decoder, DecoderOptions, Instruction};
use object::read::elf::ElfFile64;
use object::{
    LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, SymbolKind,
};

use super::operators::Edit;

/// The tracer's entry, which a function calls before it has a frame.
const TRACE_ENTRY: &str = "__fentry__";

/// Stands for `ret` in a kernel with return thunks.
const RETURN_THUNK: &str = "__x86_return_thunk";

/// Stand for indirect branches, by register.
const INDIRECT_THUNK: &str = "__x86_indirect_thunk_";

/// Size of an entry of `.altinstructions`, the place of its original's distance and of that one's
/// length (`struct alt_instr`, `arch/x86/include/asm/alternative.h`).
const ALTERNATIVE: (usize, usize, usize) = (14, 0, 12);

/// The longest instruction, in bytes.
const LONGEST: usize = 15;

/// A linked kernel.
pub struct Program {
    /// The whole file.
    pub data: Vec<u8>,
    /// Its functions by address; where several have one address, the longest.
    pub functions: Vec<Function>,
    sections: Vec<Section>,
    by_address: HashMap<u64, usize>,
    /// Addresses of code that stands for a return.
    return_thunks: Vec<u64>,
    /// Addresses of code that stands for an indirect branch.
    indirect_thunks: Vec<u64>,
    trace_entry: Option<u64>,
    /// Code that the kernel replaces as it starts, by address.
    patched: Vec<Range<u64>>,
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function {
    /// All of its names; the first one is for messages.
    pub names: Vec<String>,
    /// Address of its first byte.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Its section's name.
    pub section: String,
    /// The offset there.
    pub offset: u64,
}

impl Function {
    /// The name for messages.
    pub fn name(&self) -> &str {
        &self.names[0]
    }

    /// Whether an address is in it.
    pub fn has(&self, address: u64) -> bool {
        (self.address..self.address + self.size).contains(&address)
    }
}

/// An executable section.
struct Section {
    name: String,
    address: u64,
    size: u64,
    /// Its place in the file.
    at: usize,
}

/// What an address stands for when code branches to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first instruction of this function.
    Function(usize),
    /// The inside of this function.
    Inside(usize),
    /// Code that stands for a return.
    Return,
    /// Code that stands for an indirect branch.
    Indirect,
    /// The function tracer's entry.
    TraceEntry,
    /// Anything else.
    Unknown,
}

impl Program {
    /// Reads a linked kernel.
    ///
    /// # Errors
    /// It is no linked file with symbols, or its table of alternatives is not understood.
    pub fn new(data: Vec<u8>) -> Result<Self> {
        let file = ElfFile64::<LittleEndian>::parse(&*data)?;
        let mut sections = Vec::new();
        for section in file.sections() {
            let code = matches!(section.flags(), SectionFlags::Elf { sh_flags, .. }
                if sh_flags.0 & object::elf::SHF_EXECINSTR.0 != 0);
            if let (true, Some((at, size))) = (code, section.file_range()) {
                sections.push(Section {
                    name: section.name()?.to_owned(),
                    address: section.address(),
                    size,
                    at: usize::try_from(at)?,
                });
            }
        }
        let mut program = Self {
            functions: Vec::new(),
            sections,
            by_address: HashMap::new(),
            return_thunks: Vec::new(),
            indirect_thunks: Vec::new(),
            trace_entry: None,
            patched: patched(&file)?,
            data: Vec::new(),
        };
        program.read_symbols(&file)?;
        if program.functions.is_empty() {
            bail!("its symbol table names no function");
        }
        program.data = data;
        Ok(program)
    }

    fn read_symbols(&mut self, file: &ElfFile64<'_, LittleEndian>) -> Result<()> {
        for symbol in file.symbols() {
            let (name, address) = (symbol.name()?, symbol.address());
            if name == TRACE_ENTRY {
                self.trace_entry = Some(address);
            } else if name == RETURN_THUNK {
                self.return_thunks.push(address);
            } else if name.starts_with(INDIRECT_THUNK) {
                self.indirect_thunks.push(address);
            }
            let is_function = symbol.kind() == SymbolKind::Text
                && symbol.size() != 0
                // Filling in front of a function.
                && !name.starts_with("__pfx_");
            let Some(section) = self.section(address).filter(|_| is_function) else {
                continue;
            };
            self.functions.push(Function {
                names: vec![name.to_owned()],
                address,
                size: symbol.size(),
                section: section.name.clone(),
                offset: address - section.address,
            });
        }
        self.functions
            .sort_by_key(|function| (function.address, std::cmp::Reverse(function.size)));
        self.functions.dedup_by(|other, first| {
            let same = other.address == first.address;
            if same {
                first.names.append(&mut other.names);
            }
            same
        });
        let addresses = self.functions.iter().enumerate();
        self.by_address = addresses.map(|(i, f)| (f.address, i)).collect();
        Ok(())
    }

    fn section(&self, address: u64) -> Option<&Section> {
        self.sections
            .iter()
            .find(|s| (s.address..s.address + s.size).contains(&address))
    }

    /// The place of an address in the file.
    pub fn at(&self, address: u64) -> Option<usize> {
        let section = self.section(address)?;
        Some(section.at + (address - section.address) as usize)
    }

    /// Bytes at an address.
    ///
    /// # Errors
    /// There are not as many.
    pub fn read(&self, address: u64, len: usize) -> Result<&[u8]> {
        self.at(address)
            .and_then(|at| self.data.get(at..at + len))
            .with_context(|| format!("there are no {len} bytes at {address:#x}"))
    }

    /// The instruction at an address, in the program with a change made to it or as it is.
    pub fn decode(&self, address: u64, edit: Option<&Edit>) -> Option<Instruction> {
        let section = self.section(address)?;
        let left = (section.size - (address - section.address)) as usize;
        let mut bytes = [0; LONGEST];
        let bytes = &mut bytes[..left.min(LONGEST)];
        bytes.copy_from_slice(self.read(address, bytes.len()).ok()?);
        if let Some(edit) = edit {
            for (byte, new) in (edit.address..).zip(&edit.bytes) {
                let place = byte.checked_sub(address).map(|place| place as usize);
                if let Some(place) = place.and_then(|place| bytes.get_mut(place)) {
                    *place = *new;
                }
            }
        }
        let insn = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
        (!insn.is_invalid()).then_some(insn)
    }

    /// The instructions that a change puts in.
    pub fn decode_all(&self, edit: &Edit) -> Vec<Instruction> {
        let decoder = Decoder::with_ip(64, &edit.bytes, edit.address, DecoderOptions::NONE);
        decoder.into_iter().collect()
    }

    /// The instructions of a function, one behind the other.
    ///
    /// # Errors
    /// It leaves its section.
    pub fn insns(&self, function: &Function) -> Result<Vec<Instruction>> {
        let bytes = self
            .read(function.address, function.size as usize)
            .with_context(|| format!("{} leaves its section", function.name()))?;
        let decoder = Decoder::with_ip(64, bytes, function.address, DecoderOptions::NONE);
        Ok(decoder.into_iter().collect())
    }

    /// What a branch to an address means.
    pub fn place(&self, address: u64) -> Place {
        // Thunks are functions, too.
        if self.return_thunks.contains(&address) {
            return Place::Return;
        }
        if self.indirect_thunks.contains(&address) {
            return Place::Indirect;
        }
        if self.trace_entry == Some(address) {
            return Place::TraceEntry;
        }
        if let Some(&function) = self.by_address.get(&address) {
            return Place::Function(function);
        }
        let behind = self.functions.partition_point(|f| f.address <= address);
        match behind.checked_sub(1) {
            Some(function) if self.functions[function].has(address) => Place::Inside(function),
            _ => Place::Unknown,
        }
    }

    /// The address of the return thunk, if the kernel has one.
    pub fn return_thunk(&self) -> Option<u64> {
        self.return_thunks.first().copied()
    }

    /// Whether the kernel replaces the code at an address as it starts.
    pub fn is_patched(&self, address: u64) -> bool {
        let behind = self.patched.partition_point(|range| range.start <= address);
        // Originals overlap only where they are the same.
        behind
            .checked_sub(1)
            .is_some_and(|range| self.patched[range].contains(&address))
    }
}

/// The originals of all alternatives, in order.
fn patched(file: &ElfFile64<'_, LittleEndian>) -> Result<Vec<Range<u64>>> {
    let Some(section) = file.section_by_name(".altinstructions") else {
        return Ok(Vec::new());
    };
    let (size, distance, length) = ALTERNATIVE;
    let data = section.data()?;
    if data.len() % size != 0 {
        bail!(".altinstructions has no entries of {size} bytes");
    }
    let mut ranges: HashMap<u64, u64> = HashMap::new();
    for (index, entry) in data.chunks_exact(size).enumerate() {
        let field: [u8; 4] = entry[distance..distance + 4].try_into()?;
        let field_at = section.address() + (index * size + distance) as u64;
        let start = field_at.wrapping_add_signed(i32::from_le_bytes(field).into());
        let end = ranges.entry(start).or_default();
        *end = (*end).max(start + u64::from(entry[length]));
    }
    let mut ranges: Vec<_> = ranges.into_iter().map(|(start, end)| start..end).collect();
    ranges.sort_unstable_by_key(|range| range.start);
    Ok(ranges)
}
