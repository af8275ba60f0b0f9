//! Rules for the sources themselves: generic crates name no architecture, every file says what it is
//! for, none grows without end, none knows the machine it was written on.
//!
//! Each rule is a function over a text, with a test that shows it failing.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders of code that must not know any architecture (`arch/x86_64` and its like may).
const GENERIC: [&str; 4] = ["arch/src", "objtool-rs/src", "unwind/src", "livepatch/src"];

/// Words that name an architecture, its registers or its instruction decoder: a whole part of an
/// identifier.
const ARCH_WORDS: &[&str] = &[
    "x64", "i386", "i486", "i586", "i686", "ia32", "386", "amd", "intel", "iced", "arm",
    "armv8", //
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "rip", "r8", "r9", "r10", "r11", "r12",
    "r13", "r14", "r15", "eax", "ebx", "ecx", "edx", "esi", "edi", "esp", "ebp", "eip", "rflags",
    "eflags", "lr", "x29", "x30",
];

/// Names of architectures that count anywhere in a word, as in `ArchX86`.
const ARCH_NAMES: &[&str] = &[
    "x86",
    "amd64",
    "arm64",
    "aarch64",
    "riscv",
    "loongarch",
    "powerpc",
];

/// Words allowed in one file, with the reason.
const ALLOWED: &[(&str, &str, &str)] = &[
    (
        "objtool-rs/src/report/explain.rs",
        "rax",
        "the example of a page, in a test",
    ),
    (
        "objtool-rs/src/run.rs",
        "arch_x86_64",
        "the one place that selects the architecture",
    ),
    (
        "objtool-rs/src/run.rs",
        "X86_64",
        "the one place that selects the architecture",
    ),
    (NORETURN_LIST, "__ia32_sys_exit", A_KERNEL_NAME),
    (NORETURN_LIST, "__ia32_sys_exit_group", A_KERNEL_NAME),
    (NORETURN_LIST, "__x64_sys_exit", A_KERNEL_NAME),
    (NORETURN_LIST, "__x64_sys_exit_group", A_KERNEL_NAME),
    (NORETURN_LIST, "x86_64_start_kernel", A_KERNEL_NAME),
    (NORETURN_LIST, "x86_64_start_reservations", A_KERNEL_NAME),
    (
        "objtool-rs/src/emit/call_sites.rs",
        "x86",
        "cites the kernel source that reads the section",
    ),
    (
        "objtool-rs/src/emit/retpoline_sites.rs",
        "x86",
        "cites the kernel source that reads the section",
    ),
    (
        "objtool-rs/src/emit/return_sites.rs",
        "x86",
        "cites the kernel source that reads the section",
    ),
];

const NORETURN_LIST: &str = "objtool-rs/src/model/noreturn_list.rs";
const A_KERNEL_NAME: &str = "a name in the kernel's list of functions that do not return";

/// Longest source file.
const MOST_LINES: usize = 800;

/// A word of an architecture in `line`, with its identifier.
fn arch_word(line: &str) -> Option<&str> {
    let identifiers = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    identifiers.into_iter().find(|identifier| {
        identifier.split('_').any(|part| {
            let part = part.to_ascii_lowercase();
            ARCH_WORDS.contains(&part.as_str()) || ARCH_NAMES.iter().any(|name| part.contains(name))
        })
    })
}

/// The lines of `text` with an architecture's word, but for those that `file` may have.
fn arch_lines(file: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line;
        while let Some(word) = arch_word(rest) {
            if !ALLOWED
                .iter()
                .any(|(path, allowed, _)| *path == file && *allowed == word)
            {
                found.push(format!("{file}:{}: {word}", number + 1));
            }
            let at = rest.find(word).expect("the word comes from this text") + word.len();
            rest = &rest[at..];
        }
    }
    found
}

/// The text of `file` with the explanations of findings left out: they are written for people, and
/// show the mistake in the assembly of an architecture. The lines stay, so that numbers hold.
fn without_explanations(file: &str, text: &str) -> String {
    if !file.starts_with("objtool-rs/src/report/findings/") {
        return text.to_owned();
    }
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        inside |= line.contains("const EXPLANATION: Explanation");
        if !inside {
            kept.push_str(line);
        }
        kept.push('\n');
        inside &= line != "};";
    }
    kept
}

/// Whether a source opens by saying what it is for.
fn says_its_purpose(text: &str) -> bool {
    text.lines()
        .next()
        .is_some_and(|line| line.starts_with("//! ") && line.len() > 10)
}

/// A path in `line` that only some machine has.
fn machine_path(line: &str) -> Option<&'static str> {
    // Put together here, so that this file does not find itself.
    const PATHS: &[&str] = &[
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("../sha", "red"),
    ];
    PATHS.iter().copied().find(|path| {
        line.match_indices(path).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "_-.}".contains(c))
        })
    })
}

