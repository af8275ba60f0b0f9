//! A small linked file with its object, and verdicts on it: the right one, and doctored ones, each
//! of which must show as a difference.

use super::*;
use crate::judge::{Counts, Stretch};

/// `f` and `g`, entry code with its hint and filling, and `h`, which is exempt.
const CODE: &[u8] = &[
    0x55, 0xc3, // f: push %rbp; ret
    0x90, 0x90, // filling
    0x0f, 0x05, 0xcc, 0x90, // entry: syscall; filling
    0x5d, 0xc3, // h: pop %rbp; ret
    0x90, 0xc3, // g: nop; ret
];

fn symbol(name: &str, offset: u64, size: u64) -> Symbol {
    Symbol {
        name: name.to_owned(),
        function: size != 0,
        weak: false,
        offset,
        size,
    }
}

fn section() -> Section {
    Section {
        name: ".text".to_owned(),
        bytes: CODE.to_vec(),
        address: 0x1000,
        symbols: vec![
            symbol("f", 0, 2),
            symbol("entry", 4, 0),
            symbol("h", 8, 2),
            symbol("g", 10, 2),
        ],
        non_standard: vec![8],
        hints: vec![4],
        ..Section::default()
    }
}

fn object() -> Object {
    Object {
        name: "a.o".to_owned(),
        sections: vec![Section {
            address: 0,
            ..section()
        }],
        validated: true,
        unclean: HashSet::new(),
    }
}

fn exception(name: &str, offset: u64) -> Exception {
    Exception {
        name: name.to_owned(),
        address: 0x1000 + offset,
        size: 2,
        section: ".text".to_owned(),
        reason: "words".to_owned(),
        offset: None,
    }
}

fn stretch(offset: u64, size: u64) -> Stretch {
    Stretch {
        address: 0x1000 + offset,
        section: ".text".to_owned(),
        offset,
        size,
    }
}

/// What a verdict on this file has to say: entry code and `h` are not trusted.
fn right() -> Judged {
    Judged {
        file: "vmlinux".to_owned(),
        reliable: true,
        reason: None,
        functions: Counts {
            keep_frame: 0,
            make_no_call: 2,
            keep_no_frame: 1,
        },
        text_size: 12,
        unreliable_size: 6,
        exceptions: vec![exception("h", 8)],
        unreliable_text: vec![stretch(4, 6)],
        phases_ms: BTreeMap::new(),
    }
}

fn compared(object: &Object, linked: Section, judged: &Judged) -> Outcome {
    compare("vmlinux", &[object], &Linked::new(vec![linked]), judged).unwrap()
}

fn differences(outcome: &Outcome) -> Vec<(&str, How)> {
    outcome
        .differences
        .keys()
        .map(|difference| (difference.function.as_str(), difference.how))
        .collect()
}

/// The differences of a verdict that was doctored.
fn after(doctor: impl FnOnce(&mut Judged)) -> Vec<(String, How)> {
    let mut judged = right();
    doctor(&mut judged);
    let outcome = compared(&object(), section(), &judged);
    let differences = differences(&outcome);
    differences
        .into_iter()
        .map(|(function, how)| (function.to_owned(), how))
        .collect()
}

fn one(function: &str, how: How) -> Vec<(String, How)> {
    vec![(function.to_owned(), how)]
}

#[test]
fn the_right_verdict_agrees() {
    let outcome = compared(&object(), section(), &right());
    assert_eq!(differences(&outcome), []);
    let counts = (outcome.functions, outcome.clean, outcome.exempt);
    assert_eq!((counts, outcome.entry_code), ((3, 2, 1), 1));
}

#[test]
fn a_right_function_that_is_not_trusted_shows() {
    let shown = one("g", How::Distrusted);
    assert_eq!(after(|v| v.exceptions.push(exception("g", 10))), shown);
    assert_eq!(after(|v| v.unreliable_text[0].size = 7), shown);
    assert_eq!(after(|v| v.unreliable_text.push(stretch(11, 1))), shown);
}

#[test]
fn an_exempt_function_that_is_trusted_shows() {
    let shown = one("h", How::Trusted);
    // Named, but not in the table, as much as not named at all.
    assert_eq!(after(|v| v.unreliable_text[0].size = 4), shown);
    assert_eq!(after(|v| v.unreliable_text[0].size = 5), shown);
}

#[test]
fn entry_code_that_is_trusted_shows() {
    let shown = one("entry", How::Trusted);
    assert_eq!(after(|v| v.unreliable_text[0] = stretch(8, 2)), shown);
    assert_eq!(after(|v| v.unreliable_text[0] = stretch(5, 5)), shown);
}

#[test]
fn functions_that_only_one_side_has_show() {
    let mut linked = section();
    linked.symbols.push(symbol("late", 2, 1));
    let outcome = compared(&object(), linked, &right());
    assert_eq!(differences(&outcome), [("late", How::OnlyLinked)]);

    let mut linked = section();
    linked.bytes[11] = 0xcc;
    let outcome = compared(&object(), linked, &right());
    for name in ["f", "g", "h"] {
        assert!(differences(&outcome).contains(&(name, How::OnlyInObject)));
        assert!(differences(&outcome).contains(&(name, How::OnlyLinked)));
    }
    // Its entry code is not found, either.
    assert!(differences(&outcome).contains(&("entry", How::OnlyInObject)));
}

#[test]
fn nothing_is_claimed_of_a_function_with_findings() {
    let mut object = object();
    object.unclean.insert("g".to_owned());
    let mut judged = right();
    judged.exceptions.push(exception("g", 10));
    let outcome = compared(&object, section(), &judged);
    assert_eq!((outcome.clean, outcome.open), (1, 1));
    assert_eq!(differences(&outcome), []);

    object.validated = false;
    let outcome = compared(&object, section(), &judged);
    assert_eq!((outcome.clean, outcome.open), (0, 2));
}

#[test]
fn a_weak_function_gives_way_to_a_strong_one_only() {
    let mut object = object();
    object.sections[0].symbols[3].weak = true;
    let mut linked = section();
    linked.symbols.remove(3);
    let outcome = compared(&object, linked.clone(), &right());
    assert_eq!(differences(&outcome), [("g", How::OnlyInObject)]);

    linked.symbols.push(symbol("g", 0, 2));
    let outcome = compared(&object, linked, &right());
    assert_eq!(outcome.replaced, 1);
}

#[test]
fn a_section_that_cannot_be_told_is_an_error() {
    let mut judged = right();
    judged.unreliable_text[0].section = ".init.text".to_owned();
    let linked = || Linked::new(vec![section(), section()]);
    assert!(compare("vmlinux", &[&object()], &linked(), &judged).is_err());
    assert!(compare("vmlinux", &[&object()], &linked(), &right()).is_err());
}
