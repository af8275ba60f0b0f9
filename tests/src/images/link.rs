//! From a source to an image: compiled by gcc, linked by ld with a script that lays the parts out
//! as a kernel's does.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use super::source::{Kind, Source};
use crate::compile;

/// The objects of a fixture, and the folder that they lie in.
#[derive(Debug)]
pub struct Objects {
    dir: PathBuf,
    script: PathBuf,
    kind: Kind,
    files: Vec<PathBuf>,
}

/// Compiles a fixture and what is linked to it, below `dir`.
///
/// # Errors
/// A compiler that is not there, its complaints, and a fixture outside an architecture folder.
pub fn compile(source: &Source, dir: &Path) -> Result<Objects> {
    let (architecture, flags) = compile::architecture(&source.path)?;
    let folder = super::root().join(architecture);
    let mut sources = vec![source.path.clone()];
    sources.extend(source.with.iter().cloned());
    if source.bulk {
        sources.push(folder.join("parts/bulk.S"));
    }
    let mut files = Vec::new();
    for (index, path) in sources.iter().enumerate() {
        let stem = path.file_stem().unwrap_or(OsStr::new("source"));
        let out = dir.join(format!("{index}-{}.o", stem.to_string_lossy()));
        let mut command = Command::new(std::env::var_os("CC").unwrap_or("gcc".into()));
        command.args(flags);
        if path.extension().is_some_and(|e| e == "c") {
            // How a fixture keeps its frames it says itself.
            command.args(compile::C_FLAGS).arg("-Wno-unused-function");
        }
        command
            .args(["-g", "-Wa,--fatal-warnings", "-I"])
            .arg(folder.join("include"))
            .arg("-I")
            .arg(crate::root().join("fixtures/include"))
            .args(&source.cc)
            .arg("-c")
            .arg(path)
            .arg("-o")
            .arg(&out);
        run(&mut command, path, "install gcc or set CC")?;
        files.push(out);
    }
    let script = match source.kind {
        Kind::Kernel => "kernel.lds",
        Kind::Sections => "sections.lds",
        Kind::Module => "module.lds",
    };
    Ok(Objects {
        dir: dir.to_path_buf(),
        script: folder.join(script),
        kind: source.kind,
        files,
    })
}

impl Objects {
    /// Links them to a file of this name.
    ///
    /// # Errors
    /// A linker that is not there, and its complaints.
    pub fn link(&self, name: &str) -> Result<PathBuf> {
        self.link_with(name, &[])
    }

    /// Links them and more to a file of this name. Assembly is assembled first, as a build does.
    ///
    /// # Errors
    /// An assembler or linker that is not there, and their complaints.
    pub fn link_with(&self, name: &str, more: &[&Path]) -> Result<PathBuf> {
        let out = self.dir.join(name);
        let mut objects = Vec::new();
        for path in more {
            let object = path.with_extension("o");
            let mut assembler = Command::new("as");
            assembler
                .arg("--fatal-warnings")
                .arg(path)
                .arg("-o")
                .arg(&object);
            run(&mut assembler, path, "install binutils")?;
            objects.push(object);
        }
        // A module tells its sections by where the table's part of them lies: in front.
        let files = match self.kind {
            Kind::Module => [objects, self.files.clone()].concat(),
            Kind::Kernel | Kind::Sections => [self.files.clone(), objects].concat(),
        };
        let mut linker = Command::new("ld");
        linker.args(["-z", "noexecstack", "--fatal-warnings"]);
        match self.kind {
            Kind::Module => linker.arg("-r"),
            Kind::Kernel | Kind::Sections => linker
                .args(["-static", "-nostdlib", "--no-warn-rwx-segments"])
                .args(["-z", "max-page-size=0x1000"]),
        };
        linker.arg("-T").arg(&self.script);
        linker.arg("-o").arg(&out).args(&files);
        run(&mut linker, &files[0], "install binutils")?;
        Ok(out)
    }
}

fn run(command: &mut Command, on: &Path, missing: &str) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("can't run `{program}`; {missing}"))?;
    if !output.status.success() || !output.stderr.is_empty() {
        bail!(
            "{}: {program} complains:\n{}",
            on.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
