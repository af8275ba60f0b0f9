//! Tests of the whole chain, on an object that is assembled here and tools that are shell scripts:
//! the table must be able to tell a tool that sees everything from one that sees nothing.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::code::Subject;
use super::operators;
use super::plan::{self, Id, Object, Plan};
use super::run::{self, Outcome, Setting};
use super::table::Counts;
use crate::cmd::script;

/// An object with a place for every operator.
pub fn rich_object() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (source, object) = (dir.path().join("rich.S"), dir.path().join("rich.o"));
    fs::write(&source, include_str!("rich.S")).unwrap();
    let done = Command::new("cc")
        .arg("-c")
        .arg("-o")
        .arg(&object)
        .arg(&source)
        .status()
        .expect("these tests need a C compiler, cc");
    assert!(done.success(), "rich.S does not assemble");
    fs::read(object).unwrap()
}

/// The object as a corpus of one, and a tool that warns whenever it sees another one.
struct Fixture {
    dir: tempfile::TempDir,
    corpus: Vec<Object>,
    strict: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("whole.o");
        fs::write(&input, rich_object()).unwrap();
        let strict = format!(
            r#"cmp -s "$2" {} || echo "$2: warning: objtool: f+0x1: it is broken" >&2"#,
            input.display()
        );
        let strict = script(dir.path(), "strict", &strict);
        let corpus = vec![Object {
            name: "sub/rich.o".into(),
            input,
            args: vec!["--stackval".into()],
        }];
        Self {
            dir,
            corpus,
            strict,
        }
    }

    fn plan(&self, seed: u64, count: usize) -> Plan {
        Plan::new(&self.corpus, operators::with_actions(), seed, count, || ()).unwrap()
    }

    fn run(&self, c: &Path, ours: &Path, plan: &Plan) -> (Vec<Outcome>, Counts) {
        let setting = Setting {
            corpus: &self.corpus,
            c,
            ours,
            jobs: 2,
        };
        let outcomes = run::run(&setting, plan).unwrap();
        let mut counts = Counts::default();
        for outcome in &outcomes {
            counts.add(&outcome.verdict);
        }
        (outcomes, counts)
    }
}

#[test]
fn every_operator_finds_a_place_and_breaks_it() {
    let subject = Subject::new(rich_object()).unwrap();
    for operator in operators::with_actions() {
        let places = operators::applicable(operator, &subject).len();
        assert!(places > 0, "{} finds no place in rich.S", operator.name);
        for place in 0..places {
            let id = Id {
                operator: operator.name.into(),
                object: "rich.o".into(),
                place,
                salt: 0,
            };
            let change = plan::make(operator, &subject, &id);
            // A single way to break a place may happen to be the identity.
            if let Some(change) = change {
                assert_ne!(subject.image.edited(&change.edits), subject.image.data);
            } else {
                assert!(operator.varied, "{id} is none");
            }
        }
    }
}

/// The mutants of an operator on the rich object, decoded.
fn mutants(operator: &str) -> Vec<(operators::Change, Subject)> {
    let whole = Subject::new(rich_object()).unwrap();
    let mut all = operators::with_actions().into_iter();
    let found = all.find(|o| o.name == operator);
    let found = found.unwrap();
    let places = 0..operators::applicable(found, &whole).len();
    places
        .map(|place| {
            let id = Id {
                operator: operator.into(),
                object: "rich.o".into(),
                place,
                salt: 7,
            };
            let change = plan::make(found, &whole, &id).unwrap();
            let mutant = Subject::new(whole.image.edited(&change.edits)).unwrap();
            (change, mutant)
        })
        .collect()
}

#[test]
fn jumps_go_where_the_operator_says() {
    let broken = |change: &operators::Change, mutant: &Subject| {
        let jump = mutant.find(change.section, change.offset).unwrap();
        let target = mutant.insns[jump].decoded.near_branch_target();
        (jump, mutant.find(change.section, target))
    };
    for (change, mutant) in mutants("jcc-into-insn") {
        assert_eq!(broken(&change, &mutant).1, None, "{}", change.what);
    }
    for (change, mutant) in mutants("jcc-other-function") {
        let (jump, target) = broken(&change, &mutant);
        let (from, to) = (&mutant.insns[jump], &mutant.insns[target.unwrap()]);
        assert!(to.function.is_some() && to.function != from.function);
    }
    for (change, mutant) in mutants("jmp-elsewhere") {
        let (jump, target) = broken(&change, &mutant);
        let (from, to) = (&mutant.insns[jump], &mutant.insns[target.unwrap()]);
        assert_eq!(to.function, from.function);
    }
    for (change, mutant) in mutants("jump-out-of-section") {
        let jump = mutant.find(change.section, change.offset).unwrap();
        let target = mutant.insns[jump].decoded.near_branch_target();
        assert!(target as usize >= mutant.image.sections[change.section].size);
    }
}

