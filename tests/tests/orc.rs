//! ORC data from the code to the text: what `--orc` makes, `--dump` tells, of the object and of the
//! image that it is linked into; and tells as C objtool does.
#![expect(clippy::print_stderr, reason = "a missing oracle has to be seen")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::compile;
use tests::fixture::Fixture;
use tests::oracle;
use tests::tool::{finish, Tool};

/// Fixtures whose code has ORC data of many kinds, and which can be linked alone.
const FIXTURES: [&str; 5] = [
    "orc/alternative.S",
    "orc/frames.S",
    "orc/hints.S",
    "orc/non_standard.S",
    "orc/prefix.S",
];

/// What the tool dumps of a file.
fn dump(tool: &Tool, file: &Path) -> String {
    let run = finish(
        tool.command(file.parent().unwrap())
            .arg("--dump")
            .arg(file.file_name().unwrap()),
    )
    .unwrap();
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    run.stdout
}

/// A fixture's object with ORC data, and the image that it is linked into.
fn made(name: &str, dir: &Path) -> (PathBuf, PathBuf) {
    let path = tests::root().join("fixtures/x86_64").join(name);
    let fixture = Fixture::read(&path).unwrap();
    let object = compile::build(&fixture, dir).unwrap().object;
    let outcome = Tool::under_test()
        .unwrap()
        .run(&object, &["--orc".into(), "--prefix=16".into()], &[])
        .unwrap();
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    fs::write(&object, outcome.after).unwrap();
    let image = dir.join("image");
    let linked = Command::new("ld")
        .args([
            "--entry=0",
            "-Ttext=0x1000000",
            "--unresolved-symbols=ignore-all",
        ])
        .arg("-o")
        .arg(&image)
        .arg(&object)
        .output()
        .expect("this test needs a linker, ld");
    assert!(linked.status.success(), "{name}: {linked:?}");
    (object, image)
}

#[test]
fn what_is_made_is_dumped_as_c_objtool_dumps_it() {
    let tool = Tool::under_test().unwrap();
    let oracle = oracle::find().unwrap();
    if oracle.is_none() {
        eprintln!("no C objtool to compare with: only the form of dumps is checked");
    }
    for name in FIXTURES {
        let dir = tempfile::tempdir().unwrap();
        let (object, image) = made(name, dir.path());
        let (of_object, of_image) = (dump(&tool, &object), dump(&tool, &image));
        let count = of_object.lines().count();
        assert!(count > 3, "{name}: {of_object}");
        assert_eq!(of_image.lines().count(), count, "{name}: {of_image}");
        for (inside, linked) in of_object.lines().zip(of_image.lines()) {
            let (place, what) = inside.split_once(":type:").unwrap();
            let (address, same) = linked.split_once(":type:").unwrap();
            assert_eq!(what, same, "{name}");
            assert!(place.contains("text+"), "{place}");
            assert!(u64::from_str_radix(address, 16).unwrap() >= 0x1000000);
        }
        if let Some(oracle) = &oracle {
            assert_eq!(of_object, dump(oracle, &object), "{name}");
            assert_eq!(of_image, dump(oracle, &image), "{name}");
        }
    }
}

#[test]
fn made_data_are_kept_and_said_to_be_there() {
    let tool = Tool::under_test().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (object, _) = made(FIXTURES[1], dir.path());
    let again = tool.run(&object, &["--orc".into()], &[]).unwrap();
    assert_eq!(again.status, Some(0));
    assert!(
        again
            .stderr
            .ends_with("file already has .orc_unwind section, skipping\n"),
        "{}",
        again.stderr
    );
    assert!(again.untouched);
}
