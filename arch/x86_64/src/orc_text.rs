//! ORC entries as text, in the form of the kernel's objtool.

use core::fmt::{Result, Write};

use arch::orc::Describe;

use crate::orc::{base, kind};
use crate::X86_64;

impl Describe for X86_64 {
    fn describe(&self, entry: &[u8], out: &mut dyn Write) -> Result {
        let &[a, b, c, d, regs, flags] = entry else {
            return out.write_str("?");
        };
        let kind = match flags & 7 {
            kind::UNDEFINED => "(und)",
            kind::END_OF_STACK => "end",
            kind::CALL => "call",
            kind::REGS => "regs",
            kind::REGS_PARTIAL => "regs (partial)",
            _ => "?",
        };
        write!(out, "type:{kind} sp:")?;
        place(out, regs & 0xf, i16::from_le_bytes([a, b]))?;
        out.write_str(" bp:")?;
        place(out, regs >> 4, i16::from_le_bytes([c, d]))?;
        write!(out, " signal:{}", flags >> 3 & 1)
    }
}

fn place(out: &mut dyn Write, reg: u8, offset: i16) -> Result {
    let name = match reg {
        base::UNDEFINED => return out.write_str("(und)"),
        base::BP_INDIRECT => return write!(out, "(bp{offset:+})"),
        base::SP_INDIRECT => return write!(out, "(sp){offset:+}"),
        base::PREV_SP => "prevsp",
        base::DX => "dx",
        base::DI => "di",
        base::BP => "bp",
        base::SP => "sp",
        base::R10 => "r10",
        base::R13 => "r13",
        _ => "?",
    };
    write!(out, "{name}{offset:+}")
}
