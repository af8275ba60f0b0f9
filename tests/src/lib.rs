//! What the tests across crates share: the fixture format, assembling a fixture, running a tool on
//! the object, and comparing what it did with what the fixture says.
//!
//! A fixture is a source file below `fixtures/<architecture>/`. It is assembled when the test runs,
//! the tool works on the object, and everything the tool did is mapped back to source lines through
//! the line table and compared with the comments on those lines, both ways. The format is described
//! in `fixtures/README.md`.
//!
//! Tests themselves live in `tests/tests/`; nothing here knows what a single warning means.

pub mod compare;
pub mod compile;
pub mod fixture;
pub mod fuzz;
pub mod images;
pub mod lines;
pub mod messages;
pub mod observe;
pub mod oracle;
pub mod orc;
pub mod patch;
pub mod tool;

use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("the tests crate lies one folder below the root")
        .to_path_buf()
}

/// Every fixture source below `fixtures/`, sorted: `.S` and `.c` files, without `include/`, and
/// without `images/`, which are read otherwise.
///
/// # Errors
/// A folder that can't be read.
pub fn fixture_files() -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("fixtures")];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .map_err(|e| anyhow::anyhow!("{}: can't be listed: {e}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                let is_other = |name| name == "include" || name == "images";
                if path.file_name().is_some_and(|name| !is_other(name)) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "S" || e == "c") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
