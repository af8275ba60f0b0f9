//! The layout of ORC entries (`arch/x86/include/asm/orc_types.h` of Linux 6.12).
//!
//! Two 16-bit offsets, for the stack pointer and the frame pointer, then 16 bits of fields: base
//! registers of four bits each, a type of three, and the signal flag.

use arch::object::{Base, Rule};
use arch::orc::{Decode, Entry, Frame, FrameKind, Orc, Unencodable};

use crate::{reg, X86_64};

/// Numbers of the base registers.
pub mod base {
    /// Unchanged, or not known.
    pub const UNDEFINED: u8 = 0;
    /// The caller's stack pointer.
    pub const PREV_SP: u8 = 1;
    /// rdx.
    pub const DX: u8 = 2;
    /// rdi.
    pub const DI: u8 = 3;
    /// rbp.
    pub const BP: u8 = 4;
    /// rsp.
    pub const SP: u8 = 5;
    /// r10.
    pub const R10: u8 = 6;
    /// r13.
    pub const R13: u8 = 7;
    /// What rbp points at.
    pub const BP_INDIRECT: u8 = 8;
    /// What rsp points at.
    pub const SP_INDIRECT: u8 = 9;
}

/// Numbers of the types.
pub mod kind {
    /// Nothing is known.
    pub const UNDEFINED: u8 = 0;
    /// The stack ends here.
    pub const END_OF_STACK: u8 = 1;
    /// A function's frame.
    pub const CALL: u8 = 2;
    /// A full set of saved registers.
    pub const REGS: u8 = 3;
    /// The frame that the processor pushed.
    pub const REGS_PARTIAL: u8 = 4;
}

impl Orc for X86_64 {
    const ENTRY_SIZE: usize = 6;

    fn encode(&self, frame: &Frame) -> Result<Entry, Unencodable> {
        let kind = match frame.kind {
            // Nothing else in such an entry means anything.
            FrameKind::Undefined => {
                return Ok(pack(Rule::UNDEFINED, 0, Rule::UNDEFINED, 0, 0, false))
            }
            FrameKind::EndOfStack => {
                let (none, zero) = (Rule::UNDEFINED, base::UNDEFINED);
                return Ok(pack(none, zero, none, zero, kind::END_OF_STACK, false));
            }
            FrameKind::Call => kind::CALL,
            FrameKind::Regs => kind::REGS,
            FrameKind::RegsPartial => kind::REGS_PARTIAL,
        };
        // A frame of more than 32 KiB. Cut off, the distance would lead an unwinder astray.
        let fits = |rule: Rule| i16::try_from(rule.offset).is_ok() || rule.base == Base::Undefined;
        if !fits(frame.cfa) || !fits(frame.frame_pointer) {
            return Ok(pack(Rule::UNDEFINED, 0, Rule::UNDEFINED, 0, 0, false));
        }
        let sp = match frame.cfa.base {
            Base::Reg(r) if r == reg::RSP => base::SP,
            Base::Reg(r) if r == reg::RBP => base::BP,
            Base::Reg(r) if r == reg::R10 => base::R10,
            Base::Reg(r) if r == reg::R13 => base::R13,
            Base::Reg(r) if r == reg::RDI => base::DI,
            Base::Reg(r) if r == reg::RDX => base::DX,
            Base::StackPointerIndirect => base::SP_INDIRECT,
            Base::FramePointerIndirect => base::BP_INDIRECT,
            other => return Err(Unencodable::Cfa(other)),
        };
        let bp = match frame.frame_pointer.base {
            Base::Undefined => base::UNDEFINED,
            Base::Cfa => base::PREV_SP,
            Base::Reg(r) if r == reg::RBP => base::BP,
            other => return Err(Unencodable::FramePointer(other)),
        };
        Ok(pack(
            frame.cfa,
            sp,
            frame.frame_pointer,
            bp,
            kind,
            frame.signal,
        ))
    }
}

fn pack(cfa: Rule, sp: u8, frame_pointer: Rule, bp: u8, kind: u8, signal: bool) -> Entry {
    let [a, b] = (cfa.offset as i16).to_le_bytes();
    let [c, d] = (frame_pointer.offset as i16).to_le_bytes();
    let flags = kind | (signal as u8) << 3;
    [a, b, c, d, sp | bp << 4, flags, 0, 0]
}

