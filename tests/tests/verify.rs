//! `objtool-rs verify` as a command: several files, modules, exit statuses, and what stands on a
//! terminal.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tests::images::judge::Verdict;
use tests::images::link;
use tests::images::source::Source;
use tests::tool::{clean, finish, Finished, Tool};

/// How long the tool is quiet on a terminal, and how exactly that is told here.
const PATIENCE: Duration = Duration::from_secs(1);
const DOUBT: Duration = Duration::from_millis(700);

const GOOD: &str = "
#include \"image.h\"

	.text
func keeps
	push	%rbp
	mov	%rsp, %rbp
	call	keeps
	pop	%rbp
	ret
endfunc keeps
";

/// Nearly nothing keeps a frame.
const NONE: &str = "# bulk: no

#include \"image.h\"

	.text
func leaf
	ret
endfunc leaf
func without
	call	leaf
	ret
endfunc without
";

fn build(dir: &TempDir, name: &str, header: &str, source: &str) {
    let folder = dir.path().join("x86_64");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("image.S");
    fs::write(&path, format!("{header}{source}")).unwrap();
    let work = tempfile::tempdir().unwrap();
    let objects = link::compile(&Source::read(&path).unwrap(), work.path()).unwrap();
    let image = objects.link("out").unwrap();
    fs::copy(image, dir.path().join(name)).unwrap();
}

/// A folder with a kernel and two modules that are right, a kernel that is not, and no image.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    build(&dir, "vmlinux", "", GOOD);
    build(&dir, "a.ko", "# image: module\n", GOOD);
    build(&dir, "b.ko", "# image: module\n", GOOD);
    build(&dir, "none", "", NONE);
    fs::write(dir.path().join("text"), "no image\n").unwrap();
    dir
}

fn run(dir: &TempDir, args: &[&str]) -> Finished {
    let tool = Tool::under_test().unwrap();
    finish(tool.command(dir.path()).arg("verify").args(args)).unwrap()
}

#[test]
fn several_files_are_judged_in_their_order() {
    let dir = folder();
    let files = ["b.ko", "vmlinux", "a.ko"];
    let run = run(&dir, &[&["--format", "json"], &files[..]].concat());
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    let verdicts: Vec<Verdict> = run
        .stdout
        .split_inclusive('\n')
        .map(|line| Verdict::parse(line).unwrap())
        .collect();
    let told: Vec<&str> = verdicts
        .iter()
        .map(|verdict| verdict.file.as_str())
        .collect();
    assert_eq!(told, files);
    let kinds: Vec<&str> = verdicts
        .iter()
        .map(|verdict| verdict.kind.as_str())
        .collect();
    assert_eq!(kinds, ["module", "image", "module"]);
}

#[test]
fn one_that_does_not_hold_shows_in_the_status() {
    let dir = folder();
    let run = run(&dir, &["vmlinux", "none", "a.ko"]);
    assert_eq!((run.status, run.stderr.as_str()), (Some(2), ""));
    for line in [
        "vmlinux: HAVE_RELIABLE_STACKTRACE holds for this image.",
        "none: no, HAVE_RELIABLE_STACKTRACE does not hold.",
        "a.ko: HAVE_RELIABLE_STACKTRACE holds for this module.",
    ] {
        assert!(run.stdout.contains(line), "no `{line}` in:\n{}", run.stdout);
    }
}

#[test]
fn the_others_are_judged_when_one_can_not_be() {
    let dir = folder();
    for files in [["text", "none", "a.ko"], ["none", "a.ko", "gone.ko"]] {
        let run = run(&dir, &files);
        assert_eq!(run.status, Some(1), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(run.stderr.contains("text") || run.stderr.contains("gone.ko"));
        for name in ["none: no", "a.ko: HAVE_RELIABLE_STACKTRACE holds"] {
            assert!(run.stdout.contains(name), "{}", run.stdout);
        }
    }
}

#[test]
fn a_wrong_command_line_is_no_verdict() {
    let dir = folder();
    for (args, word) in [
        (&["--frmat", "json", "vmlinux"][..], "--frmat"),
        (&["--format", "xml", "vmlinux"], "xml"),
        (&[], "FILE"),
        (
            &["--unreliable-text", "t.S", "a.ko", "b.ko"],
            "one file at a time",
        ),
    ] {
        let run = run(&dir, args);
        assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""), "{args:?}");
        assert!(run.stderr.contains(word), "{args:?}: {}", run.stderr);
    }
    assert!(!dir.path().join("t.S").exists());
    let help = run(&dir, &["--help"]);
    assert_eq!((help.status, help.stderr.as_str()), (Some(0), ""));
    for word in ["--format", "--unreliable-text", "exit status"] {
        assert!(help.stdout.contains(word), "{}", help.stdout);
    }
}

