//! Where `verify` says that a function which keeps no frame comes from: by the objects of its build,
//! by DWARF, by the symbol table, and what it says when none of them tells.
//!
//! The tree is a small one with folders as a kernel's, built and linked as a kernel is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tests::tool::{finish, Tool};

/// A file of the tree, and its functions; `+` makes one global. Only those of `init` keep a frame.
const FILES: [(&str, &[&str]); 6] = [
    ("init/main.c", &["+start_kernel", "one"]),
    ("arch/x/entry.S", &["+entry"]),
    ("mm/core.c", &["two", "twin", "+open", "three"]),
    ("net/other.c", &["four", "twin"]),
    ("lib/on_demand.S", &["+demanded"]),
    ("lib/end.c", &["five"]),
];

/// As the kernel compiles C.
const FLAGS: [&str; 6] = [
    "-O1",
    "-ffreestanding",
    "-fno-asynchronous-unwind-tables",
    "-fno-optimize-sibling-calls",
    "-fno-stack-protector",
    "-fno-pic",
];

fn source(path: &str, functions: &[&str]) -> String {
    let function = |function: &&str| {
        let name = function.trim_start_matches('+');
        let is_global = function.starts_with('+');
        if path.ends_with(".c") {
            let linkage = if is_global { "" } else { "static " };
            format!("__attribute__((noinline, used)) {linkage}void {name}(void) {{ callee(); }}\n")
        } else {
            assert!(is_global, "an assembler's local symbols have no file");
            format!(
                "\t.globl {name}\n\t.type {name}, @function\n{name}:\n\tcall callee\n\tret\n\
                 \t.size {name}, . - {name}\n\tint3\n"
            )
        }
    };
    let head = if path.ends_with(".c") {
        "void callee(void);\n"
    } else {
        ""
    };
    functions
        .iter()
        .map(function)
        .fold(head.to_owned(), |text, function| text + &function)
}

fn must(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Builds the tree; the source and the build are folders beside each other.
fn tree() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("source"), dir.path().join("build"));
    let mut objects = Vec::new();
    for (path, functions) in FILES {
        let (text, object) = (from.join(path), to.join(path).with_extension("o"));
        for file in [&text, &object] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
        }
        fs::write(&text, source(path, functions)).unwrap();
        let mut compiler = Command::new("gcc");
        compiler
            .current_dir(&to)
            .args(FLAGS)
            .args(["-g", "-c", "-o"]);
        compiler.arg(&object).arg(match path.starts_with("init/") {
            true => "-fno-omit-frame-pointer",
            false => "-fomit-frame-pointer",
        });
        must(compiler.arg(Path::new("../source").join(path)));
        objects.push(PathBuf::from(path).with_extension("o"));
    }
    let fixtures = tests::images::root().join("x86_64");
    let mut compiler = Command::new("gcc");
    compiler.current_dir(&to).args(["-c", "-o", "bulk.o"]);
    must(compiler.arg(fixtures.join("parts/bulk.S")));
    let mut linker = Command::new("ld");
    linker.args(["-static", "-nostdlib", "--no-warn-rwx-segments", "-T"]);
    linker.arg(fixtures.join("kernel.lds")).current_dir(&to);
    linker.args(["--defsym", "callee=bulk_leaf"]);
    must(linker.args(["-o", "vmlinux", "bulk.o"]).args(&objects));
    for (archive, members) in [("vmlinux.a", &objects[..4]), ("lib/lib.a", &objects[4..])] {
        let mut ar = Command::new("ar");
        must(ar.current_dir(&to).args(["cDrPST", archive]).args(members));
    }
    // Many archives name an object twice; that says nothing new.
    let mut ar = Command::new("ar");
    ar.current_dir(&to).args(["cDrPST", "vmlinux.a"]);
    must(ar.arg("lib/end.o"));
    dir
}

/// What is said of each function that keeps no frame: name, subsystem, object, source.
type Said = Vec<(String, Option<String>, Option<String>, Option<String>)>;

fn json(dir: &Path, image: &str) -> Said {
    let mut command = Tool::under_test().unwrap().command(dir);
    command.args(["verify", "--format", "json", image]);
    let run = finish(&mut command).unwrap();
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    let value: Value = serde_json::from_str(&run.stdout).unwrap();
    let exceptions = value["exceptions"].as_array().unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    exceptions
        .iter()
        .map(|exception| {
            let [subsystem, object, source] =
                ["subsystem", "object", "source"].map(|field| text(&exception[field]));
            (text(&exception["name"]).unwrap(), subsystem, object, source)
        })
        .collect()
}

/// The list in the summary: headings and the functions below each.
fn listed(dir: &Path, image: &str) -> Vec<(String, Vec<String>)> {
    let mut command = Tool::under_test().unwrap().command(dir);
    let run = finish(command.args(["verify", image])).unwrap();
    let list = run.stdout.split("by subsystem:\n").nth(1).unwrap();
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for line in list.lines().take_while(|line| !line.is_empty()) {
        match line.strip_prefix("    ") {
            Some(function) => {
                let name = function.split('+').next().unwrap();
                found.last_mut().unwrap().1.push(name.to_owned());
            }
            None => {
                let (heading, count) = line.trim().rsplit_once(": ").unwrap();
                found.push((format!("{heading} {count}"), Vec::new()));
            }
        }
    }
    found
}

