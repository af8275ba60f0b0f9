//! Well-formed objects whose code, symbols and annotations come from the fuzzer, through a whole
//! run with any options.
//!
//! Random bytes hardly ever become an object that gets past the reader. Here the object is always
//! valid as a file, so that what is tried out is what annotations say about the code: entries that
//! overlap, contradict each other, refer to the middle of instructions or to nothing.

use arbitrary::{Arbitrary, Unstructured};
use arch::object::Architecture as _;
use arch_x86_64::object::relocation;
use arch_x86_64::X86_64;

use super::image::{elf, Image, Relocation, Section, Symbol, UNDEFINED};
use super::{options, whole, OPTION_BYTES};

/// An object to be.
#[derive(Arbitrary, Debug)]
struct Program {
    options: [u8; OPTION_BYTES],
    code: Vec<Piece>,
    symbols: Vec<NewSymbol>,
    entries: Vec<Entry>,
}

/// A piece of code.
#[derive(Arbitrary, Debug)]
enum Piece {
    /// One of [`INSTRUCTIONS`].
    Plain(u8),
    /// A direct jump or call to a piece of the same section.
    Branch { how: u8, to: u8 },
    /// An instruction of [`RELOCATED`] with a relocation in its last four bytes.
    Relocated { how: u8, to: Reference },
    /// The code goes on in one of [`CODE_SECTIONS`].
    Section(u8),
    /// A store of a constant at an address, with a relocation for each.
    Store { value: Reference, to: Reference },
}

/// What a relocation refers to: a symbol or a section, and a place.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Reference {
    /// Of all symbols, those of sections included.
    symbol: u8,
    /// A piece in the symbol's section, by number; only for sections' symbols.
    piece: u8,
    /// Bytes off.
    delta: i8,
}

#[derive(Arbitrary, Debug)]
struct NewSymbol {
    /// One of [`NAMES`].
    name: u8,
    /// Type in the low half, binding in the high one.
    info: u8,
    section: u8,
    /// The first piece that belongs to it.
    piece: u8,
    /// How many do.
    pieces: u8,
}

/// An entry of a table.
#[derive(Arbitrary, Debug)]
struct Entry {
    /// One of [`TABLES`].
    table: u8,
    bytes: [u8; 8],
    fields: [Option<Reference>; 3],
}

/// Instructions that mean something to the checks.
const INSTRUCTIONS: &[&[u8]] = &[
    &[0x55],                                           // push %rbp
    &[0x48, 0x89, 0xe5],                               // mov %rsp,%rbp
    &[0x5d],                                           // pop %rbp
    &[0xc3],                                           // ret
    &[0xc9],                                           // leave
    &[0x90],                                           // nop
    &[0x66, 0x90],                                     // two-byte nop
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],                   // five-byte nop
    &[0x53],                                           // push %rbx
    &[0x5b],                                           // pop %rbx
    &[0x48, 0x83, 0xec, 0x18],                         // sub $0x18,%rsp
    &[0x48, 0x83, 0xc4, 0x18],                         // add $0x18,%rsp
    &[0x48, 0x81, 0xec, 0x00, 0x00, 0x00, 0x80],       // sub $-0x80000000,%rsp
    &[0x48, 0x83, 0xe4, 0xf0],                         // and $-0x10,%rsp
    &[0x4c, 0x8d, 0x54, 0x24, 0x08],                   // lea 0x8(%rsp),%r10
    &[0x41, 0xff, 0x72, 0xf8],                         // push -0x8(%r10)
    &[0x41, 0x52],                                     // push %r10
    &[0x41, 0x5a],                                     // pop %r10
    &[0x49, 0x8d, 0x62, 0xf8],                         // lea -0x8(%r10),%rsp
    &[0x48, 0x8d, 0x65, 0xf0],                         // lea -0x10(%rbp),%rsp
    &[0x48, 0x8d, 0xa4, 0x24, 0xff, 0xff, 0xff, 0x7f], // lea 0x7fffffff(%rsp),%rsp
    &[0x48, 0x89, 0x5d, 0xf8],                         // mov %rbx,-0x8(%rbp)
    &[0x48, 0x8b, 0x5d, 0xf8],                         // mov -0x8(%rbp),%rbx
    &[0x48, 0x89, 0x6c, 0x24, 0x10],                   // mov %rbp,0x10(%rsp)
    &[0x48, 0x8b, 0x6c, 0x24, 0x10],                   // mov 0x10(%rsp),%rbp
    &[0x48, 0x89, 0x27],                               // mov %rsp,(%rdi)
    &[0x48, 0x89, 0xfc],                               // mov %rdi,%rsp
    &[0x5c],                                           // pop %rsp
    &[0x48, 0x89, 0xec],                               // mov %rbp,%rsp
    &[0x48, 0x31, 0xed],                               // xor %rbp,%rbp
    &[0x9c],                                           // pushf
    &[0x9d],                                           // popf
    &[0x0f, 0x01, 0xcb],                               // stac
    &[0x0f, 0x01, 0xca],                               // clac
    &[0xfd],                                           // std
    &[0xfc],                                           // cld
    &[0x0f, 0x0b],                                     // ud2
    &[0xcc],                                           // int3
    &[0xff, 0xe0],                                     // jmp *%rax
    &[0xff, 0xd0],                                     // call *%rax
    &[0x3e, 0xff, 0xe0],                               // notrack jmp *%rax
    &[0x48, 0xcf],                                     // iretq
    &[0x0f, 0x05],                                     // syscall
    &[0xf3, 0x0f, 0x1e, 0xfa],                         // endbr64
    &[0x48, 0xc7, 0xc0, 0x00, 0x00, 0x00, 0x00],       // mov $0x0,%rax
];

