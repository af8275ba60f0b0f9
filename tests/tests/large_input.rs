//! Files that are made to keep an analyzer busy: a run ends, however much they make of their bytes.
//!
//! Each case is small here, but grows with the square of its size, or nests as deep as it is long,
//! where a pass is careless: it would then run for minutes instead of a second, or run out of
//! stack. Where a file can't be followed in proportion to its length, the error says so.

use std::sync::mpsc;
use std::time::Duration;

use arch::object::Architecture as _;
use arch_x86_64::object::relocation;
use arch_x86_64::X86_64;
use objtool_rs::{run, Options, Outcome};
use tests::fuzz::image::{elf, Image, Relocation, Section, Symbol};
use tests::fuzz::options;

/// Far longer than any case takes, even without optimization on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(300);

const NOP: u8 = 0x90;
const RET: u8 = 0xc3;
const JMP_SHORT: u8 = 0xeb;

/// `st_info` of functions, and of a global without a type.
const LOCAL_FUNCTION: u8 = 2;
const GLOBAL: u8 = 0x10;

/// Everything that a build asks for.
fn all() -> Options {
    options([0xff, 3, 0])
}

/// Runs an object, on a thread as small as any, and gives up on it one day.
fn finish(image: &Image, options: &Options) -> Result<Outcome, String> {
    let (bytes, options) = (image.bytes(X86_64::MACHINE), options.clone());
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens any more where it took too long.
        let _ = done.send(run(&bytes, &options));
    });
    let outcome = result.recv_timeout(PATIENCE);
    outcome
        .expect("the run ends, and without a panic")
        .map_err(|e| e.to_string())
}

#[track_caller]
fn too_complex(image: &Image, options: &Options, what: &str) {
    let error = finish(image, options).expect_err("no run follows this to its end");
    assert!(error.contains("too complex"), "{error}");
    assert!(error.contains(what), "{error}");
}

/// An object of one section of code.
fn code(data: Vec<u8>) -> Image {
    Image {
        sections: vec![Section::code(".text", data)],
        symbols: Vec::new(),
    }
}

fn function(name: impl Into<Vec<u8>>, value: usize, size: usize) -> Symbol {
    Symbol {
        name: name.into(),
        info: LOCAL_FUNCTION,
        section: 1,
        value: value as u64,
        size: size as u64,
    }
}

/// Adds a section of relocated entries, given as offset, symbol and addend.
fn table(image: &mut Image, name: &str, data: Vec<u8>, fields: &[(usize, u32, i64)]) {
    let relocations = fields.iter().map(|&(offset, symbol, addend)| Relocation {
        offset: offset as u64,
        symbol,
        kind: relocation::PC32,
        addend,
    });
    image.section(Section {
        relocations: relocations.collect(),
        ..Section::new(name, elf::ALLOC, data)
    });
}

/// A symbol for the first section, added behind those that are there.
fn text_symbol(image: &mut Image) -> u32 {
    image.symbol(Symbol {
        info: elf::SECTION_SYMBOL,
        section: 1,
        ..Symbol::default()
    })
}

#[test]
fn functions_that_cover_each_other() {
    const N: usize = 50_000;
    let mut image = code(vec![NOP; N]);
    for start in 0..N / 4 {
        image.symbol(function(format!("f{start}"), start, N - start));
    }
    finish(&image, &all()).expect("overlap is no error");
}

#[test]
fn functions_that_start_at_one_place() {
    const N: usize = 10_000;
    let mut image = code(vec![NOP; N]);
    for i in 0..N / 4 {
        image.symbol(function(format!("f{i}"), 0, N - i));
    }
    too_complex(&image, &all(), "functions that share their code");
}

