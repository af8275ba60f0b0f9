//! Debian's packages of kernels: fetched, and files taken out of them, in the cache. Nothing of them
//! is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};

use crate::{cmd, paths, setup};

/// The folder in the cache with the files that tar's pattern names, of the package that a package of
/// no content stands for at the moment. They are fetched if they are not there.
///
/// The machine's package lists may name one that the archive has no more; they are renewed then.
///
/// # Errors
/// The package lists do not know it, it cannot be fetched, or it has no such file.
pub fn current_files(name: &str, pattern: &str) -> Result<PathBuf> {
    let get = || files(&current(name)?, pattern);
    get().or_else(|why| {
        println!("{why:#}\nrenewing Debian's package lists");
        setup::package_lists()?;
        get()
    })
}

/// The package that a package of no content stands for.
fn current(name: &str) -> Result<String> {
    let mut apt = Command::new("apt-cache");
    // What is read below is translated elsewhere.
    apt.args(["depends", "--important", name])
        .env("LC_ALL", "C");
    let depends = cmd::stdout(&mut apt)
        .with_context(|| format!("the package lists of this machine lack {name}"))?;
    let found = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "));
    match found {
        Some(package) => Ok(package.to_owned()),
        None => bail!("the package {name} stands for no other one"),
    }
}

fn files(package: &str, pattern: &str) -> Result<PathBuf> {
    let folder = paths::cache()?.join("debian");
    let files = folder.join(package);
    if files.is_dir() {
        return Ok(files);
    }
    fs::create_dir_all(&folder)?;
    let work = tempfile::Builder::new()
        .prefix("fetch-")
        .tempdir_in(&folder)?;
    println!("fetching {package}; this is up to a gigabyte");
    // apt may fetch as a user of its own, which cannot write everywhere.
    let mut fetch = Command::new("apt-get");
    fetch
        .args(["-q", "-o", "APT::Sandbox::User=root", "download", package])
        .current_dir(work.path());
    cmd::output(&mut fetch)?;
    let archive = archive(work.path())?;
    let unpacked = work.path().join("files");
    fs::create_dir(&unpacked)?;
    unpack(&archive, pattern, &unpacked)?;
    // What is there under its name is there as a whole.
    fs::rename(&unpacked, &files)?;
    Ok(files)
}

fn archive(folder: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            return Ok(path);
        }
    }
    bail!("apt-get download left no package in {}", folder.display())
}

/// Takes the files out without writing the others.
fn unpack(archive: &Path, pattern: &str, to: &Path) -> Result<()> {
    let mut reader = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let pipe = reader.stdout.take().context("dpkg-deb has no output")?;
    let taken = Command::new("tar")
        .args(["--extract", "--wildcards", "--directory"])
        .arg(to)
        .arg(pattern)
        .stdin(pipe)
        .output()
        .context("cannot start tar")?;
    let read = reader.wait()?;
    if !taken.status.success() {
        bail!(
            "{pattern} cannot be taken out of {}: {}",
            archive.display(),
            String::from_utf8_lossy(&taken.stderr).trim()
        );
    }
    if !read.success() {
        bail!("{} cannot be read ({read})", archive.display());
    }
    Ok(())
}
