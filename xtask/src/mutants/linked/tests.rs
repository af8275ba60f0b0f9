//! Tests on a small linked program: what the oracle takes for right and for wrong, that every
//! operator finds a place, and that a verdict which is wrong in any way shows as wrong.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use super::operators::{self, Edit};
use super::oracle::{Answer, Broken as Rule, Oracle};
use super::plan::Plan;
use super::program::Program;
use super::trial::{compare, Broken, Missed, Outcome};
use crate::judge::{Counts, Exception, Judged, Stretch};

fn sample() -> Program {
    let dir = tempfile::tempdir().unwrap();
    let (source, image) = (dir.path().join("sample.S"), dir.path().join("sample"));
    fs::write(&source, include_str!("sample.S")).unwrap();
    let done = Command::new("cc")
        .args(["-nostdlib", "-static", "-no-pie", "-o"])
        .args([&image, &source])
        .status()
        .expect("these tests need a C compiler, cc");
    assert!(done.success(), "sample.S does not link");
    Program::new(fs::read(image).unwrap()).unwrap()
}

fn number(program: &Program, name: &str) -> usize {
    let functions = program.functions.iter();
    functions
        .map(|function| &function.names)
        .position(|names| names.iter().any(|own| own == name))
        .unwrap()
}

/// Overwrites bytes of a function, from the first instruction on that has these.
fn edit(program: &Program, name: &str, from: &[u8], to: &[u8]) -> Edit {
    let function = &program.functions[number(program, name)];
    let bytes = program
        .read(function.address, function.size as usize)
        .unwrap();
    let at = bytes.windows(from.len()).position(|bytes| bytes == from);
    let at = at.expect("the function has these bytes") as u64;
    Edit {
        address: function.address + at,
        bytes: to.to_vec(),
    }
}

fn rule(answer: Answer) -> Option<Rule> {
    match answer {
        Answer::Broken(witness) => Some(witness.broken),
        Answer::Unbroken => None,
        Answer::TooMuch => panic!("the samples are small"),
    }
}

#[test]
fn right_functions_are_right_and_broken_ones_broken() {
    let program = sample();
    let oracle = Oracle::new(&program);
    for function in 0..program.functions.len() {
        let name = program.functions[function].name();
        let wanted = (name == "broken").then_some(Rule::Call);
        assert_eq!(rule(oracle.judge(function, None)), wanted, "{name}");
    }
    for (name, returns) in [
        ("leaf", true),
        ("tail", true),
        ("dies", false),
        ("dies_too", false),
    ] {
        assert_eq!(oracle.returns(number(&program, name)), returns, "{name}");
    }
}

#[test]
fn each_rule_can_be_broken() {
    let program = sample();
    let oracle = Oracle::new(&program);
    let pop_ret = [0x5d, 0xc3];
    for (name, from, to, broken) in [
        // push %rbp
        ("pops", &[0x55][..], &[0x90][..], Rule::Call),
        ("leaf", &[0x55], &[0x90], Rule::Return),
        // pop %rbp; ret
        ("leaf", &pop_ret, &[0x90, 0xc3], Rule::Return),
        ("leaf", &pop_ret, &[0x5d, 0x90], Rule::IntoFunction),
        // mov %rsp,%rbp
        (
            "leaves",
            &[0x48, 0x89, 0xe5],
            &[0x48, 0x89, 0xec],
            Rule::StackLost,
        ),
        // add $16,%rsp
        (
            "pops",
            &[0x48, 0x83, 0xc4, 0x10],
            &[0x48, 0x83, 0xc4, 0x18],
            Rule::Return,
        ),
        // mov $1,%eax
        (
            "bare",
            &[0xb8, 1, 0, 0, 0],
            &[0x31, 0xed, 0x90, 0x90, 0x90],
            Rule::Return,
        ),
        // mov %rdi,%rbx: a store over the saved %rbp
        (
            "sets",
            &[0xb8, 0, 0, 0, 0],
            &[0x48, 0x89, 0x45, 0x00, 0x90],
            Rule::Return,
        ),
        (
            "pops",
            &[0x48, 0x8b, 0x77, 0x08],
            &[0x48, 0x89, 0x45, 0x00],
            Rule::Call,
        ),
    ] {
        let edit = edit(&program, name, from, to);
        let answer = oracle.judge(number(&program, name), Some(&edit));
        assert_eq!(rule(answer), Some(broken), "{name}: {to:02x?}");
    }
}

