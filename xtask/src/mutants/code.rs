//! An object's code, decoded from the start of each section, and the questions that operators ask
//! about it: which function, which call target, is this a return.
//!
//! Decoding is iced-x86's. What is wrong with code is for the objtools to say.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Formatter, GasFormatter, Instruction, Register,
};

use super::image::Image;

/// The thunk that a kernel with return thunks jumps to in place of `ret`.
pub const RETURN_THUNK: &str = "__x86_return_thunk";

/// Sections whose code is copied over other code at run time and never runs where it stands.
pub const REPLACEMENTS: &str = ".altinstr_replacement";

/// One instruction.
pub struct Insn {
    /// The section it stands in.
    pub section: usize,
    /// The decoded instruction; its IP is the offset in the section.
    pub decoded: Instruction,
    /// The symbol of the `STT_FUNC` it belongs to.
    pub function: Option<usize>,
    /// The relocations on its bytes, as indices into the section's list.
    pub relocs: Range<usize>,
}

impl Insn {
    /// The offset in the section.
    pub fn offset(&self) -> u64 {
        self.decoded.ip()
    }

    /// In bytes.
    pub fn len(&self) -> usize {
        self.decoded.len()
    }

    /// The offset behind it.
    pub fn end(&self) -> u64 {
        self.decoded.next_ip()
    }

    /// Whether it does nothing.
    pub fn is_nop(&self) -> bool {
        matches!(
            self.decoded.mnemonic(),
            iced_x86::Mnemonic::Nop | iced_x86::Mnemonic::Fnop
        )
    }
}

/// An object to be broken: its bytes, its code, and what an annotation takes out of validation.
pub struct Subject {
    /// The bytes and the tables.
    pub image: Image,
    /// All code, section by section, by offset.
    pub insns: Vec<Insn>,
    /// By section: the range in `insns`; empty for what is not code.
    pub by_section: Vec<Range<usize>>,
    /// Functions that `.discard.func_stack_frame_non_standard` names, as symbols.
    pub non_standard: HashSet<usize>,
    /// Symbols that a direct call's relocation refers to.
    pub called: HashSet<usize>,
}

impl Subject {
    /// Reads and decodes an object.
    ///
    /// # Errors
    /// The file cannot be read or is not an object.
    pub fn read(path: &Path) -> Result<Self> {
        let data =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::new(data).with_context(|| format!("cannot read the object {}", path.display()))
    }

    /// Decodes an object.
    ///
    /// # Errors
    /// As [`Image::parse`].
    pub fn new(data: Vec<u8>) -> Result<Self> {
        let image = Image::parse(data)?;
        let functions = functions(&image);
        let mut insns = Vec::new();
        let mut by_section = Vec::with_capacity(image.sections.len());
        for (section, functions) in functions.iter().enumerate() {
            let start = insns.len();
            if image.sections[section].is_code() {
                decode(&image, section, functions, &mut insns);
            }
            by_section.push(start..insns.len());
        }
        let non_standard = non_standard(&image);
        let called = insns
            .iter()
            .filter(|insn: &&Insn| insn.decoded.flow_control() == FlowControl::Call)
            .filter_map(|insn| image.sections[insn.section].relocs.get(insn.relocs.clone()))
            .flatten()
            .map(|reloc| reloc.symbol)
            .collect();
        Ok(Self {
            image,
            insns,
            by_section,
            non_standard,
            called,
        })
    }

    /// The bytes of an instruction.
    pub fn bytes(&self, insn: &Insn) -> &[u8] {
        let at = self.at(insn);
        &self.image.data[at..at + insn.len()]
    }

    /// An instruction's place in the file.
    pub fn at(&self, insn: &Insn) -> usize {
        self.image.sections[insn.section].at + insn.offset() as usize
    }

    /// The index of the instruction that starts at an offset of a section.
    pub fn find(&self, section: usize, offset: u64) -> Option<usize> {
        let range = self.by_section.get(section)?.clone();
        let found = self.insns[range.clone()].binary_search_by_key(&offset, Insn::offset);
        found.ok().map(|index| range.start + index)
    }

    /// The instruction behind another one in the same section.
    pub fn next(&self, index: usize) -> Option<&Insn> {
        let next = self.insns.get(index + 1)?;
        (next.section == self.insns[index].section).then_some(next)
    }

    /// The name of the symbol that an instruction's relocation refers to.
    pub fn reloc_name(&self, insn: &Insn) -> Option<&str> {
        let relocs = &self.image.sections[insn.section].relocs;
        let reloc = relocs[insn.relocs.clone()].first()?;
        Some(&self.image.symbols[reloc.symbol].name)
    }

    /// Whether an instruction returns from its function: `ret`, or a jump to the return thunk.
    pub fn is_return(&self, insn: &Insn) -> bool {
        match insn.decoded.flow_control() {
            FlowControl::Return => true,
            FlowControl::UnconditionalBranch => self.reloc_name(insn) == Some(RETURN_THUNK),
            _ => false,
        }
    }

    /// Whether an instruction could be overwritten by another one without hurting a relocation, a
    /// branch or a filler: plain code in the middle of a function.
    pub fn is_plain(&self, insn: &Insn) -> bool {
        insn.relocs.is_empty()
            && insn.function.is_some()
            && !insn.is_nop()
            && insn.decoded.flow_control() == FlowControl::Next
    }

    /// Whether code in this section is validated where it stands.
    pub fn is_text(&self, section: usize) -> bool {
        self.image.sections[section].is_code() && self.image.sections[section].name != REPLACEMENTS
    }

