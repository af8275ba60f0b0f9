//! The commonest instructions, decoded by a few table lookups.
//!
//! Eight of ten instructions of a kernel are moves, arithmetic, direct branches, pushes and pops in
//! a handful of encodings, and of those a build has to know the length and little else. Decoding
//! them here takes a fifth of what a full decoder takes, which would be a third of all that
//! objtool-rs does. What this file is not sure of it leaves to the full decoder; that both agree on
//! every opcode is a test. Encodings are those of the Intel SDM volume 2, appendix A.

use arch::insn::{Dest, Insn, InsnKind, Reg, Source, StackOp};

use crate::reg;

/// The longest instruction there is; no code this near to its end is looked at.
const LONGEST: usize = 15;

/// What follows an opcode; nothing but the length matters, unless noted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Not known here.
    Other,
    /// Operands in a ModRM byte.
    Operands,
    /// The same, with arithmetic into the first operand.
    Arithmetic,
    /// The same, with a constant of 8 bits.
    ArithmeticByte,
    /// The same, with a constant of 32 bits.
    ArithmeticWord,
    /// Operands and a constant of 8 bits.
    OperandsByte,
    /// Operands and a constant of 32 bits.
    OperandsWord,
    /// As `OperandsByte`, but the register field must be 0.
    StoreByte,
    /// As `OperandsWord`, but the register field must be 0.
    StoreWord,
    /// Shifts: as `Operands` or `OperandsByte`, but for register field 6.
    Shift,
    ShiftByte,
    /// As `Operands`, for register fields 0 and 1.
    Step,
    /// As `Operands`, for register fields from 2 on.
    Unary,
    /// As `OperandsByte`, for register fields from 4 on.
    BitByte,
    /// A move to a register or to memory: matters where it is a whole register's.
    Store,
    /// A move to a register: matters where it comes from the frame.
    Load,
    /// An address: matters unless it has an index or is relative to the instruction.
    Address,
    /// A constant of 8 bits.
    Byte,
    /// A constant of 32 bits.
    Word,
    /// A constant as wide as the operand.
    Wide,
    /// Nothing.
    Bare,
    /// A push or pop of a register.
    Push,
    Pop,
    /// Direct branches.
    Call,
    JumpByte,
    JumpWord,
    BranchByte,
    BranchWord,
    Return,
    Trap,
    Bug,
    /// A nop of one byte, and one with operands.
    Nop,
    LongNop,
}

const fn one_byte() -> [Form; 256] {
    let mut forms = [Form::Other; 256];
    let mut op = 0;
    // add, or, adc, sbb, and, sub, xor, cmp
    while op < 0x40 {
        forms[op] = Form::Operands;
        forms[op + 1] = Form::Arithmetic;
        forms[op + 2] = Form::Operands;
        forms[op + 3] = Form::Operands;
        forms[op + 4] = Form::Byte;
        forms[op + 5] = Form::Word;
        op += 8;
    }
    let mut i = 0;
    while i < 8 {
        forms[0x50 + i] = Form::Push;
        forms[0x58 + i] = Form::Pop;
        forms[0xb0 + i] = Form::Byte;
        forms[0xb8 + i] = Form::Wide;
        forms[0x70 + i] = Form::BranchByte;
        forms[0x78 + i] = Form::BranchByte;
        i += 1;
    }
    forms[0x63] = Form::Operands;
    forms[0x69] = Form::OperandsWord;
    forms[0x6b] = Form::OperandsByte;
    forms[0x80] = Form::OperandsByte;
    forms[0x81] = Form::ArithmeticWord;
    forms[0x83] = Form::ArithmeticByte;
    forms[0x84] = Form::Operands;
    forms[0x85] = Form::Operands;
    forms[0x88] = Form::Operands;
    forms[0x89] = Form::Store;
    forms[0x8a] = Form::Operands;
    forms[0x8b] = Form::Load;
    forms[0x8d] = Form::Address;
    forms[0x90] = Form::Nop;
    forms[0x98] = Form::Bare;
    forms[0x99] = Form::Bare;
    forms[0xa8] = Form::Byte;
    forms[0xa9] = Form::Word;
    forms[0xc0] = Form::ShiftByte;
    forms[0xc1] = Form::ShiftByte;
    forms[0xc3] = Form::Return;
    forms[0xc6] = Form::StoreByte;
    forms[0xc7] = Form::StoreWord;
    forms[0xcc] = Form::Trap;
    forms[0xd0] = Form::Shift;
    forms[0xd1] = Form::Shift;
    forms[0xd2] = Form::Shift;
    forms[0xd3] = Form::Shift;
    forms[0xe8] = Form::Call;
    forms[0xe9] = Form::JumpWord;
    forms[0xeb] = Form::JumpByte;
    forms[0xf6] = Form::Unary;
    forms[0xf7] = Form::Unary;
    forms[0xfe] = Form::Step;
    forms[0xff] = Form::Step;
    forms
}