/// What the types say, by number.
const KINDS: [Option<FrameKind>; 8] = {
    let mut kinds = [None; 8];
    kinds[kind::UNDEFINED as usize] = Some(FrameKind::Undefined);
    kinds[kind::END_OF_STACK as usize] = Some(FrameKind::EndOfStack);
    kinds[kind::CALL as usize] = Some(FrameKind::Call);
    kinds[kind::REGS as usize] = Some(FrameKind::Regs);
    kinds[kind::REGS_PARTIAL as usize] = Some(FrameKind::RegsPartial);
    kinds
};

/// What the caller's stack pointer may be from, by number.
const CFA_BASES: [Option<Base>; 16] = {
    let mut bases = [None; 16];
    bases[base::UNDEFINED as usize] = Some(Base::Undefined);
    bases[base::SP as usize] = Some(Base::Reg(reg::RSP));
    bases[base::BP as usize] = Some(Base::Reg(reg::RBP));
    bases[base::R10 as usize] = Some(Base::Reg(reg::R10));
    bases[base::R13 as usize] = Some(Base::Reg(reg::R13));
    bases[base::DI as usize] = Some(Base::Reg(reg::RDI));
    bases[base::DX as usize] = Some(Base::Reg(reg::RDX));
    bases[base::SP_INDIRECT as usize] = Some(Base::StackPointerIndirect);
    bases[base::BP_INDIRECT as usize] = Some(Base::FramePointerIndirect);
    bases
};

/// What the caller's frame pointer may be from, by number.
const FRAME_POINTER_BASES: [Option<Base>; 16] = {
    let mut bases = [None; 16];
    bases[base::UNDEFINED as usize] = Some(Base::Undefined);
    bases[base::PREV_SP as usize] = Some(Base::Cfa);
    bases[base::BP as usize] = Some(Base::Reg(reg::RBP));
    bases
};

impl Decode for X86_64 {
    type Entry = [u8; 6];

    #[inline]
    fn kind([.., flags]: [u8; 6]) -> Option<FrameKind> {
        KINDS[usize::from(flags & 7)]
    }

    #[inline]
    fn decode(entry @ [a, b, c, d, regs, flags]: [u8; 6]) -> Option<Frame> {
        let kind = Self::kind(entry)?;
        let cfa = CFA_BASES[usize::from(regs & 0xf)]?;
        let frame_pointer = FRAME_POINTER_BASES[usize::from(regs >> 4)]?;
        Some(Frame {
            kind,
            signal: flags >> 3 & 1 != 0,
            cfa: Rule::new(cfa, i32::from(i16::from_le_bytes([a, b]))),
            frame_pointer: Rule::new(frame_pointer, i32::from(i16::from_le_bytes([c, d]))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_again() {
        let kinds = [FrameKind::Call, FrameKind::Regs, FrameKind::RegsPartial];
        let registers = [reg::RSP, reg::RBP, reg::R10, reg::R13, reg::RDI, reg::RDX];
        let mut bases: [Base; 8] = [Base::StackPointerIndirect; 8];
        bases[7] = Base::FramePointerIndirect;
        for (base, register) in bases.iter_mut().zip(registers) {
            *base = Base::Reg(register);
        }
        let saved = [Base::Undefined, Base::Cfa, Base::Reg(reg::RBP)];
        let mut count = 0;
        for kind in kinds {
            for (cfa, fp) in bases.iter().flat_map(|b| saved.map(|s| (*b, s))) {
                for (offset, signal) in [(-32768, false), (-16, true), (0, false), (32767, true)] {
                    let frame = Frame {
                        kind,
                        signal,
                        cfa: Rule::new(cfa, offset),
                        frame_pointer: Rule::new(fp, -offset / 2),
                    };
                    let [a, b, c, d, e, f, ..] = X86_64.encode(&frame).unwrap();
                    assert_eq!(X86_64::decode([a, b, c, d, e, f]), Some(frame));
                    count += 1;
                }
            }
        }
        assert_eq!(count, 3 * 8 * 3 * 4);
    }

    #[test]
    fn entries_that_mean_nothing_are_refused() {
        for entry in [
            [0, 0, 0, 0, base::SP, 5],
            [0, 0, 0, 0, base::PREV_SP, kind::CALL],
            [0, 0, 0, 0, 10, kind::CALL],
            [0, 0, 0, 0, base::SP | base::SP << 4, kind::CALL],
        ] {
            assert_eq!(X86_64::decode(entry), None, "{entry:?}");
        }
    }
}
