//! That every kind of finding is explained, and that the table and the folder agree.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Group, ALL, FILES};

/// Columns that an example may take, so that it fits an indented page of 80.
const EXAMPLE_WIDTH: usize = 78;

#[test]
fn every_part_is_there() {
    for e in ALL {
        let prose = [
            ("title", e.title),
            ("what", e.what),
            ("why", e.why),
            ("fix", e.fix),
        ];
        for (part, text) in prose {
            assert!(!text.trim().is_empty(), "{}: no {part}", e.code);
            assert_eq!(text, text.trim(), "{}: {part}", e.code);
            assert!(!text.contains("  "), "{}: {part}", e.code);
        }
        for (part, text) in &prose[1..] {
            assert!(
                text.ends_with(['.', '?']),
                "{}: {part} ends in the middle",
                e.code
            );
        }
        let first = e.title.chars().next();
        assert!(
            first.is_some_and(char::is_lowercase),
            "{}: the title begins like a sentence",
            e.code
        );
        assert!(
            !e.title.ends_with('.'),
            "{}: the title ends like one",
            e.code
        );
        assert!(!e.words.is_empty(), "{}: no words", e.code);
        for words in e.words {
            assert!(
                !words.replace("{}", "").trim().is_empty(),
                "{}: empty words",
                e.code
            );
        }
        assert!(!e.example.trim().is_empty(), "{}: no example", e.code);
        assert!(
            e.example.ends_with('\n'),
            "{}: the last line has no end",
            e.code
        );
        for line in e.example.lines() {
            assert!(line.chars().count() <= EXAMPLE_WIDTH, "{}: {line}", e.code);
            assert!(!line.contains('\t'), "{}: {line}", e.code);
        }
    }
}

#[test]
fn codes_and_words_are_unique() {
    let codes: BTreeSet<_> = ALL.iter().map(|e| e.code).collect();
    assert_eq!(codes.len(), ALL.len());
    let words: Vec<_> = ALL.iter().flat_map(|e| e.words).collect();
    let unique: BTreeSet<_> = words.iter().collect();
    assert_eq!(unique.len(), words.len());
}

#[test]
fn every_file_is_in_the_table_under_its_own_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/findings");
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("the folder of this file") {
        let name = entry.expect("a file").file_name();
        let name = name.to_str().expect("a plain name").to_owned();
        let stem = name.strip_suffix(".rs").expect("a source").to_owned();
        if !matches!(stem.as_str(), "mod" | "tests") {
            files.insert(stem);
        }
    }
    let table: BTreeSet<_> = FILES.iter().map(|&file| file.to_owned()).collect();
    assert_eq!(files, table);
    for (e, file) in ALL.iter().zip(FILES) {
        assert_eq!(e.code, file.replace('_', "-"));
    }
}

#[test]
fn every_group_is_listed_once_and_used() {
    let listed: BTreeSet<_> = Group::ALL.into_iter().collect();
    assert_eq!(listed.len(), Group::ALL.len());
    let used: BTreeSet<_> = ALL.iter().map(|e| e.group).collect();
    assert_eq!(used, listed);
}