#[test]
fn dropped_code_is_nops_of_the_same_length() {
    let whole = Subject::new(rich_object()).unwrap();
    for operator in [
        "drop-push",
        "drop-pop",
        "drop-leave",
        "ret-to-nop",
        "drop-stac",
    ] {
        for (change, mutant) in mutants(operator) {
            let old = &whole.insns[change.insn.unwrap()];
            let first = mutant.find(change.section, change.offset).unwrap();
            let new = mutant.insns[first..]
                .iter()
                .take_while(|insn| insn.section == old.section && insn.offset() < old.end());
            let new: Vec<_> = new.collect();
            assert!(new.iter().all(|insn| insn.is_nop()), "{}", change.what);
            assert_eq!(new.last().unwrap().end(), old.end());
        }
    }
}

#[test]
fn a_relocation_that_is_taken_out_leaves_the_others() {
    let whole = Subject::new(rich_object()).unwrap();
    let all = |subject: &Subject, section: usize| -> Vec<(u64, usize, i64)> {
        let relocs = subject.image.sections[section].relocs.iter();
        relocs.map(|r| (r.offset, r.symbol, r.addend)).collect()
    };
    for operator in ["call-without-relocation", "hint-without-relocation"] {
        for (change, mutant) in mutants(operator) {
            let (old, new) = (all(&whole, change.section), all(&mutant, change.section));
            let gone: Vec<_> = old.iter().filter(|reloc| !new.contains(reloc)).collect();
            assert_eq!((gone.len(), new.len()), (1, old.len() - 1));
        }
    }
}

#[test]
fn the_arguments_hold_together() {
    #[derive(clap::Parser)]
    struct Alone {
        #[command(flatten)]
        args: super::Args,
    }
    let command = <Alone as clap::CommandFactory>::command();
    command.debug_assert();
    let parse = |args: &str| <Alone as clap::Parser>::try_parse_from(args.split(' '));
    assert!(parse("x --havoc --count 5").is_ok_and(|alone| alone.args.havoc.is_wanted()));
    assert!(parse("x --reproduce a:b:1:0000").is_err(), "where to?");
}

#[test]
fn operators_have_names_of_their_own() {
    let names: Vec<_> = operators::with_actions().iter().map(|o| o.name).collect();
    let distinct: HashSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    assert!(names.len() >= 18);
}

#[test]
fn a_seed_names_the_same_mutants_each_time() {
    let fixture = Fixture::new();
    let names = |seed| -> Vec<String> {
        let plan = fixture.plan(seed, 200);
        let mutants = plan.mutants.iter();
        mutants
            .map(|planned| plan.id(&fixture.corpus, planned).to_string())
            .collect()
    };
    assert_eq!(names(1), names(1));
    assert_ne!(names(1), names(2));
}

#[test]
fn a_tool_that_never_warns_does_not_pass() {
    let fixture = Fixture::new();
    let silent = script(fixture.dir.path(), "silent", "exit 0");
    let plan = fixture.plan(1, 150);
    let (outcomes, counts) = fixture.run(&fixture.strict, &silent, &plan);
    assert_eq!(counts.only_c, counts.mutants);
    assert!(!run::report(&plan, &outcomes));
    let told = run::describe(&outcomes[0]);
    assert!(told.contains(&outcomes[0].id.to_string()), "{told}");
    assert!(told.contains("f+0x1: it is broken"), "{told}");
}

#[test]
fn a_tool_that_warns_as_c_objtool_does_passes() {
    let fixture = Fixture::new();
    let plan = fixture.plan(1, 150);
    let (outcomes, counts) = fixture.run(&fixture.strict, &fixture.strict, &plan);
    assert_eq!((counts.both, counts.only_c), (counts.mutants, 0));
    assert_eq!(counts.same_stderr, counts.mutants);
    assert!(run::report(&plan, &outcomes));
}

#[test]
fn a_line_that_the_whole_object_has_too_is_no_warning() {
    let fixture = Fixture::new();
    let grumbling = r#"echo "$2: warning: objtool: f+0x1: always" >&2"#;
    let grumbling = script(fixture.dir.path(), "grumbling", grumbling);
    let plan = fixture.plan(1, 80);
    let (_, counts) = fixture.run(&fixture.strict, &grumbling, &plan);
    assert_eq!(counts.only_c, counts.mutants);
}

#[test]
fn a_mutant_is_made_again_from_its_name() {
    let fixture = Fixture::new();
    let plan = fixture.plan(3, 60);
    let id = plan.id(&fixture.corpus, &plan.mutants[17]);
    let setting = Setting {
        corpus: &fixture.corpus,
        c: &fixture.strict,
        ours: &fixture.strict,
        jobs: 1,
    };
    let (one, two) = (
        run::again(&setting, &id).unwrap(),
        run::again(&setting, &id.to_string().parse().unwrap()).unwrap(),
    );
    assert_eq!(one.data, two.data);
    assert_ne!(one.data, fs::read(&fixture.corpus[0].input).unwrap());
    assert_eq!(one.outcome.what, two.outcome.what);
}