/// Opcodes behind the byte 0f.
const fn two_bytes() -> [Form; 256] {
    let mut forms = [Form::Other; 256];
    let mut i = 0;
    while i < 16 {
        forms[0x40 + i] = Form::Operands;
        forms[0x80 + i] = Form::BranchWord;
        forms[0x90 + i] = Form::Operands;
        i += 1;
    }
    forms[0x0b] = Form::Bug;
    forms[0x1f] = Form::LongNop;
    forms[0xa3] = Form::Operands;
    forms[0xab] = Form::Operands;
    forms[0xaf] = Form::Operands;
    forms[0xb3] = Form::Operands;
    forms[0xb6] = Form::Operands;
    forms[0xb7] = Form::Operands;
    forms[0xba] = Form::BitByte;
    forms[0xbb] = Form::Operands;
    forms[0xbe] = Form::Operands;
    forms[0xbf] = Form::Operands;
    forms
}

const ONE_BYTE: [Form; 256] = one_byte();
const TWO_BYTES: [Form; 256] = two_bytes();

static FORMS: [[Form; 256]; 2] = [ONE_BYTE, TWO_BYTES];

/// What follows an opcode where it makes an instruction that does nothing that matters.
#[derive(Clone, Copy)]
struct Shape {
    /// Kinds of operands with which it may be another one.
    unless: u16,
    /// Bytes of the constant.
    constant: u8,
    /// All bits if there are operands, none if not.
    operands: u8,
}

// Kinds of ModRM bytes, as bits.
/// A register.
const REGISTER: u16 = 1 << 0;
/// What may be the stack pointer.
const STACK: u16 = 1 << 1;
/// Memory at what may be the stack or frame pointer.
const FRAME: u16 = 1 << 2;
/// By the register field.
const FIELD_4: u16 = 1 << 3;
const FIELD_6: u16 = 1 << 4;
const FIELD_NOT_0: u16 = 1 << 5;
const FIELD_FROM_2: u16 = 1 << 6;
const FIELD_BELOW_2: u16 = 1 << 7;
const FIELD_BELOW_4: u16 = 1 << 8;
/// Every one: nothing can be said by the opcode.
const ALL: u16 = 1 << 9;

const fn shape(form: Form, is_wide: bool, is_short: bool) -> Shape {
    let (has_operands, constant, unless) = match form {
        Form::Operands => (true, 0, 0),
        Form::OperandsByte => (true, 1, 0),
        Form::OperandsWord if !is_short => (true, 4, 0),
        Form::Arithmetic => (true, 0, STACK),
        Form::ArithmeticByte => (true, 1, STACK),
        Form::ArithmeticWord if !is_short => (true, 4, STACK),
        Form::StoreByte => (true, 1, FIELD_NOT_0),
        Form::StoreWord if !is_short => (true, 4, FIELD_NOT_0),
        Form::Shift => (true, 0, FIELD_6),
        Form::ShiftByte => (true, 1, FIELD_6),
        Form::Step => (true, 0, FIELD_FROM_2),
        Form::Unary => (true, 0, FIELD_BELOW_2),
        Form::BitByte => (true, 1, FIELD_BELOW_4),
        Form::Store if is_wide => (true, 0, REGISTER | FRAME | FIELD_4),
        Form::Load if is_wide => (true, 0, FRAME),
        Form::Store | Form::Load => (true, 0, 0),
        Form::Byte => (false, 1, 0),
        Form::Word if !is_short => (false, 4, 0),
        Form::Wide if !is_short => (false, if is_wide { 8 } else { 4 }, 0),
        Form::Bare => (false, 0, 0),
        _ => (false, 0, ALL),
    };
    Shape {
        unless,
        constant,
        operands: if has_operands { u8::MAX } else { 0 },
    }
}

