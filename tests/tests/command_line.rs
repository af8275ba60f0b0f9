//! The command line: usage errors with C objtool's words and exit status, variables, the file named
//! as it was given, and what happens to the file on disk.
#![expect(clippy::print_stderr, reason = "a missing oracle has to be seen")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::OnceLock;

use tempfile::TempDir;
use tests::compile;
use tests::fixture::Fixture;
use tests::oracle;
use tests::tool::{finish, Finished, Tool};

const NAME: &str = "input.o";

/// One finding with `--stackval`, one entry to write with `--rethunk`.
const SOURCE: &str = "# args: --stackval
# expect: nothing

	.text
	.globl	f
	.type	f, @function
f:	push	%rbx
	jmp	__x86_return_thunk
	.size	f, . - f
";

fn object() -> &'static [u8] {
    static OBJECT: OnceLock<Vec<u8>> = OnceLock::new();
    OBJECT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("x86_64")).unwrap();
        let path = dir.path().join("x86_64/input.S");
        fs::write(&path, SOURCE).unwrap();
        let fixture = Fixture::read(&path).unwrap();
        fs::read(compile::build(&fixture, dir.path()).unwrap().object).unwrap()
    })
}

fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(NAME), object()).unwrap();
    dir
}

fn run_in(dir: &Path, tool: &Tool, args: &[&str], env: &[(&str, &str)]) -> Finished {
    let env = env.iter().copied();
    finish(tool.command(dir).args(args).envs(env)).unwrap()
}

/// Runs the tool under test on a fresh object.
fn run(args: &[&str], env: &[(&str, &str)]) -> Finished {
    run_in(folder().path(), &Tool::under_test().unwrap(), args, env)
}

/// The part of standard error up to the usage line; the list of options behind it is the tool's own.
fn complaint(run: &Finished) -> Vec<String> {
    let lines = run.stderr.lines().map(str::trim_end);
    let end = lines
        .clone()
        .position(|l| l.trim_start().starts_with("Usage:"));
    lines
        .take(end.map_or(usize::MAX, |at| at + 1))
        .map(str::to_owned)
        .collect()
}

const USAGE: &str = " Usage: objtool <actions> [<options>] file.o";

/// Arguments that can't be understood, the exit status, and the first line that is not empty.
const WRONG: &[(&[&str], i32, &str)] = &[
    (&[], 129, USAGE),
    (&["--stackval"], 129, USAGE),
    (&["--stackval", NAME, NAME], 129, USAGE),
    (&["--hacks=other", NAME], 129, USAGE),
    (&["--", "--stackval", NAME], 129, USAGE),
    (&[NAME], 1, "error: objtool: At least one action required"),
    (
        &["--prefix=16", NAME],
        1,
        "error: objtool: At least one action required",
    ),
    (
        &["--module", NAME],
        1,
        "error: objtool: At least one action required",
    ),
    (&["--bogus", NAME], 129, "  Error: unknown option `bogus'"),
    (&["-X", NAME], 129, "  Error: unknown switch `X'"),
    (&["-sX", NAME], 129, "  Error: unknown switch `X'"),
    (
        &["--re", NAME],
        129,
        " Error: Ambiguous option: re (could be --retpoline or --rethunk)",
    ),
    (
        &["--stackval=1", NAME],
        129,
        " Error: option `stackval' takes no value",
    ),
    (
        &["--prefix", NAME],
        129,
        " Error: option `prefix' expects a numerical value",
    ),
    (
        &["--prefix=x", "-s", NAME],
        129,
        " Error: option `prefix' expects a numerical value",
    ),
    (
        &["-s", "--prefix"],
        129,
        " Error: option `prefix' requires a value",
    ),
];

#[test]
fn wrong_arguments_are_refused_in_c_objtool_s_words() {
    let oracle = oracle::find().unwrap();
    if oracle.is_none() {
        eprintln!("no C objtool to compare with: only the words in this test are checked");
    }
    for (args, status, first) in WRONG {
        let dir = folder();
        let ours = run_in(dir.path(), &Tool::under_test().unwrap(), args, &[]);
        assert_eq!(ours.status, Some(*status), "{args:?}: {}", ours.stderr);
        let line = ours
            .stderr
            .lines()
            .find(|l| !l.is_empty())
            .unwrap_or_default();
        assert_eq!(line, *first, "{args:?}");
        assert_eq!(
            fs::read(dir.path().join(NAME)).unwrap(),
            object(),
            "{args:?} wrote"
        );
        if let Some(oracle) = &oracle {
            let theirs = run_in(folder().path(), oracle, args, &[]);
            assert_eq!(ours.status, theirs.status, "{args:?}");
            assert_eq!(complaint(&ours), complaint(&theirs), "{args:?}");
        }
    }
}

