//! `./x bench`: measurements; of what C objtool does as well, side by side with it in one run.

mod child;
mod livepatch;
mod objects;
mod room;
mod unwind;
pub mod verify;
mod vmlinux;

use anyhow::Result;

/// Arguments of `./x bench`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Live patching in the kernel, with our core and with C's: calls, transitions, waits, memory
    Livepatch(livepatch::Args),
    /// All objects of a frame-pointer build: CPU time and memory of both objtools
    Objects(objects::Args),
    /// The verdict on the linked kernel: time and memory
    Verify(verify::Args),
    /// Walks over stacks in the kernel: ours against C's, in one boot, and the room they take
    Unwind(unwind::Args),
    /// A whole kernel object: time, CPU time and memory of both objtools
    Vmlinux(vmlinux::Args),
}

/// Runs `./x bench`.
///
/// # Errors
/// A measurement cannot be made, or its bar is not met.
pub fn run(args: Args) -> Result<()> {
    match args.what {
        What::Livepatch(args) => livepatch::run(&args),
        What::Objects(args) => objects::run(args),
        What::Unwind(args) => unwind::run(&args),
        What::Verify(args) => verify::run(&args),
        What::Vmlinux(args) => vmlinux::run(&args),
    }
}

/// KiB as MiB.
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// The middle value, or the mean of the two in the middle; NaN where there are none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}
