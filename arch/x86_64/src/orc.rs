//! The layout of ORC entries (`arch/x86/include/asm/orc_types.h` of Linux 6.12).
//!
//! Two 16-bit offsets, for the stack pointer and the frame pointer, then 16 bits of fields: base
//! registers of four bits each, a type of three, and the signal flag.

use arch::object::{Base, Rule};
use arch::orc::{Entry, Frame, FrameKind, Orc, Unencodable};

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