#[test]
fn what_makes_no_difference_is_no_violation() {
    let program = sample();
    let oracle = Oracle::new(&program);
    for (name, from, to) in [
        // The depth of the stack, where leave and lea set it.
        ("leaves", &[0x57][..], &[0x90][..]),
        (
            "leaves",
            &[0x48, 0x81, 0xec, 0x20, 1, 0, 0],
            &[0x48, 0x81, 0xec, 0x28, 1, 0, 0],
        ),
        ("sets", &[0x48, 0x83, 0xec, 0x40], &[0x48, 0x83, 0xec, 0x48]),
        (
            "leaves",
            &[0x48, 0x89, 0x7d, 0xf8],
            &[0x48, 0x8d, 0x24, 0x24],
        ),
        (
            "leaves",
            &[0x48, 0x8b, 0x7d, 0xf8],
            &[0x48, 0x31, 0xc4, 0x90],
        ),
        // A store to a variable of the function's own.
        ("sets", &[0xb8, 0, 0, 0, 0], &[0x48, 0x89, 0x44, 0x24, 0x00]),
        (
            "leaves",
            &[0x48, 0x89, 0x7d, 0xf8],
            &[0x48, 0x89, 0x7d, 0xf0],
        ),
        // Another register than the frame pointer.
        ("bare", &[0xb8, 1, 0, 0, 0], &[0x31, 0xc0, 0x90, 0x90, 0x90]),
        // Code that is replaced before it runs, and what stands behind it.
        ("patched", &[0x50, 0x90], &[0x5d, 0xc3]),
        // Code behind a call that does not return.
        ("dies", &[0x0f, 0x0b], &[0xc3, 0x90]),
    ] {
        let edit = edit(&program, name, from, to);
        let answer = oracle.judge(number(&program, name), Some(&edit));
        assert_eq!(rule(answer), None, "{name}: {to:02x?}");
    }
}

fn plan(program: &Program, seed: u64) -> Plan {
    let oracle = Oracle::new(program);
    let all: Vec<usize> = (0..program.functions.len()).collect();
    let operators = operators::all();
    let count = operators.len() * 4;
    Plan::new(program, &oracle, operators, &all, seed, count, || ()).unwrap()
}

#[test]
fn every_operator_makes_a_mutant_of_its_own() {
    let program = sample();
    let plan = plan(&program, 1);
    for (number, operator) in plan.operators.iter().enumerate() {
        let made = plan.mutants.iter().filter(|m| m.operator == number);
        assert_ne!(made.count(), 0, "{}", operator.name);
    }
    for mutant in &plan.mutants {
        let old = program.read(mutant.edit.address, mutant.before.len());
        assert_eq!(old.unwrap(), mutant.before);
        assert_ne!(mutant.before, mutant.edit.bytes);
    }
}

#[test]
fn a_seed_always_gives_the_same_mutants_and_another_one_others() {
    let program = sample();
    let edits = |seed| -> Vec<Edit> {
        let mutants = plan(&program, seed).mutants.into_iter();
        mutants.map(|mutant| mutant.edit).collect()
    };
    assert_eq!(edits(7), edits(7));
    assert_ne!(edits(7), edits(8));
}

#[test]
fn mutants_of_one_image_have_nothing_to_do_with_each_other() {
    let program = sample();
    let plan = plan(&program, 1);
    let mut placed = 0;
    for batch in &plan.batches {
        let functions: Vec<usize> = batch.iter().map(|&m| plan.mutants[m].function).collect();
        placed += functions.len();
        for (i, function) in functions.iter().enumerate() {
            assert!(!functions[i + 1..].contains(function));
        }
        // All but the thunks and `bare` call `leaf`, or are it.
        let with_leaf = functions.contains(&number(&program, "leaf"));
        assert!(!with_leaf || !functions.contains(&number(&program, "pops")));
    }
    assert_eq!(placed, plan.mutants.len());
}