/// Opcodes, those behind the byte 0f after the others, by whether operands are wide (1) and whether
/// they are short (2).
const fn shapes() -> [[Shape; 512]; 4] {
    let mut shapes = [[shape(Form::Other, false, false); 512]; 4];
    let mut prefix = 0;
    while prefix < 4 {
        let (is_wide, is_short) = (prefix & 1 != 0, prefix & 2 != 0);
        let mut op = 0;
        while op < 256 {
            shapes[prefix][op] = shape(ONE_BYTE[op], is_wide, is_short);
            shapes[prefix][256 + op] = shape(TWO_BYTES[op], is_wide, is_short);
            op += 1;
        }
        prefix += 1;
    }
    shapes
}

/// A ModRM byte: what kinds of operands it is, and its length with what follows, but for what only a
/// SIB byte can say.
#[derive(Clone, Copy)]
struct Operands {
    kinds: u16,
    len: u8,
}

const fn bit(is: bool, bit: u16) -> u16 {
    if is {
        bit
    } else {
        0
    }
}

const fn operands() -> [Operands; 256] {
    let mut all = [Operands { kinds: 0, len: 0 }; 256];
    let mut modrm = 0;
    while modrm < 256 {
        let (form, field, low) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
        let is_register = form == 3;
        let is_relative = form == 0 && low == 5;
        let is_frame = !is_register && !is_relative && (low == 4 || low == 5);
        all[modrm] = Operands {
            kinds: ALL
                | bit(is_register, REGISTER)
                | bit(is_register && low == 4, STACK)
                | bit(is_frame, FRAME)
                | bit(field == 4, FIELD_4)
                | bit(field == 6, FIELD_6)
                | bit(field != 0, FIELD_NOT_0)
                | bit(field >= 2, FIELD_FROM_2)
                | bit(field < 2, FIELD_BELOW_2)
                | bit(field < 4, FIELD_BELOW_4),
            len: 1
                + (!is_register && low == 4) as u8
                + match form {
                    0 if is_relative => 4,
                    1 => 1,
                    2 => 4,
                    _ => 0,
                },
        };
        modrm += 1;
    }
    all
}

static SHAPES: [[Shape; 512]; 4] = shapes();
static OPERANDS: [Operands; 256] = operands();

/// The length of the first instruction of code, if it is one that does nothing that matters and can
/// be told with hardly any branch. Most can, and that is an eighth off the time of all decoding: which
/// form the next instruction has is what the processor can't foresee.
#[inline]
pub(crate) fn plain(code: &[u8]) -> Option<u8> {
    let start: &[u8; LONGEST] = code.first_chunk()?;
    // All that is looked at is in the first eight bytes. They are shifted along: to load each from
    // where it stands takes several times as long, and the next one has to wait for it.
    let mut bytes = u64::from_le_bytes(*start.first_chunk()?);
    let first = bytes as u8;
    let is_short = first == 0x66;
    let has_prefix = is_short | (first == 0x65);
    bytes >>= u32::from(has_prefix) * 8;
    let rex = bytes as u8;
    let is_rex = rex & 0xf0 == 0x40;
    let is_wide = rex & 0xf8 == 0x48;
    bytes >>= u32::from(is_rex) * 8;
    let is_escaped = bytes as u8 == 0x0f;
    bytes >>= u32::from(is_escaped) * 8;
    let prefix = usize::from(is_wide) | usize::from(is_short) << 1;
    let shape = SHAPES[prefix][usize::from(is_escaped) << 8 | usize::from(bytes as u8)];
    let modrm = (bytes >> 8) as u8;
    let operands = OPERANDS[usize::from(modrm)];
    if operands.kinds & shape.unless != 0 {
        return None;
    }
    // A SIB byte without a base has a constant instead.
    let is_baseless = modrm & 0xc7 == 4 && (bytes >> 16) & 7 == 5;
    let operands = (operands.len + u8::from(is_baseless) * 4) & shape.operands;
    let before = u8::from(has_prefix) + u8::from(is_rex) + u8::from(is_escaped);
    let len = before + 1 + operands + shape.constant;
    Some(len)
}