/// An address that is sign-extended to 64 bits.
const ABSOLUTE: u32 = object::elf::R_X86_64_32S.0;

/// Direct branches with a 32-bit displacement: their opcodes.
const BRANCHES: &[&[u8]] = &[&[0xe9], &[0xe8], &[0x0f, 0x84]];

/// Instructions that end in a relocated field of four bytes, and its type.
const RELOCATED: &[(&[u8], u32)] = &[
    (&[0xe8], relocation::PLT32),            // call
    (&[0xe9], relocation::PLT32),            // jmp
    (&[0x0f, 0x84], relocation::PLT32),      // je
    (&[0xff, 0x24, 0xc5], ABSOLUTE),         // jmp *table(,%rax,8)
    (&[0x48, 0x8b, 0x04, 0xc5], ABSOLUTE),   // mov table(,%rax,8),%rax
    (&[0x48, 0x8d, 0x05], relocation::PC32), // lea table(%rip),%rax
    (&[0xff, 0x25], relocation::PC32),       // jmp *entry(%rip)
];

/// A store of a sign-extended constant of four bytes at an address relative to the code, without
/// the two.
const STORE: &[u8] = &[0x48, 0xc7, 0x05];

/// Sections of code.
const CODE_SECTIONS: &[&str] = &[
    ".text",
    ".text.unlikely",
    ".altinstr_replacement",
    ".noinstr.text",
    ".init.text",
    ".entry.text",
    ".cpuidle.text",
    ".text..__x86.thunk",
];

/// Names with a role, and some without.
const NAMES: &[&[u8]] = &[
    b"f",
    b"g",
    b"f.cold",
    b"g.cold.1",
    b"__x86_return_thunk",
    b"__x86_indirect_thunk_rax",
    b"__SCT__k",
    b"__SCK__k",
    b"__fentry__",
    b"retbleed_return_thunk",
    b"srso_safe_ret",
    b".L1",
    b"__pfx_f",
    b"__cfi_f",
    b"panic",
    b"__sanitizer_cov_trace_pc",
    b"__asan_handle_no_return",
    b"copy_mc_fragile",
    b"two\nlines",
    b"\xff\x1b[1m",
    b"",
    b"pv_ops",
    b"xen_cpu_ops",
    b"_paravirt_nop",
    b"init_module",
    b"cleanup_module",
    b"__ubsan_handle_x",
];

/// A table: its section, the size of an entry, and the fields that are relocated.
struct Table {
    name: &'static str,
    size: u64,
    fields: [u64; 3],
}

impl Table {
    /// Whether it is there only if it has entries.
    fn is_made(&self) -> bool {
        MADE.contains(&self.name)
    }

    /// A list of places in code.
    const fn list(name: &'static str) -> Self {
        Self {
            name,
            size: 4,
            fields: [0; 3],
        }
    }
}

/// Tables that a run makes, unless they are there.
const MADE: &[&str] = &[
    ".static_call_sites",
    "__mcount_loc",
    ".cfi_sites",
    ".ibt_endbr_seal",
    ".orc_unwind",
];