/// Both forms say the same on every run, but for how long it took.
#[test]
fn the_same_image_gets_the_same_verdict() {
    let dir = folder();
    for format in ["human", "json"] {
        let once = || {
            let run = run(&dir, &["--format", format, "vmlinux"]);
            let end = run
                .stdout
                .find("\"phases_ms\"")
                .or(run.stdout.find("Time by phase"));
            let rest = run
                .stdout
                .find("\"reason\"")
                .map_or("", |at| &run.stdout[at..]);
            format!("{}{rest}", &run.stdout[..end.unwrap()])
        };
        assert_eq!(once(), once());
    }
}

/// Calls with a register on the stack and no frame.
const BROKEN: &str = "
func broken
	push	%rbx
	test	%rdi, %rdi
	je	1f
	call	keeps
1:	pop	%rbx
	ret
endfunc broken
";

/// What is asked for is shown of a function, with its source, before the verdict; else only the
/// verdict stands in a pipe.
#[test]
fn an_exception_is_shown_with_its_source_and_its_path() {
    let dir = tempfile::tempdir().unwrap();
    build(&dir, "vmlinux", "", &format!("{GOOD}{BROKEN}"));
    for explained in [false, true] {
        let args: &[&str] = if explained {
            &["--explain", "vmlinux"]
        } else {
            &["vmlinux"]
        };
        let run = run(&dir, args);
        assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
        assert!(run.stdout.contains("HAVE_RELIABLE_STACKTRACE holds"));
        assert!(!run.stdout.contains('\u{1b}'), "colours in a pipe");
        let shown = run.stdout.find("warning[call-without-frame]: broken+0x6: ");
        assert_eq!(shown.is_some(), explained, "{}", run.stdout);
        for part in [
            "call   keeps",
            "CFA = rsp+16, rbx at CFA-16",
            "image.S:",
            "= help: ",
        ] {
            assert_eq!(
                run.stdout.contains(part),
                explained,
                "{part}: {}",
                run.stdout
            );
        }
        if let Some(shown) = shown {
            assert!(Some(shown) < run.stdout.find("HAVE_RELIABLE_STACKTRACE"));
            // The only finding is the only one shown.
            assert_eq!(run.stdout.matches("warning[").count(), 1, "{}", run.stdout);
        }
    }
    // A person sees it without asking.
    let (shown, _) = on_a_terminal(&dir, "vmlinux");
    assert!(
        shown.contains("call-without-frame") && shown.contains("\u{1b}["),
        "{shown}"
    );
    // Machines get what they always get.
    let json = run(&dir, &["--explain", "--format", "json", "vmlinux"]).stdout;
    assert!(json.starts_with('{') && json.lines().count() == 1, "{json}");
}

/// Runs the tool on `file` with a terminal for all its output; the result is what the terminal got,
/// and how long it took.
fn on_a_terminal(dir: &TempDir, file: &str) -> (String, Duration) {
    let tool = Tool::under_test().unwrap();
    let line = format!("'{}' verify {file}", tool.path.display());
    let mut command = Command::new("script");
    // On a terminal that can't go back on a line there is no bar.
    clean(&mut command)
        .current_dir(dir.path())
        .env("TERM", "xterm");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output().unwrap();
    let took = start.elapsed();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("HAVE_RELIABLE_STACKTRACE holds"), "{shown}");
    (shown, took)
}

fn has_bar(shown: &str) -> bool {
    shown.contains(" % ") && shown.contains('█')
}

/// A bar comes on a terminal when it takes long, and only there.
#[test]
fn progress_is_shown_when_it_takes_long() {
    let dir = tempfile::tempdir().unwrap();
    build(&dir, "small", "", GOOD);
    let many = "\n\t.set\tn, 0\n\t.rept\t120000\n\tbulk\t%n + 1000000\n\t.set\tn, n + 1\n\t.endr\n";
    let source = fs::read_to_string(tests::images::root().join("x86_64/parts/bulk.S")).unwrap();
    build(&dir, "large", "# bulk: no\n\n", &format!("{source}{many}"));

    let mut seen = Vec::new();
    for file in ["small", "large"] {
        let (shown, took) = on_a_terminal(&dir, file);
        if took < PATIENCE {
            assert!(!has_bar(&shown), "a bar after {took:?}:\n{shown}");
        }
        if took > PATIENCE + DOUBT {
            assert!(has_bar(&shown), "no bar after {took:?}:\n{shown}");
        }
        seen.push(took);
        // In a pipe there is none, however long it takes.
        let piped = run(&dir, &[file]);
        assert_eq!((piped.status, piped.stderr.as_str()), (Some(0), ""));
        assert!(!has_bar(&piped.stdout));
    }
    assert!(seen[0] < seen[1], "{seen:?}");
}