/// An instruction that does nothing that matters, of a length in bytes.
#[inline]
pub(crate) const fn other(len: u8) -> Insn {
    Insn { len, ..OTHER }
}

/// `endbr64`, which begins functions.
const LANDING_PAD: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// An instruction that does nothing that matters.
const OTHER: Insn = Insn {
    len: 0,
    kind: InsnKind::Other,
    displacement: 0,
    interrupt_return: false,
    ops: [None; 2],
    touches_frame: false,
    touches_stack: false,
    note: None,
};

/// The first instruction of code, if it is one of the common ones; [`Insn::touches_frame`] and
/// [`Insn::touches_stack`] are not worked out.
#[inline]
pub(crate) fn decode(code: &[u8]) -> Option<Insn> {
    let code: &[u8; LONGEST] = code.first_chunk()?;
    if code.starts_with(&LANDING_PAD) {
        return Some(Insn {
            len: LANDING_PAD.len() as u8,
            kind: InsnKind::LandingPad,
            ..OTHER
        });
    }
    let mut at = 0;
    let is_short = code[0] == 0x66;
    // Short operands, or a segment: neither changes what an instruction does to a frame.
    if is_short || code[0] == 0x65 {
        at = 1;
    }
    let has_prefix = at != 0;
    let rex = if code[at] & 0xf0 == 0x40 {
        at += 1;
        code[at - 1]
    } else {
        0
    };
    let form = if code[at] == 0x0f {
        at += 1;
        FORMS[1][usize::from(code[at])]
    } else {
        FORMS[0][usize::from(code[at])]
    };
    let opcode = code[at];
    at += 1;
    let is_bare = !has_prefix && rex == 0;
    let (wide, modrm) = (rex & 8 != 0, code[at]);
    let field = modrm >> 3 & 7;
    let is_register = modrm >= 0xc0;
    // Low bits of the operand; all of the register's number but the bit in the prefix.
    let low = modrm & 7;
    // Arithmetic into what may be the stack pointer.
    let may_be_stack = is_register && low == 4;

    let mut insn = OTHER;
    let constant = match form {
        Form::Other => return None,
        Form::Operands => 0,
        Form::OperandsByte => 1,
        Form::Arithmetic if !may_be_stack => 0,
        Form::ArithmeticByte if !may_be_stack => 1,
        Form::ArithmeticWord if !may_be_stack && !is_short => 4,
        Form::OperandsWord if !is_short => 4,
        Form::StoreByte if field == 0 => 1,
        Form::StoreWord if field == 0 && !is_short => 4,
        Form::Shift if field != 6 => 0,
        Form::ShiftByte if field != 6 => 1,
        Form::Step if field < 2 => 0,
        Form::Unary if field >= 2 => 0,
        Form::BitByte if field >= 4 => 1,
        Form::Store if wide && is_register => {
            insn.ops[0] = Some(StackOp {
                dest: Dest::Reg(Reg(low | (rex & 1) << 3)),
                source: Source::Reg(Reg(field | (rex & 4) << 1)),
            });
            0
        }
        // Neither the stack pointer nor anything at it or at the frame pointer.
        Form::Store if !wide || (field != 4 && (low != 4 && low != 5 || modrm & 0xc7 == 5)) => 0,
        Form::Load if !wide || is_register || (low != 4 && low != 5) || modrm & 0xc7 == 5 => 0,
        Form::Store if !is_short => {
            let source = Reg(field | (rex & 4) << 1);
            insn.ops[0] = place(code, at, rex)
                .filter(|&(base, _)| source == reg::RSP || is_frame(base))
                .map(|(base, offset)| StackOp {
                    dest: Dest::Mem { base, offset },
                    source: Source::Reg(source),
                });
            0
        }
        Form::Load if !is_short => {
            insn.ops[0] = place(code, at, rex)
                .filter(|&(base, _)| is_frame(base))
                .map(|(base, offset)| StackOp {
                    dest: Dest::Reg(Reg(field | (rex & 4) << 1)),
                    source: Source::Mem { base, offset },
                });
            0
        }
        Form::Address if wide && !is_short && !is_register => {
            insn.ops[0] = place(code, at, rex).map(|(reg, offset)| StackOp {
                dest: Dest::Reg(Reg(field | (rex & 4) << 1)),
                source: match offset {
                    0 => Source::Reg(reg),
                    _ => Source::Add { reg, offset },
                },
            });
            0
        }
        Form::LongNop if field == 0 && code[0] != 0x65 => {
            insn.kind = InsnKind::Nop;
            0
        }
        _ => return without_operands(code, at, form, opcode, rex, is_short, is_bare, insn),
    };
    insn.len = (operands_end(code, at) + constant) as u8;
    Some(insn)
}