/// Every table that is read. Their names in 6.12 are in `objtool_rs`, which keeps them to itself.
const TABLES: &[Table] = &[
    Table {
        name: ".altinstructions",
        size: X86_64::ALTERNATIVE.size,
        fields: [
            X86_64::ALTERNATIVE.original,
            X86_64::ALTERNATIVE.replacement,
            0,
        ],
    },
    Table {
        name: "__jump_table",
        size: X86_64::JUMP_LABEL.size,
        fields: [
            X86_64::JUMP_LABEL.original,
            X86_64::JUMP_LABEL.target,
            X86_64::JUMP_LABEL.key,
        ],
    },
    Table {
        name: "__ex_table",
        size: X86_64::EXCEPTION.size,
        fields: [X86_64::EXCEPTION.original, X86_64::EXCEPTION.target, 0],
    },
    Table {
        name: ".discard.unwind_hints",
        size: X86_64::UNWIND_HINT.size,
        fields: [X86_64::UNWIND_HINT.ip, 0, 0],
    },
    Table {
        name: ".rodata",
        size: 8,
        fields: [0; 3],
    },
    Table {
        name: ".data.rel.ro.c_jump_table",
        size: 8,
        fields: [0; 3],
    },
    Table::list(".discard.func_stack_frame_non_standard"),
    Table::list(".discard.ignore_alts"),
    Table::list(".discard.noendbr"),
    Table::list(".discard.reachable"),
    Table::list(".discard.retpoline_safe"),
    Table::list(".discard.intra_function_calls"),
    Table::list(".static_call_sites"),
    Table::list(".discard.instr_begin"),
    Table::list(".discard.instr_end"),
    Table::list(".discard.validate_unret"),
    Table::list(".discard.ibt_endbr_noseal"),
    Table::list("__mcount_loc"),
    Table::list(".cfi_sites"),
    Table::list(".ibt_endbr_seal"),
    Table::list(".orc_unwind"),
    Table {
        name: ".data",
        size: 8,
        fields: [0; 3],
    },
];

/// Runs one input.
///
/// # Panics
///
/// When something does not hold that must hold of every run.
pub fn run(input: &[u8]) {
    if let Ok(program) = Program::arbitrary_take_rest(Unstructured::new(input)) {
        whole::check(&program.object(), &options(program.options));
    }
}

/// The object file that an input stands for, and its options, to look at one.
pub fn describe(input: &[u8]) -> Option<(Vec<u8>, [u8; OPTION_BYTES])> {
    let program = Program::arbitrary_take_rest(Unstructured::new(input)).ok()?;
    Some((program.object(), program.options))
}

/// One of a list, by any number.
fn pick<T>(list: &[T], number: u8) -> &T {
    &list[usize::from(number) % list.len()]
}

/// Code sections as they are put together: bytes, and where each piece starts.
#[derive(Default)]
struct Code {
    bytes: Vec<u8>,
    pieces: Vec<u64>,
    /// Displacements to be filled in: where, and to which piece.
    branches: Vec<(usize, u8)>,
    relocations: Vec<(u64, u32, Reference)>,
}

impl Code {
    /// Where a piece starts; every number is a piece's, and one past the last is the end.
    fn piece(&self, number: u8) -> u64 {
        let place = usize::from(number) % (self.pieces.len() + 1);
        *self.pieces.get(place).unwrap_or(&(self.bytes.len() as u64))
    }

    fn add(&mut self, piece: &Piece) {
        self.pieces.push(self.bytes.len() as u64);
        match piece {
            Piece::Plain(number) => self.bytes.extend(*pick(INSTRUCTIONS, *number)),
            Piece::Branch { how, to } => {
                self.bytes.extend(*pick(BRANCHES, *how));
                self.branches.push((self.bytes.len(), *to));
                self.bytes.extend([0; 4]);
            }
            Piece::Relocated { how, to } => {
                let (opcode, kind) = pick(RELOCATED, *how);
                self.bytes.extend(*opcode);
                self.relocations.push((self.bytes.len() as u64, *kind, *to));
                self.bytes.extend([0; 4]);
            }
            Piece::Section(_) => {}
            Piece::Store { value, to } => {
                self.bytes.extend(STORE);
                let place = self.bytes.len() as u64;
                self.relocations.push((place, relocation::PC32, *to));
                self.relocations.push((place + 4, ABSOLUTE, *value));
                self.bytes.extend([0; 8]);
            }
        }
    }

    fn finish(&mut self) {
        for (at, to) in std::mem::take(&mut self.branches) {
            let displacement = self.piece(to) as i64 - (at as i64 + 4);
            self.bytes[at..at + 4].copy_from_slice(&(displacement as i32).to_le_bytes());
        }
    }
}