#[test]
fn functions_that_share_a_cold_part() {
    const N: usize = 8_000;
    // Short jumps along each other to the cold part at the end.
    let mut data: Vec<u8> = (0..N).flat_map(|_| [0xe9, 0, 0, 0, 0]).collect();
    for i in 0..N {
        let distance = (5 * (N - i - 1)) as u32;
        data[5 * i + 1..5 * i + 5].copy_from_slice(&distance.to_le_bytes());
    }
    data.extend([NOP; N]);
    data.push(RET);
    let mut image = code(data);
    for i in 0..N {
        image.symbol(function(format!("f{i}"), 5 * i, 5));
    }
    image.symbol(function("f0.cold", 5 * N, N + 1));
    too_complex(&image, &all(), "functions that share their code");
}

#[test]
fn functions_that_leave_for_each_other_in_a_long_chain() {
    const N: usize = 100_000;
    let data: Vec<u8> = (0..N).flat_map(|_| [JMP_SHORT, 0]).chain([RET]).collect();
    let mut image = code(data);
    for i in 0..N {
        image.symbol(function(format!("f{i}"), 2 * i, 2));
    }
    image.symbol(function("last", 2 * N, 1));
    let outcome = finish(&image, &all()).expect("a chain is no error");
    // The return is a naked one; nothing is wrong with the chain.
    assert_eq!(outcome.lines.len(), 1, "{:?}", outcome.lines);
}

#[test]
fn branches_that_nest() {
    const N: usize = 100_000;
    // Each jumps over the next one.
    let mut data: Vec<u8> = (0..N).flat_map(|_| [0x74, 2]).collect();
    data.extend([NOP, NOP, RET]);
    let mut image = code(data);
    image.symbol(function("f", 0, 2 * N + 3));
    finish(&image, &all()).expect("branches are no error");
}

/// A function of `n` jumps through one table, given as offset and target of each entry.
fn switches(n: usize, entries: impl Iterator<Item = (usize, i64)>) -> Image {
    // jmp *table(,%rax,8)
    let jump = [0xff, 0x24, 0xc5, 0, 0, 0, 0];
    let mut image = code(jump.repeat(n));
    let text = text_symbol(&mut image);
    let rodata = image.symbol(Symbol {
        info: elf::SECTION_SYMBOL,
        section: 2,
        ..Symbol::default()
    });
    image.symbol(function("f", 0, jump.len() * n));
    let fields: Vec<_> = entries.map(|(offset, to)| (offset, text, to)).collect();
    let size = fields.last().map_or(0, |field| field.0 + 8);
    table(&mut image, ".rodata", vec![0; size], &fields);
    image.sections[0].relocations = (0..n)
        .map(|i| Relocation {
            offset: (jump.len() * i + 3) as u64,
            symbol: rodata,
            kind: object::elf::R_X86_64_32S.0,
            addend: 0,
        })
        .collect();
    image
}

#[test]
fn jumps_that_share_a_table() {
    const N: usize = 4_000;
    let image = switches(N, (0..N).map(|i| (8 * i, 7)));
    too_complex(&image, &all(), "indirect jumps and their tables");
}

#[test]
fn tables_with_any_number_of_relocations_at_one_place() {
    const N: usize = 50_000;
    let image = switches(N, (0..N).map(|_| (0, 7)));
    finish(&image, &all()).expect("one table for all is no error");
}

#[test]
fn jumps_that_go_back_along_each_other_for_their_tables() {
    const N: usize = 10_000;
    // A long way, then branches at its end to as many indirect jumps without any table.
    let mut data = vec![NOP; 4 * N];
    for i in 0..N {
        // The branch's end is 6 * (N - i - 1) bytes before the indirect jumps.
        let distance = (6 * (N - i - 1) + 2 * i) as u32;
        data.extend([0x0f, 0x84]);
        data.extend(distance.to_le_bytes());
    }
    data.extend([0xff, 0xe0].repeat(N));
    let size = data.len();
    let mut image = code(data);
    image.symbol(function("f", 0, size));
    // Tables are only looked for where there is read-only data.
    image.section(Section::new(".rodata", elf::ALLOC, vec![0; 8]));
    too_complex(&image, &all(), "indirect jumps and their tables");
}

