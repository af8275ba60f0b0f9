//! The root file system of a test boot: this machine's own shell and tools with their libraries,
//! the project's init script, and the modules under test.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::{cmd, paths};

/// The Debian packages whose programs go in. busybox would not do: the kernel's own tests take
/// these, and `insmod` must be kmod's.
const PACKAGES: &[&str] = &[
    "bash",
    "coreutils",
    "gawk",
    "grep",
    "kmod",
    "mount",
    "procps",
    "sed",
    "util-linux",
];

/// What goes into the archive beside the programs of this machine.
pub struct Contents<'a> {
    /// The init script, a file's name in kernel/initramfs.
    pub init: &'a str,
    /// Modules, for /modules.
    pub modules: &'a [PathBuf],
    /// C programs, files' names in kernel/initramfs without `.c`, which are compiled for /programs.
    pub programs: &'a [&'a str],
}

/// Writes the archive, compressed with gzip, to `to`.
///
/// # Errors
/// A package is not installed, a module is not there, a program does not compile, or the archive
/// cannot be written.
pub fn write(contents: &Contents<'_>, to: &Path) -> Result<()> {
    let staging = tempfile::Builder::new()
        .prefix("objtool-rs-initramfs-")
        .tempdir()?;
    let root = staging.path();
    for folder in [
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
        "dev",
        "proc",
        "sys",
        "tmp",
    ] {
        fs::create_dir_all(root.join(folder))?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name))?;
    }
    programs(root)?;
    symlink("bash", root.join("usr/bin/sh"))?;
    let ours = paths::project()?.join("kernel/initramfs");
    let init = ours.join(contents.init);
    fs::copy(&init, root.join("init"))
        .with_context(|| format!("cannot copy {}", init.display()))?;
    fs::create_dir(root.join("programs"))?;
    for program in contents.programs {
        // Without libraries, so that none has to be found for it.
        cmd::output(
            Command::new("gcc")
                .args(["-static", "-O1", "-Wall", "-Werror", "-o"])
                .arg(root.join("programs").join(program))
                .arg(ours.join(format!("{program}.c"))),
        )?;
    }
    fs::create_dir(root.join("modules"))?;
    for module in contents.modules {
        let name = module
            .file_name()
            .context("a module's path has no file name")?;
        fs::copy(module, root.join("modules").join(name))
            .with_context(|| format!("cannot copy the module {}", module.display()))?;
    }

    let archive = tempfile::NamedTempFile::new_in(to.parent().unwrap_or(Path::new(".")))?;
    let script = "set -o pipefail; find . -print0 | LC_ALL=C sort -z \
        | cpio --null --create --format=newc --owner=0:0 --quiet | gzip -1 >\"$0\"";
    cmd::output(
        Command::new("bash")
            .args(["-c", script])
            .arg(archive.path())
            .current_dir(root),
    )
    .context("cannot pack the initramfs")?;
    archive
        .persist(to)
        .with_context(|| format!("cannot write {}", to.display()))?;
    Ok(())
}

/// Copies the packages' programs and the libraries they name.
fn programs(root: &Path) -> Result<()> {
    let list = cmd::stdout(Command::new("dpkg").arg("--listfiles").args(PACKAGES))
        .context("a package of the initramfs is not installed; run ./x setup")?;
    let mut binaries = Vec::new();
    for line in list.lines() {
        let path = Path::new(line);
        let folder = path.parent().unwrap_or(Path::new("/"));
        if !folder.ends_with("bin") && !folder.ends_with("sbin") {
            continue;
        }
        let Ok(metadata) = path.symlink_metadata() else {
            bail!("{line} belongs to an installed package, but is not there");
        };
        let target = inside(root, path);
        if target.symlink_metadata().is_ok() {
            continue;
        }
        if metadata.is_symlink() {
            symlink(fs::read_link(path)?, target)?;
        } else if metadata.is_file() {
            fs::copy(path, &target).with_context(|| format!("cannot copy {line}"))?;
            if is_elf(path)? {
                binaries.push(path.to_owned());
            }
        }
    }
    for library in libraries(&binaries)? {
        let target = inside(root, &library);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(&library, &target)
            .with_context(|| format!("cannot copy the library {}", library.display()))?;
    }
    Ok(())
}

/// A path of this machine inside the archive, where everything is below /usr.
fn inside(root: &Path, path: &Path) -> PathBuf {
    let path = path.strip_prefix("/").unwrap_or(path);
    let path = path.strip_prefix("usr").unwrap_or(path);
    root.join("usr").join(path)
}

fn is_elf(path: &Path) -> Result<bool> {
    use std::io::Read;
    let mut magic = Vec::new();
    fs::File::open(path)?.take(4).read_to_end(&mut magic)?;
    Ok(magic == b"\x7fELF")
}

fn libraries(binaries: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let text = cmd::stdout(Command::new("ldd").args(binaries))?;
    // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, or the loader's path alone.
    let paths = text
        .lines()
        .flat_map(|line| line.split_whitespace().find(|w| w.starts_with('/')));
    Ok(paths
        .filter(|path| !path.ends_with(':'))
        .map(PathBuf::from)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_a_program_are_found() {
        let found = libraries(&[PathBuf::from("/bin/bash"), PathBuf::from("/bin/ls")]).unwrap();
        let has = |name: &str| found.iter().any(|path| path.ends_with(name));
        assert!(has("libc.so.6") && has("ld-linux-x86-64.so.2"), "{found:?}");
        assert!(!found.contains(Path::new("/bin/bash")));
    }
}
