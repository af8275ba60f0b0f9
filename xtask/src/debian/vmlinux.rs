//! `./x debian vmlinux`: the verdict on a distribution's kernel.
//!
//! It is built for the ORC unwinder, so the answer is no, and the reason must be that one, not ten
//! thousands of findings; and it must come in bounded time and memory, however large the image is.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use super::package;
use crate::bench::verify::{self, Measured};
use crate::{objtool, setup};

/// The package that stands for that of the newest kernel's debug information.
const PACKAGE: &str = "linux-image-6.12-amd64-dbg";

/// Where the image is in it, for tar.
const PATTERN: &str = "./usr/lib/debug/boot/vmlinux-*";

/// The longest that the verdict may take.
const TIME: Duration = Duration::from_secs(20);

/// The most memory, in KiB, beside what the file itself may keep mapped.
const MEMORY: u64 = 1024 * 1024;

/// Arguments of `./x debian vmlinux`.
#[derive(clap::Args)]
pub struct Args {
    /// Judge this image in place of the package's
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
}

/// Runs `./x debian vmlinux`.
///
/// # Errors
/// The image cannot be had, the verdict is another one, or takes too much.
pub fn run(args: &Args) -> Result<()> {
    let image = match &args.image {
        Some(path) => path
            .canonicalize()
            .with_context(|| format!("there is no image {}", path.display()))?,
        None => {
            setup::run()?;
            fetched()?
        }
    };
    let measured = verify::measure(&objtool::ours()?, &image, 3)?;
    println!("{}", measured.text(&image)?);
    println!("{}", bars(&measured)?);
    Ok(())
}

fn fetched() -> Result<PathBuf> {
    let files = package::current_files(PACKAGE, PATTERN)?;
    let folder = files.join("usr/lib/debug/boot");
    let mut entries =
        std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    match entries.next() {
        Some(entry) => Ok(entry?.path()),
        None => bail!("{} holds no image", folder.display()),
    }
}

/// What must hold.
fn bars(measured: &Measured) -> Result<String> {
    let judged = &measured.judged;
    if judged.reliable || judged.reason.as_deref() != Some("orc") {
        bail!(
            "the verdict is {} ({:?}), and not that the kernel is built for ORC",
            if judged.reliable { "yes" } else { "no" },
            judged.reason
        );
    }
    if !judged.exceptions.is_empty() {
        bail!("a no comes with {} exceptions", judged.exceptions.len());
    }
    if measured.wall() > TIME {
        bail!("the verdict takes longer than {} s", TIME.as_secs());
    }
    if measured.peak() > MEMORY {
        bail!("the verdict takes more than {} MiB", MEMORY / 1024);
    }
    Ok(format!(
        "no, because it is built for ORC; within {} s and {} MiB",
        TIME.as_secs(),
        MEMORY / 1024
    ))
}
