//! The crates that are compiled into the kernel, and what is asked of them for it: edition, Rust
//! version, no dependency, and no path to a panic in their object files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{bail, Context, Result};
use object::read::archive::ArchiveFile;
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget};

use crate::{cmd, objtool, paths, progress};

/// The packages, without their optional features: those are for the host.
const PACKAGES: &[&str] = &["arch", "arch-x86_64", "unwind", "livepatch"];

/// The oldest compiler that Linux 6.12 takes (`scripts/min-tool-version.sh` in its tree).
const RUST_VERSION: &str = "1.78";

/// The edition that Linux 6.12 compiles its Rust code as (`rust_common_flags` in its Makefile).
const EDITION: &str = "2021";

/// How the kernel compiles Rust code: optimized, but with overflow checks (`RUST_OVERFLOW_CHECKS`
/// is on unless switched off), and a panic never unwinds.
const PROFILE: &[&str] = &[
    r#"profile.kernel.inherits="release""#,
    "profile.kernel.opt-level=2",
    "profile.kernel.overflow-checks=true",
    "profile.kernel.debug-assertions=false",
    r#"profile.kernel.panic="abort""#,
    // Machine code, where a release build would leave the compiler's own code for later.
    r#"profile.kernel.lto="off""#,
    "profile.kernel.codegen-units=1",
    "profile.kernel.debug=false",
];

/// What the compiler itself calls, which the kernel provides and which cannot panic.
const PROVIDED: &[&str] = &["memcpy", "memmove", "memset", "memcmp", "bcmp", "strlen"];

/// Methods with a body of core's own that may panic.
const PROVIDED_METHODS: &[(&str, &str)] = &[
    ("core::cmp::Ord", "clamp"),
    ("core::iter::traits::iterator::Iterator", "count"),
    ("core::iter::traits::iterator::Iterator", "step_by"),
    ("core::iter::traits::exact_size::ExactSizeIterator", "len"),
];

/// Checks what the manifests say.
///
/// # Errors
/// A crate names another edition or Rust version, or takes a dependency.
pub fn manifests() -> Result<String> {
    let metadata = cmd::stdout(
        Command::new(objtool::cargo())
            .args(["metadata", "--format-version=1", "--no-deps"])
            .current_dir(paths::project()?),
    )?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).context("cannot read what cargo metadata printed")?;
    for name in PACKAGES {
        let package = metadata["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|package| package["name"] == *name)
            .with_context(|| format!("the workspace has no package {name}"))?;
        check_manifest(package)?;
    }
    Ok(format!(
        "edition {EDITION}, Rust {RUST_VERSION}, no dependency: {}",
        PACKAGES.join(", ")
    ))
}

/// Checks one package of cargo's metadata.
fn check_manifest(package: &serde_json::Value) -> Result<()> {
    let manifest = package["manifest_path"].as_str().unwrap_or("a manifest");
    for (field, wanted) in [("edition", EDITION), ("rust_version", RUST_VERSION)] {
        if package[field] != wanted {
            bail!(
                "{manifest}: {field} is to be {wanted}, but is {}",
                package[field]
            );
        }
    }
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let name = dependency["name"].as_str().unwrap_or_default();
        let on_the_host = dependency["kind"] == "dev" || dependency["optional"] == true;
        if !on_the_host && !PACKAGES.contains(&name) {
            bail!("{manifest}: the kernel has no {name}; make the dependency optional or drop it");
        }
    }
    Ok(())
}

/// Checks that no crate uses what its Rust version has not got yet.
///
/// # Errors
/// One does, or clippy fails.
pub fn rust_version() -> Result<String> {
    Workspace::checkout()?.lint_rust_version(PACKAGES)?;
    Ok(format!("nothing is newer than Rust {RUST_VERSION}"))
}

/// Checks that the crates' object files call nothing that panics, nor anything unknown.
///
/// # Errors
/// One does; the message names the function that calls and the one that is called.
pub fn no_panic() -> Result<String> {
    let count = Workspace::checkout()?.check_calls(PACKAGES)?;
    Ok(format!(
        "{} compiled as the kernel would",
        progress::counted(count, "function")
    ))
}

/// Where the packages are: the checkout, or a test's own.
struct Workspace {
    dir: PathBuf,
    /// Where cargo builds, if not where it is set up to.
    target: Option<PathBuf>,
}

impl Workspace {
    fn checkout() -> Result<Self> {
        Ok(Self {
            dir: paths::project()?,
            target: None,
        })
    }

    /// A cargo command on the library of a package, as the kernel has it.
    fn cargo(&self, task: &str, package: &str) -> Command {
        let mut command = Command::new(objtool::cargo());
        command.current_dir(&self.dir);
        command.args([
            task,
            "--quiet",
            "--lib",
            "--no-default-features",
            "--package",
            package,
        ]);
        if let Some(target) = &self.target {
            command.arg("--target-dir").arg(target);
        }
        command
    }

