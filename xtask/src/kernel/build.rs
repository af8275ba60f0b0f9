//! Building a kernel: configuration, make, and the stamp that lets a finished build be used again.
//!
//! A build is fixed by its stamp: the source's version, the configuration, the compilers and the
//! objtool. A finished build with the same stamp is used as it is; one that was interrupted is
//! continued; with any other stamp it is begun anew. The C build records its objects on the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{bail, Context, Result};

use super::{entry_code, overlay};
use crate::configs::Config;
use crate::paths::{self, Kernel, Tool};
use crate::{cmd, lock, objtool, progress, setup};

/// Fixed, so that two builds of the same thing give the same bytes.
const STAMPS: [&str; 4] = [
    "KBUILD_BUILD_TIMESTAMP=2026-01-01",
    "KBUILD_BUILD_USER=objtool-rs",
    "KBUILD_BUILD_HOST=objtool-rs",
    "KBUILD_BUILD_VERSION=1",
];

/// A finished build.
pub struct Built {
    /// What was built.
    pub config: &'static Config,
    /// With which objtool.
    pub tool: Tool,
    /// The `O=` folder.
    pub dir: PathBuf,
    /// What make printed, from the first line to the last.
    pub log: PathBuf,
    /// How long it took; none for a build that was there already.
    pub took: Option<String>,
}

impl Built {
    /// The image to boot.
    pub fn image(&self) -> PathBuf {
        self.dir.join("arch/x86/boot/bzImage")
    }

    /// One line: what is where.
    pub fn summary(&self) -> String {
        let how = match &self.took {
            Some(time) => format!("built in {time}"),
            None => "built before".to_owned(),
        };
        format!(
            "{} with {}: {how}, {}",
            self.config.name,
            self.tool.program(),
            self.dir.display()
        )
    }

    /// The findings that the build's log holds, sorted: parallel makes print them in any order.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn findings(&self) -> Result<Vec<String>> {
        let log = fs::read(&self.log)
            .with_context(|| format!("cannot read the build log {}", self.log.display()))?;
        Ok(findings(&String::from_utf8_lossy(&log)))
    }

    /// How many objects objtool ran on: those whose saved command line names it.
    ///
    /// # Errors
    /// The build folder cannot be read.
    pub fn validated(&self) -> Result<usize> {
        let tool = objtool_argument(self.tool, &self.dir);
        let tool = format!("; {} ", tool.display());
        let mut count = 0;
        let mut folders = vec![self.dir.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let path = entry.path();
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() && path.extension().is_some_and(|ext| ext == "cmd") {
                    let text = fs::read_to_string(&path)
                        .with_context(|| format!("cannot read {}", path.display()))?;
                    // The first line is the command; what the object depends on follows.
                    count += usize::from(text.lines().next().unwrap_or("").contains(&tool));
                }
            }
        }
        Ok(count)
    }
}

/// Builds the configuration, or finds it built. [`setup::run`] must have passed.
///
/// # Errors
/// A line of the configuration does not take, or the build fails; the message carries the end of
/// the log and its path.
pub fn run(config: &'static Config, tool: Tool) -> Result<Built> {
    setup::packages(config.packages)?;
    let kernel = Kernel::installed()?;
    let source = source(config, &kernel)?;
    let dir = kernel.build(config.name, tool);
    let log = kernel.build_log(config.name, tool);
    let program = match tool {
        Tool::C => paths::project()?.join("kernel/record-objtool"),
        Tool::Rs => objtool::ours()?,
    };

    let _lock = lock::hold(&dir)?;
    let build = Build {
        config,
        tool,
        kernel: &kernel,
        source: &source,
        dir: &dir,
        log: &log,
    };
    let stamp = build.stamp()?;
    let same_tool = same_bytes(&program, &objtool_argument(tool, &dir));
    let found = fs::read_to_string(build.own("stamp")).unwrap_or_default();
    let built = |took| Built {
        config,
        tool,
        dir: dir.clone(),
        log: log.clone(),
        took,
    };
    if found == stamp && same_tool {
        // What of an overlay has changed since, make finds out.
        if build.own("finished").is_file() && !config.overlay {
            return Ok(built(None));
        }
        println!(
            "continuing to build {} with {}; the log is {}",
            config.name,
            tool.program(),
            log.display()
        );
    } else {
        build.begin(&stamp, &program)?;
        println!(
            "building {} with {}; the log is {}",
            config.name,
            tool.program(),
            log.display()
        );
    }
    let start = Instant::now();
    build
        .configure()
        .with_context(|| format!("cannot configure {}", config.name))?;
    build
        .make()
        .with_context(|| format!("{} does not build", config.name))?;
    let config = fs::read_to_string(dir.join(".config"))?;
    if config.lines().any(|line| line == "CONFIG_RUST_UNWINDER=y") {
        entry_code::check(&dir.join("vmlinux"))?;
    }
    fs::write(build.own("finished"), "")?;
    Ok(built(Some(progress::since(start))))
}

