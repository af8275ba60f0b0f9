//! Which form findings take on the command line, and `objtool-rs explain`.

mod support;

use std::path::Path;
use std::process::{Command, Output};

const TOOL: &str = env!("CARGO_BIN_EXE_objtool-rs");

/// A function that returns with a register on the stack.
const UNBALANCED: &str =
    "\t.type func, @function\nfunc:\n\tpush %rbx\n\tret\n\t.size func, . - func\n";

const PLAIN: &str = "x.o: warning: objtool: func+0x1: return with modified stack frame\n";
const RICH: &str = "warning[return-with-frame]: func+0x1: return with modified stack frame\n";

fn tool(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(TOOL)
        .current_dir(folder)
        .args(arguments)
        .env_remove("OBJTOOL_ARGS")
        .env_remove("OBJTOOL_VERBOSE")
        .envs(environment.iter().copied())
        .output()
        .expect("the binary of this package")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn pipes_get_plain_lines_unless_asked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    support::assemble(folder.path(), "x", UNBALANCED, &["-g"]);
    let run = |arguments: &[&str], environment: &[(&str, &str)]| {
        let output = tool(folder.path(), arguments, environment);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
        text(&output.stderr)
    };
    assert_eq!(run(&["--stackval", "x.o"], &[]), PLAIN);
    assert_eq!(run(&["--stackval", "--no-explain", "x.o"], &[]), PLAIN);
    let rich = run(&["--stackval", "--explain", "x.o"], &[]);
    assert!(rich.starts_with(RICH), "{rich}");
    assert!(rich.contains("src/x.S:4"), "{rich}");
    assert!(!rich.contains('\u{1b}'), "{rich}");
    let by_build = run(&["--stackval", "x.o"], &[("OBJTOOL_ARGS", "--explain")]);
    assert_eq!(by_build, rich);
}

#[test]
fn a_terminal_gets_the_whole_story_in_colours() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    support::assemble(folder.path(), "x", UNBALANCED, &[]);
    // `script` of bsdutils runs a command at a terminal of its own.
    let at_terminal = |arguments: &str| {
        let output = Command::new("script")
            .current_dir(folder.path())
            .args([
                "-qec",
                &format!("{TOOL} --stackval {arguments} x.o"),
                "/dev/null",
            ])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .env_remove("OBJTOOL_ARGS")
            .output()
            .expect("`script` of bsdutils");
        text(&output.stdout).replace("\r\n", "\n")
    };
    let rich = at_terminal("");
    assert!(rich.contains('\u{1b}'), "{rich}");
    let words = anstream::adapter::strip_str(&rich).to_string();
    assert!(words.starts_with(RICH), "{words}");
    let plain = at_terminal("--no-explain");
    let words = anstream::adapter::strip_str(&plain).to_string();
    assert_eq!(words, PLAIN);
}

#[test]
fn what_is_shown_changes_nothing_in_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // With a call site, so that there is something to write.
    let source = format!("{UNBALANCED}\t.type jumps, @function\njumps:\n\tjmp __x86_return_thunk\n\t.size jumps, . - jumps\n");
    let mut written = Vec::new();
    for explain in ["--explain", "--no-explain"] {
        let object = support::assemble(folder.path(), "x", &source, &[]);
        let before = std::fs::read(&object).expect("the object");
        let arguments = ["--stackval", "--rethunk", "--retpoline", explain, "x.o"];
        let output = tool(folder.path(), &arguments, &[]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let after = std::fs::read(&object).expect("the object");
        assert_ne!(before, after);
        written.push(after);
    }
    assert_eq!(written[0], written[1]);
}

#[test]
fn explain_answers_on_stdout_and_refuses_on_stderr() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let page = tool(folder.path(), &["explain", "return-with-frame"], &[]);
    assert!(page.status.success() && page.stderr.is_empty());
    let page = text(&page.stdout);
    assert!(page.starts_with("return-with-frame\n"), "{page}");
    for heading in ["\nWhat\n", "\nWhy it matters\n", "\nExample\n", "\nFix\n"] {
        assert!(page.contains(heading), "{page}");
    }
    let by_line = tool(folder.path(), &["explain", PLAIN.trim()], &[]);
    assert_eq!(text(&by_line.stdout), page);

    let list = tool(folder.path(), &["explain"], &[]);
    assert!(list.status.success());
    assert!(text(&list.stdout).contains("\n  return-with-frame "));

    let unknown = tool(folder.path(), &["explain", "return-with-fram"], &[]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(unknown.stdout.is_empty());
    assert_eq!(
        text(&unknown.stderr),
        "error: no finding has the code `return-with-fram`; did you mean `return-with-frame`?\n\
         `objtool-rs explain` lists all codes.\n"
    );

    // Only as the first argument: elsewhere it is a file.
    let file = tool(folder.path(), &["--stackval", "explain"], &[]);
    assert_eq!(file.status.code(), Some(1));
    assert!(text(&file.stderr).contains("Can't open 'explain'"));
}
