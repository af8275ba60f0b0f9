//! `./x setup`: what the other tasks need from the machine. Debian's packages, bindgen, and the
//! kernel's source in the cache; each only where it is missing.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{bail, Context, Result};

use crate::paths::{self, Kernel, SOURCE_PACKAGE};
use crate::{cmd, lock, objtool, progress};

/// What a kernel build, a boot and the fixtures take.
const PACKAGES: &[&str] = &[
    SOURCE_PACKAGE,
    // The kernel's build.
    "bc",
    "bison",
    "dwarves",
    "flex",
    "gcc",
    "libelf-dev",
    "libssl-dev",
    "make",
    "rsync",
    "xz-utils",
    "zstd",
    // Its Rust part.
    "libclang-16-dev",
    "llvm-16",
    "rust-web-src",
    "rustc-web",
    // The emulator's build, beside libclang.
    "cmake",
    // The machine it boots on, and the initramfs' contents.
    "cpio",
    "diffutils",
    "gawk",
    "kmod",
    "procps",
    "qemu-system-x86",
];

/// The bindgen that the kernel's Rust bindings are made with.
const BINDGEN: &str = "0.71.1";

/// Makes sure of everything.
///
/// # Errors
/// Something is missing and cannot be had; the message says what and how to get it.
pub fn run() -> Result<()> {
    packages(PACKAGES)?;
    cargo_tools()?;
    bindgen()?;
    source()?;
    Ok(())
}

/// The compilers and tools a kernel's Rust code is built with.
pub struct Rust {
    /// Debian's compiler, which has the library sources beside it.
    pub rustc: PathBuf,
    /// bindgen in the cache.
    pub bindgen: PathBuf,
    /// The folder of libclang, which bindgen loads.
    pub libclang: PathBuf,
}

/// Finds what [`run`] has installed for the Rust code of a kernel whose C code this compiler compiles.
///
/// # Errors
/// A package is not installed.
pub fn rust(compiler: &str) -> Result<Rust> {
    let files = cmd::stdout(Command::new("dpkg").args(["--listfiles", "rustc-web"]))
        .context("rustc-web is not installed; run ./x setup")?;
    let rustc = files
        .lines()
        .find(|file| file.ends_with("bin/rustc"))
        .context("Debian's package rustc-web holds no bin/rustc")?;
    // bindgen is given the flags that are meant for the C compiler, and knows no other clang's.
    let version = compiler.strip_prefix("clang-").unwrap_or("16");
    let libclang = cmd::stdout(Command::new(format!("llvm-config-{version}")).arg("--libdir"))
        .with_context(|| format!("llvm-{version} is not installed; run ./x setup"))?;
    Ok(Rust {
        rustc: rustc.into(),
        bindgen: bindgen_path()?,
        libclang: libclang.into(),
    })
}

/// Installs those of the packages that are missing.
///
/// # Errors
/// There is no apt-get, no way to become root, or the installation fails.
pub fn packages(wanted: &[&str]) -> Result<()> {
    let missing = missing(wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    println!("installing Debian's packages {list}");
    let start = Instant::now();
    become_root(&list)?;
    let spinner = progress::spinner("installing");
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(&missing);
    let result = apt(&["update"])
        .and_then(|()| apt(&install))
        .with_context(|| {
            format!("cannot install {list}; the names are Debian 12's, with its security archive")
        });
    spinner.finish_and_clear();
    result?;
    println!(
        "installed {} ({})",
        progress::counted(missing.len(), "package"),
        progress::since(start)
    );
    Ok(())
}

/// Renews the lists of what Debian's archive has.
///
/// # Errors
/// There is no apt-get, no way to become root, or the archive cannot be reached.
pub fn package_lists() -> Result<()> {
    apt(&["update"])
        .context("cannot renew the lists of Debian's packages; as root, apt-get update does")
}

fn missing<'a>(wanted: &[&'a str]) -> Result<Vec<&'a str>> {
    // dpkg-query's status says only that one of the names is unknown to it; its list says which
    // are installed.
    let mut query = Command::new("dpkg-query");
    query
        .args(["--show", "--showformat=${db:Status-Status} ${Package}\n"])
        .args(wanted);
    let output = query
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .with_context(|| {
            format!(
                "there is no dpkg-query: this is no Debian; install {}",
                wanted.join(" ")
            )
        })?;
    let installed = String::from_utf8_lossy(&output.stdout);
    let installed: Vec<&str> = installed
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .collect();
    Ok(wanted
        .iter()
        .copied()
        .filter(|package| !installed.contains(package))
        .collect())
}

/// Makes sure that [`apt`] can become root, while a password can still be asked for.
fn become_root(list: &str) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if !on_path("sudo") {
        bail!(
            "this takes root, and there is no sudo; run as root: apt-get update && apt-get install \
             --no-install-recommends {list}"
        );
    }
    let mut sudo = Command::new("sudo");
    if !std::io::stdin().is_terminal() {
        // Nobody is there to type a password: fail at once instead of waiting for it.
        sudo.arg("--non-interactive");
    }
    cmd::run(sudo.arg("true")).with_context(|| format!("cannot become root to install {list}"))
}

