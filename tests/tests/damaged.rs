//! Objects that every action finds something in, damaged a byte at a time, and cut short: whatever
//! comes of it, a run and a dump end, and what must hold of them does (`tests::fuzz`).
//!
//! Not here: what the error of damaged input says (`bad_input`).

use std::panic::{catch_unwind, AssertUnwindSafe};

use tests::compile;
use tests::fixture::Fixture;
use tests::fuzz::{options, orc_dump, whole, OPTION_BYTES};

/// Fixtures with the annotations and tables of the actions.
const FIXTURES: [&str; 6] = [
    "cfi/sites.S",
    "dump/symbols.S",
    "ibt/hint.S",
    "noinstr/paravirt_store.S",
    "orc/alternative.S",
    "unret/alternative.S",
];

/// Everything at once, and the actions that only look where nothing is walked.
const ASKED: [[u8; OPTION_BYTES]; 2] = [[0xff; 3], [0x18, 0x08, 0xae]];

fn object(name: &str) -> Vec<u8> {
    let path = tests::root().join("fixtures/x86_64").join(name);
    let dir = tempfile::tempdir().unwrap();
    let built = compile::build(&Fixture::read(&path).unwrap(), dir.path()).unwrap();
    std::fs::read(built.object).unwrap()
}

/// Runs on and dumps an object; the result is what does not hold.
fn broken(what: &str, bytes: &[u8]) -> Option<String> {
    let run = || {
        for asked in ASKED {
            whole::check(bytes, &options(asked));
        }
        orc_dump::check(bytes);
    };
    let panic = catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    Some(format!("{what}: {text}"))
}

#[test]
fn the_options_are_what_is_meant() {
    let alone = options(ASKED[1]);
    assert!(alone.noinstr && alone.ibt && alone.unret && alone.link && alone.mcount);
    assert!(!alone.walks_functions(), "only entry text is to be walked");
    let all = options(ASKED[0]);
    assert!(all.orc && all.walks_functions() && all.cfi && all.sls && all.mnop);
}

#[test]
fn any_byte_damaged() {
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let workers = FIXTURES.map(|name| {
            scope.spawn(move || {
                let sound = object(name);
                // A number that shares no factor with the sizes of ELF's structures.
                let places = (0..sound.len()).step_by(5);
                let damaged = places.filter_map(|at| {
                    let mut bytes = sound.clone();
                    bytes[at] ^= if at % 2 == 0 { 0xff } else { 1 << (at % 8) };
                    broken(&format!("{name}, byte {at:#x}"), &bytes)
                });
                damaged.collect::<Vec<_>>()
            })
        });
        workers.map(|w| w.join().unwrap()).concat()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn cut_short_anywhere() {
    for name in FIXTURES {
        let sound = object(name);
        assert_eq!(broken(name, &sound), None);
        let cuts = (0..sound.len()).step_by(7);
        let wrong: Vec<String> = cuts
            .filter_map(|len| broken(&format!("{name}, {len} bytes"), &sound[..len]))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