    fn lint_rust_version(&self, packages: &[&str]) -> Result<()> {
        for package in packages {
            let mut clippy = self.cargo("clippy", package);
            cmd::output(clippy.args(["--", "--deny", "clippy::incompatible_msrv"]))
                .with_context(|| format!("{package} needs a newer Rust than {RUST_VERSION}"))?;
        }
        Ok(())
    }

    /// Compiles the packages and looks at what they call; returns how many functions they define.
    fn check_calls(&self, packages: &[&str]) -> Result<usize> {
        let mut code = Code::default();
        for package in packages {
            let library = self.compile(package)?;
            let data = fs::read(&library)
                .with_context(|| format!("cannot read the library {}", library.display()))?;
            code.add(&data)
                .with_context(|| format!("cannot read {}", library.display()))?;
        }
        if code.functions == 0 {
            bail!(
                "{} hold no function at all: nothing was checked",
                packages.join(", ")
            );
        }
        let calls = code.unknown_calls();
        if !calls.is_empty() {
            bail!(
                "{} to what may panic:\n    {}",
                progress::counted(calls.len(), "call"),
                calls.join("\n    ")
            );
        }
        Ok(code.functions)
    }

    /// Compiles a package's library as the kernel would; returns the .rlib.
    fn compile(&self, package: &str) -> Result<PathBuf> {
        let mut command = self.cargo("rustc", package);
        command.args(["--profile", "kernel"]);
        for setting in PROFILE {
            command.args(["--config", setting]);
        }
        // Every function that is not generic, the inlined ones too, which a library otherwise
        // leaves to its users.
        let artifacts = objtool::artifacts(&mut command, &["-Clink-dead-code"])?;
        let library = package.replace('-', "_");
        artifacts
            .into_iter()
            .filter(|artifact| artifact.target == library)
            .map(|artifact| artifact.path)
            .find(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "rlib")
            })
            .with_context(|| format!("cargo made no library of {package}"))
    }
}

/// What the object files of several libraries define and call.
#[derive(Default)]
struct Code {
    functions: usize,
    defined: BTreeSet<String>,
    /// Who refers to whom: symbols, or a section's name where data refers.
    calls: BTreeSet<(String, String)>,
}

impl Code {
    fn add(&mut self, library: &[u8]) -> Result<()> {
        for member in ArchiveFile::parse(library)?.members() {
            let member = member?;
            if member.name().ends_with(b".o") {
                self.add_object(member.data(library)?)?;
            }
        }
        Ok(())
    }

    fn add_object(&mut self, data: &[u8]) -> Result<()> {
        let file = object::File::parse(data)?;
        // The compiler gives each function a section of its own.
        let mut functions = BTreeMap::new();
        for symbol in file.symbols().filter(|symbol| symbol.is_definition()) {
            self.defined.insert(symbol.name()?.to_owned());
            if symbol.kind() == object::SymbolKind::Text {
                self.functions += 1;
                if let Some(section) = symbol.section_index() {
                    functions.insert(section.0, symbol.name()?.to_owned());
                }
            }
        }
        for section in file.sections() {
            if section.name()? == ".eh_frame" {
                // Names every function, and calls none.
                continue;
            }
            let from = match functions.get(&section.index().0) {
                Some(function) => function.clone(),
                None => section.name()?.to_owned(),
            };
            for (_, relocation) in section.relocations() {
                let RelocationTarget::Symbol(target) = relocation.target() else {
                    continue;
                };
                let target = file.symbol_by_index(target)?;
                // A function of the same file may be named through its section.
                let function = target
                    .section_index()
                    .and_then(|section| functions.get(&section.0));
                let to = match function {
                    Some(function) if target.kind() == object::SymbolKind::Section => function,
                    _ => target.name()?,
                };
                if from != to && !to.is_empty() {
                    self.calls.insert((from.clone(), to.to_owned()));
                }
            }
        }
        Ok(())
    }

    /// The calls that leave the libraries for somewhere that may panic, in words.
    fn unknown_calls(&self) -> Vec<String> {
        let called: BTreeSet<&String> = self.calls.iter().map(|(_, to)| to).collect();
        let unused = |function: &String| is_provided_method(function) && !called.contains(function);
        let known = |symbol: &String| self.defined.contains(symbol) || cannot_panic(symbol);
        self.calls
            .iter()
            .filter(|(from, to)| !known(to) && !unused(from))
            .map(|(from, to)| format!("{} calls {}", demangled(from), demangled(to)))
            .collect()
    }
}