fn said(expected: &[(&str, &str, &str, &str)]) -> Said {
    let some = |text: &str| Some(text.to_owned()).filter(|text| text != "-");
    expected
        .iter()
        .map(|&(name, subsystem, object, source)| {
            (name.to_owned(), some(subsystem), some(object), some(source))
        })
        .collect()
}

/// Linked with -g and in the folder of its build: the objects tell, and for the two functions of one
/// name the symbol table says which one is meant.
#[test]
fn the_objects_of_the_build_tell() {
    let dir = tree();
    let build = dir.path().join("build");
    assert_eq!(
        json(&build, "vmlinux"),
        said(&[
            ("entry", "arch/x", "arch/x/entry.o", "-"),
            ("two", "mm", "mm/core.o", "core.c"),
            ("twin", "mm", "mm/core.o", "core.c"),
            ("open", "mm", "mm/core.o", "core.c"),
            ("three", "mm", "mm/core.o", "core.c"),
            ("four", "net", "net/other.o", "other.c"),
            ("twin", "net", "net/other.o", "other.c"),
            ("demanded", "lib", "lib/on_demand.o", "-"),
            ("five", "lib", "lib/end.o", "end.c"),
        ])
    );
    let list = listed(&build, "vmlinux");
    let expected = [
        ("arch/x 1", &["entry"][..]),
        ("lib 2", &["demanded", "five"]),
        ("mm 4", &["two", "twin", "open", "three"]),
        ("net 2", &["four", "twin"]),
    ];
    let expected = expected.map(|(heading, functions)| {
        let functions = functions.iter().map(|&f| f.to_owned()).collect();
        (heading.to_owned(), functions)
    });
    assert_eq!(list, expected);
}

/// Somewhere else: DWARF tells, and paths begin at the root of the tree.
#[test]
fn debug_information_tells() {
    let dir = tree();
    let moved = dir.path().join("moved");
    fs::create_dir(&moved).unwrap();
    fs::rename(dir.path().join("build/vmlinux"), moved.join("image")).unwrap();
    assert_eq!(
        json(&moved, "image"),
        said(&[
            ("entry", "arch/x", "-", "arch/x/entry.S"),
            ("two", "mm", "-", "mm/core.c"),
            ("twin", "mm", "-", "mm/core.c"),
            ("open", "mm", "-", "mm/core.c"),
            ("three", "mm", "-", "mm/core.c"),
            ("four", "net", "-", "net/other.c"),
            ("twin", "net", "-", "net/other.c"),
            ("demanded", "lib", "-", "lib/on_demand.S"),
            ("five", "lib", "-", "lib/end.c"),
        ])
    );
}

/// Without either, the symbol table tells what it can, and the rest is left open.
#[test]
fn the_symbol_table_tells_what_it_can() {
    let dir = tree();
    let (build, moved) = (dir.path().join("build"), dir.path().join("moved"));
    fs::create_dir(&moved).unwrap();
    let mut strip = Command::new("objcopy");
    strip
        .current_dir(&build)
        .args(["--remove-section", ".debug*", "vmlinux"]);
    must(strip.arg(moved.join("image")));
    let told = json(&moved, "image");
    let found = |name: &str| told.iter().find(|told| told.0 == name).unwrap();
    for (name, source) in [("two", "core.c"), ("open", "core.c"), ("five", "end.c")] {
        let (_, subsystem, object, file) = found(name);
        assert_eq!((subsystem, object), (&None, &None));
        assert_eq!(file.as_deref(), Some(source));
    }
    for name in ["entry", "demanded"] {
        assert_eq!(found(name).3, None);
    }
    let list = listed(&moved, "image");
    let headings: Vec<&str> = list.iter().map(|(heading, _)| heading.as_str()).collect();
    assert_eq!(
        headings,
        [
            "between main.c and core.c (file unknown) 1",
            "between other.c and end.c (file unknown) 1",
            "core.c (folder unknown) 4",
            "end.c (folder unknown) 1",
            "other.c (folder unknown) 2",
        ]
    );
}

/// What lies beside the image but is none of Kbuild's files is passed over.
#[test]
fn broken_archives_are_passed_over() {
    let dir = tree();
    let build = dir.path().join("build");
    let told = json(&build, "vmlinux");
    for (file, text) in [
        ("vmlinux.a", &b"!<thin>\nno header"[..]),
        ("lib/lib.a", b""),
        ("mm/core.o", b"\x7fELF"),
    ] {
        fs::write(build.join(file), text).unwrap();
        let now = json(&build, "vmlinux");
        assert_eq!(now.len(), told.len());
        assert_ne!(now, told, "{file} was not looked at");
    }
}
