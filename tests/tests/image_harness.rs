//! The checks of image fixtures can fail: each is shown an image that it must complain about.

use std::fs;

use tests::images::judge::{Verdict, FIELDS};
use tests::images::{check, table};
use tests::tool::Tool;

/// A source that is as it says.
const GOOD: &str = r#"# ranges: 1
#
# prose

#include "image.h"

	.text
func leaf                       # class: makes-no-call
	ret
endfunc leaf
	int3
func keeps                      # class: keeps-frame
	push	%rbp
	mov	%rsp, %rbp
	call	leaf
	pop	%rbp
	ret
endfunc keeps
	int3
func loses                      # class: keeps-no-frame
	call	leaf            # finding: call without frame pointer save/setup
	ret
endfunc loses
"#;

fn check_source(text: &str) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("x86_64")).unwrap();
    let path = dir.path().join("x86_64/image.S");
    fs::write(&path, text).unwrap();
    check::check(&path, &Tool::under_test().unwrap()).map_err(|e| format!("{e:#}"))
}

/// With this changed, the check must fail, and say these words.
#[track_caller]
fn fails(from: &str, to: &str, words: &[&str]) {
    assert!(GOOD.contains(from), "{from}");
    let error = check_source(&GOOD.replace(from, to)).expect_err(to);
    for word in words {
        assert!(error.contains(word), "no `{word}` in: {error}");
    }
}

#[test]
fn a_source_that_is_as_it_says_passes() {
    assert_eq!(check_source(GOOD), Ok(()));
}

#[test]
fn wrong_classes_are_told_both_ways() {
    fails(
        "# class: makes-no-call",
        "# class: keeps-frame",
        &[
            "missing     class of leaf: keeps-frame",
            "unexpected  class of leaf: makes-no-call",
        ],
    );
    fails(
        "# class: keeps-frame",
        "",
        &["unexpected  class of keeps: keeps-frame"],
    );
    fails(
        "# class: keeps-frame",
        "# class: keeps-frame  # class of ghost: keeps-frame",
        &["missing     class of ghost: keeps-frame"],
    );
}

#[test]
fn wrong_findings_are_told_both_ways() {
    fails(
        "# finding: call",
        "# finding: cull",
        &[
            "missing     image.S:21: finding: cull",
            "unexpected  image.S:21",
        ],
    );
    fails(
        "# finding: call without frame pointer save/setup\n\tret",
        "\n\tret\t# finding: call without frame pointer save/setup",
        &["missing     image.S:22", "unexpected  image.S:21"],
    );
}

#[test]
fn wrong_verdicts_and_counts_are_told() {
    fails("# ranges: 1", "# ranges: 2", &["1 ranges"]);
    fails("# ranges: 1", "# no: orc", &["reliable is true"]);
    fails("# ranges: 1", "# refused: x", &["not refused"]);
}

#[test]
fn a_verdict_with_another_form_is_refused() {
    let good = r#"{"exceptions":[],"file":"f","functions":{"keep_frame":1,"keep_no_frame":0,"make_no_call":2},"kind":"image","phases_ms":{"walk":0.5},"reason":null,"reliable":true,"text_size":3,"unreliable_size":0,"unreliable_text":[{"address":"0xff","size":1,"section":".text","offset":0}]}"#;
    let parse = |text: &str| Verdict::parse(&format!("{text}\n"));
    assert_eq!(parse(good).unwrap().ranges[0].address, 255);
    for (from, to) in [
        (r#""text_size":3,"#, ""),
        (r#""text_size":3"#, r#""text_size":"3""#),
        (r#""text_size":3"#, r#""text_size":3,"more":1"#),
        (r#""reason":null"#, r#""reason":0"#),
        (r#""0xff""#, "255"),
        (r#""offset":0"#, r#""offset":-1"#),
        (r#"{"walk":0.5}"#, "{}"),
    ] {
        assert!(good.contains(from));
        assert!(parse(&good.replace(from, to)).is_err(), "{to}");
    }
    assert!(Verdict::parse(good).is_err(), "no end of line");
}

#[test]
fn every_field_is_documented() {
    let path = tests::root().join("objtool-rs/src/verify/json.rs");
    let source = fs::read_to_string(path).unwrap();
    let rows = source
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `")?.split_once('`'))
        .map(|(field, _)| field);
    let documented: Vec<&str> = rows.collect();
    assert_eq!(documented, FIELDS);
}

#[test]
fn an_image_without_the_table_is_told() {
    let tool = fs::read(std::env::current_exe().unwrap()).unwrap();
    let error = table::read(&tool).unwrap_err();
    assert!(error.to_string().contains("the image has no"), "{error}");
}