/// Runs apt-get as root, without questions.
fn apt(args: &[&str]) -> Result<()> {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("env")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", "env"]);
        sudo
    };
    command
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"])
        // A machine that has just come up may be installing updates by itself.
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(args);
    cmd::output(&mut command)?;
    Ok(())
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Makes sure of `cargo fmt` and `cargo clippy`, from where cargo itself came.
fn cargo_tools() -> Result<()> {
    let works = |tool: &str| {
        Command::new(objtool::cargo())
            .args([tool, "--version"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let tools = [
        ("fmt", "rustfmt", "rustfmt-web"),
        ("clippy", "clippy", "rust-web-clippy"),
    ];
    let broken: Vec<_> = tools
        .into_iter()
        .filter(|(tool, ..)| !works(tool))
        .collect();
    if broken.is_empty() {
        return Ok(());
    }
    if on_path("rustup") {
        let components: Vec<_> = broken.iter().map(|(_, component, _)| *component).collect();
        println!("installing rustup's components {}", components.join(" "));
        cmd::run(
            Command::new("rustup")
                .args(["component", "add"])
                .args(components),
        )?;
    } else {
        packages(
            &broken
                .iter()
                .map(|(.., package)| *package)
                .collect::<Vec<_>>(),
        )?;
    }
    for (tool, component, _) in broken {
        if !works(tool) {
            bail!(
                "`cargo {tool}` does not work with {}; install the {component} that belongs to it",
                objtool::cargo().to_string_lossy()
            );
        }
    }
    Ok(())
}

fn bindgen_path() -> Result<PathBuf> {
    Ok(paths::cache()?.join(format!("tools/bindgen-{BINDGEN}/bin/bindgen")))
}

fn bindgen() -> Result<()> {
    let path = bindgen_path()?;
    if path.is_file() {
        return Ok(());
    }
    let root = path
        .parent()
        .and_then(Path::parent)
        .context("bindgen's path has no root")?;
    let _lock = lock::hold(root)?;
    if path.is_file() {
        return Ok(());
    }
    let start = Instant::now();
    let spinner = progress::spinner(format!("installing bindgen {BINDGEN}"));
    let mut command = Command::new(objtool::cargo());
    command.args([
        "install",
        "--quiet",
        "--locked",
        "bindgen-cli",
        "--version",
        BINDGEN,
        "--root",
    ]);
    // Its own target folder, under the cache, so that nothing of it lands in the checkout's.
    let build = tempfile::Builder::new()
        .prefix("bindgen-build-")
        .tempdir_in(root.parent().unwrap_or(root))?;
    command.arg(root).env("CARGO_TARGET_DIR", build.path());
    let result = cmd::output(&mut command);
    spinner.finish_and_clear();
    result.with_context(|| format!("cannot install bindgen {BINDGEN}"))?;
    println!("installed bindgen {BINDGEN} ({})", progress::since(start));
    Ok(())
}

/// Unpacks the kernel's source, all of it or nothing.
fn source() -> Result<()> {
    let kernel = Kernel::installed()?;
    let target = kernel.source();
    if target.is_dir() {
        return Ok(());
    }
    let _lock = lock::hold(&target)?;
    if target.is_dir() {
        return Ok(());
    }
    let files = cmd::stdout(Command::new("dpkg").args(["--listfiles", SOURCE_PACKAGE]))?;
    let tarball = files
        .lines()
        .find(|file| file.ends_with(".tar.xz"))
        .with_context(|| format!("Debian's package {SOURCE_PACKAGE} holds no .tar.xz"))?;
    let parent = target
        .parent()
        .context("the source's folder has no parent")?;
    let start = Instant::now();
    let spinner = progress::spinner(format!(
        "unpacking the kernel's source {}",
        kernel.version()
    ));
    let unpacked = tempfile::Builder::new()
        .prefix(".unpacking-")
        .tempdir_in(parent)?;
    let mut tar = Command::new("tar");
    tar.args([
        "--extract",
        "--strip-components=1",
        "--file",
        tarball,
        "--directory",
    ]);
    let result = cmd::output(tar.arg(unpacked.path()));
    spinner.finish_and_clear();
    result.context("cannot unpack the kernel's source")?;
    if !unpacked.path().join("Makefile").is_file() {
        bail!("{tarball} holds no kernel source: it has no Makefile at its top");
    }
    // tempfile makes the folder private; a source tree is not.
    fs::set_permissions(
        unpacked.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    fs::rename(unpacked.path(), &target)
        .with_context(|| format!("cannot put the source in place at {}", target.display()))?;
    // It has moved: there is nothing left to remove.
    let _ = unpacked.keep();
    println!(
        "unpacked the kernel's source {} ({})",
        kernel.version(),
        progress::since(start)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_is_not_installed_is_missing() {
        assert_eq!(
            missing(&["dpkg", "no-such-package-anywhere", "coreutils"]).unwrap(),
            ["no-such-package-anywhere"]
        );
    }
}
