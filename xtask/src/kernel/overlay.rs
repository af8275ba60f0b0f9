//! The overlay: what of this project goes into a Linux tree.
//!
//! `kernel/overlay/<series>/overlay.toml` says it: crates and files that are copied, and edits, each
//! with a file, an anchor in it and what is inserted there. An edit's anchor must stand in its file
//! exactly once, or nothing is written at all. What the parts do is said where they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};
use serde::Deserialize;

use crate::paths::{self, Kernel};
use crate::{cmd, progress};

/// The overlay's description.
const MANIFEST: &str = "overlay.toml";

/// The list of what an overlay put into a tree; also says that one is there.
const LIST: &str = ".rust-overlay";

/// `./x kernel overlay …`
#[derive(clap::Args)]
pub struct Args {
    /// The root of a Linux source tree, which is changed
    tree: PathBuf,
    /// Only say what would be changed
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
///
/// # Errors
/// The tree is none that the overlay is made for, or an anchor is gone; nothing is written then.
pub fn run(args: &Args) -> Result<()> {
    let list = args.tree.join(LIST);
    if list.exists() {
        bail!(
            "{} has an overlay already; apply it to a fresh tree",
            args.tree.display()
        );
    }
    let overlay = Overlay::of_tree(&args.tree)?;
    let planned = overlay.plan(&args.tree)?;
    for (path, contents) in &planned {
        println!(
            "{}  {}",
            if contents.is_new { "new " } else { "edit" },
            path.display()
        );
    }
    if !args.dry_run {
        write(&planned, &args.tree)?;
        println!(
            "{} in {}; to use them: CONFIG_RUST=y and what {} says",
            progress::counted(planned.len(), "file"),
            args.tree.display(),
            overlay.folder.join("README.md").display()
        );
    }
    Ok(())
}

/// The tree with the overlay beside the unmodified one, made or brought up to date. Files that stay
/// the same keep their time, so that a build goes on where it was.
///
/// # Errors
/// As [`run`], and when there is no room.
pub fn source(kernel: &Kernel) -> Result<PathBuf> {
    let pristine = kernel.source();
    let tree = kernel.overlaid_source();
    let overlay = Overlay::of_tree(&pristine)?;
    let planned = overlay.plan(&pristine)?;
    if !tree.join(LIST).exists() {
        if tree.exists() {
            fs::remove_dir_all(&tree)
                .with_context(|| format!("cannot remove the unfinished {}", tree.display()))?;
        }
        link(&pristine, &tree)?;
        fs::write(tree.join(LIST), "")?;
    }
    let old = fs::read_to_string(tree.join(LIST))?;
    for path in old.lines().map(Path::new) {
        if planned.contains_key(path) {
            continue;
        }
        let to = tree.join(path);
        if to.exists() {
            fs::remove_file(&to)?;
        }
        let from = pristine.join(path);
        if from.exists() {
            fs::hard_link(from, to)?;
        }
    }
    write(&planned, &tree)?;
    Ok(tree)
}

/// A tree of links, which take no room: what is edited is replaced and never written into.
fn link(from: &Path, to: &Path) -> Result<()> {
    // The folder itself may be a symbolic link, of which a copy would be the same folder.
    let from = fs::canonicalize(from)?;
    cmd::output(Command::new("cp").arg("-al").arg(from).arg(to))?;
    Ok(())
}

/// A file as it is to be.
#[derive(Debug)]
struct Contents {
    bytes: Vec<u8>,
    is_new: bool,
}

type Planned = BTreeMap<PathBuf, Contents>;

/// Writes what differs, each file as a whole.
fn write(planned: &Planned, tree: &Path) -> Result<()> {
    for (path, contents) in planned {
        let to = tree.join(path);
        if fs::read(&to).is_ok_and(|old| old == contents.bytes) {
            continue;
        }
        let folder = to.parent().context("a file without a folder")?;
        fs::create_dir_all(folder)?;
        let temporary = folder.join(".overlay-new");
        fs::write(&temporary, &contents.bytes)
            .and_then(|()| match fs::metadata(&to) {
                // Some are run.
                Ok(old) => fs::set_permissions(&temporary, old.permissions()),
                Err(_) => Ok(()),
            })
            .and_then(|()| fs::rename(&temporary, &to))
            .with_context(|| format!("cannot write {}", to.display()))?;
    }
    let list: String = planned
        .keys()
        .map(|path| format!("{}\n", path.display()))
        .collect();
    fs::write(tree.join(LIST), list).with_context(|| format!("cannot write to {}", tree.display()))
}

/// The overlay for one series of kernels.
#[derive(Debug)]
struct Overlay {
    /// The checkout.
    project: PathBuf,
    /// Where the overlay's own files are.
    folder: PathBuf,
    manifest: Manifest,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// Crates of the workspace.
    #[serde(default, rename = "crate")]
    crates: Vec<Crate>,
    /// Files of the overlay.
    #[serde(default, rename = "file")]
    files: Vec<Copied>,
    /// Changes to files of the tree.
    #[serde(default, rename = "edit")]
    edits: Vec<Edit>,
}

/// A crate that is copied: the kernel's build names crates by their root file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Crate {
    /// What it is called in Rust.
    name: String,
    /// Its sources, from the checkout's root.
    from: String,
    /// The folder in the tree.
    to: String,
    /// Files that only the host has.
    #[serde(default)]
    without: Vec<String>,
}

