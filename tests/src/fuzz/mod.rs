//! What the fuzzer runs, and what must hold whatever it comes up with.
//!
//! Each target is a function over bytes that panics when something that must hold does not. The
//! fuzzer (`objtool-rs/fuzz`) calls them with ever new bytes; the test `fuzz_corpus` calls the same
//! functions with the inputs that are kept, on any toolchain.

pub mod annotations;
pub mod decode;
pub mod elf;
pub mod image;
pub mod object;
pub mod orc_dump;
pub mod verify;
pub mod whole;

use objtool_rs::Options;

/// A target: its name, which is that of its corpus folder, and its function.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name.
    pub name: &'static str,
    /// Runs one input.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "elf",
        run: elf::run,
    },
    Target {
        name: "decode",
        run: decode::run,
    },
    Target {
        name: "annotations",
        run: annotations::run,
    },
    Target {
        name: "object",
        run: object::run,
    },
    Target {
        name: "orc_dump",
        run: orc_dump::run,
    },
    Target {
        name: "verify",
        run: verify::run,
    },
];

/// How many bytes [`options`] takes.
pub const OPTION_BYTES: usize = 3;

/// Any combination of options. All bits set is everything that a kernel build may ask for.
pub fn options(bytes: [u8; OPTION_BYTES]) -> Options {
    let [actions, more, rest] = bytes;
    let bit = |byte: u8, number: u8| byte >> number & 1 != 0;
    Options {
        hack_jump_label: bit(actions, 0),
        hack_noinstr: bit(actions, 1),
        hack_skylake: bit(actions, 2),
        retpoline: bit(actions, 3),
        rethunk: bit(actions, 4),
        stackval: bit(actions, 5),
        static_call: bit(actions, 6),
        uaccess: bit(actions, 7),
        prefix: match more & 3 {
            0 => 0,
            1 => 1,
            2 => 5,
            _ => 16,
        },
        backtrace: bit(more, 2),
        link: bit(more, 3),
        module: bit(more, 4),
        no_unreachable: bit(more, 5),
        sec_address: bit(more, 6),
        verbose: bit(more, 7),
        orc: bit(rest, 0),
        ibt: bit(rest, 1),
        noinstr: bit(rest, 2),
        mcount: bit(rest, 3),
        mnop: bit(rest, 4),
        unret: bit(rest, 5),
        sls: bit(rest, 6),
        cfi: bit(rest, 7),
        // Shown with what backtraces show.
        explain: bit(more, 2),
        // What the others do is the binary's.
        ..Options::default()
    }
}
