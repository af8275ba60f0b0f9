//! The second half of parity: two whole builds, one with each objtool. The boot image, what vmlinux
//! loads and every module must be the same bytes, and the findings in the logs the same lines.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use super::elf;
use crate::kernel::build::Built;

/// One thing that was compared.
pub struct Row {
    /// What it is.
    pub what: String,
    /// How they differ, in words; empty when they do not.
    pub differences: Vec<String>,
}

/// Compares two builds of the same configuration, the first made with C objtool.
///
/// # Errors
/// A file that every build has is missing or cannot be read.
pub fn compare(theirs: &Built, ours: &Built) -> Result<Vec<Row>> {
    let mut rows = Vec::new();

    let (a, b) = (read(&theirs.image())?, read(&ours.image())?);
    let differences = (a != b)
        .then(|| first_difference(&a, &b))
        .into_iter()
        .collect();
    rows.push(Row {
        what: format!("bzImage, {} bytes", a.len()),
        differences,
    });

    let (a, b) = (
        read(&theirs.dir.join("vmlinux"))?,
        read(&ours.dir.join("vmlinux"))?,
    );
    let count = elf::segment_count(&a).context("vmlinux of the C build")?;
    if count == 0 {
        bail!("vmlinux of the C build has no loaded segment");
    }
    let mut differences = elf::segment_differences(&a, &b).context("vmlinux")?;
    if !differences.is_empty() {
        // Which sections and symbols: the segments alone do not tell.
        differences.extend(elf::differences(&a, &b).context("vmlinux")?);
    }
    rows.push(Row {
        what: format!("vmlinux, {count} PT_LOAD"),
        differences,
    });

    let (a, b) = (modules(&theirs.dir)?, modules(&ours.dir)?);
    let mut differences = Vec::new();
    differences.extend(
        a.difference(&b)
            .map(|path| format!("{} is missing", path.display())),
    );
    differences.extend(
        b.difference(&a)
            .map(|path| format!("{} is extra", path.display())),
    );
    for path in a.intersection(&b) {
        let (a, b) = (read(&theirs.dir.join(path))?, read(&ours.dir.join(path))?);
        if a != b {
            let mut how = elf::differences(&a, &b).with_context(|| path.display().to_string())?;
            if how.is_empty() {
                how.push(first_difference(&a, &b));
            }
            differences.extend(how.iter().map(|how| format!("{}: {how}", path.display())));
        }
    }
    rows.push(Row {
        what: format!("{} modules", a.len()),
        differences,
    });

    let (a, b) = (theirs.findings()?, ours.findings()?);
    rows.push(Row {
        what: format!("objtool's lines in the build log, {}", a.len()),
        differences: log_differences(&a, &b),
    });
    Ok(rows)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn first_difference(a: &[u8], b: &[u8]) -> String {
    let at = a
        .iter()
        .zip(b)
        .position(|(a, b)| a != b)
        .unwrap_or(a.len().min(b.len()));
    format!(
        "{} bytes, not {}; the first difference is at {at:#x}",
        b.len(),
        a.len()
    )
}

/// Every module of a build, as a path inside of it.
pub(super) fn modules(dir: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|ext| ext == "ko") {
                found.insert(path.strip_prefix(dir)?.to_owned());
            }
        }
    }
    Ok(found)
}

/// The lines that one of two sorted logs has more of than the other.
fn log_differences(theirs: &[String], ours: &[String]) -> Vec<String> {
    let lines: BTreeSet<&String> = theirs.iter().chain(ours).collect();
    let count = |log: &[String], line| log.iter().filter(|candidate| *candidate == line).count();
    let mut found = Vec::new();
    for line in lines {
        let (a, b) = (count(theirs, line), count(ours, line));
        if a > b {
            found.push(format!("missing: {line}"));
        } else if a < b {
            found.push(format!("extra: {line}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configs::Config;
    use crate::paths::Tool;

    /// A build folder with everything that is compared.
    fn build(dir: &Path, tool: Tool) -> Built {
        let dir = dir.join(tool.to_string());
        fs::create_dir_all(dir.join("arch/x86/boot")).unwrap();
        fs::create_dir_all(dir.join("samples/rust")).unwrap();
        for file in [
            "arch/x86/boot/bzImage",
            "vmlinux",
            "samples/rust/rust_minimal.ko",
        ] {
            fs::copy("/bin/sh", dir.join(file)).unwrap();
        }
        let log = dir.join("log");
        fs::write(&log, "  CC      a.o\na.o: warning: objtool: f+0x1: words\n").unwrap();
        Built {
            config: Config::named("fp").unwrap(),
            tool,
            dir,
            log,
            took: None,
        }
    }

    fn rows_after(change: impl FnOnce(&Path)) -> Vec<usize> {
        let dir = tempfile::tempdir().unwrap();
        let (theirs, ours) = (build(dir.path(), Tool::C), build(dir.path(), Tool::Rs));
        change(&ours.dir);
        let rows = compare(&theirs, &ours).unwrap();
        rows.iter().map(|row| row.differences.len()).collect()
    }

    #[test]
    fn equal_builds_agree_in_every_row() {
        assert_eq!(rows_after(|_| ()), [0, 0, 0, 0]);
    }

    #[test]
    fn every_row_can_fail() {
        let append = |dir: &Path, file: &str| {
            let mut bytes = fs::read(dir.join(file)).unwrap();
            bytes.push(0);
            fs::write(dir.join(file), bytes).unwrap();
        };
        assert_eq!(
            rows_after(|dir| append(dir, "arch/x86/boot/bzImage")),
            [1, 0, 0, 0]
        );
        assert_eq!(
            rows_after(|dir| append(dir, "samples/rust/rust_minimal.ko")),
            [0, 0, 1, 0]
        );
        assert_eq!(
            rows_after(|dir| fs::remove_file(dir.join("samples/rust/rust_minimal.ko")).unwrap()),
            [0, 0, 1, 0]
        );
        assert_eq!(
            rows_after(|dir| fs::write(dir.join("log"), "").unwrap()),
            [0, 0, 0, 1]
        );
        // /bin/true is another program: its segments are others.
        let rows = rows_after(|dir| {
            fs::copy("/bin/true", dir.join("vmlinux")).unwrap();
        });
        assert!(rows[1] > 0 && rows[0] == 0 && rows[2] == 0, "{rows:?}");
    }
}