/// The source that a configuration is of.
fn source(config: &Config, kernel: &Kernel) -> Result<PathBuf> {
    if config.overlay {
        overlay::source(kernel)
    } else {
        Ok(kernel.source())
    }
}

/// Builds the modules of a folder outside of the kernel's tree, for a kernel that is built.
///
/// # Errors
/// They do not build; the message carries the end of the log and its path.
pub fn modules(built: &Built, folder: &Path) -> Result<()> {
    let kernel = Kernel::installed()?;
    let log = own(&built.dir).join("modules.log");
    let _lock = lock::hold(&built.dir)?;
    fs::write(&log, "").with_context(|| format!("cannot write the log {}", log.display()))?;
    let source = source(built.config, &kernel)?;
    let build = Build {
        config: built.config,
        tool: built.tool,
        kernel: &kernel,
        source: &source,
        dir: &built.dir,
        log: &log,
    };
    let mut make = build.make_command()?;
    // They are no part of the kernel's corpus.
    let record = tempfile::tempdir()?;
    make.env("OBJTOOL_RS_RECORD", record.path());
    make.arg(format!("M={}", folder.display())).arg("modules");
    cmd::logged(&mut make, &log, |_| ())
        .with_context(|| format!("the modules in {} do not build", folder.display()))
}

struct Build<'a> {
    config: &'static Config,
    tool: Tool,
    kernel: &'a Kernel,
    source: &'a Path,
    dir: &'a Path,
    log: &'a Path,
}

impl Build<'_> {
    /// A file of ours in the build folder, in a folder that the kernel's build does not know.
    fn own(&self, name: &str) -> PathBuf {
        own(self.dir).join(name)
    }

    /// Everything that the result depends on, apart from the objtool, which is kept whole.
    fn stamp(&self) -> Result<String> {
        let fragment = self.config.fragment()?;
        let fragment = fs::read_to_string(&fragment)
            .with_context(|| format!("cannot read {}", fragment.display()))?;
        let mut parts = vec![
            self.kernel.version().to_owned(),
            self.config.base.to_owned(),
            cmd::line(&self.make_command()?),
            fragment,
        ];
        parts.push(cmd::stdout(
            Command::new(self.config.compiler).arg("--version"),
        )?);
        if self.config.rust {
            parts.push(cmd::stdout(
                Command::new(setup::rust(self.config.compiler)?.rustc).arg("--version"),
            )?);
        }
        Ok(parts.join("\n"))
    }

    /// Empties the build folder and puts the stamp and the tool there.
    fn begin(&self, stamp: &str, program: &Path) -> Result<()> {
        let mut old = vec![self.dir.to_owned()];
        if self.tool == Tool::C {
            old.push(self.kernel.corpus_dir(self.config.name));
        }
        for dir in old.iter().filter(|dir| dir.exists()) {
            fs::remove_dir_all(dir)
                .with_context(|| format!("cannot remove the old build {}", dir.display()))?;
        }
        let own = own(self.dir);
        fs::create_dir_all(&own)
            .with_context(|| format!("cannot make the folder {}", own.display()))?;
        fs::write(self.log, "")
            .with_context(|| format!("cannot write the log {}", self.log.display()))?;
        fs::copy(program, objtool_argument(self.tool, self.dir))
            .with_context(|| format!("cannot copy {}", program.display()))?;
        fs::write(self.own("stamp"), stamp)?;
        Ok(())
    }

    /// make, with everything but the targets.
    fn make_command(&self) -> Result<Command> {
        let mut make = Command::new("make");
        // What else is in the environment (ARCH, KCFLAGS, LOCALVERSION, cargo's own) would change
        // the result unseen.
        make.env_clear().env("LC_ALL", "C");
        for name in ["PATH", "HOME", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                make.env(name, value);
            }
        }
        make.arg("-C")
            .arg(self.source)
            .arg(format!("O={}", self.dir.display()));
        make.args(STAMPS).args(self.config.make);
        make.arg(format!(
            "objtool={}",
            objtool_argument(self.tool, self.dir).display()
        ));
        if self.tool == Tool::C {
            make.env(
                "OBJTOOL_RS_RECORD",
                self.kernel.corpus_dir(self.config.name),
            );
        }
        if self.config.rust {
            let rust = setup::rust(self.config.compiler)?;
            make.arg(format!("RUSTC={}", rust.rustc.display()));
            make.arg(format!("HOSTRUSTC={}", rust.rustc.display()));
            make.arg(format!("BINDGEN={}", rust.bindgen.display()));
            make.env("LIBCLANG_PATH", rust.libclang);
        }
        Ok(make)
    }

    fn configure(&self) -> Result<()> {
        let spinner = progress::spinner(format!("configuring {}", self.config.name));
        let target = |target| -> Result<()> {
            cmd::logged(self.make_command()?.arg(target), self.log, |_| ())
        };
        if self.config.rust {
            target("rustavailable").context("this machine cannot build the kernel's Rust code")?;
        }
        target(self.config.base)?;
        let fragment = self.config.fragment()?;
        let mut merge = Command::new(self.source.join("scripts/kconfig/merge_config.sh"));
        merge
            .current_dir(self.source)
            .arg("-O")
            .arg(self.dir)
            .arg("-m");
        merge.arg(self.dir.join(".config")).arg(&fragment);
        cmd::logged(&mut merge, self.log, |_| ())?;
        target("olddefconfig")?;
        spinner.finish_and_clear();

        let wanted = fs::read_to_string(&fragment)?;
        let got = fs::read_to_string(self.dir.join(".config"))?;
        let refused = refused(&wanted, &got);
        if !refused.is_empty() {
            bail!(
                "{} asks for what this source does not give: {}",
                fragment.display(),
                refused.join(", ")
            );
        }
        Ok(())
    }

    fn make(&self) -> Result<()> {
        let bar = progress::bar(self.config.lines, format!("building {}", self.config.name));
        let mut make = self.make_command()?;
        make.arg(format!("-j{}", std::thread::available_parallelism()?));
        let result = cmd::logged(&mut make, self.log, |line| {
            // Kbuild's lines: two blanks, what it does, on which file.
            if let Some(step) = line.strip_prefix("  ") {
                if step.starts_with(|c: char| c.is_ascii_uppercase()) {
                    if bar.position() == self.config.lines {
                        bar.inc_length(1);
                    }
                    bar.inc(1);
                    bar.set_message(step.to_owned());
                }
            }
        });
        bar.finish_and_clear();
        result
    }
}

