//! `objtool-rs verify`, run on linked files, and its answer as data.
//!
//! The form of the answer is described where it is made, in `objtool-rs/src/verify/json.rs`; what is
//! to be thought of an answer is the callers' affair.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{bail, Context, Result};
use serde::Deserialize;

/// The verdict on one file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Judged {
    /// The file, as it was given.
    pub file: String,
    /// Whether `HAVE_RELIABLE_STACKTRACE` holds.
    pub reliable: bool,
    /// Why it does not.
    pub reason: Option<String>,
    /// How many functions there are of each class.
    pub functions: Counts,
    /// Bytes of text.
    pub text_size: u64,
    /// Bytes of text that must not be trusted.
    pub unreliable_size: u64,
    /// The functions that keep no frame; none where the promise does not hold at all.
    pub exceptions: Vec<Exception>,
    /// The text that must not be trusted; none where the promise does not hold at all.
    pub unreliable_text: Vec<Stretch>,
    /// Milliseconds by phase.
    pub phases_ms: BTreeMap<String, f64>,
}

/// How many functions there are of each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Counts {
    /// Keep their frame.
    pub keep_frame: usize,
    /// Make no call, so need none.
    pub make_no_call: usize,
    /// Keep no frame.
    pub keep_no_frame: usize,
}

/// A function that keeps no frame.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Exception {
    /// Its name.
    pub name: String,
    /// Its first byte: an address in an image, an offset in its section in a module.
    #[serde(deserialize_with = "hexadecimal")]
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Name of its section.
    pub section: String,
    /// What is wrong.
    pub reason: String,
    /// Where, in bytes from the function's start.
    pub offset: Option<i64>,
}

/// A stretch of text that must not be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Stretch {
    /// Its first byte, as an exception's.
    #[serde(deserialize_with = "hexadecimal")]
    pub address: u64,
    /// Name of its section.
    pub section: String,
    /// Its first byte in the section.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

#[allow(
    dead_code,
    reason = "images that are broken on purpose are held against it"
)]
impl Stretch {
    /// Whether it holds all of `size` bytes from `offset` on of its section.
    pub fn covers(&self, offset: u64, size: u64) -> bool {
        self.offset <= offset && offset + size <= self.offset + self.size
    }

    /// Whether it holds any of `size` bytes from `offset` on of its section.
    pub fn touches(&self, offset: u64, size: u64) -> bool {
        self.offset < offset + size && offset < self.offset + self.size
    }
}

fn hexadecimal<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    let digits = text.strip_prefix("0x").unwrap_or(&text);
    u64::from_str_radix(digits, 16).map_err(serde::de::Error::custom)
}

/// The exit status that says that the promise does not hold for one of the files.
const DOES_NOT_HOLD: i32 = 2;

/// Judges files, each by itself, in one run; the answers keep the files' order.
///
/// # Errors
/// A file cannot be judged, or the answer does not fit itself: what the exit status says and what
/// the text says must be the same.
pub fn run<P: AsRef<Path>>(objtool: &Path, files: &[P]) -> Result<Vec<Judged>> {
    let mut command = Command::new(objtool);
    command.args(["verify", "--format", "json"]);
    command.args(files.iter().map(AsRef::as_ref));
    judge(&mut command, files.len())
}

fn judge(command: &mut Command, files: usize) -> Result<Vec<Judged>> {
    command.stdin(Stdio::null());
    let line = crate::cmd::line(command);
    let output = command
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    answers(&output.stdout, output.status, files).with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("`{line}` ({}): {}", output.status, said.trim())
    })
}

/// Judges a file and has the table of text that must not be trusted written, as the kernel links it
/// in.
///
/// # Errors
/// As [`run`].
pub fn with_table(objtool: &Path, file: &Path, table: &Path) -> Result<Judged> {
    let mut command = Command::new(objtool);
    command.args(["verify", "--format", "json", "--unreliable-text"]);
    command.arg(table).arg(file);
    Ok(judge(&mut command, 1)?.remove(0))
}

