//! Where things are: the checkout, and the cache outside it that keeps the kernel's source, its
//! builds and the recorded objects between runs.
//!
//! Layout of the cache:
//!
//! ```text
//! linux/<version>/                        the unpacked source
//! linux/<version>+overlay/                the same with this project's overlay
//! build/<version>/<config>-<c|rs>/        a build's O= folder
//! build/<version>/<config>-<c|rs>.log     what make printed
//! corpus/<version>/<config>/in/PATH.o         an object as objtool got it
//! corpus/<version>/<config>/in/PATH.o.args    the arguments it was given, the file's name last
//! corpus/<version>/<config>/out/PATH.o        the object as C objtool left it
//! corpus/<version>/<config>/out/PATH.o.stderr what C objtool said
//! tools/                                  programs that Debian does not package
//! debian/<package>/                       files of Debian's kernels, when asked for
//! ```
//!
//! `<version>` is that of the Debian package which holds the source. How these things come to be
//! stands in `setup` and `kernel`.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::cmd;

/// The Debian package that holds the kernel's source.
pub const SOURCE_PACKAGE: &str = "linux-source-6.12";

/// The root of the checkout.
///
/// # Errors
/// xtask was not started by cargo.
pub fn project() -> Result<PathBuf> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .context("CARGO_MANIFEST_DIR is not set: start this through ./x")?;
    let manifest = PathBuf::from(manifest);
    let root = manifest.parent().context("xtask's folder has no parent")?;
    Ok(root.to_owned())
}

/// The cache's root: `$OBJTOOL_RS_CACHE`, else `$XDG_CACHE_HOME/objtool-rs`, else
/// `~/.cache/objtool-rs`.
///
/// # Errors
/// None of the three variables is set, or the one that counts is not an absolute path.
pub fn cache() -> Result<PathBuf> {
    let set = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let root = if let Some(dir) = set("OBJTOOL_RS_CACHE") {
        dir
    } else if let Some(dir) = set("XDG_CACHE_HOME") {
        dir.join("objtool-rs")
    } else if let Some(home) = set("HOME") {
        home.join(".cache/objtool-rs")
    } else {
        bail!("no place for the cache: set OBJTOOL_RS_CACHE to a folder with 10 GB of room");
    };
    if !root.is_absolute() {
        bail!("the cache must be an absolute path, not {}", root.display());
    }
    Ok(root)
}

/// Which objtool a kernel is built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tool {
    /// The kernel's own, written in C; the build records each object before and after it.
    C,
    /// objtool-rs from this checkout.
    Rs,
}

impl Tool {
    /// What people call it.
    pub fn program(self) -> &'static str {
        match self {
            Tool::C => "C objtool",
            Tool::Rs => "objtool-rs",
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tool::C => "c",
            Tool::Rs => "rs",
        })
    }
}

/// One version of the kernel's source and everything in the cache that was made from it.
#[derive(Clone, Debug)]
pub struct Kernel {
    cache: PathBuf,
    version: String,
}

impl Kernel {
    /// The version whose package is installed.
    ///
    /// # Errors
    /// The package is not installed.
    pub fn installed() -> Result<Self> {
        let version = cmd::stdout(Command::new("dpkg-query").args([
            "--show",
            "--showformat=${Version}",
            SOURCE_PACKAGE,
        ]))
        .with_context(|| format!("{SOURCE_PACKAGE} is not installed; run ./x setup"))?;
        if version.is_empty() {
            bail!("{SOURCE_PACKAGE} is not installed; run ./x setup");
        }
        Ok(Self {
            cache: cache()?,
            version,
        })
    }

    /// The Debian package's version, such as `6.12.117-1~deb12u1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The unpacked, unmodified source.
    pub fn source(&self) -> PathBuf {
        self.cache.join("linux").join(&self.version)
    }

    /// The source with this project's overlay.
    pub fn overlaid_source(&self) -> PathBuf {
        self.cache
            .join("linux")
            .join(format!("{}+overlay", self.version))
    }

    /// The `O=` folder of a build.
    pub fn build(&self, config: &str, tool: Tool) -> PathBuf {
        self.cache
            .join("build")
            .join(&self.version)
            .join(format!("{config}-{tool}"))
    }

    /// What make printed in the build [`Self::build`] names.
    pub fn build_log(&self, config: &str, tool: Tool) -> PathBuf {
        self.cache
            .join("build")
            .join(&self.version)
            .join(format!("{config}-{tool}.log"))
    }

