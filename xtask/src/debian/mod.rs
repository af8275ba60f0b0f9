//! `./x debian`: objtool-rs on kernels that Debian built, which this project had no part in.
//!
//! They are a gigabyte to fetch. Of the tests only a sample of modules takes them; the rest is in
//! `./x test --all`.

mod modules;
mod orc;
mod package;
mod vmlinux;

use anyhow::Result;

/// Arguments of `./x debian`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The verdict on Debian's vmlinux, which is a clear no, in bounded time and memory
    Vmlinux(vmlinux::Args),
    /// The verdict on every module that Debian ships
    Modules,
    /// The ORC data of those modules, made anew by both objtools
    Orc(orc::Args),
}

/// Runs `./x debian`.
///
/// # Errors
/// The kernel cannot be had, or is not treated as it must be.
pub fn run(args: Args) -> Result<()> {
    match args.what {
        What::Vmlinux(args) => vmlinux::run(&args),
        What::Modules => modules::run(),
        What::Orc(args) => orc::run(&args),
    }
}
