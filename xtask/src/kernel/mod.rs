//! `./x kernel`: builds a kernel with either objtool, and boots it.

pub mod boot;
pub mod build;
mod initramfs;
mod ktap;
pub mod overlay;
pub mod unwind;

use anyhow::Result;
use clap::Subcommand;

use crate::configs::Config;
use crate::paths::Tool;
use crate::setup;

/// `./x kernel …`
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build a kernel, out of tree, from Debian's unmodified source
    Build(Which),
    /// Boot that kernel under QEMU, load its sample modules and check that the live patch takes
    Boot(Which),
    /// Run a suite of tests on booted kernels
    Test(Test),
    /// Put the unwinder and the livepatch core into a Linux source tree
    Overlay(overlay::Args),
}

#[derive(clap::Args)]
struct Test {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Subcommand)]
enum Suite {
    /// The unwinder, with frame pointers and with ORC
    Unwind(unwind::Args),
}

#[derive(clap::Args)]
struct Which {
    /// The configuration, a file's name in kernel/configs, such as x86_64-fp
    config: String,
    /// The objtool: the kernel's own, which records every object, or this project's
    #[arg(long, value_enum, default_value_t = Tool::Rs)]
    objtool: Tool,
}

/// Runs the command.
///
/// # Errors
/// The kernel does not build, or does not show what a boot of it must show.
pub fn run(args: Args) -> Result<()> {
    let (which, boots) = match args.command {
        Command::Build(which) => (which, false),
        Command::Boot(which) => (which, true),
        Command::Overlay(args) => return overlay::run(&args),
        Command::Test(Test {
            suite: Suite::Unwind(args),
        }) => return unwind::run(&args),
    };
    let config = Config::named(&which.config)?;
    setup::run()?;
    let built = build::run(config, which.objtool)?;
    println!("{}", built.summary());
    if boots {
        println!("{}", boot::run(&built)?);
    }
    Ok(())
}