    /// The folder of the objects recorded in a configuration's C build.
    pub fn corpus_dir(&self, config: &str) -> PathBuf {
        self.cache.join("corpus").join(&self.version).join(config)
    }

    /// Every object recorded in a configuration's C build, sorted by name.
    ///
    /// # Errors
    /// There is no such corpus, or a part of it cannot be read.
    pub fn corpus(&self, config: &str) -> Result<Vec<CorpusObject>> {
        let dir = self.corpus_dir(config);
        if !dir.join("in").is_dir() {
            bail!(
                "no recorded objects in {}; run ./x kernel build {config} --objtool c",
                dir.display()
            );
        }
        read_corpus(&dir)
    }
}

/// One object of a kernel build, recorded before and after C objtool.
#[derive(Clone, Debug)]
pub struct CorpusObject {
    /// The object's path inside the build folder, which objtool was given and names in findings.
    pub name: String,
    /// The object as objtool got it.
    pub input: PathBuf,
    /// The options it was given, without the file's name.
    pub args: Vec<String>,
    /// The object as C objtool left it.
    pub output: PathBuf,
    /// What C objtool wrote to standard error.
    pub stderr: PathBuf,
}

fn read_corpus(dir: &Path) -> Result<Vec<CorpusObject>> {
    let inputs = dir.join("in");
    let mut objects = Vec::new();
    let mut folders = vec![inputs.clone()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("cannot list the folder {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "args")
            {
                objects.push(read_object(dir, &inputs, &path)?);
            }
        }
    }
    objects.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(objects)
}

fn read_object(dir: &Path, inputs: &Path, args: &Path) -> Result<CorpusObject> {
    let broken = || {
        format!(
            "{} is not a whole record; delete {}",
            args.display(),
            dir.display()
        )
    };
    let input = args.with_extension("");
    let name = input
        .strip_prefix(inputs)?
        .to_str()
        .with_context(broken)?
        .to_owned();
    let text = fs::read_to_string(args).with_context(broken)?;
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if words.pop().as_ref() != Some(&name) {
        bail!(broken());
    }
    let output = dir.join("out").join(&name);
    let stderr = dir.join("out").join(format!("{name}.stderr"));
    for file in [&input, &output, &stderr] {
        if !file.is_file() {
            bail!("{} is missing; {}", file.display(), broken());
        }
    }
    Ok(CorpusObject {
        name,
        input,
        args: words,
        output,
        stderr,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(dir: &Path, name: &str, args: &str) {
        for side in ["in", "out"] {
            let file = dir.join(side).join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, side).unwrap();
        }
        fs::write(dir.join("in").join(format!("{name}.args")), args).unwrap();
        fs::write(dir.join("out").join(format!("{name}.stderr")), "").unwrap();
    }

    #[test]
    fn a_corpus_is_listed_by_name_with_the_arguments_apart() {
        let dir = tempfile::tempdir().unwrap();
        record(
            dir.path(),
            "kernel/fork.o",
            "--stackval --prefix=16 kernel/fork.o\n",
        );
        record(dir.path(), "fs/open.o", "--stackval fs/open.o\n");
        let objects = read_corpus(dir.path()).unwrap();
        let names: Vec<_> = objects.iter().map(|object| object.name.as_str()).collect();
        assert_eq!(names, ["fs/open.o", "kernel/fork.o"]);
        assert_eq!(objects[1].args, ["--stackval", "--prefix=16"]);
        assert_eq!(fs::read(&objects[1].input).unwrap(), b"in");
        assert_eq!(fs::read(&objects[1].output).unwrap(), b"out");
    }

    #[test]
    fn half_a_record_is_an_error_that_says_what_to_delete() {
        let dir = tempfile::tempdir().unwrap();
        record(dir.path(), "fs/open.o", "--stackval fs/open.o\n");
        fs::remove_file(dir.path().join("out/fs/open.o")).unwrap();
        let error = read_corpus(dir.path()).unwrap_err().to_string();
        assert!(error.contains("out/fs/open.o is missing"), "{error}");

        record(dir.path(), "fs/open.o", "--stackval fs/other.o\n");
        let error = read_corpus(dir.path()).unwrap_err().to_string();
        assert!(error.contains("not a whole record; delete"), "{error}");
    }
}
