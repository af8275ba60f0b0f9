//! The fixture harness itself: that it passes what is right and fails what is wrong, both ways.
//!
//! A shell script plays the tool, so that what happened is known exactly. The last tests put wrong
//! expectations before the real tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tests::compare;
use tests::tool::Tool;

/// A function of a nop, a push and a return, at offsets 0, 1 and 2.
const CODE: &str = "
#include \"annotations.h\"

	.text
func f
	nop@NOP@
	push	%rbx@PUSH@
	ret@RET@
endfunc f
";

/// Where gas puts the first section's bytes in an object.
const TEXT_IN_FILE: u32 = 0x40;

/// A folder with a fixture and tools in it.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A fixture with `directives`, at most 5, and notes behind its three instructions, which
    /// stand on lines 11 to 13.
    fn fixture(&self, directives: &str, notes: [&str; 3]) -> PathBuf {
        // The architecture comes from the path.
        let path = self.dir.path().join("x86_64/case.S");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut code = CODE.to_owned();
        for (place, note) in ["@NOP@", "@PUSH@", "@RET@"].iter().zip(notes) {
            code = code.replace(place, &format!("\t{note}"));
        }
        // As many lines in front as it takes for the code to start at a known one.
        let padding = "#\n".repeat(5 - directives.lines().count());
        fs::write(&path, format!("{directives}\n{padding}{code}")).unwrap();
        path
    }

    /// A tool that does what the shell `script` says; `$f` is the object.
    fn tool(&self, name: &str, script: &str) -> Tool {
        let path = self.dir.path().join(name);
        let warn = "warn() { echo \"$f: warning: objtool: $*\" >&2; }";
        let poke = "poke() { printf \"$2\" | dd of=$f bs=1 seek=$1 conv=notrunc status=none; }";
        let text = format!("#!/bin/sh\nfor f; do :; done\n{warn}\n{poke}\n{script}");
        // By another process: a file that this one has open for writing, if only for a moment, can't be
        // run as long as a child that another test starts at that moment holds it open too.
        let write = r#"printf '%s\n' "$2" >"$1" && chmod 755 "$1""#;
        let written = Command::new("sh")
            .args(["-c", write, "sh"])
            .arg(&path)
            .arg(text)
            .status();
        assert!(written.unwrap().success(), "the tool can't be written");
        Tool { path }
    }
}

fn check(fixture: &Path, tool: &Tool, oracle: Option<&Tool>) -> Result<(), String> {
    compare::check(fixture, tool, oracle).map_err(|e| format!("{e:#}"))
}

/// The harness must fail, and its words must hold each of `words`.
#[track_caller]
fn fails(result: Result<(), String>, words: &[&str]) {
    let message = result.expect_err("the harness passed what is wrong");
    for word in words {
        assert!(message.contains(word), "`{word}` is missing in: {message}");
    }
}

const ARGS: &str = "# args: --stackval";

#[test]
fn what_is_right_passes() {
    let bench = Bench::new();
    let fixture = bench.fixture(
        "# args: --stackval\n# finding: without a place",
        [
            "",
            "# finding: first",
            "# finding: second  # finding: third  # backtrace: way",
        ],
    );
    let tool = bench.tool(
        "tool",
        "warn without a place; warn f+0x1: first; warn f+0x2: third; warn f+0x2: second
         warn '  f+0x2: way'",
    );
    check(&fixture, &tool, None).unwrap();
}

#[test]
fn a_missing_finding_fails() {
    let bench = Bench::new();
    let fixture = bench.fixture(ARGS, ["", "# finding: expected", ""]);
    let tool = bench.tool("tool", ":");
    fails(
        check(&fixture, &tool, None),
        &["missing", "line 12: finding: expected", "push"],
    );
}

#[test]
fn an_unexpected_finding_fails() {
    let bench = Bench::new();
    let tool = bench.tool("tool", "warn f+0x1: surprise");
    let nothing = bench.fixture("# args: --stackval\n# expect: nothing", ["", "", ""]);
    fails(
        check(&nothing, &tool, None),
        &["unexpected", "line 12: finding: surprise"],
    );
    let tool = bench.tool("tool", "warn f+0x1: known; warn f+0x1: known");
    let once = bench.fixture(ARGS, ["", "# finding: known", ""]);
    fails(
        check(&once, &tool, None),
        &["unexpected  line 12: finding: known"],
    );
    let tool = bench.tool("tool", "warn surprise of no place");
    fails(
        check(&nothing, &tool, None),
        &["unexpected  no line: finding: surprise"],
    );
}

