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
    command.stdin(Stdio::null());
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", objtool.display()))?;
    answers(&output.stdout, output.status, files.len()).with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!(
            "`{}` ({}): {}",
            crate::cmd::line(&command),
            output.status,
            said.trim()
        )
    })
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