/// A file that is copied, or a folder with all that is in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Copied {
    from: String,
    to: String,
}

/// A change to a file of the tree.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    /// The file.
    file: String,
    /// Whole lines that stand in it exactly once.
    anchor: String,
    /// Where the text goes.
    place: Place,
    /// Whole lines.
    text: String,
    /// Why, for people who port the overlay.
    why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Before,
    After,
    Instead,
}

impl Overlay {
    /// The overlay for a tree, by the version in its makefile.
    fn of_tree(tree: &Path) -> Result<Self> {
        let makefile = tree.join("Makefile");
        let text = fs::read_to_string(&makefile)
            .with_context(|| format!("{} is no Linux source tree", tree.display()))?;
        let part = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(" = "))
                .find_map(|(key, value)| (key == name).then_some(value.trim()))
        };
        let (Some(version), Some(patchlevel)) = (part("VERSION"), part("PATCHLEVEL")) else {
            bail!("{} names no version of Linux", makefile.display());
        };
        let project = paths::project()?;
        let folder = project
            .join("kernel/overlay")
            .join(format!("{version}.{patchlevel}"));
        let path = folder.join(MANIFEST);
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "there is no overlay for Linux {version}.{patchlevel}: cannot read {}",
                path.display()
            )
        })?;
        let manifest =
            toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self {
            project,
            folder,
            manifest,
        })
    }

    /// All files as they are to be in a tree like this one.
    fn plan(&self, tree: &Path) -> Result<Planned> {
        let mut planned = Planned::new();
        for part in &self.manifest.crates {
            self.plan_crate(part, &mut planned)?;
        }
        for copied in &self.manifest.files {
            let from = self.folder.join(&copied.from);
            let mut files = Vec::new();
            files_below(&from, Path::new(""), &mut files)?;
            for (path, bytes) in files {
                let to = Path::new(&copied.to);
                let to = if path == Path::new("") {
                    to.to_owned()
                } else {
                    to.join(path)
                };
                add(&mut planned, to, bytes)?;
            }
        }
        for path in planned.keys() {
            if tree.join(path).exists() {
                bail!("{} is already there in {}", path.display(), tree.display());
            }
        }
        for edit in &self.manifest.edits {
            let path = PathBuf::from(&edit.file);
            let old = match planned.get(&path) {
                Some(contents) => contents.bytes.clone(),
                None => fs::read(tree.join(&path)).with_context(|| {
                    format!("{} is to be edited ({})", path.display(), edit.why.trim())
                })?,
            };
            let old =
                String::from_utf8(old).with_context(|| format!("{} is no text", path.display()))?;
            let bytes = edited(&old, edit)?.into_bytes();
            planned.insert(
                path,
                Contents {
                    bytes,
                    is_new: false,
                },
            );
        }
        Ok(planned)
    }

    fn plan_crate(&self, part: &Crate, planned: &mut Planned) -> Result<()> {
        let mut files = Vec::new();
        files_below(&self.project.join(&part.from), Path::new(""), &mut files)?;
        let mut has_root = false;
        for (path, bytes) in files {
            if part.without.iter().any(|file| path == Path::new(file)) {
                continue;
            }
            let path = if path == Path::new("lib.rs") {
                has_root = true;
                PathBuf::from(format!("{}.rs", part.name))
            } else {
                path
            };
            add(planned, Path::new(&part.to).join(path), bytes)?;
        }
        if !has_root {
            bail!("{} is the source of no library", part.from);
        }
        Ok(())
    }
}

fn add(planned: &mut Planned, path: PathBuf, bytes: Vec<u8>) -> Result<()> {
    let contents = Contents {
        bytes,
        is_new: true,
    };
    match planned.insert(path.clone(), contents) {
        None => Ok(()),
        Some(_) => bail!("two parts of the overlay are called {}", path.display()),
    }
}