    /// A place as objtool writes it: `function+0x1a`, or `section+0x1a` outside functions.
    pub fn place(&self, section: usize, offset: u64) -> String {
        let inside = |symbol: &&super::image::Symbol| {
            symbol.is_function()
                && symbol.section == Some(section)
                && (symbol.value..symbol.value + symbol.size).contains(&offset)
        };
        match self.image.symbols.iter().find(inside) {
            Some(function) => format!("{}+{:#x}", function.name, offset - function.value),
            None => format!("{}+{offset:#x}", self.image.sections[section].name),
        }
    }
}

/// Whether a function must give this register back as it found it (System V ABI, AMD64
/// supplement, 3.2.1); `%rsp` aside, which every return checks.
pub fn callee_saved(register: Register) -> bool {
    matches!(
        register,
        Register::RBX
            | Register::RBP
            | Register::R12
            | Register::R13
            | Register::R14
            | Register::R15
    )
}

/// An instruction as text, in the syntax that the kernel uses.
pub fn show(decoded: &Instruction) -> String {
    let mut formatter = GasFormatter::new();
    formatter
        .options_mut()
        .set_space_after_operand_separator(false);
    let mut text = String::new();
    formatter.format(decoded, &mut text);
    text
}

/// The first instruction of some bytes as text, as if it stood at `offset`.
pub fn show_bytes(bytes: &[u8], offset: u64) -> String {
    show(&Decoder::with_ip(64, bytes, offset, DecoderOptions::NONE).decode())
}

/// The bytes of an instruction that hold its last constant: the immediate or branch distance, else
/// the displacement.
pub fn constant(insn: &Insn, bytes: &[u8]) -> Option<Range<usize>> {
    // The decoder knows the offsets only of what it has just decoded.
    let mut decoder = Decoder::with_ip(64, bytes, insn.offset(), DecoderOptions::NONE);
    let decoded = decoder.decode();
    let offsets = decoder.get_constant_offsets(&decoded);
    if offsets.has_immediate() {
        let start = offsets.immediate_offset();
        Some(start..start + offsets.immediate_size())
    } else if offsets.has_displacement() {
        let start = offsets.displacement_offset();
        Some(start..start + offsets.displacement_size())
    } else {
        None
    }
}

/// Nops of the lengths given in the *Intel 64 and IA-32 Software Developer's Manual*, volume 2B,
/// "NOP".
pub fn nops(len: usize) -> Vec<u8> {
    const NOPS: [&[u8]; 8] = [
        &[0x90],
        &[0x66, 0x90],
        &[0x0f, 0x1f, 0x00],
        &[0x0f, 0x1f, 0x40, 0x00],
        &[0x0f, 0x1f, 0x44, 0x00, 0x00],
        &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
        &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
        &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    ];
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let nop = NOPS[(len - bytes.len()).min(NOPS.len()) - 1];
        bytes.extend_from_slice(nop);
    }
    bytes
}

/// By section: the functions, by start.
fn functions(image: &Image) -> Vec<Vec<usize>> {
    let mut functions = vec![Vec::new(); image.sections.len()];
    for (index, symbol) in image.symbols.iter().enumerate() {
        if let (true, Some(section)) = (symbol.is_function(), symbol.section) {
            if symbol.size > 0 {
                functions[section].push(index);
            }
        }
    }
    for list in &mut functions {
        list.sort_by_key(|&symbol| image.symbols[symbol].value);
    }
    functions
}

fn decode(image: &Image, section: usize, functions: &[usize], insns: &mut Vec<Insn>) {
    let mut decoder = Decoder::new(64, image.contents(section), DecoderOptions::NONE);
    let mut next_function = 0;
    let mut function = None;
    let mut reloc = 0;
    let relocs = &image.sections[section].relocs;
    while decoder.can_decode() {
        let decoded = decoder.decode();
        // What iced cannot decode is no place to break anything, and what follows it may be
        // out of step.
        if decoded.code() == Code::INVALID {
            return;
        }
        while let Some(&candidate) = functions.get(next_function) {
            if image.symbols[candidate].value > decoded.ip() {
                break;
            }
            function = Some(candidate);
            next_function += 1;
        }
        let inside = function.filter(|&symbol| {
            let symbol = &image.symbols[symbol];
            decoded.ip() < symbol.value + symbol.size
        });
        let first = reloc;
        while relocs
            .get(reloc)
            .is_some_and(|r| r.offset < decoded.next_ip())
        {
            reloc += 1;
        }
        insns.push(Insn {
            section,
            decoded,
            function: inside,
            relocs: first..reloc,
        });
    }
}

fn non_standard(image: &Image) -> HashSet<usize> {
    let Some(section) = image.section(".discard.func_stack_frame_non_standard") else {
        return HashSet::new();
    };
    let named = image.sections[section].relocs.iter();
    let targets: HashSet<_> = named.filter_map(|reloc| image.target(reloc)).collect();
    let symbols = image.symbols.iter().enumerate();
    symbols
        .filter(|(_, symbol)| {
            let start = symbol.section.map(|section| (section, symbol.value));
            symbol.is_function() && start.is_some_and(|start| targets.contains(&start))
        })
        .map(|(index, _)| index)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nops_of_every_length_decode_to_nops_only() {
        for len in 1..40 {
            let bytes = nops(len);
            assert_eq!(bytes.len(), len);
            let decoder = Decoder::new(64, &bytes, DecoderOptions::NONE);
            for decoded in decoder {
                assert_eq!(decoded.mnemonic(), iced_x86::Mnemonic::Nop, "length {len}");
            }
        }
    }
}