fn is_frame(base: Reg) -> bool {
    base == reg::RSP || base == reg::RBP
}

/// The operand in memory of a ModRM byte, if it is one register and a constant.
#[inline]
fn place(code: &[u8; LONGEST], at: usize, rex: u8) -> Option<(Reg, i32)> {
    let modrm = code[at];
    let (form, low) = (modrm >> 6, modrm & 7);
    let mut base = low;
    let mut end = at + 1;
    if low == 4 {
        let sib = code[end];
        let has_index = sib >> 3 & 7 != 4 || rex & 2 != 0;
        base = sib & 7;
        end += 1;
        if has_index || (form == 0 && base == 5) {
            return None;
        }
    } else if form == 0 && low == 5 {
        return None;
    }
    let offset = match form {
        0 => 0,
        1 => i32::from(code[end] as i8),
        _ => i32::from_le_bytes([code[end], code[end + 1], code[end + 2], code[end + 3]]),
    };
    Some((Reg(base | (rex & 1) << 3), offset))
}

/// Where the operands of a ModRM byte end.
#[inline]
fn operands_end(code: &[u8; LONGEST], at: usize) -> usize {
    let modrm = code[at];
    let (form, low) = (modrm >> 6, modrm & 7);
    let mut end = at + 1;
    if form == 3 {
        return end;
    }
    let mut is_based = true;
    if low == 4 {
        is_based = code[end] & 7 != 5;
        end += 1;
    }
    end + match form {
        0 if low == 5 || !is_based => 4,
        0 => 0,
        1 => 1,
        _ => 4,
    }
}