impl Program {
    fn object(&self) -> Vec<u8> {
        let code = self.code();
        let mut image = Image::default();
        for (name, code) in CODE_SECTIONS.iter().zip(&code) {
            image.section(Section::code(name, code.bytes.clone()));
        }
        let tables: Vec<(usize, &Table)> = TABLES
            .iter()
            .enumerate()
            .filter(|(number, table)| !table.is_made() || self.entries_of(*number).next().is_some())
            .collect();
        for &(number, table) in &tables {
            let data = self
                .entries_of(number)
                .flat_map(|e| e.contents(table))
                .collect();
            image.section(Section::new(table.name, elf::ALLOC, data));
        }
        let first = image.section_symbols();
        assert_eq!(first, 1, "the symbol of a section has the section's number");
        self.add_symbols(&mut image, &code);

        let reference = |image: &Image, reference: Reference| resolve(image, &code, reference);
        for (number, code) in code.iter().enumerate() {
            for &(offset, kind, to) in &code.relocations {
                let (symbol, place) = reference(&image, to);
                // The field is the last of its instruction, so the distance is from its end.
                let addend = place - if kind == ABSOLUTE { 0 } else { 4 };
                image.sections[number].relocations.push(Relocation {
                    offset,
                    symbol,
                    kind,
                    addend,
                });
            }
        }
        for (place, &(number, table)) in tables.iter().enumerate() {
            for (index, entry) in self.entries_of(number).enumerate() {
                for (field, to) in table.fields.iter().zip(entry.fields) {
                    let Some(to) = to else { continue };
                    let (symbol, addend) = reference(&image, to);
                    let offset = index as u64 * table.size + field;
                    let section = &mut image.sections[CODE_SECTIONS.len() + place];
                    section.relocations.push(Relocation {
                        offset,
                        symbol,
                        kind: relocation::PC32,
                        addend,
                    });
                }
            }
        }
        image.bytes(X86_64::MACHINE)
    }

    fn code(&self) -> Vec<Code> {
        let mut code: Vec<Code> = CODE_SECTIONS.iter().map(|_| Code::default()).collect();
        let mut section = 0;
        for piece in &self.code {
            match piece {
                Piece::Section(number) => section = usize::from(*number) % CODE_SECTIONS.len(),
                piece => code[section].add(piece),
            }
        }
        code.iter_mut().for_each(Code::finish);
        code
    }

    fn entries_of(&self, table: usize) -> impl Iterator<Item = &Entry> {
        let is_here = move |e: &&Entry| usize::from(e.table) % TABLES.len() == table;
        self.entries.iter().filter(is_here)
    }

    /// Local symbols first, as a symbol table must have them.
    fn add_symbols(&self, image: &mut Image, code: &[Code]) {
        let sections = image.sections.len() + 1;
        let mut symbols: Vec<Symbol> = self
            .symbols
            .iter()
            .map(|new| {
                let section = usize::from(new.section) % sections;
                let (value, size) = match section.checked_sub(1).and_then(|i| code.get(i)) {
                    Some(code) => {
                        let start = code.piece(new.piece);
                        let end = code.piece(new.piece.saturating_add(new.pieces));
                        (start, end.saturating_sub(start))
                    }
                    None if section == usize::from(UNDEFINED) => (0, 0),
                    None => (u64::from(new.piece), u64::from(new.pieces)),
                };
                Symbol {
                    name: pick(NAMES, new.name).to_vec(),
                    // Local, global or weak; no type, object, function, section or file.
                    info: (((new.info >> 4) % 3) << 4) | ((new.info & 0xf) % 5),
                    section: section as u16,
                    value,
                    size,
                }
            })
            .collect();
        symbols.sort_by_key(|symbol| symbol.info >> 4 != 0);
        image.symbols.extend(symbols);
    }
}

impl Entry {
    /// Its bytes: those that the fuzzer gave, over and over.
    fn contents(&self, table: &Table) -> Vec<u8> {
        let len = table.size as usize;
        self.bytes
            .iter()
            .copied()
            .cycle()
            .skip(len % 2)
            .take(len)
            .collect()
    }
}

/// Symbol and addend of a reference.
fn resolve(image: &Image, code: &[Code], reference: Reference) -> (u32, i64) {
    let symbol = usize::from(reference.symbol) % (image.symbols.len() + 1);
    let delta = i64::from(reference.delta);
    let Some(found) = symbol.checked_sub(1).map(|i| &image.symbols[i]) else {
        return (0, delta);
    };
    let mut place = delta;
    if found.info == elf::SECTION_SYMBOL {
        let section = usize::from(found.section).checked_sub(1);
        place += match section.and_then(|i| code.get(i)) {
            Some(code) => code.piece(reference.piece) as i64,
            // Tables of jumps have entries of eight bytes.
            None => i64::from(reference.piece) * 8,
        };
    }
    (symbol as u32, place)
}
