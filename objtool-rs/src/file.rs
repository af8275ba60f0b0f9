//! The file: mapped for reading, and replaced as a whole.
//!
//! A new version is written beside it and then takes its place, so that whatever goes wrong, the old
//! one stays as it was.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use memmap2::Mmap;
use tempfile::NamedTempFile;

/// Files from here on are worth letting go of, in bytes; with smaller ones it only costs time.
#[cfg(unix)]
const WORTH_RELEASE: usize = 16 << 20;

/// What went wrong with the file.
#[derive(Debug)]
pub enum Error {
    /// It can't be opened.
    Open(String),
    /// It can't be read.
    Read(io::Error),
    /// It is no file.
    NotAFile(&'static str),
    /// It may not be changed.
    ReadOnly,
    /// It can't be understood.
    Input(String),
    /// It is not what the options are for.
    Options(&'static str),
    /// Something can't be written.
    Write {
        /// What.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(e) | Self::Input(e) => f.write_str(e),
            Self::Options(e) => f.write_str(e),
            Self::Read(e) => write!(f, "can't be read: {e}"),
            Self::NotAFile(what) => write!(f, "is {what}, not an object file"),
            Self::ReadOnly => write!(
                f,
                "is read-only; make it writable, or use --dry-run to only validate it"
            ),
            Self::Write { what, path, error } => {
                write!(
                    f,
                    "can't write {what} {}: {error}; the file is unchanged",
                    path.display()
                )
            }
        }
    }
}

/// The system's words for an error, without its number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// An input file.
#[derive(Debug)]
pub struct Input {
    /// The file itself, behind any links.
    path: PathBuf,
    permissions: fs::Permissions,
    map: Option<Mmap>,
}

impl Input {
    /// Opens a file, and makes sure that it may be changed if it is going to be.
    pub fn open(path: &Path, to_be_changed: bool) -> Result<Self, Error> {
        let file = File::open(path).map_err(|e| Error::Open(words(&e)))?;
        let metadata = file.metadata().map_err(Error::Read)?;
        if metadata.is_dir() {
            return Err(Error::NotAFile("a directory"));
        }
        if !metadata.is_file() {
            return Err(Error::NotAFile("a device, pipe or socket"));
        }
        let permissions = metadata.permissions();
        if to_be_changed && permissions.readonly() {
            return Err(Error::ReadOnly);
        }
        let path = path.canonicalize().map_err(Error::Read)?;
        // An empty file can't be mapped.
        let map = if metadata.len() == 0 {
            None
        } else {
            // SAFETY: the map is private and only read. Another process that changes or shortens
            // the file meanwhile breaks the build that both belong to; a build runs one command on
            // an object at a time, and this one never writes into the file that it has mapped.
            Some(unsafe { Mmap::map(&file) }.map_err(Error::Read)?)
        };
        Ok(Self {
            path,
            permissions,
            map,
        })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }

    /// Lets go of the memory that its bytes take; they are read from the file again where they are
    /// needed.
    pub fn release(&self) {
        #[cfg(unix)]
        if let Some(map) = self.map.as_ref().filter(|map| map.len() >= WORTH_RELEASE) {
            // SAFETY: the map is of a file, private, and never written to, so that a page that was
            // given up comes back as it was. (What holds for changes of the file by others holds
            // here as in `open`.) Where the system refuses, the pages stay.
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }

    /// Keeps a copy as `FILE.orig`.
    pub fn backup(&self) -> Result<(), Error> {
        let mut name = self.path.clone().into_os_string();
        name.push(".orig");
        let bytes = |to: &mut File| to.write_all(self.bytes());
        write(
            Path::new(&name),
            "the backup",
            bytes,
            Some(&self.permissions),
        )
    }

    /// A new version, of which nothing is there yet.
    pub fn draft(&self) -> Draft<'_> {
        Draft {
            input: self,
            temporary: Mutex::new(None),
        }
    }
}

/// A new version of a file, beside it. Unless it is put in the file's place, it goes when it is
/// dropped.
#[derive(Debug)]
pub struct Draft<'i> {
    input: &'i Input,
    temporary: Mutex<Option<NamedTempFile>>,
}

impl Draft<'_> {
    /// The file to write it to, which is made if it is not there.
    pub fn open(&self) -> io::Result<File> {
        let mut temporary = self
            .temporary
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &*temporary {
            Some(temporary) => temporary.as_file().try_clone(),
            None => {
                let new = temporary_beside(&self.input.path)?;
                temporary.insert(new).as_file().try_clone()
            }
        }
    }

    /// Has the rest of it written, and puts it in the file's place.
    pub fn put_in_place(
        self,
        bytes: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), Error> {
        let input = self.input;
        let temporary = self.temporary.into_inner();
        let put = || {
            let temporary = match temporary.unwrap_or_else(PoisonError::into_inner) {
                Some(temporary) => temporary,
                None => temporary_beside(&input.path)?,
            };
            let permissions = Some(&input.permissions);
            put(temporary, &input.path, bytes, permissions, take_place)
        };
        put().map_err(|error| Error::Write {
            what: "the new version of",
            path: input.path.clone(),
            error,
        })
    }
}

/// Writes a file as a whole or not at all.
pub fn write_whole(to: &Path, what: &'static str, bytes: &[u8]) -> Result<(), Error> {
    write(to, what, |to| to.write_all(bytes), None)
}

fn write(
    to: &Path,
    what: &'static str,
    bytes: impl FnOnce(&mut File) -> io::Result<()>,
    permissions: Option<&fs::Permissions>,
) -> Result<(), Error> {
    let write = || put(temporary_beside(to)?, to, bytes, permissions, rename);
    write().map_err(|error| Error::Write {
        what,
        path: to.to_owned(),
        error,
    })
}

/// A new file in the folder of another one.
fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut temporary = tempfile::Builder::new();
    temporary.prefix(".objtool-");
    // A new file gets the mode that the umask leaves, as any program's output does.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        temporary.permissions(fs::Permissions::from_mode(0o666));
    }
    temporary.tempfile_in(folder)
}

/// Has a new file written, and has it put in its place.
fn put(
    mut temporary: NamedTempFile,
    to: &Path,
    bytes: impl FnOnce(&mut File) -> io::Result<()>,
    permissions: Option<&fs::Permissions>,
    place: impl FnOnce(NamedTempFile, &Path) -> io::Result<()>,
) -> io::Result<()> {
    bytes(temporary.as_file_mut())?;
    if let Some(permissions) = permissions {
        temporary.as_file().set_permissions(permissions.clone())?;
    }
    place(temporary, to)
}

/// Puts a new file in the place of another one, which goes. What stands there must be a file.
#[cfg(target_os = "linux")]
fn take_place(temporary: NamedTempFile, to: &Path) -> io::Result<()> {
    use rustix::fs::{renameat_with, RenameFlags, CWD};
    // The two change places, and the old one goes as the temporary file. Other than by a rename over
    // it, ext4 does not see to it that the new one is on its way to the disk before this returns
    // (`auto_da_alloc`): that takes as long as the whole of the writing, and a build that was cut off
    // by a crash starts anew. Not every file system has it.
    match renameat_with(CWD, temporary.path(), CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => {
            drop(temporary);
            Ok(())
        }
        Err(_) => rename(temporary, to),
    }
}

#[cfg(not(target_os = "linux"))]
fn take_place(temporary: NamedTempFile, to: &Path) -> io::Result<()> {
    rename(temporary, to)
}

fn rename(temporary: NamedTempFile, to: &Path) -> io::Result<()> {
    temporary.persist(to)?;
    Ok(())
}
