//! Names as string tables hold them, and as messages print them.
//!
//! A build log is read by line, and by a terminal: whatever bytes a name is made of, it must
//! neither end the line nor tell the terminal anything.

use std::borrow::Cow;

/// The longest name that is accepted, in bytes: far longer than what the kernel can print
/// (`KSYM_NAME_LEN`, 512), and short enough that many names which share their bytes do not cost
/// more than those bytes allow.
const LONGEST: usize = 4096;

/// The longest name that a message prints in full, in characters.
const LONGEST_PRINTED: usize = 512;

/// The zero-terminated string at an offset of a string table.
///
/// # Errors
///
/// What is wrong with it, for a message that begins with what the name belongs to.
pub(super) fn string(table: &[u8], offset: u32) -> Result<&[u8], String> {
    let len = table.len();
    let tail = table.get(offset as usize..).filter(|tail| !tail.is_empty());
    let tail = tail.ok_or_else(|| {
        format!("its name starts at {offset:#x}, outside of the {len:#x} bytes of its string table")
    })?;
    let window = &tail[..tail.len().min(LONGEST + 1)];
    match window.iter().position(|&b| b == 0) {
        Some(end) => Ok(&window[..end]),
        None if window.len() > LONGEST => Err(format!(
            "its name, at {offset:#x} of its string table, is longer than {LONGEST} bytes"
        )),
        None => Err(format!(
            "its name, at {offset:#x} of its string table, has no end"
        )),
    }
}

/// A name for a message: as it is, if it is one that a compiler makes; else with what is not
/// printable escaped, and cut when it is very long.
pub fn printable(name: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(name) {
        if text.len() <= LONGEST_PRINTED && !text.chars().any(is_unprintable) {
            return Cow::Borrowed(text);
        }
    }
    let mut out = String::new();
    let mut printed = 0;
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if printed == LONGEST_PRINTED {
                return Cow::Owned(out + "...");
            }
            if is_unprintable(c) {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
            printed += 1;
        }
        for byte in chunk.invalid() {
            out += &format!("\\x{byte:02x}");
            printed += 1;
        }
    }
    Cow::Owned(out)
}

/// Controls, and what Unicode has for ending a line or turning the direction of writing.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::{printable, string, LONGEST};

    #[test]
    fn usual_names_are_printed_as_they_are() {
        for name in [
            "",
            "memcpy",
            "foo.cold.1",
            "_RNvCs_4core9panicking5panic",
            "größe",
            r"a\nb",
        ] {
            assert_eq!(printable(name.as_bytes()), name);
        }
    }

    #[test]
    fn a_name_stays_on_its_line() {
        assert_eq!(printable(b"a\nb: warning: x"), r"a\nb: warning: x");
        assert_eq!(printable(b"\x1b[2Jf\r"), r"\u{1b}[2Jf\r");
        assert_eq!(printable(b"f\xff\xc3"), r"f\xff\xc3");
        assert_eq!(
            printable("\u{202e}f\u{2028}".as_bytes()),
            r"\u{202e}f\u{2028}"
        );
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(printable(&[b'a'; 512]), "a".repeat(512));
        assert_eq!(printable(&[b'a'; 513]), "a".repeat(512) + "...");
    }

    #[test]
    fn a_string_ends_in_its_table() {
        let table = b"\0ab\0c";
        assert_eq!(string(table, 0), Ok(&b""[..]));
        assert_eq!(string(table, 2), Ok(&b"b"[..]));
        let fault = |offset| string(table, offset).expect_err("there is no such string");
        assert!(fault(4).contains("has no end"), "{}", fault(4));
        for offset in [5, 6, u32::MAX] {
            assert!(fault(offset).contains("outside of the 0x5 bytes"));
        }
        let mut long = vec![b'a'; LONGEST];
        long.push(0);
        assert_eq!(string(&long, 0).map(<[u8]>::len), Ok(LONGEST));
        long.insert(0, b'a');
        assert!(string(&long, 0).is_err_and(|e| e.contains("longer than")));
    }
}
