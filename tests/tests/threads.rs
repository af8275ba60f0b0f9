//! What is found and written does not depend on how many threads there are, and is what a walk over
//! one function after the other finds.
//!
//! The object is made so that all work is divided: its code is long enough for several parts of
//! each phase, some functions break rules, some share code that belongs to none, and some begin in
//! others.

use arch::object::Architecture as _;
use arch_x86_64::object::relocation;
use arch_x86_64::X86_64;
use objtool_rs::{run, Options, Outcome};
use tests::fuzz::image::{elf, Image, Relocation, Section, Symbol};

/// `st_info` of local functions, and of local symbols without a type.
const FUNCTION: u8 = 2;
const NO_TYPE: u8 = 0;

/// How many functions there are, and bytes of each with the padding before it: more than a megabyte,
/// which is eight shards of the walk and as many parts of the decoding.
const FUNCTIONS: usize = 8_000;
const SIZE: usize = 160;
const PADDING: usize = 16;

/// Code of no function, in front of all others: it takes a frame down and returns.
const SHARED: [u8; 2] = [0x5d, 0xc3];

/// The start of a function's padding.
fn place(function: usize) -> usize {
    PADDING + function * SIZE
}

/// Appends a jump or call to another place.
fn branch(code: &mut Vec<u8>, opcode: &[u8], at: usize, to: usize) {
    code.extend_from_slice(opcode);
    let end = at + code.len() + 4;
    code.extend((to as i64 - end as i64).to_le_bytes()[..4].iter());
}

/// A function's code, for its place in the section.
fn function(number: usize, at: usize) -> Vec<u8> {
    // push %rbp; mov %rsp,%rbp; push %rbx; sub $N,%rsp
    let room = (8 * (number % 13) + 8) as u8;
    let mut code = vec![0x55, 0x48, 0x89, 0xe5, 0x53, 0x48, 0x83, 0xec, room];
    let other = (number * 7 + 1) % FUNCTIONS;
    branch(&mut code, &[0xe8], at, place(other) + PADDING);
    // test %eax,%eax; je over the next one
    code.extend([0x85, 0xc0, 0x74, 3]);
    code.extend([0x48, 0x89, 0xc3]);
    code.extend([0x48, 0x83, 0xc4, room, 0x5b]);
    match number % 97 {
        // It returns with its frame.
        3 | 50 => code.push(0xc3),
        // It goes on in code that belongs to no function; who comes there first decides with which
        // stack that is right.
        5 => branch(&mut code, &[0xe9], at, 0),
        60 | 61 => branch(&mut code, &[0x53, 0xe9], at, 0),
        // It runs into the next one.
        7 => {}
        _ => code.extend(SHARED),
    }
    code
}

fn object() -> Vec<u8> {
    let mut code = SHARED.to_vec();
    code.resize(PADDING, 0x90);
    let mut symbols = vec![Symbol {
        name: b"shared".to_vec(),
        info: NO_TYPE,
        section: 1,
        value: 0,
        size: SHARED.len() as u64,
    }];
    for number in 0..FUNCTIONS {
        let start = place(number) + PADDING;
        code.resize(start, 0x90);
        let own = function(number, start);
        let size = if number % 97 == 7 { SIZE } else { own.len() };
        code.extend(own);
        let symbol = |name: String, size: usize| Symbol {
            name: name.into_bytes(),
            info: FUNCTION,
            section: 1,
            value: start as u64,
            size: size as u64,
        };
        symbols.push(symbol(format!("f{number}"), size));
        if number % 211 == 8 {
            // Another one begins there and is shorter.
            symbols.push(symbol(format!("g{number}"), size - 1));
        }
    }
    code.resize(place(FUNCTIONS) + PADDING, 0x90);
    let mut image = Image {
        sections: vec![Section::code(".text", code)],
        symbols,
    };
    let text = image.symbol(Symbol {
        info: elf::SECTION_SYMBOL,
        section: 1,
        ..Symbol::default()
    });
    // References to functions, none of which begins with a landing pad.
    image.section(Section {
        relocations: (0..FUNCTIONS)
            .map(|number| Relocation {
                offset: 8 * number as u64,
                symbol: text,
                kind: relocation::ABS64,
                addend: (place(number) + PADDING) as i64,
            })
            .collect(),
        ..Section::new(".data", elf::ALLOC, vec![0; 8 * FUNCTIONS])
    });
    image.bytes(X86_64::MACHINE)
}

fn options() -> Options {
    Options {
        orc: true,
        stackval: true,
        rethunk: true,
        hack_skylake: true,
        ibt: true,
        link: true,
        prefix: PADDING as u32,
        ..Options::default()
    }
}

fn with_threads(threads: usize, object: &[u8], options: &Options) -> Outcome {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    let pool = pool.build().expect("a pool of threads");
    let outcome = pool.install(|| run(object, options));
    outcome.expect("the object can be read")
}

/// The first findings, to be shown.
fn first(outcome: &Outcome) -> &[String] {
    &outcome.lines[..outcome.lines.len().min(9)]
}

#[test]
fn any_number_of_threads_has_the_same_outcome() {
    let object = object();
    let one = with_threads(1, &object, &options());
    let has = |words: &str| one.lines.iter().any(|line| line.contains(words));
    for words in [
        "return with modified stack frame",
        "falls through",
        "data relocation",
        "stack state mismatch",
    ] {
        assert!(has(words), "no line has {words:?}: {:?}", first(&one));
    }
    assert!(one.output.is_some(), "{:?}", first(&one));
    for threads in [2, 8] {
        let other = with_threads(threads, &object, &options());
        assert_eq!(one.lines, other.lines, "with {threads} threads");
        assert!(one.output == other.output, "with {threads} threads");
    }
}

#[test]
fn what_is_divided_is_what_is_done_in_one() {
    let object = object();
    let divided = with_threads(2, &object, &options());
    // Findings can only be explained where they are found one after the other.
    let options = Options {
        explain: true,
        ..options()
    };
    let whole = with_threads(2, &object, &options);
    assert!(!whole.exhibits.is_empty());
    assert_eq!(divided.lines, whole.lines);
    assert!(divided.output == whole.output);
}