/// A verdict that knows these functions to keep no frame.
fn verdict(program: &Program, names: &[&str]) -> Judged {
    let mut judged = Judged {
        file: "vmlinux".to_owned(),
        reliable: true,
        reason: None,
        functions: Counts {
            keep_frame: 10,
            make_no_call: 2,
            keep_no_frame: 0,
        },
        text_size: 100,
        unreliable_size: 0,
        exceptions: Vec::new(),
        unreliable_text: Vec::new(),
        phases_ms: BTreeMap::new(),
    };
    for name in names {
        let function = &program.functions[number(program, name)];
        judged.functions.keep_no_frame += 1;
        judged.exceptions.push(Exception {
            name: (*name).to_owned(),
            address: function.address,
            size: function.size,
            section: function.section.clone(),
            reason: "words".to_owned(),
            offset: None,
        });
        judged.unreliable_text.push(Stretch {
            address: function.address,
            section: function.section.clone(),
            offset: function.offset,
            size: function.size,
        });
    }
    judged
}

/// What comes of a verdict when `broken` is, which jumps into `entered`.
fn judged(program: &Program, judged: &Judged, broken: &str, entered: &[&str]) -> Outcome {
    let edit = Edit {
        address: 0,
        bytes: Vec::new(),
    };
    let batch = [Broken {
        function: &program.functions[number(program, broken)],
        edit: &edit,
        entered: entered.iter().map(|name| number(program, name)).collect(),
    }];
    compare(program, &verdict(program, &["broken"]), judged, &batch)
}

#[test]
fn a_verdict_that_moves_what_is_broken_is_right() {
    let program = sample();
    let outcome = judged(
        &program,
        &verdict(&program, &["broken", "pops"]),
        "pops",
        &[],
    );
    assert_eq!(outcome.missed, [None]);
    assert_eq!(outcome.otherwise, [""; 0]);
    // With all of its names.
    let both = verdict(&program, &["broken", "bare", "bare_too"]);
    assert_eq!(judged(&program, &both, "bare", &[]).missed, [None]);
    // And with a function that it enters.
    let entered = verdict(&program, &["broken", "pops", "leaf"]);
    let outcome = judged(&program, &entered, "pops", &["leaf"]);
    assert_eq!(outcome.otherwise, [""; 0]);
}

#[test]
fn a_verdict_that_misses_what_is_broken_shows() {
    let program = sample();
    let outcome = judged(&program, &verdict(&program, &["broken"]), "pops", &[]);
    assert_eq!(outcome.missed, [Some(Missed::Trusted)]);
    let one = verdict(&program, &["broken", "bare"]);
    let outcome = judged(&program, &one, "bare", &[]);
    assert_eq!(outcome.missed, [Some(Missed::Trusted)]);
    let mut cut = verdict(&program, &["broken", "pops"]);
    cut.unreliable_text[1].size -= 1;
    let outcome = judged(&program, &cut, "pops", &[]);
    assert_eq!(outcome.missed, [Some(Missed::NotInTable)]);
}

#[test]
fn a_verdict_that_changes_anything_else_shows() {
    let program = sample();
    let right = verdict(&program, &["broken", "pops"]);
    let changes = |verdict: &Judged| judged(&program, verdict, "pops", &[]).otherwise.len();
    assert_eq!(changes(&right), 0);
    assert_eq!(changes(&verdict(&program, &["broken", "pops", "leaf"])), 1);
    assert_eq!(changes(&verdict(&program, &["pops"])), 1);
    let mut counted = right.clone();
    counted.functions.keep_no_frame += 1;
    assert_eq!(changes(&counted), 1);
    let mut fallen = right;
    fallen.reliable = false;
    assert_eq!(changes(&fallen), 1);
}
