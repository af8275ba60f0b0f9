//! The table in the crate's documentation: nine requirements, each with tests that there are.

use std::fs;
use std::path::Path;

/// The rows of the table, without its head.
fn rows(source: &str) -> Vec<&str> {
    let lines = source.lines().filter_map(|line| line.strip_prefix("//! |"));
    lines.skip(2).collect()
}

/// The tests that a row names, as file and function.
fn tests(row: &str) -> Vec<(&str, &str)> {
    let last = row
        .trim_end_matches('|')
        .rsplit('|')
        .next()
        .unwrap_or_default();
    let names = last.split('`').skip(1).step_by(2);
    names.filter_map(|name| name.split_once("::")).collect()
}

fn is_a_test(source: &str, name: &str) -> bool {
    let Some(at) = source.find(&format!("fn {name}(")) else {
        return false;
    };
    source[..at].trim_end().ends_with("#[test]")
}

#[test]
fn each_requirement_has_tests_and_all_of_them_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    let rows = rows(&source);
    assert_eq!(rows.len(), 9);
    for row in rows {
        let tests = tests(row);
        assert!(!tests.is_empty(), "no test: {row}");
        for (file, name) in tests {
            let path = root.join("tests").join(file).with_extension("rs");
            let source = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                is_a_test(&source, name),
                "{} has no test {name}",
                path.display()
            );
        }
    }
}

#[test]
fn a_row_without_its_test_is_seen() {
    let source = "#[test]\nfn one() {}\nfn two() {}\n";
    assert!(is_a_test(source, "one"));
    assert!(!is_a_test(source, "two") && !is_a_test(source, "on") && !is_a_test(source, "three"));
    assert_eq!(
        tests(" a | `Env` | `file::one`, `other::two` |"),
        [("file", "one"), ("other", "two")]
    );
    assert_eq!(rows("//! | a |\n//! |---|\n//! | b |\n// | c |"), [" b |"]);
}