#[test]
fn the_wrong_line_or_text_fails_both_ways() {
    let bench = Bench::new();
    let tool = bench.tool("tool", "warn f+0x1: text");
    let line = bench.fixture(ARGS, ["", "", "# finding: text"]);
    fails(
        check(&line, &tool, None),
        &["missing     line 13", "unexpected  line 12"],
    );
    let text = bench.fixture(ARGS, ["", "# finding: other text", ""]);
    fails(
        check(&text, &tool, None),
        &["missing     line 12", "unexpected  line 12"],
    );
    let kind = bench.fixture(ARGS, ["", "# backtrace: text", ""]);
    fails(
        check(&kind, &tool, None),
        &["missing     line 12", "unexpected  line 12"],
    );
}

#[test]
fn a_place_that_does_not_exist_is_no_line() {
    let bench = Bench::new();
    let fixture = bench.fixture(ARGS, ["", "# finding: text", ""]);
    for place in [
        "f+0x9",
        "g+0x1",
        "f+1",
        "f+0x1 (.text+0x2)",
        "f+0x1 (.data+0x1)",
    ] {
        let tool = bench.tool("tool", &format!("warn '{place}: text'"));
        fails(
            check(&fixture, &tool, None),
            &["missing", "unexpected  no line"],
        );
    }
    let tool = bench.tool("tool", "warn '.text+0x1: text'");
    check(&fixture, &tool, None).unwrap();
    let tool = bench.tool("tool", "warn 'f+0x1 (.text+0x1): text'");
    let address = bench.fixture(ARGS, ["", "# finding: (.text+0x1) text", ""]);
    check(&address, &tool, None).unwrap();
}

#[test]
fn a_rewritten_instruction_must_be_noted() {
    let bench = Bench::new();
    let tool = bench.tool("tool", &format!("poke {} '\\314'", TEXT_IN_FILE + 1));
    let silent = bench.fixture("# args: --stackval\n# expect: nothing", ["", "", ""]);
    fails(
        check(&silent, &tool, None),
        &["unexpected  line 12: bytes: cc"],
    );
    let noted = bench.fixture(ARGS, ["", "# bytes: cc", ""]);
    check(&noted, &tool, None).unwrap();
    let idle = bench.tool("idle", ":");
    fails(
        check(&noted, &idle, None),
        &["missing     line 12: bytes: cc"],
    );
    let other = bench.fixture(ARGS, ["", "# bytes: 90", ""]);
    fails(check(&other, &tool, None), &["missing", "unexpected"]);
}

#[test]
fn new_sections_and_symbols_must_be_noted() {
    let bench = Bench::new();
    let silent = bench.fixture("# args: --stackval\n# expect: nothing", ["", "", ""]);
    let section = bench.tool(
        "section",
        "printf '1234' > data && objcopy --add-section .new=data $f && rm data",
    );
    fails(
        check(&silent, &section, None),
        &["unexpected  no line: site: .new[0]"],
    );
    let symbol = bench.tool("symbol", "objcopy --add-symbol extra=.text:1,local $f");
    fails(
        check(&silent, &symbol, None),
        &["unexpected  line 12: symbol: local extra size 0"],
    );
    let noted = bench.fixture(ARGS, ["", "# symbol: local extra size 0", ""]);
    check(&noted, &symbol, None).unwrap();
    let gone = bench.tool("gone", "objcopy --redefine-sym f=g $f");
    fails(
        check(&silent, &gone, None),
        &["gone: global f", "symbol: global g"],
    );
}

