//! Entries of ORC data in words short enough for a note.
//!
//! Layout: `struct orc_entry` in `arch/x86/include/asm/orc_types.h`. Written for the tests alone, so
//! that a mistake in the tool's own encoding can't hide here too.

/// The section of entries.
pub const ENTRIES: &str = ".orc_unwind";
/// The section of the places where they begin to hold.
pub const ADDRESSES: &str = ".orc_unwind_ip";
/// Bytes of an entry.
pub const SIZE: usize = 6;

/// Bases, by number.
const BASES: [&str; 10] = [
    "undefined",
    "prevsp",
    "dx",
    "di",
    "bp",
    "sp",
    "r10",
    "r13",
    "(bp)",
    "(sp)",
];
/// Types, by number.
const TYPES: [&str; 5] = ["undefined", "end", "call", "regs", "partial regs"];

/// An entry of [`SIZE`] bytes: its type, where the caller's stack pointer is, and the caller's frame
/// pointer where it is not in its register.
pub fn describe(entry: &[u8]) -> String {
    let &[sp_low, sp_high, bp_low, bp_high, registers, kind] = entry else {
        return format!("{entry:02x?}");
    };
    let base = |number: u8, low: u8, high: u8| {
        let base = BASES.get(usize::from(number)).copied().unwrap_or("?");
        format!("{base}{:+}", i16::from_le_bytes([low, high]))
    };
    let name = TYPES.get(usize::from(kind & 7)).copied().unwrap_or("?");
    let mut text = name.to_owned();
    if registers & 15 != 0 || sp_low | sp_high != 0 {
        text.push_str(&format!(" {}", base(registers & 15, sp_low, sp_high)));
    }
    if registers >> 4 != 0 || bp_low | bp_high != 0 {
        text.push_str(&format!(
            ", bp at {}",
            base(registers >> 4, bp_low, bp_high)
        ));
    }
    if kind & 8 != 0 {
        text.push_str(", signal");
    }
    if kind & 0xf0 != 0 {
        text.push_str(", unknown bits");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::describe;

    #[test]
    fn every_field_shows() {
        let entry = [16, 0, 0xf0, 0xff, 0x15, 2];
        assert_eq!(describe(&entry), "call sp+16, bp at prevsp-16");
        assert_eq!(describe(&[0; 6]), "undefined");
        assert_eq!(describe(&[0, 0, 0, 0, 0, 1]), "end");
        assert_eq!(
            describe(&[168, 0, 0, 0, 0x09, 0x0b]),
            "regs (sp)+168, signal"
        );
        for byte in 0..6 {
            let mut other = entry;
            other[byte] ^= 0x80;
            assert_ne!(describe(&other), describe(&entry), "byte {byte}");
        }
    }
}
