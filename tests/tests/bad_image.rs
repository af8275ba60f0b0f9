//! Images that can't be judged, and a table or a verdict that can't be written: one clear error that
//! names the file and the place, exit status 1, no verdict, the old table as it was, and nothing
//! left beside it.
#![expect(
    clippy::print_stderr,
    reason = "a case that can't be made here has to be seen"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;
use tests::images::link;
use tests::images::source::Source;
use tests::patch::{header, section, symbol, Image};
use tests::tool::{clean, finish, Finished, Tool};

const NAME: &str = "vmlinux";
const TABLE: &str = "unreliable.S";
const OLD_TABLE: &str = "/* the table of the last build */\n";

/// Offset of `e_type` in the file header, two bytes.
const FILE_TYPE: usize = 16;
/// Offset of `sh_type` in a section header, four bytes; 8 is `SHT_NOBITS`.
const TYPE: usize = 4;
/// Offset of `sh_addr` in a section header, eight bytes.
const ADDRESS: usize = 16;

/// A sound image with every table that is read, and an exception.
const SOURCE: &str = r#"# near miss: all of it

#include "image.h"

	.text
func leaf
	ret
endfunc leaf

func without
	call	leaf
	ret
endfunc without

func everything
	push	%rbp
	mov	%rsp, %rbp
1:	mov	(%rdi), %rax
2:	.byte	0x66, 0x90
3:	nopl	8(%rax, %rax)
4:	ud2
	jmp	*.Ltable(, %rdi, 8)
5:	pop	%rbp
	ret
endfunc everything
	exception 1b, 5b
	jump_label 2b, 5b, key
	alternative 3b, 4b, 6f, 7f
	bug_entry 4b, BUG_FLAG_WARNING
	.section .altinstr_replacement, "ax", @progbits
6:	call	leaf
7:
	.section .rodata, "a", @progbits
.Ltable:
	.quad	5b
	.section .init.text, "ax", @progbits
func start
	ret
endfunc start
	.data
key:	.quad	0
"#;

fn sound() -> Image {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = IMAGE.get_or_init(|| linked(SOURCE));
    Image {
        bytes: bytes.clone(),
    }
}

fn linked(source: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("x86_64")).unwrap();
    let path = dir.path().join("x86_64/image.S");
    fs::write(&path, source).unwrap();
    let objects = link::compile(&Source::read(&path).unwrap(), dir.path()).unwrap();
    fs::read(objects.link(NAME).unwrap()).unwrap()
}

fn damaged(damage: impl FnOnce(&mut Image)) -> Vec<u8> {
    let mut image = sound();
    damage(&mut image);
    assert_ne!(image.bytes, sound().bytes, "nothing was damaged");
    image.bytes
}

/// Writes a field of a section's header.
fn header_of(name: &str, field: usize, value: u64, bytes: usize) -> Vec<u8> {
    damaged(|image| {
        let at = image.section(name).unwrap() + field;
        image.bytes[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
    })
}

/// Writes a field of a symbol.
fn symbol_of(name: &str, field: usize, value: u64) -> Vec<u8> {
    damaged(|image| {
        let at = image.symbol(name).unwrap() + field;
        image.put(at, value.to_le_bytes());
    })
}

/// What objcopy makes of the sound image.
fn copied(args: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::write(&from, sound().bytes).unwrap();
    let mut objcopy = Command::new("objcopy");
    let status = objcopy.args(args).args([&from, &to]).status().unwrap();
    assert!(status.success(), "objcopy {args:?}");
    fs::read(to).unwrap()
}

/// A folder with the input in it, and the table of the last build.
struct Place {
    dir: TempDir,
    left: Vec<String>,
}

impl Place {
    fn new(bytes: &[u8]) -> Place {
        let place = Place::empty();
        fs::write(place.file(), bytes).unwrap();
        place
    }

    fn empty() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(TABLE), OLD_TABLE).unwrap();
        Place {
            dir,
            left: vec![NAME.to_owned(), TABLE.to_owned()],
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join(NAME)
    }

    fn run(&self, format: &str) -> Finished {
        self.run_with(&["--format", format, "--unreliable-text", TABLE, NAME])
    }

    fn run_with(&self, args: &[&str]) -> Finished {
        let tool = Tool::under_test().unwrap();
        let mut command = tool.command(self.dir.path());
        finish(command.arg("verify").args(args)).unwrap()
    }

    /// What is wrong with how the tool took bad input; each of `words` must be in the error.
    fn complaints(&self, run: &Finished, words: &[&str]) -> Vec<String> {
        let mut wrong = Vec::new();
        if run.status != Some(1) {
            wrong.push(format!("exit status {:?}, not 1", run.status));
        }
        if !run.stdout.is_empty() {
            wrong.push("a verdict all the same".into());
        }
        let lines: Vec<&str> = run.stderr.lines().collect();
        if lines.len() != 1 {
            wrong.push(format!("{} lines on standard error, not 1", lines.len()));
        }
        let line = lines.first().copied().unwrap_or_default();
        let lead = format!("{NAME}: error: objtool: ");
        let opening = format!("objtool: Can't open '{NAME}': ");
        if !line.starts_with(&lead) && !line.starts_with(&opening) {
            wrong.push(format!("the error does not start with `{lead}`"));
        }
        if line.chars().any(char::is_control) {
            wrong.push("the error is not printable".into());
        }
        for word in words {
            if !line.contains(word) {
                wrong.push(format!("the error does not hold `{word}`"));
            }
        }
        wrong.extend(self.traces());
        wrong
    }

    /// What the tool changed or left though it should not have.
    fn traces(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if fs::read_to_string(self.dir.path().join(TABLE))
            .ok()
            .as_deref()
            != Some(OLD_TABLE)
        {
            wrong.push("the old table is gone".into());
        }
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            if !self.left.contains(&name) {
                wrong.push(format!("{name} was left behind"));
            }
        }
        wrong
    }
}

