//! A lock per thing in the cache, so that two runs at once do not build into the same folder.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{flock, FlockOperation};

/// Holds the lock until it is dropped, or until the process ends in whatever way.
#[must_use = "the lock is released when this is dropped"]
pub struct Lock {
    _file: File,
}

/// Takes the lock that belongs to `thing`, a path in the cache; waits, and says so, while another
/// process has it.
///
/// # Errors
/// The lock's file, `<thing>.lock`, cannot be made.
pub fn hold(thing: &Path) -> Result<Lock> {
    let mut path = thing.as_os_str().to_owned();
    path.push(".lock");
    let path = Path::new(&path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot make the folder {}", parent.display()))?;
    }
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        eprintln!("waiting for another ./x that works on {}", thing.display());
        flock(&file, FlockOperation::LockExclusive)
            .with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(Lock { _file: file })
}
