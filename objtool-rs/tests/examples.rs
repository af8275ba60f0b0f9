//! That the example of every finding triggers it.
//!
//! Examples are assembled as they stand, behind the few macros of the kernel that they use
//! (`examples.S`); labels that begin with `func` or `__` become functions, unless the example says
//! itself what they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use objtool_rs::report::explain::by_words;
use objtool_rs::report::findings::{Explanation, Group, ALL};
use objtool_rs::Options;

/// The example as a source file, each function with its type and size.
fn source(example: &str) -> String {
    let mut text = format!("#include \"{}\"\n\t.text\n", macros().display());
    let mut open: Option<&str> = None;
    let close = |open: &mut Option<&str>| match open.take() {
        Some(name) => format!("\t.size {name}, . - {name}\n"),
        None => String::new(),
    };
    for line in example.lines() {
        let name = line
            .split_once(':')
            .map(|(name, _)| name)
            .filter(|name| name.starts_with("func") || name.starts_with("__"))
            .filter(|name| !example.contains(&format!(".type   {name},")));
        // Macros for the function as a whole stand at the margin, too.
        let at_margin = line.starts_with(|c: char| c.is_alphabetic());
        if name.is_some() || at_margin || line.contains(".section") {
            text += &close(&mut open);
        }
        if let Some(name) = name {
            text += &format!("\t.type {name}, @function\n");
            open = Some(name);
        }
        text += line;
        text.push('\n');
    }
    text + &close(&mut open)
}

fn macros() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples.S")
}

fn assemble(code: &str, source: &str, folder: &Path) -> Vec<u8> {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "gcc".into());
    let file = folder.join(format!("{code}.S"));
    let object = folder.join(format!("{code}.o"));
    fs::write(&file, source).expect("a file in a folder of our own");
    let output = Command::new(&compiler)
        .args(["-m64", "-c", "-o"])
        .args([&object, &file])
        .output()
        .unwrap_or_else(|e| panic!("can't run `{compiler}`: {e}; install gcc or set CC"));
    assert!(
        output.status.success(),
        "{code}: {}\n{source}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read(object).expect("the object that was just made")
}

/// What the finding needs to be looked for.
fn options(e: &Explanation) -> Options {
    let speculation = e.group == Group::Speculation || e.code == "section-exists";
    Options {
        stackval: !speculation,
        uaccess: !speculation,
        static_call: true,
        retpoline: speculation,
        rethunk: speculation,
        ..Options::default()
    }
}

#[test]
fn every_example_triggers_its_finding() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut wrong = Vec::new();
    let mut tried = 0;
    for e in ALL {
        let is_only_comments = e.example.lines().all(|line| line.starts_with('#'));
        if is_only_comments {
            continue;
        }
        tried += 1;
        let object = assemble(e.code, &source(e.example), folder.path());
        let said = match objtool_rs::run(&object, &options(e)) {
            Ok(outcome) => outcome.lines,
            // Where nothing can be checked, the words are in the error.
            Err(error) => vec![error.to_string()],
        };
        let found: Vec<_> = said.iter().map(|line| by_words(line)).collect();
        if found != [Some(*e)] {
            wrong.push(format!("{}: {said:?}", e.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Those without code are the ones that no input can trigger.
    let untriggerable = [
        "unknown-stack-instruction",
        "unknown-stack-memory",
        "missing-state",
        "alternative-reloc",
        "alternative-last-instruction",
        "malformed-trampoline",
    ];
    assert_eq!(tried, ALL.len() - untriggerable.len());
}