/// Every file of the checkout that git would keep, as a path from the root.
fn files() -> Vec<PathBuf> {
    let root = tests::root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if name == ".git" || name == "target" {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(&root).unwrap().to_path_buf());
            }
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<(String, String)> {
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|e| e == "rs");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(tests::root().join(&path)).unwrap();
        (path.display().to_string(), text)
    };
    let found: Vec<(String, String)> = files().into_iter().filter(is_rust).map(read).collect();
    assert!(
        found.len() > 20,
        "the walk over the sources finds them: {}",
        found.len()
    );
    found
}

fn is_generic(path: &str) -> bool {
    GENERIC
        .iter()
        .any(|folder| Path::new(path).starts_with(folder))
}

#[test]
fn generic_crates_name_no_architecture() {
    let mut found = Vec::new();
    for (path, text) in rust_files()
        .into_iter()
        .filter(|(path, _)| is_generic(path))
    {
        found.extend(arch_lines(&path, &without_explanations(&path, &text)));
    }
    assert!(
        found.is_empty(),
        "belongs behind the arch crate: {found:#?}"
    );
}

#[test]
fn what_is_allowed_is_needed() {
    for (path, word, _) in ALLOWED {
        let text = fs::read_to_string(tests::root().join(path)).unwrap_or_default();
        assert!(
            text.contains(word),
            "{path} has no `{word}` any more: take it off the list"
        );
    }
}

#[test]
fn every_source_says_its_purpose() {
    let silent = rust_files()
        .into_iter()
        .filter(|(_, text)| !says_its_purpose(text));
    let silent: Vec<String> = silent.map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "no `//!` in the first line: {silent:#?}");
}

#[test]
fn no_source_swallows_concepts() {
    let long = rust_files()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > MOST_LINES);
    let long: Vec<String> = long.map(|(path, _)| path).collect();
    assert!(long.is_empty(), "more than {MOST_LINES} lines: {long:#?}");
}

#[test]
fn no_file_knows_a_machine() {
    let mut found = Vec::new();
    for path in files() {
        // Files that are no text hold no path that anyone reads.
        let Ok(text) = fs::read_to_string(tests::root().join(&path)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if let Some(known) = machine_path(line) {
                found.push(format!("{}:{}: {known}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "paths of one machine: {found:#?}");
}

#[test]
fn the_rule_on_architectures_can_fail() {
    for bad in [
        "let base = Register::Rsp;",
        "use iced_x86::Decoder;",
        "R_X86_64_PC32 => true,",
        "const EM_AARCH64: u16 = 183;",
        "struct ArchX86;",
        "// lea 8(%rsp), %r10",
        "names.starts_with(\"__x86_indirect_\")",
        "fn read_rbp() {}",
        "arm64",
    ] {
        assert!(arch_word(bad).is_some(), "passes: {bad}");
    }
    for good in [
        "noticed that a priced slice is iced over by no_one".replace(" iced ", " "),
        "harm, armed, stripped, trip, crsp, r100".into(),
        "let register = frame.pointer();".into(),
    ] {
        assert_eq!(arch_word(&good), None, "fails: {good}");
    }
    assert_eq!(
        arch_lines("a.rs", "x\nuse x86; rbp"),
        ["a.rs:2: x86", "a.rs:2: rbp"]
    );
    let (path, word, _) = ALLOWED[0];
    assert!(arch_lines(path, word).is_empty());
    assert!(!arch_lines("other.rs", word).is_empty());
    assert!(!arch_lines(path, "rsp").is_empty());
    assert!(is_generic("objtool-rs/src/a/b.rs") && !is_generic("arch/x86_64/src/lib.rs"));
}

#[test]
fn only_explanations_may_show_assembly() {
    let text = "use rsp;\npub(super) const EXPLANATION: Explanation = Explanation {\n\
                example: \"pop %rbp\",\n};\nlet r10 = 0;\n";
    let findings = "objtool-rs/src/report/findings/a.rs";
    let found = arch_lines(findings, &without_explanations(findings, text));
    let at = |line: u32, word: &str| format!("{findings}:{line}: {word}");
    assert_eq!(found, [at(1, "rsp"), at(5, "r10")]);
    let other = "objtool-rs/src/check/a.rs";
    assert_eq!(
        arch_lines(other, &without_explanations(other, text)).len(),
        3
    );
}

#[test]
fn the_rule_on_purposes_can_fail() {
    assert!(says_its_purpose("//! Reads symbols.\n"));
    for bad in [
        "",
        "\n//! Late.\n",
        "// Reads symbols.\n",
        "/// Reads symbols.\n",
        "//!\n//! Late.",
    ] {
        assert!(!says_its_purpose(bad), "passes: {bad}");
    }
}

#[test]
fn the_rule_on_machines_can_fail() {
    let user = format!("see {}someone/notes", concat!("/ho", "me/"));
    assert!(machine_path(&user).is_some());
    assert!(machine_path(&format!("\"{}x\"", concat!("/wo", "rk/"))).is_some());
    assert!(machine_path(concat!("cp ../sha", "red/kernel .")).is_some());
    for good in [
        "target/homework/x",
        "$XDG_CACHE_HOME/objtool-rs",
        "framework/",
        "~/.cache",
    ] {
        assert_eq!(machine_path(good), None, "fails: {good}");
    }
}