#[test]
fn status_output_and_files_must_be_as_said() {
    let bench = Bench::new();
    let nothing = bench.fixture("# args: --stackval\n# expect: nothing", ["", "", ""]);
    let run = |script: &str| check(&nothing, &bench.tool("tool", script), None);
    run(":").unwrap();
    fails(run("exit 1"), &["exit status 1, expected 0"]);
    fails(run("kill -9 $$"), &["ended by a signal"]);
    fails(
        run("echo noise"),
        &["standard output is not empty", "noise"],
    );
    fails(
        run("echo noise >&2"),
        &["standard error is not empty", "noise"],
    );
    fails(run("touch stray"), &["files left", "stray"]);
    fails(run("chmod 600 $f"), &["mode became 600"]);
    fails(
        run("cat $f > copy; mv copy $f; chmod 640 $f"),
        &["written though nothing"],
    );

    let said = bench.fixture(
        "# args: -s\n# exit: 3\n# stdout: out\n# stderr: err\n# creates: more",
        ["", "", ""],
    );
    let does = "echo some out; echo some err >&2; touch more;";
    check(&said, &bench.tool("tool", &format!("{does} exit 3")), None).unwrap();
    fails(
        check(&said, &bench.tool("tool", does), None),
        &["exit status 0, expected 3"],
    );
    fails(
        check(&said, &bench.tool("tool", "exit 3"), None),
        &[
            "standard output lacks `out`",
            "standard error lacks `err`",
            "files left",
        ],
    );
}

#[test]
fn a_fixture_that_expects_nothing_by_accident_fails() {
    let bench = Bench::new();
    let fixture = bench.fixture(ARGS, ["", "", ""]);
    fails(
        check(&fixture, &bench.tool("tool", ":"), None),
        &["expects nothing"],
    );
}

#[test]
fn the_environment_is_the_fixture_s_alone() {
    let bench = Bench::new();
    let fixture = bench.fixture(
        "# args: -s\n# env: OBJTOOL_ARGS=--stats\n# stdout: [--stats][]",
        ["", "", ""],
    );
    let tool = bench.tool("tool", "echo \"[$OBJTOOL_ARGS][$OBJTOOL_VERBOSE]\"");
    check(&fixture, &tool, None).unwrap();
}

#[test]
fn the_oracle_is_stricter_than_the_notes() {
    let bench = Bench::new();
    let fixture = bench.fixture(ARGS, ["", "# finding: one", "# finding: two"]);
    let ours = bench.tool("ours", "warn f+0x1: one; warn f+0x2: two");
    let same = bench.tool("same", "warn f+0x1: one; warn f+0x2: two");
    check(&fixture, &ours, Some(&same)).unwrap();
    let order = bench.tool("order", "warn f+0x2: two; warn f+0x1: one");
    fails(
        check(&fixture, &ours, Some(&order)),
        &["standard error differs"],
    );
    let fewer = bench.tool("fewer", "warn f+0x1: one");
    fails(
        check(&fixture, &ours, Some(&fewer)),
        &["standard error differs"],
    );
    let status = bench.tool("status", "warn f+0x1: one; warn f+0x2: two; exit 1");
    fails(check(&fixture, &ours, Some(&status)), &["exit status"]);
    let bytes = bench.tool(
        "bytes",
        &format!("warn f+0x1: one; warn f+0x2: two; poke {TEXT_IN_FILE} '\\314'"),
    );
    fails(
        check(&fixture, &ours, Some(&bytes)),
        &["output file differs", "0x40"],
    );
    let files = bench.tool("files", "warn f+0x1: one; warn f+0x2: two; touch stray");
    fails(check(&fixture, &ours, Some(&files)), &["files created"]);

    let directives = "# args: --stackval\n# differs-from-c: a reason";
    let excused = bench.fixture(directives, ["", "# finding: one", "# finding: two"]);
    check(&excused, &ours, Some(&order)).unwrap();
}

#[test]
fn the_real_tool_earns_exactly_what_it_earns() {
    let tool = Tool::under_test().unwrap();
    let bench = Bench::new();
    let right = bench.fixture(
        ARGS,
        ["", "", "# finding: return with modified stack frame"],
    );
    check(&right, &tool, None).unwrap();
    let wrong = bench.fixture(ARGS, ["# finding: redundant CLD", "", ""]);
    fails(
        check(&wrong, &tool, None),
        &[
            "missing     line 11: finding: redundant CLD",
            "unexpected  line 13: finding: return with modified stack frame",
        ],
    );
}