/// Combinations that make no sense, and the complaint; the status is 1.
const REFUSED: &[(&[&str], &str)] = &[
    (&["--ibt"], "--ibt requires --link"),
    (&["-i"], "--ibt requires --link"),
    (&["--noinstr"], "--noinstr requires --link"),
    (&["--unret", "--rethunk"], "--unret requires --link"),
    (&["--unret", "--stackval"], "--unret requires --link"),
    // One complaint, of all that are due.
    (&["--ibt", "--noinstr"], "--noinstr requires --link"),
    (&["--unret", "--rethunk", "--ibt"], "--ibt requires --link"),
    (
        &["--link", "--no-link", "--noinstr"],
        "--noinstr requires --link",
    ),
    (&["--unret"], "--unret requires --rethunk"),
    (&["--unret", "--link"], "--unret requires --rethunk"),
    (&["--unret", "--dump"], "--unret requires --rethunk"),
    (&["--mnop", "--orc"], "--mnop requires --mcount"),
    (&["--mnop", "--ibt"], "--mnop requires --mcount"),
    (&["--mnop"], "At least one action required"),
    (&["--cfi"], "At least one action required"),
    (&["--link"], "At least one action required"),
    (&["--hacks=skylake"], "At least one action required"),
    (&["--orc", "--no-orc"], "At least one action required"),
    (
        &["--dump", "--orc"],
        "--dump can't be combined with other actions",
    ),
    (
        &["--dump=orc", "--ibt"],
        "--dump can't be combined with other actions",
    ),
    (
        &["--dump", "--hacks"],
        "--dump can't be combined with other actions",
    ),
];

#[test]
fn combinations_are_refused_in_c_objtool_s_words() {
    let tool = Tool::under_test().unwrap();
    let oracle = oracle::find().unwrap();
    for (options, words) in REFUSED {
        let args = [*options, &[NAME]].concat();
        let dir = folder();
        let ours = run_in(dir.path(), &tool, &args, &[]);
        let expected = format!("error: objtool: {words}\n");
        assert_eq!(
            (ours.status, &ours.stderr),
            (Some(1), &expected),
            "{options:?}"
        );
        assert_eq!(ours.stdout, "", "{options:?}");
        assert_eq!(
            fs::read(dir.path().join(NAME)).unwrap(),
            object(),
            "{options:?} wrote"
        );
        if let Some(oracle) = &oracle {
            let theirs = run_in(folder().path(), oracle, &args, &[]);
            assert_eq!(
                (ours.status, ours.stderr),
                (theirs.status, theirs.stderr),
                "{options:?}"
            );
        }
    }
}

/// What asks for something to be done, or says what kind of object it is.
const ASKED: [&str; 18] = [
    "--hacks",
    "--ibt",
    "--mcount",
    "--noinstr",
    "--orc",
    "--retpoline",
    "--rethunk",
    "--unret",
    "--prefix=16",
    "--sls",
    "--stackval",
    "--static-call",
    "--uaccess",
    "--cfi",
    "--dump",
    "--mnop",
    "--link",
    "--module",
];

/// A combination is refused by both tools or by none, with the same words, and makes the same file.
#[test]
fn every_two_of_them_are_as_with_c_objtool() {
    let Some(oracle) = oracle::find().unwrap() else {
        eprintln!("no C objtool to compare with: combinations are not compared");
        return;
    };
    let tool = Tool::under_test().unwrap();
    let dir = folder();
    let file = dir.path().join(NAME);
    let mut refused = 0;
    for (number, first) in ASKED.iter().enumerate() {
        for second in &ASKED[number..] {
            // A third that most refusals depend on.
            for third in [None, Some("--link")] {
                let mut args = vec![*first, *second];
                args.extend(third);
                args.dedup();
                args.push(NAME);
                let run = |tool| {
                    fs::write(&file, object()).unwrap();
                    let run = run_in(dir.path(), tool, &args, &[]);
                    (run, fs::read(&file).unwrap())
                };
                let ((ours, our_file), (theirs, their_file)) = (run(&tool), run(&oracle));
                assert_eq!(
                    (ours.status, ours.stdout, ours.stderr),
                    (theirs.status, theirs.stdout, theirs.stderr),
                    "{args:?}"
                );
                assert!(our_file == their_file, "{args:?}: the files differ");
                refused += usize::from(ours.status == Some(1));
            }
        }
    }
    assert!(refused > 50, "only {refused} combinations are refused");
}

/// What can't be read is told before what makes no sense with it.
#[test]
fn a_file_that_is_not_there_is_told_first() {
    let dir = folder();
    let tool = Tool::under_test().unwrap();
    for options in [&["--mnop", "--orc"][..], &["--ibt"], &["--dump"]] {
        let args = [options, &["absent.o"]].concat();
        let run = run_in(dir.path(), &tool, &args, &[]);
        assert_eq!(run.status, Some(1), "{options:?}");
        assert!(run.stderr.contains("absent.o"), "{}", run.stderr);
        assert!(!run.stderr.contains("requires"), "{}", run.stderr);
    }
}

const FINDING: &str = "input.o: warning: objtool: f+0x1: return with modified stack frame\n";