/// Our own files in a build folder.
pub fn own(dir: &Path) -> PathBuf {
    dir.join(".objtool-rs")
}

/// What make is told as `objtool=`: a copy in the build folder, because the checkout's may move or
/// be rebuilt while the build stays.
fn objtool_argument(tool: Tool, dir: &Path) -> PathBuf {
    own(dir).join(match tool {
        Tool::C => "record-objtool",
        Tool::Rs => "objtool-rs",
    })
}

fn same_bytes(a: &Path, b: &Path) -> bool {
    match (fs::read(a), fs::read(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// The lines of a fragment that the configuration does not hold.
fn refused<'a>(fragment: &'a str, config: &str) -> Vec<&'a str> {
    let config: Vec<&str> = config.lines().collect();
    let took = |line: &str| match line
        .strip_prefix("# ")
        .and_then(|l| l.strip_suffix(" is not set"))
    {
        // A symbol whose dependencies are unmet has no line at all, which is as good as unset.
        Some(symbol) => !config.iter().any(|have| {
            have.strip_prefix(symbol)
                .is_some_and(|rest| rest.starts_with('='))
        }),
        None => config.contains(&line),
    };
    let asks = |line: &&str| {
        line.starts_with("CONFIG_") || (line.starts_with("# CONFIG_") && line.ends_with("not set"))
    };
    fragment
        .lines()
        .map(str::trim_end)
        .filter(asks)
        .filter(|line| !took(line))
        .collect()
}

/// The lines of a build log that objtool wrote, sorted.
fn findings(log: &str) -> Vec<String> {
    let mut lines: Vec<String> = log
        .lines()
        .filter(|line| line.contains(": objtool: ") || line.starts_with("objtool: "))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_did_not_take_is_named() {
        let fragment =
            "# A kernel.\nCONFIG_SMP=y\nCONFIG_RUST=y\n# CONFIG_X86_KERNEL_IBT is not set\n\
                        # CONFIG_GONE is not set\nCONFIG_SAMPLE=m\n";
        let config =
            "CONFIG_SMP=y\n# CONFIG_RUST is not set\nCONFIG_X86_KERNEL_IBT=y\nCONFIG_SAMPLE=y\n";
        assert_eq!(
            refused(fragment, config),
            [
                "CONFIG_RUST=y",
                "# CONFIG_X86_KERNEL_IBT is not set",
                "CONFIG_SAMPLE=m"
            ]
        );
        let config =
            "CONFIG_SMP=y\nCONFIG_RUST=y\n# CONFIG_X86_KERNEL_IBT is not set\nCONFIG_SAMPLE=m\n\
                      CONFIG_GONE_TOO=y\n";
        assert_eq!(refused(fragment, config), [""; 0]);
    }

    #[test]
    fn findings_are_told_from_the_rest_of_a_log() {
        let log =
            "  CC      kernel/fork.o\nkernel/fork.o: warning: objtool: fork+0x1a: return with \
                   modified stack frame\n  CC      tools/objtool/check.o\nfs/a.o: error: objtool: \
                   cannot read\n";
        assert_eq!(
            findings(log),
            [
                "fs/a.o: error: objtool: cannot read",
                "kernel/fork.o: warning: objtool: fork+0x1a: return with modified stack frame"
            ]
        );
    }
}