#[test]
fn states_without_end() {
    const PUSH: u8 = 0x50;
    let mut data = vec![PUSH; 100_000];
    data.push(RET);
    let size = data.len();
    let mut image = code(data);
    image.symbol(function("f", 0, size));
    too_complex(&image, &all(), "different stack states");
}

#[test]
fn replacements_of_one_original() {
    const N: usize = 100_000;
    let layout = X86_64::ALTERNATIVE;
    let mut image = code(vec![NOP, RET]);
    let text = text_symbol(&mut image);
    image.symbol(function("f", 0, 2));
    let size = layout.size as usize;
    let mut data = vec![0; size * N];
    for entry in data.chunks_exact_mut(size) {
        entry[layout.original_len as usize] = 1;
    }
    let fields: Vec<_> = (0..N)
        .map(|i| (size * i + layout.original as usize, text, 0))
        .collect();
    table(&mut image, ".altinstructions", data, &fields);
    finish(&image, &all()).expect("any number of replacements is no error");
}

#[test]
fn restores_far_from_their_save() {
    const N: usize = 100_000;
    const SAVE: u8 = 6;
    const RESTORE: u8 = 7;
    let layout = X86_64::UNWIND_HINT;
    let mut data = vec![NOP; N];
    data.push(RET);
    let mut image = code(data);
    let text = text_symbol(&mut image);
    image.symbol(function("f", 0, N + 1));
    let size = layout.size as usize;
    let places = || std::iter::once(0).chain(N / 2..N);
    let mut hints = vec![0; size * places().count()];
    let mut fields = Vec::new();
    for ((i, place), hint) in places().enumerate().zip(hints.chunks_exact_mut(size)) {
        hint[layout.kind as usize] = if place == 0 { SAVE } else { RESTORE };
        fields.push((size * i + layout.ip as usize, text, place as i64));
    }
    table(&mut image, ".discard.unwind_hints", hints, &fields);
    let outcome = finish(&image, &all()).expect("any number of hints is no error");
    assert_eq!(outcome.lines.len(), 1, "{:?}", outcome.lines);
}

#[test]
fn a_hole_that_a_linker_left() {
    const N: usize = 100_000;
    let mut data = vec![RET];
    data.extend([0x01, 0xc0].repeat(N)); // add %eax,%eax
    data.push(RET);
    let mut image = code(data);
    image.symbol(function("f", 0, 1));
    image.symbol(function("g", 2 * N + 1, 1));
    let options = Options {
        stackval: true,
        link: true,
        ..Options::default()
    };
    let outcome = finish(&image, &options).expect("a hole is no error");
    assert_eq!(outcome.lines, [""; 0]);
}

#[test]
fn hot_parts_that_are_all_cold() {
    const N: usize = 20_000;
    // Calls from behind to the first instruction, where all symbols are.
    let mut data = vec![RET];
    for i in 0..N {
        data.push(0xe8);
        data.extend((-((5 * (i + 1) + 1) as i32)).to_le_bytes());
    }
    data.push(RET);
    let mut image = code(data);
    for i in 0..N {
        image.symbol(function(format!("f{i}"), 0, 1));
    }
    for i in 0..N {
        image.symbol(function(format!("f{i}.cold"), 0, 1));
    }
    image.symbol(function("g", 1, 5 * N + 1));
    finish(&image, &all()).expect("cold parts are no error");
}

#[test]
fn returns_from_interrupts_among_many_effects() {
    const N: usize = 50_000;
    let mut data = Vec::new();
    for i in 0..N as u32 {
        data.extend([0x48, 0x8d, 0xa4, 0x24]); // lea N(%rsp),%rsp
        data.extend((i + 1).to_le_bytes());
    }
    data.extend([0x48, 0xcf].repeat(N)); // iretq
    let size = data.len();
    let mut image = code(data);
    image.symbol(function("f", 0, size));
    let options = Options {
        retpoline: true,
        ..Options::default()
    };
    finish(&image, &options).expect("effects are no error");
}