#[inline]
#[allow(clippy::too_many_arguments, reason = "the parts of one encoding")]
fn without_operands(
    code: &[u8; LONGEST],
    at: usize,
    form: Form,
    opcode: u8,
    rex: u8,
    is_short: bool,
    is_bare: bool,
    mut insn: Insn,
) -> Option<Insn> {
    let byte = i32::from(code[at] as i8);
    let word = i32::from_le_bytes([code[at], code[at + 1], code[at + 2], code[at + 3]]);
    let register = Reg(opcode & 7 | (rex & 1) << 3);
    let constant = match form {
        Form::Byte => 1,
        Form::Word if !is_short => 4,
        Form::Wide if !is_short => 4 + 4 * usize::from(rex >> 3 & 1),
        Form::Bare => 0,
        Form::Push if !is_short => {
            insn.ops[0] = Some(StackOp {
                dest: Dest::Push,
                source: Source::Reg(register),
            });
            0
        }
        Form::Pop if !is_short && register != reg::RSP => {
            insn.ops[0] = Some(StackOp {
                dest: Dest::Reg(register),
                source: Source::Pop,
            });
            0
        }
        // What follows is only known without any prefix.
        _ if !is_bare => return None,
        Form::Call => {
            insn.kind = InsnKind::Call;
            insn.displacement = word;
            insn.ops[0] = Some(StackOp {
                dest: Dest::Push,
                source: Source::Const,
            });
            4
        }
        Form::JumpWord | Form::BranchWord | Form::JumpByte | Form::BranchByte => {
            let is_jump = matches!(form, Form::JumpWord | Form::JumpByte);
            let is_word = matches!(form, Form::JumpWord | Form::BranchWord);
            insn.kind = if is_jump {
                InsnKind::JumpUnconditional
            } else {
                InsnKind::JumpConditional
            };
            insn.displacement = if is_word { word } else { byte };
            if is_word {
                4
            } else {
                1
            }
        }
        Form::Return => {
            insn.kind = InsnKind::Return;
            0
        }
        Form::Trap => {
            insn.kind = InsnKind::Trap;
            0
        }
        Form::Bug => {
            insn.kind = InsnKind::Bug;
            0
        }
        Form::Nop => {
            insn.kind = InsnKind::Nop;
            0
        }
        _ => return None,
    };
    insn.len = (at + constant) as u8;
    Some(insn)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::decode::full;

    /// Everything before the opcode that is looked at here, and some more.
    fn prefixes() -> Vec<Vec<u8>> {
        let mut prefixes: Vec<Vec<u8>> = Vec::new();
        for legacy in [&[][..], &[0x66], &[0x65], &[0xf3], &[0x2e], &[0x66, 0x65]] {
            prefixes.push(legacy.to_vec());
            for rex in [
                0x40, 0x41, 0x42, 0x44, 0x45, 0x48, 0x49, 0x4a, 0x4c, 0x4d, 0x4f,
            ] {
                prefixes.push([legacy, &[rex]].concat());
            }
        }
        prefixes
    }

    #[test]
    fn what_is_decoded_here_is_what_the_full_decoder_makes_of_it() {
        let (mut common, mut plains) = (0_u32, 0_u32);
        for prefix in prefixes() {
            for (escape, opcode) in [&[][..], &[0x0f]]
                .into_iter()
                .flat_map(|escape| (0..=255_u8).map(move |opcode| (escape, opcode)))
            {
                for modrm in 0..=255_u8 {
                    let has_sib = modrm < 0xc0 && modrm & 7 == 4;
                    let sibs: &[u8] = if has_sib {
                        &[0x24, 0x25, 0x64, 0xc5]
                    } else {
                        &[0x81]
                    };
                    let tails = [[0xf0, 0x7f, 0x12, 0x80, 0x56], [0; 5]];
                    for (&sib, tail) in sibs.iter().flat_map(|sib| tails.map(|tail| (sib, tail))) {
                        let mut code = prefix.clone();
                        code.extend_from_slice(escape);
                        code.extend([opcode, modrm, sib]);
                        code.extend(tail);
                        code.resize(LONGEST + 1, 0xcc);
                        let decoded = decode(&code);
                        if let Some(insn) = decoded {
                            common += 1;
                            assert_eq!(full(&code), Some(insn), "{code:02x?}");
                        }
                        if let Some(len) = plain(&code) {
                            plains += 1;
                            assert_eq!(decoded, Some(other(len)), "{code:02x?}");
                        }
                    }
                }
            }
        }
        assert!(common > 500_000, "only {common}");
        assert!(plains > 400_000, "only {plains}");
    }

    #[test]
    fn the_end_of_code_is_left_to_the_full_decoder() {
        assert_eq!(decode(&[0x90; LONGEST - 1]), None);
        assert!(decode(&[0x90; LONGEST]).is_some());
    }
}
