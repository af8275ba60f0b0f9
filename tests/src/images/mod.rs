//! Images of our own making: small kernels and modules, linked when a test runs, and what
//! `objtool-rs verify` must say about them.
//!
//! A fixture is a source below `fixtures/images/<architecture>/`. What each of its functions is to
//! be classed as, and where which finding is expected, stands in comments on its lines; the format
//! is described in `fixtures/images/README.md`.
//!
//! - [`source`]: the fixture's text.
//! - [`link`]: from the source to an image.
//! - [`lines`]: from an address of the image to a line of the source.
//! - [`judge`]: runs the tool and reads what it says.
//! - [`text`]: which bytes may be left out of the text that must not be trusted.
//! - [`table`]: the table of that text, as a kernel that links it in finds it.
//! - [`check`]: everything together, for one fixture.

pub mod check;
pub mod judge;
pub mod lines;
pub mod link;
pub mod source;
pub mod table;
pub mod text;

use std::path::{Path, PathBuf};

/// Where the fixtures are.
pub fn root() -> PathBuf {
    crate::root().join("fixtures/images")
}

/// Every fixture, sorted; `parts` are linked to fixtures and are none themselves.
///
/// # Errors
/// A folder that can't be read.
pub fn fixtures() -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for architecture in entries(&root())?.into_iter().filter(|path| path.is_dir()) {
        for subject in entries(&architecture)?.into_iter().filter(|p| p.is_dir()) {
            if subject.file_name().is_some_and(|name| name != "parts") {
                let sources = entries(&subject)?;
                found.extend(sources.into_iter().filter(|path| is_source(path)));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let unread = |e| anyhow::anyhow!("{}: can't be listed: {e}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(unread)?;
    entries
        .map(|entry| entry.map(|entry| entry.path()).map_err(unread))
        .collect()
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "S" || e == "c")
}