/// How the table of an image, as the kernel links it in, differs from its verdict, in words. The
/// table's form is described where it is made, in `objtool-rs/src/verify/assembly.rs`.
pub fn table_differs(judged: &Judged, table: &str) -> Option<String> {
    let mut rows = table.lines().filter_map(|line| {
        let words = line.trim().strip_prefix(".long ")?;
        words.split("/*").next().map(str::trim)
    });
    let wanted = &judged.unreliable_text;
    let count = rows.next().and_then(|count| count.parse::<usize>().ok());
    if count != Some(wanted.len()) {
        return Some(format!("{count:?} ranges, not {}", wanted.len()));
    }
    // Distances are from a symbol, whichever it is.
    let mut base = None;
    for stretch in wanted {
        let row = rows.next().unwrap_or_default();
        let words = row.split_once(',');
        let words = words.and_then(|(distance, size)| {
            let distance: i64 = distance.trim().parse().ok()?;
            let size = u64::from_str_radix(size.trim().strip_prefix("0x")?, 16).ok()?;
            Some((distance, size))
        });
        let Some((distance, size)) = words else {
            return Some(format!("`{row}` is no range"));
        };
        let own_base = stretch.address.wrapping_sub(distance as u64);
        if size != stretch.size || *base.get_or_insert(own_base) != own_base {
            return Some(format!(
                "`{row}` is not {:#x}, {} bytes",
                stretch.address, stretch.size
            ));
        }
    }
    rows.next()
        .map(|row| format!("`{row}` is more than was judged"))
}

fn answers(stdout: &[u8], status: ExitStatus, files: usize) -> Result<Vec<Judged>> {
    let judged: Vec<Judged> = serde_json::Deserializer::from_slice(stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .context("its answer is not in the form that is expected")?;
    let holds = match status.code() {
        Some(0) => true,
        Some(DOES_NOT_HOLD) => false,
        _ => bail!("it failed"),
    };
    if judged.len() != files {
        bail!("{files} files were given, and {} judged", judged.len());
    }
    if judged.iter().all(|judged| judged.reliable) != holds {
        bail!("its exit status contradicts its answer");
    }
    Ok(judged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    const HOLDS: &str = r#"{"file": "vmlinux", "kind": "image", "reliable": true, "reason": null,
        "functions": {"keep_frame": 2, "make_no_call": 1, "keep_no_frame": 1},
        "text_size": 64, "unreliable_size": 16, "phases_ms": {"walk": 1.5},
        "exceptions": [{"name": "f", "address": "0xffffffff81000010", "size": 9,
            "section": ".text", "source": null, "reason": "words", "offset": -3}],
        "unreliable_text": [{"address": "0xffffffff81000010", "section": ".text", "offset": 16,
            "size": 9}]}"#;

    fn status(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn an_answer_is_read_as_it_is_meant() {
        let judged = answers(HOLDS.as_bytes(), status(0), 1).unwrap().remove(0);
        assert_eq!(judged.exceptions[0].address, 0xffff_ffff_8100_0010);
        assert_eq!(judged.exceptions[0].offset, Some(-3));
        let stretch = &judged.unreliable_text[0];
        assert!(stretch.covers(16, 9) && !stretch.covers(16, 10) && !stretch.covers(15, 2));
        assert!(stretch.touches(24, 1) && !stretch.touches(25, 1) && !stretch.touches(8, 8));
    }

    #[test]
    fn a_table_is_held_against_its_verdict() {
        let mut judged = answers(HOLDS.as_bytes(), status(0), 1).unwrap().remove(0);
        let mut second = judged.unreliable_text[0].clone();
        second.address += 32;
        judged.unreliable_text.push(second);
        let table = |rows: &str| format!("\t.globl unreliable_text\nunreliable_text:\n{rows}");
        let right = "\t.long 2\n\t.long -4, 0x9\t/* .text+0x10 */\n\t.long 28, 0x9\n";
        assert_eq!(table_differs(&judged, &table(right)), None);
        for (from, to) in [
            ("long 2\n", "long 3\n"),
            ("-4, 0x9", "-4, 0x8"),
            ("28, 0x9", "27, 0x9"),
            ("28, 0x9", "28"),
            ("\t.long 28, 0x9\n", ""),
            ("28, 0x9\n", "28, 0x9\n\t.long 60, 0x9\n"),
        ] {
            let doctored = table(&right.replace(from, to));
            assert!(table_differs(&judged, &doctored).is_some(), "{doctored}");
        }
    }

    #[test]
    fn an_answer_that_contradicts_itself_is_none() {
        for (text, code, files) in [
            (HOLDS, 2, 1),
            (HOLDS, 1, 1),
            (HOLDS, 0, 2),
            (&HOLDS.replace("true", "false"), 0, 1),
            ("{}", 0, 1),
        ] {
            assert!(answers(text.as_bytes(), status(code), files).is_err());
        }
        let no = HOLDS.replace("true", "false");
        assert!(!answers(no.as_bytes(), status(2), 1).unwrap()[0].reliable);
    }
}
