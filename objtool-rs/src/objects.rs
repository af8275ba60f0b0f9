//! The objects that an image was linked of, when it still lies in the folder of its build.
//!
//! Kbuild leaves an archive beside the image that names them by their paths in the tree
//! (`vmlinux.a`, `scripts/Makefile.vmlinux_o`), and libraries for what is only linked on demand
//! (`KBUILD_VMLINUX_LIBS` in the kernel's `Makefile`). They are only used to tell people where a
//! function comes from, so what is not there or can't be read is passed over.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use object::read::archive::ArchiveFile;
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSymbol as _, SymbolKind};
use objtool_rs::verify::Definition;
use rayon::prelude::*;

/// What Kbuild calls the archive of an image's objects, beside the image.
const ARCHIVE: &str = "vmlinux.a";

/// Libraries of the image, and of each architecture's folder.
const LIBRARY: &str = "lib/lib.a";
const ARCHITECTURES: &str = "arch";

/// The objects of a build.
#[derive(Debug, Default)]
pub struct Objects {
    /// The build's folder.
    root: PathBuf,
    /// Their paths below it.
    below: BTreeSet<PathBuf>,
}

impl Objects {
    /// The objects of the build that an image lies in; none where it lies in no build.
    pub fn of_image(image: &Path) -> Self {
        let Some(root) = image.parent() else {
            return Self::default();
        };
        let folders = fs::read_dir(root.join(ARCHITECTURES)).into_iter().flatten();
        let libraries = folders
            .filter_map(|folder| Some(Path::new(ARCHITECTURES).join(folder.ok()?.file_name())))
            .map(|folder| folder.join(LIBRARY));
        // An object may stand in several archives.
        let below: BTreeSet<PathBuf> = [PathBuf::from(ARCHIVE), PathBuf::from(LIBRARY)]
            .into_iter()
            .chain(libraries)
            .filter_map(|archive| members(root, &archive))
            .flatten()
            .collect();
        Self {
            root: root.to_owned(),
            below,
        }
    }

    /// Where functions of these names are defined.
    pub fn definitions(&self, functions: &[&[u8]]) -> Vec<Definition> {
        let defined = |below: &PathBuf| defined(&self.root, below, functions).unwrap_or_default();
        self.below.par_iter().flat_map_iter(defined).collect()
    }
}

/// The objects that a thin archive names, by their paths below the root.
fn members(root: &Path, archive: &Path) -> Option<Vec<PathBuf>> {
    let map = map(&root.join(archive))?;
    let file = ArchiveFile::parse(&map[..]).ok()?;
    if !file.is_thin() {
        return None;
    }
    let folder = archive.parent()?;
    file.members()
        .map(|member| Some(folder.join(std::str::from_utf8(member.ok()?.name()).ok()?)))
        .collect()
}

/// The functions of these names that an object defines.
fn defined(root: &Path, below: &Path, functions: &[&[u8]]) -> Option<Vec<Definition>> {
    let map = map(&root.join(below))?;
    let object = ElfFile64::<object::Endianness>::parse(&map[..]).ok()?;
    let path = below.to_str()?;
    let symbols = object.symbols();
    Some(
        symbols
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
            .filter_map(|symbol| {
                let name = symbol.name_bytes().ok()?;
                functions.contains(&name).then(|| Definition {
                    function: name.to_vec(),
                    size: symbol.size(),
                    object: path.to_owned(),
                })
            })
            .collect(),
    )
}

fn map(path: &Path) -> Option<Mmap> {
    let file = File::open(path).ok()?;
    // SAFETY: the file is only read, and nothing outlives the map. Builds replace their objects
    // and don't change them in place.
    unsafe { Mmap::map(&file) }.ok()
}
