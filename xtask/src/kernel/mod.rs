//! `./x kernel`: builds a kernel with either objtool, and boots it.

pub mod boot;
pub mod build;
mod entry_code;
pub mod initramfs;
mod klp_relocations;
mod ktap;
mod livepatch;
pub mod overlay;
pub mod unwind;

use anyhow::Result;
use clap::Subcommand;

use self::build::Built;
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
    /// Run tests in that kernel
    #[command(subcommand)]
    Test(Suite),
    /// Put the unwinder and the livepatch core into a Linux source tree
    Overlay(overlay::Args),
}

#[derive(Subcommand)]
enum Suite {
    /// The unwinder, with frame pointers and with ORC
    Unwind(unwind::Args),
    /// Live patching: the kernel's own selftests, unmodified, and this project's
    Livepatch(livepatch::Args),
}

#[derive(clap::Args)]
struct Which {
    /// The configuration, a file's name in kernel/configs, such as x86_64-fp
    config: String,
    /// The objtool: the kernel's own, which records every object, or this project's
    #[arg(long, value_enum, default_value_t = Tool::Rs)]
    objtool: Tool,
}

impl Which {
    /// Builds it, if it is not there.
    fn built(&self) -> Result<Built> {
        let config = Config::named(&self.config)?;
        setup::run()?;
        let built = build::run(config, self.objtool)?;
        println!("{}", built.summary());
        Ok(built)
    }
}

/// Runs the command.
///
/// # Errors
/// The kernel does not build, or does not show what a boot of it must show.
pub fn run(args: Args) -> Result<()> {
    let (which, boots) = match args.command {
        Command::Build(which) => (which, false),
        Command::Boot(which) => (which, true),
        Command::Test(Suite::Livepatch(args)) => return livepatch::run(&args),
        Command::Test(Suite::Unwind(args)) => return unwind::run(&args),
        Command::Overlay(args) => return overlay::run(&args),
    };
    let built = which.built()?;
    if boots {
        println!("{}", boot::run(&built)?);
    }
    Ok(())
}