/// The input `bytes` must be refused, in both forms, with an error that holds all `words`.
#[track_caller]
fn refused(what: &str, bytes: &[u8], words: &[&str]) {
    for format in ["human", "json"] {
        let input = Place::new(bytes);
        let run = input.run(format);
        let wrong = input.complaints(&run, words);
        assert!(
            wrong.is_empty(),
            "{what}: {wrong:#?}\nstandard error:\n{}",
            run.stderr
        );
        assert_eq!(fs::read(input.file()).unwrap(), bytes, "{what}: changed");
    }
}

#[test]
fn the_sound_image_is_judged() {
    let input = Place::new(&sound().bytes);
    let run = input.run("human");
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    assert!(run.stdout.contains("HAVE_RELIABLE_STACKTRACE holds"));
    assert!(run.stdout.contains("without"), "{}", run.stdout);
    let table = fs::read_to_string(input.dir.path().join(TABLE)).unwrap();
    assert!(table.contains("unreliable_text_count:"), "{table}");
}

#[test]
fn the_checks_of_this_file_can_fail() {
    let input = Place::new(b"");
    let run = |status, stdout: &str, stderr: &str| Finished {
        status,
        stdout: stdout.into(),
        stderr: stderr.into(),
    };
    let good = format!("{NAME}: error: objtool: section 3: too short\n");
    let none: [String; 0] = [];
    assert_eq!(
        input.complaints(&run(Some(1), "", &good), &["section 3"]),
        none
    );
    let one = |finished: &Finished, words: &[&str]| input.complaints(finished, words).len();
    assert_eq!(one(&run(Some(1), "", &good), &["section 4"]), 1);
    assert_eq!(one(&run(Some(0), "", &good), &[]), 1);
    assert_eq!(one(&run(None, "", &good), &[]), 1);
    assert_eq!(one(&run(Some(1), "holds", &good), &[]), 1);
    assert_eq!(one(&run(Some(1), "", &good.repeat(2)), &[]), 1);
    assert_eq!(one(&run(Some(1), "", "x: error: objtool: y\n"), &[]), 1);
    assert_eq!(
        one(&run(Some(1), "", &good.replace("3", "\x1b[1m")), &[]),
        1
    );
    fs::write(input.dir.path().join(TABLE), "new").unwrap();
    fs::write(input.dir.path().join(".objtool-x"), "").unwrap();
    assert_eq!(one(&run(Some(1), "", &good), &[]), 2);
}

