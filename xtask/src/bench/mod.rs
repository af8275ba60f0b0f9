//! `./x bench`: measurements against C objtool, side by side in one run.

mod child;
mod objects;

use anyhow::Result;

/// Arguments of `./x bench`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// All objects of a frame-pointer build: CPU time and memory of both objtools
    Objects(objects::Args),
}

/// Runs `./x bench`.
///
/// # Errors
/// A measurement cannot be made, or its bar is not met.
pub fn run(args: Args) -> Result<()> {
    match args.what {
        What::Objects(args) => objects::run(args),
    }
}