/// Whether a function is one that core's traits bring along, ready-made, and that may panic:
/// compiling all functions compiles it too, although nobody calls it.
fn is_provided_method(symbol: &str) -> bool {
    let name = demangled(symbol);
    PROVIDED_METHODS.iter().any(|(of, method)| {
        // The one or the other spelling, by the compiler's way of mangling.
        name == format!("{of}::{method}") || name.ends_with(&format!(" as {of}>::{method}"))
    })
}

/// Whether a function outside of the libraries is known not to panic. What is not known counts as
/// one that may.
fn cannot_panic(symbol: &str) -> bool {
    // The trait implementations of core::fmt are reached from `Debug`, which the kernel's own
    // formatting calls; they report failure by value.
    PROVIDED.contains(&symbol) || {
        let name = demangled(symbol);
        name.contains("core::fmt::") && !name.contains("panic")
    }
}

fn demangled(symbol: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(symbol))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Runs a check on a workspace of one package, `seeded`, with this source.
    fn on_seeded<T>(source: &str, check: impl FnOnce(&Workspace) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        let manifest =
            "[package]\nname = \"seeded\"\nedition = \"2021\"\nrust-version = \"1.78\"\n\
                        [workspace]\n[lib]\n";
        fs::write(dir.path().join("Cargo.toml"), manifest).unwrap();
        fs::write(
            dir.path().join("src/lib.rs"),
            format!("#![no_std]\n{source}\n"),
        )
        .unwrap();
        let target = Some(dir.path().join("target"));
        check(&Workspace {
            dir: dir.path().to_owned(),
            target,
        })
    }

    fn calls_of(source: &str) -> String {
        match on_seeded(source, |workspace| workspace.check_calls(&["seeded"])) {
            Ok(functions) => format!("none in {functions}"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn a_path_to_a_panic_is_found_with_its_caller() {
        let found = calls_of("pub fn pick(from: &[u8], at: usize) -> u8 { from[at] }");
        assert!(found.starts_with("1 call to what may panic"), "{found}");
        assert!(
            found.contains("seeded::pick calls core::panicking::panic_bounds_check"),
            "{found}"
        );
    }

    #[test]
    fn an_inlined_function_and_an_overflow_are_seen_too() {
        let found = calls_of("#[inline] pub fn next(number: u64) -> u64 { number + 1 }");
        assert!(
            found.contains("seeded::next calls core::panicking"),
            "{found}"
        );
    }

    #[test]
    fn a_library_without_functions_shows_nothing() {
        assert!(calls_of("pub const ONE: u8 = 1;").contains("nothing was checked"));
    }

    #[test]
    fn what_a_trait_brings_along_counts_only_where_it_is_called() {
        let source = "#[derive(PartialEq, Eq, PartialOrd, Ord)] pub struct Number(u8);\n";
        assert!(
            calls_of(source).starts_with("none in "),
            "{}",
            calls_of(source)
        );
        let call = "pub fn f(a: Number, b: Number, c: Number) -> Number { a.clamp(b, c) }";
        let found = calls_of(&format!("{source}{call}"));
        assert!(found.contains(" calls core::panicking::panic"), "{found}");
    }

    #[test]
    fn code_that_cannot_panic_passes() {
        let found = calls_of(
            "#[derive(Debug, Clone, Copy)] pub struct Pair(pub u8, pub u8);\n\
             pub fn pick(from: &[u8], at: usize) -> Option<u8> { from.get(at).copied() }\n\
             pub fn copy(to: &mut [u8; 4096], from: &[u8; 4096]) { *to = *from; }",
        );
        assert!(found.starts_with("none in "), "{found}");
    }

    #[test]
    fn what_is_newer_than_the_floor_is_found() {
        let lint =
            |source: &str| on_seeded(source, |workspace| workspace.lint_rust_version(&["seeded"]));
        let error = lint("pub fn f(it: Option<u8>) -> bool { it.is_none_or(|it| it > 1) }");
        let error = format!("{:#}", error.unwrap_err());
        assert!(
            error.contains("incompatible_msrv") && error.contains("1.82"),
            "{error}"
        );
        lint("pub fn f(it: Option<u8>) -> bool { it.map_or(true, |it| it > 1) }").unwrap();
    }

    #[test]
    fn a_manifest_that_asks_for_too_much_is_named() {
        let package = |edition: &str, dependency: &str, optional: bool| {
            json!({
                "manifest_path": "a/Cargo.toml", "edition": edition, "rust_version": "1.78",
                "dependencies": [{"name": dependency, "kind": null, "optional": optional}],
            })
        };
        check_manifest(&package("2021", "arch", false)).unwrap();
        check_manifest(&package("2021", "iced-x86", true)).unwrap();
        let error = check_manifest(&package("2024", "arch", false))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "a/Cargo.toml: edition is to be 2021, but is \"2024\""
        );
        let error = check_manifest(&package("2021", "libc", false))
            .unwrap_err()
            .to_string();
        assert!(error.contains("the kernel has no libc"), "{error}");
    }
}