#[test]
fn no_file_a_folder_a_device_an_empty_file() {
    let input = Place::empty();
    let run = input.run("human");
    assert_eq!(input.complaints(&run, &["No such file"]), [""; 0]);

    let input = Place::empty();
    fs::create_dir(input.file()).unwrap();
    let run = input.run("human");
    let wrong = input.complaints(&run, &["is a directory", "name the files"]);
    assert_eq!(wrong, [""; 0], "{}", run.stderr);

    let input = Place::empty();
    std::os::unix::fs::symlink("/dev/zero", input.file()).unwrap();
    let run = input.run("human");
    let wrong = input.complaints(&run, &["is a device"]);
    assert_eq!(wrong, [""; 0], "{}", run.stderr);

    refused("empty", b"", &["the file is empty"]);
}

#[test]
fn truncated_anywhere() {
    let sound = sound().bytes;
    let last = sound.len() - 8..sound.len();
    let mut accepted = Vec::new();
    for length in (1..sound.len()).step_by(997).chain(1..80).chain(last) {
        let input = Place::new(&sound[..length]);
        let run = input.run("human");
        let wrong = input.complaints(&run, &[]);
        if !wrong.is_empty() {
            accepted.push(format!("{length}: {wrong:?} {}", run.stderr));
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
}

#[test]
fn files_of_another_kind() {
    refused("text", b"#!/bin/sh\necho vmlinux\n", &["not an ELF file"]);
    refused("zeros", &[0; 4096], &["not an ELF file"]);
    let class = damaged(|image| image.put(header::CLASS, [1]));
    refused("32 bits", &class, &["not a 64-bit object", "class"]);
    let data = damaged(|image| image.put(header::DATA, [2]));
    refused("big endian", &data, &["endian"]);
    let machine = damaged(|image| image.put(header::MACHINE, 183_u16.to_le_bytes()));
    refused("ARM64", &machine, &["machine", "183"]);
    let of_type = |number: u16| damaged(|image| image.put(FILE_TYPE, number.to_le_bytes()));
    refused("PIE", &of_type(3), &["position-independent", "ET_DYN"]);
    refused("core dump", &of_type(4), &["e_type", "4"]);
}

/// What people have at hand instead of a vmlinux.
#[test]
fn packed_kernels_and_modules() {
    let mut boot = vec![0; 0x8000];
    boot[..2].copy_from_slice(b"MZ");
    boot[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    boot[0x202..0x206].copy_from_slice(b"HdrS");
    let words = [
        "compressed boot image (bzImage)",
        "take the vmlinux",
        "debug package",
    ];
    refused("bzImage", &boot, &words);
    for (magic, program) in [
        (&b"\x1f\x8b\x08\0"[..], "gunzip"),
        (b"\xfd7zXZ\0", "unxz"),
        (b"\x28\xb5\x2f\xfd", "unzstd"),
    ] {
        let packed = [magic, &[0x55; 0x1000]].concat();
        refused(
            program,
            &packed,
            &["compressed", "unpack it first", program],
        );
    }
    // Too short to tell: not a boot image, and no panic.
    refused("short", &boot[..0x204], &["not an ELF file"]);
}

#[test]
fn without_symbols() {
    let words = ["no symbol table", "stripped", "debug package"];
    refused("stripped", &copied(&["--strip-all"]), &words);
    let none = copied(&["--strip-all", "--keep-symbol=_stext"]);
    refused("no function", &none, &["names no function"]);
    refused(
        "no names",
        &header_of(".symtab", section::LINK, 0, 4),
        &[".symtab", "string table"],
    );
}

#[test]
fn files_of_debug_information() {
    let debug = copied(&["--only-keep-debug"]);
    refused(
        "debug",
        &debug,
        &["no executable section", "debug information"],
    );
}

#[test]
fn without_sections() {
    let none = damaged(|image| {
        image.put(header::SECTIONS_AT, 0_u64.to_le_bytes());
        image.put(header::SECTION_COUNT, 0_u16.to_le_bytes());
        image.put(header::NAMES, 0_u16.to_le_bytes());
    });
    refused("no table", &none, &["section header table"]);
    let words = [".altinstr_replacement", "no .altinstructions table"];
    let lost = copied(&[
        "--remove-section=.altinstructions",
        "--strip-symbol=__alt_instructions",
        "--strip-symbol=__alt_instructions_end",
    ]);
    refused("no alternatives", &lost, &words);
    let lost = header_of(".rodata", TYPE, 8, 4);
    let words = ["__start___jump_table", "__stop___jump_table", "no bytes"];
    refused("data without bytes", &lost, &words);
}

#[test]
fn symbols_that_leave_their_section() {
    let words = ["symbol everything", "leave section .text"];
    refused(
        "size",
        &symbol_of("everything", symbol::SIZE, 1 << 20),
        &words,
    );
    refused(
        "huge",
        &symbol_of("everything", symbol::SIZE, u64::MAX),
        &words,
    );
    refused(
        "before",
        &symbol_of("everything", symbol::VALUE, 0x1000),
        &words,
    );
    let beyond = 0xffff_ffff_8200_0000_u64;
    refused(
        "behind",
        &symbol_of("everything", symbol::VALUE, beyond),
        &words,
    );
}

#[test]
fn sections_that_share_addresses_or_bytes() {
    let text = 0xffff_ffff_8100_0000_u64;
    // The symbol goes with its section.
    let moved = header_of(".init.text", ADDRESS, text + 8, 8);
    let mut moved = Image { bytes: moved };
    let at = moved.symbol("start").unwrap();
    moved.put(at + symbol::VALUE, (text + 8).to_le_bytes());
    let moved = moved.bytes;
    refused(
        "addresses",
        &moved,
        &["section .init.text", "also those of section .text"],
    );
    let moved = header_of(".rodata", ADDRESS, text - 8, 8);
    refused(
        "data",
        &moved,
        &["section .text", "also those of section .rodata"],
    );
    let end = header_of(".init.text", ADDRESS, u64::MAX - 1, 8);
    refused("the end", &end, &["section .init.text"]);
    let offset = sound().content(".data").unwrap().start as u64;
    let shared = header_of(".text", section::OFFSET, offset, 8);
    refused("bytes", &shared, &["overlaps", ".data"]);
}

/// A table entry for a place outside of all code.
#[test]
fn tables_of_nowhere() {
    for table in [".altinstructions", "__ex_table", "__bug_table"] {
        let content = sound().content(table).unwrap();
        let lost = damaged(|image| image.put(content.start, 0x7fff_0000_u32.to_le_bytes()));
        refused(table, &lost, &["tables: ", table]);
    }
}

#[test]
fn the_base_of_the_table_is_missing_or_far() {
    let words = ["no symbol _stext", "all its symbols"];
    refused("missing", &copied(&["--strip-symbol=_stext"]), &words);
    // Text of the image, but nowhere near the rest.
    let far = header_of(".init.text", ADDRESS, 0xffff_0000_0000_0000, 8);
    let mut far = Image { bytes: far };
    let at = far.symbol("start").unwrap();
    far.put(at + symbol::VALUE, 0xffff_0000_0000_0000_u64.to_le_bytes());
    far.put(at + symbol::SIZE, 0_u64.to_le_bytes());
    refused(
        "far",
        &far.bytes,
        &[".init.text", "too far for the table", "_stext"],
    );
}

/// Each byte of the headers, the symbols and the tables turned over, one at a time: a verdict, or
/// one error and nothing changed.
#[test]
fn any_byte_damaged() {
    let image = sound();
    let headers = image.section(".text").unwrap() - 64..image.bytes.len();
    let mut places: Vec<usize> = (0..64).chain(headers.step_by(7)).collect();
    for name in [
        ".altinstructions",
        "__ex_table",
        "__bug_table",
        ".rodata",
        ".altinstr_replacement",
    ] {
        places.extend(image.content(name).unwrap());
    }
    places.extend(image.content(".symtab").unwrap().step_by(11));
    places.extend(image.content(".text").unwrap().take(64));
    image.each_damaged(&places, |at, bytes| {
        let input = Place::new(bytes);
        let run = input.run("json");
        let wrong = match run.status {
            Some(0 | 2) if run.stderr.is_empty() => Vec::new(),
            _ => input.complaints(&run, &[]),
        };
        assert!(wrong.is_empty(), "byte {at:#x}: {wrong:?}\n{}", run.stderr);
    });
}

#[test]
fn a_table_that_can_not_be_written() {
    let input = Place::new(&sound().bytes);
    for (to, word) in [
        ("nowhere/table.S", "No such file"),
        ("/proc/table.S", "/proc/table.S"),
        (".", "no regular file"),
    ] {
        let run = input.run_with(&["--unreliable-text", to, NAME]);
        let wrong = input.complaints(&run, &["can't write the table", to, word]);
        assert!(wrong.is_empty(), "{to}: {wrong:#?}\n{}", run.stderr);
    }
    // A device is no place for a file, and must not be replaced by one.
    let link = input.dir.path().join("full");
    std::os::unix::fs::symlink("/dev/full", &link).unwrap();
    let run = input.run_with(&["--unreliable-text", "full", NAME]);
    assert!(link.is_symlink());
    fs::remove_file(&link).unwrap();
    let wrong = input.complaints(&run, &["can't write the table full", "no regular file"]);
    assert!(
        wrong.is_empty(),
        "{wrong:#?}
{}",
        run.stderr
    );
}

#[test]
fn a_table_never_takes_the_place_of_the_input() {
    let input = Place::new(&sound().bytes);
    for to in [NAME, "./vmlinux", "link"] {
        if to == "link" {
            std::os::unix::fs::symlink(NAME, input.dir.path().join(to)).unwrap();
        }
        let run = input.run_with(&["--unreliable-text", to, NAME]);
        let mut wrong = input.complaints(&run, &["names the input itself", "name another file"]);
        wrong.retain(|w| w != "link was left behind");
        assert!(wrong.is_empty(), "{to}: {wrong:#?}\n{}", run.stderr);
    }
    assert_eq!(fs::read(input.file()).unwrap(), sound().bytes);

    // Another link is followed, and stays one.
    let link = input.dir.path().join("link");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(TABLE, &link).unwrap();
    let run = input.run_with(&["--unreliable-text", "link", NAME]);
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    assert!(link.is_symlink());
    let table = fs::read_to_string(input.dir.path().join(TABLE)).unwrap();
    assert!(table.contains("unreliable_text_count:"), "{table}");
}

/// A limit on the size of files stands in for the end of the disk: writing fails part way.
#[test]
fn a_table_that_can_not_be_written_whole() {
    let tool = Tool::under_test().unwrap();
    let input = Place::new(&sound().bytes);
    let mut shell = Command::new("sh");
    clean(&mut shell).current_dir(input.dir.path());
    // Without the trap the signal would end the tool before it sees the error.
    shell.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"]);
    shell
        .arg(&tool.path)
        .args(["verify", "--unreliable-text", TABLE, NAME]);
    let output = shell.stdin(Stdio::null()).output().unwrap();
    let run = Finished {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    let wrong = input.complaints(&run, &["can't write the table", "too large"]);
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", run.stderr);
}

/// A disk that is full: a tmpfs of a few pages, in a mount namespace of its own.
#[test]
fn a_full_disk() {
    let input = Place::new(&sound().bytes);
    let tool = Tool::under_test().unwrap();
    let script = "mkdir disk && mount -t tmpfs -o size=16k none disk || exit 77
        cp unreliable.S disk; cat /dev/zero > disk/fill 2>/dev/null
        \"$@\" verify --unreliable-text disk/unreliable.S vmlinux; status=$?
        rm disk/fill; ls -A disk > left; cp disk/unreliable.S after
        exit $status";
    let mut command = Command::new("unshare");
    clean(&mut command).current_dir(input.dir.path());
    command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]);
    let run = finish(command.arg(&tool.path)).unwrap();
    let read = |name: &str| fs::read_to_string(input.dir.path().join(name));
    let Ok(left) = read("left") else {
        eprintln!(
            "SKIPPED: a full disk: this machine mounts no tmpfs for us: {}",
            run.stderr.trim()
        );
        return;
    };
    assert_eq!(left, format!("{TABLE}\n"), "something was left on the disk");
    assert_eq!(read("after").unwrap(), OLD_TABLE, "the old table is gone");
    for name in ["left", "after"] {
        fs::remove_file(input.dir.path().join(name)).unwrap();
    }
    fs::remove_dir(input.dir.path().join("disk")).unwrap();
    let wrong = input.complaints(&run, &["can't write the table", "No space left"]);
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", run.stderr);
}

/// Standard output that takes nothing is an error; nobody reading it is none.
#[test]
fn a_verdict_that_can_not_be_written() {
    let tool = Tool::under_test().unwrap();
    let input = Place::new(&sound().bytes);
    let run_to = |to: Stdio, file: &Path| {
        let mut command = tool.command(input.dir.path());
        command.args(["verify", "--format", "json"]).arg(file);
        command.stdin(Stdio::null()).stdout(to).output().unwrap()
    };
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = run_to(full.into(), Path::new(NAME));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("can't write the verdict to standard output"),
        "{stderr}"
    );

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = run_to(writer.into(), Path::new(NAME));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""));
}