/// Reads a file, or all files of a folder.
fn files_below(root: &Path, path: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) -> Result<()> {
    let whole = root.join(path);
    let whole = if path == Path::new("") { root } else { &whole };
    let context = || format!("cannot read {}", whole.display());
    if whole.is_dir() {
        let mut names = Vec::new();
        for entry in fs::read_dir(whole).with_context(context)? {
            names.push(entry?.file_name());
        }
        names.sort();
        for name in names {
            files_below(root, &path.join(name), files)?;
        }
    } else {
        files.push((path.to_owned(), fs::read(whole).with_context(context)?));
    }
    Ok(())
}

/// A file's text with one edit.
fn edited(text: &str, edit: &Edit) -> Result<String> {
    let file = &edit.file;
    let anchor = edit.anchor.trim_end_matches('\n');
    let starts: Vec<usize> = text
        .match_indices(anchor)
        .map(|(start, _)| start)
        .filter(|&start| {
            let end = start + anchor.len();
            (start == 0 || text[..start].ends_with('\n'))
                && (end == text.len() || text[end..].starts_with('\n'))
        })
        .collect();
    let start = match starts[..] {
        [start] if !anchor.is_empty() => start,
        [] => bail!(
            "{file}: the anchor `{anchor}` is gone; the kernel has changed there, so look at what \
             the edit is for ({}) and set another one",
            edit.why.trim()
        ),
        _ => bail!("{file}: the anchor `{anchor}` stands there more than once"),
    };
    let end = (start + anchor.len() + 1).min(text.len());
    let (head, tail) = match edit.place {
        Place::Before => (start, start),
        Place::After => (end, end),
        Place::Instead => (start, end),
    };
    let added = format!("{}\n", edit.text.trim_end_matches('\n'));
    Ok(format!("{}{added}{}", &text[..head], &text[tail..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "obj-y += a.o\nobj-y += b.o\nobj-y += b.o.x\n";

    fn edit(anchor: &str, place: Place) -> Result<String> {
        edited(
            TEXT,
            &Edit {
                file: "Makefile".to_owned(),
                anchor: anchor.to_owned(),
                place,
                text: "new\n".to_owned(),
                why: "a test".to_owned(),
            },
        )
    }

    #[test]
    fn lines_go_where_they_are_to() {
        let at = |place| edit("obj-y += b.o", place).unwrap();
        let (before, after) = ("obj-y += a.o\n", "obj-y += b.o.x\n");
        assert_eq!(
            at(Place::Before),
            format!("{before}new\nobj-y += b.o\n{after}")
        );
        assert_eq!(
            at(Place::After),
            format!("{before}obj-y += b.o\nnew\n{after}")
        );
        assert_eq!(at(Place::Instead), format!("{before}new\n{after}"));
    }

    #[test]
    fn an_anchor_that_is_gone_is_named() {
        let error = edit("obj-y += c.o", Place::After).unwrap_err().to_string();
        assert!(
            error.starts_with("Makefile: the anchor `obj-y += c.o` is gone"),
            "{error}"
        );
        // Half a line is none.
        assert!(edit("obj-y +=", Place::After).is_err());
        assert!(edit("", Place::After).is_err());
    }

    #[test]
    fn an_anchor_must_be_the_only_one() {
        let twice = format!("{TEXT}{TEXT}");
        let edit = Edit {
            file: "Makefile".to_owned(),
            anchor: "obj-y += a.o".to_owned(),
            place: Place::After,
            text: String::new(),
            why: String::new(),
        };
        let error = edited(&twice, &edit).unwrap_err().to_string();
        assert!(error.ends_with("more than once"), "{error}");
    }

    #[test]
    fn what_is_written_into_a_tree_of_links_is_not_in_its_source() {
        let work = tempfile::tempdir().unwrap();
        let [real, named, tree] = ["real", "named", "tree"].map(|name| work.path().join(name));
        fs::create_dir(&real).unwrap();
        fs::write(real.join("old"), "old").unwrap();
        std::os::unix::fs::symlink(&real, &named).unwrap();
        link(&named, &tree).unwrap();
        let new = |bytes: &str| Contents {
            bytes: bytes.into(),
            is_new: true,
        };
        let planned = [("old", "changed"), ("folder/new", "new")];
        let planned = planned.map(|(path, bytes)| (PathBuf::from(path), new(bytes)));
        write(&planned.into(), &tree).unwrap();
        assert_eq!(fs::read(tree.join("old")).unwrap(), b"changed");
        assert_eq!(fs::read(real.join("old")).unwrap(), b"old");
        assert!(!real.join("folder").exists());
    }
}