#[test]
fn options_may_be_short_joined_abbreviated_negated_or_behind_the_file() {
    let arguments: &[&[&str]] = &[
        &["-s", NAME],
        &["--stackval", NAME],
        &["--stack", NAME],
        &[NAME, "--stackval"],
        &["-su", NAME],
        &["--stackval", "--", NAME],
        &["--no-stackval", "-s", NAME],
        &["--uaccess", "--no-uaccess", "--stackval", NAME],
    ];
    for args in arguments {
        let run = run(args, &[]);
        assert_eq!(
            (run.status, run.stderr.as_str()),
            (Some(0), FINDING),
            "{args:?}"
        );
    }
    let off = run(&["--rethunk", "--stackval", "--no-stackval", NAME], &[]);
    assert_eq!((off.status, off.stderr.as_str()), (Some(0), ""));
}

#[test]
fn variables_add_options() {
    let run_with = |value| run(&["--rethunk", NAME], &[("OBJTOOL_ARGS", value)]);
    let added = run_with("--stackval --uaccess");
    assert_eq!((added.status, added.stderr.as_str()), (Some(0), FINDING));
    let wrong = run_with("--bogus");
    assert_eq!(wrong.status, Some(129));
    assert!(
        wrong.stderr.contains("unknown option `bogus'"),
        "{}",
        wrong.stderr
    );
    assert!(wrong.stderr.contains("OBJTOOL_ARGS="), "{}", wrong.stderr);
}

#[test]
fn the_file_is_named_as_it_was_given() {
    let dir = folder();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::rename(dir.path().join(NAME), dir.path().join("sub").join(NAME)).unwrap();
    let tool = Tool::under_test().unwrap();
    for given in ["sub/input.o", "./sub/input.o"] {
        let run = run_in(dir.path(), &tool, &["-s", given], &[]);
        assert!(
            run.stderr.starts_with(&format!("{given}: warning: ")),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn a_written_file_keeps_its_mode_and_leaves_nothing_beside() {
    for mode in [0o644, 0o640, 0o600, 0o755, 0o444 | 0o200] {
        let dir = folder();
        let file = dir.path().join(NAME);
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let run = run_in(
            dir.path(),
            &Tool::under_test().unwrap(),
            &["--rethunk", NAME],
            &[],
        );
        assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
        assert_ne!(fs::read(&file).unwrap(), object(), "nothing was written");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, mode);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_second_run_finds_its_own_section_and_writes_nothing() {
    let dir = folder();
    let tool = Tool::under_test().unwrap();
    let file = dir.path().join(NAME);
    run_in(dir.path(), &tool, &["--rethunk", NAME], &[]);
    let (once, stamp) = (fs::read(&file).unwrap(), fs::metadata(&file).unwrap());
    let again = run_in(dir.path(), &tool, &["--rethunk", NAME], &[]);
    assert_eq!(
        again.stderr,
        "input.o: warning: objtool: file already has .return_sites, skipping\n"
    );
    assert_eq!(fs::read(&file).unwrap(), once);
    let after = fs::metadata(&file).unwrap();
    assert_eq!(
        (after.ino(), after.mtime_nsec()),
        (stamp.ino(), stamp.mtime_nsec())
    );
}

#[test]
fn a_link_stays_a_link_to_the_written_file() {
    let dir = folder();
    let (file, link) = (dir.path().join(NAME), dir.path().join("link.o"));
    symlink(NAME, &link).unwrap();
    let run = run_in(
        dir.path(),
        &Tool::under_test().unwrap(),
        &["--rethunk", "link.o"],
        &[],
    );
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    assert!(
        fs::symlink_metadata(&link).unwrap().is_symlink(),
        "the link was replaced"
    );
    assert_ne!(
        fs::read(&file).unwrap(),
        object(),
        "the file behind the link was not written"
    );
}

#[test]
fn a_backup_is_the_object_as_it_was() {
    let dir = folder();
    let run = run_in(
        dir.path(),
        &Tool::under_test().unwrap(),
        &["--rethunk", "--backup", NAME],
        &[],
    );
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    assert_eq!(fs::read(dir.path().join("input.o.orig")).unwrap(), object());
    assert_ne!(fs::read(dir.path().join(NAME)).unwrap(), object());
}

#[test]
fn without_a_backup_nothing_is_written() {
    let dir = folder();
    fs::create_dir(dir.path().join("input.o.orig")).unwrap();
    let run = run_in(
        dir.path(),
        &Tool::under_test().unwrap(),
        &["--rethunk", "--backup", NAME],
        &[],
    );
    assert_eq!(run.status, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("backup"), "{}", run.stderr);
    assert!(run.stderr.contains(NAME), "{}", run.stderr);
    assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), object());
}

#[test]
fn statistics_and_dry_run_go_together() {
    let dir = folder();
    let args = ["--rethunk", "--stackval", "--stats", "--dry-run", NAME];
    let run = run_in(dir.path(), &Tool::under_test().unwrap(), &args, &[]);
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), FINDING));
    assert!(run.stdout.contains("nr_insns: 2\n"), "{}", run.stdout);
    assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), object());
}