#[test]
fn a_table_of_operations_that_has_no_end() {
    let noinstr = Options {
        noinstr: true,
        link: true,
        ..Options::default()
    };
    let mut image = code(vec![NOP, RET]);
    image.symbol(function("f", 0, 2));
    image.symbol(Symbol {
        name: b"pv_ops".to_vec(),
        info: GLOBAL,
        size: u64::MAX,
        ..Symbol::default()
    });
    finish(&image, &noinstr).expect("of a symbol that is elsewhere, nothing is known");
}

#[test]
fn operations_that_may_go_anywhere() {
    const N: usize = 3_000;
    // call *pv_ops(%rip)
    let call = [0xff, 0x15, 0, 0, 0, 0, RET];
    let noinstr = Options {
        noinstr: true,
        link: true,
        ..Options::default()
    };
    let mut image = code(call.repeat(N));
    image.sections[0].name = b".noinstr.text".to_vec();
    image.section(Section::code(".text", vec![RET; N]));
    for i in 0..N {
        image.symbol(function(format!("f{i}"), call.len() * i, call.len()));
    }
    let first = image.symbols.len() as u32 + 1;
    for i in 0..N {
        let other = function(format!("g{i}"), i, 1);
        image.symbol(Symbol {
            section: 2,
            ..other
        });
    }
    // All of them where the table's only operation is: a relocation at each byte.
    let fields: Vec<_> = (0..8).map(|i| (i, first + i as u32, 0)).collect();
    table(&mut image, ".data", vec![0; 8], &fields);
    let pv_ops = image.symbol(Symbol {
        name: b"pv_ops".to_vec(),
        info: GLOBAL,
        section: 3,
        size: 8,
        ..Symbol::default()
    });
    image.sections[0].relocations = (0..N)
        .map(|i| Relocation {
            offset: (call.len() * i + 2) as u64,
            symbol: pv_ops,
            kind: relocation::PC32,
            addend: -4,
        })
        .collect();
    let outcome = finish(&image, &noinstr).expect("findings are no error");
    assert!(outcome.lines.len() > N, "{}", outcome.lines.len());
}

#[test]
fn symbols_that_share_a_long_name() {
    const LONG: usize = 1 << 20;
    let mut image = code(vec![RET]);
    image.symbol(Symbol {
        name: vec![b'a'; LONG],
        info: GLOBAL,
        ..Symbol::default()
    });
    let error = finish(&image, &all()).expect_err("no linker knows such a name");
    assert!(
        error.contains("symbol 1") && error.contains("longer than"),
        "{error}"
    );
}

#[test]
fn disassembly_of_the_same_code() {
    const N: usize = 2_000;
    // A naked return in each of the functions that end together.
    let mut data = [NOP, RET].repeat(N);
    data.extend(vec![NOP; 4 * N]);
    let size = data.len();
    let mut image = code(data);
    for i in 0..N {
        image.symbol(function(format!("f{i}"), 2 * i, size - 2 * i));
    }
    let options = Options {
        retpoline: true,
        rethunk: true,
        verbose: true,
        ..Options::default()
    };
    too_complex(
        &image,
        &options,
        "functions with findings that share their code",
    );
}

#[test]
fn sections_far_from_each_other() {
    let prefixed = |aligns: &[u64]| {
        let mut image = code([[NOP; 16].as_slice(), &[RET]].concat());
        image.symbol(function("f", 16, 1));
        for &align in aligns {
            image.section(Section {
                align,
                ..Section::new(".data", elf::ALLOC, vec![0])
            });
        }
        image
    };
    let output = |aligns: &[u64]| {
        finish(&prefixed(aligns), &all()).map(|o| o.output.expect("a prefix symbol is added"))
    };
    assert!(output(&[4096, 4096]).is_ok_and(|bytes| bytes.len() < 20_000));
    for aligns in [&[1 << 40][..], &[1 << 63], &[1 << 20; 100]] {
        let error = output(aligns).expect_err("no disk holds such a file");
        assert!(
            error.contains(".data") && error.contains("aligned to"),
            "{error}"
        );
    }
}
