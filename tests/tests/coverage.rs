//! Every warning has a fixture that earns it and one that comes close; every finding in a fixture is
//! a warning that is listed.

use std::path::Path;

use tests::fixture::{Fixture, Kind};
use tests::messages::{matches, COVERED, ELSEWHERE, UNREACHABLE};

/// All findings that the fixtures expect, with the fixture each stands in.
fn findings() -> Vec<(String, String)> {
    let mut findings = Vec::new();
    for path in tests::fixture_files().unwrap() {
        let fixture = Fixture::read(&path).unwrap();
        let name = path.display().to_string();
        for note in fixture.expected.iter().filter(|n| n.kind == Kind::Finding) {
            // `--sec-address` puts the place in the section in front.
            let text = match note.text.strip_prefix('(') {
                Some(rest) => rest.split_once(") ").unwrap().1.to_owned(),
                None => note.text.clone(),
            };
            findings.push((text, name.clone()));
        }
    }
    findings
}

#[test]
fn every_warning_has_a_fixture_that_earns_it() {
    let findings = findings();
    let missing: Vec<&str> = COVERED
        .iter()
        .map(|(template, _)| *template)
        .filter(|template| !findings.iter().any(|(text, _)| matches(template, text)))
        .collect();
    assert!(missing.is_empty(), "no fixture earns: {missing:#?}");
}

#[test]
fn every_warning_has_a_fixture_that_comes_close() {
    let root = tests::root().join("fixtures/x86_64");
    for (template, near_miss) in COVERED {
        let fixture = Fixture::read(&root.join(near_miss)).unwrap();
        assert!(
            fixture.near_misses > 0,
            "{near_miss} is named for `{template}`, but holds no `near miss:` comment"
        );
    }
}

#[test]
fn every_finding_is_a_warning_that_is_listed() {
    let unlisted: Vec<(String, String)> = findings()
        .into_iter()
        .filter(|(text, _)| !COVERED.iter().any(|(template, _)| matches(template, text)))
        .collect();
    assert!(
        unlisted.is_empty(),
        "not in tests/src/messages.rs: {unlisted:#?}"
    );
}

#[test]
fn every_fixture_is_one_or_the_other() {
    for path in tests::fixture_files().unwrap() {
        let fixture = Fixture::read(&path).unwrap();
        assert!(!fixture.is_vacuous(), "{}: expects nothing", path.display());
        assert!(
            !fixture.nothing || fixture.near_misses > 0 || has_no_code(&path),
            "{}: expects nothing, and does not say what comes close to something",
            path.display()
        );
    }
}

fn has_no_code(path: &Path) -> bool {
    path.ends_with("elf/no_code.S")
}

#[test]
fn no_warning_is_listed_twice() {
    let all = [COVERED, ELSEWHERE, UNREACHABLE].concat();
    for (at, (template, why)) in all.iter().enumerate() {
        assert!(!why.is_empty());
        assert!(
            !all[at + 1..].iter().any(|(other, _)| other == template),
            "`{template}` is listed twice"
        );
    }
}

#[test]
fn every_difference_from_c_objtool_is_listed() {
    let root = tests::root().join("fixtures");
    let list = std::fs::read_to_string(root.join("DIFFERENCES.md")).unwrap();
    let listed: Vec<&str> = list
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let mut rows = Vec::new();
    for path in tests::fixture_files().unwrap() {
        if let Some(reason) = Fixture::read(&path).unwrap().differs {
            let name = path.strip_prefix(&root).unwrap().display();
            rows.push(format!("| `{name}` | {reason} |"));
        }
    }
    rows.sort();
    assert!(rows.len() > 1);
    assert_eq!(listed, rows);
}
