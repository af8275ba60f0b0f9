//! ORC entries as text, in the form of the kernel's objtool.

use std::format;
use std::string::String;

use crate::orc::{base, kind};

/// The words for an entry of [`arch::orc::Orc::ENTRY_SIZE`] bytes.
pub fn describe(entry: &[u8; 6]) -> String {
    let sp_offset = i16::from_le_bytes([entry[0], entry[1]]);
    let bp_offset = i16::from_le_bytes([entry[2], entry[3]]);
    let kind = match entry[5] & 7 {
        kind::UNDEFINED => "(und)",
        kind::END_OF_STACK => "end",
        kind::CALL => "call",
        kind::REGS => "regs",
        kind::REGS_PARTIAL => "regs (partial)",
        _ => "?",
    };
    format!(
        "type:{kind} sp:{} bp:{} signal:{}",
        place(entry[4] & 0xf, sp_offset),
        place(entry[4] >> 4, bp_offset),
        entry[5] >> 3 & 1
    )
}

fn place(reg: u8, offset: i16) -> String {
    let name = match reg {
        base::UNDEFINED => return "(und)".into(),
        base::BP_INDIRECT => return format!("(bp{offset:+})"),
        base::SP_INDIRECT => return format!("(sp){offset:+}"),
        base::PREV_SP => "prevsp",
        base::DX => "dx",
        base::DI => "di",
        base::BP => "bp",
        base::SP => "sp",
        base::R10 => "r10",
        base::R13 => "r13",
        _ => "?",
    };
    format!("{name}{offset:+}")
}
