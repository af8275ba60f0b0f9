//! The kernel configurations the project builds, as data: what each starts from, what it needs and
//! what a boot of it must show.
//!
//! The Kconfig lines themselves stand in `kernel/configs/`; how they are built in `kernel::build`.

use std::path::PathBuf;

use anyhow::{bail, Result};

use crate::paths;

/// A kernel configuration.
#[derive(Debug)]
pub struct Config {
    /// Its name, also that of its fragment: `kernel/configs/<name>.config`.
    pub name: &'static str,
    /// The make target the fragment is merged onto.
    pub base: &'static str,
    /// What make is told beside the targets.
    pub make: &'static [&'static str],
    /// Whether Rust code is part of it, so that the compiler must pass `make rustavailable`.
    pub rust: bool,
    /// The C compiler, whose version is part of what a build depends on.
    pub compiler: &'static str,
    /// Whether the source gets this project's overlay.
    pub overlay: bool,
    /// Debian packages it takes beyond those of every configuration.
    pub packages: &'static [&'static str],
    /// About how many lines a whole build prints: only a progress bar rests on it.
    pub lines: u64,
    /// Whether the kernel checks all that it does, each lock or each access to memory, and so runs ten
    /// times as many instructions.
    pub watches_itself: bool,
    /// The modules that a boot loads.
    pub modules: &'static [Module],
}

/// A module that a boot loads, and how the running kernel shows that it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// `samples/rust/rust_minimal.ko`: prints to the kernel's log.
    RustMinimal,
    /// `samples/livepatch/livepatch-sample.ko`: replaces what /proc/cmdline shows.
    LivepatchSample,
}

impl Module {
    /// The module's file below the build folder.
    pub fn path(self) -> &'static str {
        match self {
            Module::RustMinimal => "samples/rust/rust_minimal.ko",
            Module::LivepatchSample => "samples/livepatch/livepatch-sample.ko",
        }
    }
}

/// What `LLVM=-19` takes.
const CLANG: &[&str] = &["clang-19", "lld-19", "llvm-19"];

/// A small kernel that boots, with the modules of its tests; its name is still to come.
const SMALL: Config = Config {
    name: "",
    base: "tinyconfig",
    make: &[],
    rust: true,
    compiler: "gcc",
    overlay: false,
    packages: &[],
    lines: 1734,
    watches_itself: false,
    modules: &[Module::RustMinimal, Module::LivepatchSample],
};

/// The same with the overlay in its source.
const OVERLAID: Config = Config {
    overlay: true,
    lines: 1744,
    ..SMALL
};

/// A small kernel that is only compiled.
const COMPILED: Config = Config {
    rust: false,
    modules: &[],
    ..SMALL
};

/// The same by clang.
const BY_CLANG: Config = Config {
    make: &["LLVM=-19"],
    compiler: "clang-19",
    packages: CLANG,
    ..COMPILED
};

/// Every configuration.
pub const CONFIGS: &[Config] = &[
    Config {
        name: "x86_64-fp",
        ..SMALL
    },
    Config {
        name: "x86_64-orc",
        ..SMALL
    },
    Config {
        name: "x86_64-fp-unwind",
        ..OVERLAID
    },
    Config {
        name: "x86_64-orc-unwind",
        ..OVERLAID
    },
    Config {
        name: "x86_64-fp-livepatch",
        ..OVERLAID
    },
    Config {
        name: "x86_64-orc-livepatch",
        ..OVERLAID
    },
    Config {
        name: "x86_64-fp-livepatch-debug",
        lines: 1790,
        watches_itself: true,
        ..OVERLAID
    },
    Config {
        name: "x86_64-fp-livepatch-kasan",
        make: &["LLVM=-19"],
        compiler: "clang-19",
        packages: CLANG,
        lines: 1780,
        watches_itself: true,
        ..OVERLAID
    },
    Config {
        name: "x86_64-fp-debug",
        lines: 1740,
        watches_itself: true,
        modules: &[Module::LivepatchSample],
        ..COMPILED
    },
    Config {
        name: "x86_64-fp-unwind-test",
        ..OVERLAID
    },
    Config {
        name: "x86_64-orc-unwind-test",
        ..OVERLAID
    },
    Config {
        name: "x86_64-defconfig",
        base: "defconfig",
        lines: 4200,
        ..COMPILED
    },
    Config {
        name: "x86_64-clang",
        ..BY_CLANG
    },
    Config {
        name: "x86_64-clang-lto",
        ..BY_CLANG
    },
    Config {
        name: "x86_64-sanitizers",
        ..COMPILED
    },
];

impl Config {
    /// The configuration of this name, with or without its `x86_64-`.
    ///
    /// # Errors
    /// There is none; the message lists those there are.
    pub fn named(name: &str) -> Result<&'static Self> {
        match CONFIGS
            .iter()
            .find(|config| config.name == name || config.name.strip_prefix("x86_64-") == Some(name))
        {
            Some(config) => Ok(config),
            None => {
                let names: Vec<_> = CONFIGS.iter().map(|config| config.name).collect();
                bail!(
                    "no configuration is called {name}; there are {}",
                    names.join(", ")
                )
            }
        }
    }

    /// How long an instruction takes where a machine's clock goes by them, as a power of two of
    /// nanoseconds. The longer, the sooner a test that mostly waits is done; but where each timer is
    /// due again before the last is through, a kernel comes to nothing else.
    pub fn instruction(&self) -> u8 {
        match self.watches_itself {
            true => 2,
            false => 5,
        }
    }

    /// The fragment's file.
    ///
    /// # Errors
    /// As [`paths::project`].
    pub fn fragment(&self) -> Result<PathBuf> {
        Ok(paths::project()?
            .join("kernel/configs")
            .join(format!("{}.config", self.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_has_its_fragment() {
        for config in CONFIGS {
            let fragment = config.fragment().unwrap();
            let text = std::fs::read_to_string(&fragment).unwrap();
            assert!(text.contains("CONFIG_"), "{}", fragment.display());
            let rust = text.lines().any(|line| line == "CONFIG_RUST=y");
            assert_eq!(rust, config.rust, "{}", config.name);
            for module in config.modules {
                let symbol = match module {
                    Module::RustMinimal => "CONFIG_SAMPLE_RUST_MINIMAL=m",
                    Module::LivepatchSample => "CONFIG_SAMPLE_LIVEPATCH=m",
                };
                assert!(
                    text.lines().any(|line| line == symbol),
                    "{}: {symbol}",
                    config.name
                );
            }
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        assert_eq!(
            Config::named("fp").unwrap().name,
            Config::named("x86_64-fp").unwrap().name
        );
        let error = Config::named("x86_64").unwrap_err().to_string();
        assert!(error.contains("there are x86_64-fp, x86_64-orc"), "{error}");
    }
}
