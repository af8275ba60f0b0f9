//! Input that can't be read or understood, or an output that can't be written: one clear error that
//! names the file and the place, exit status 1, the input as it was byte for byte, and nothing left
//! beside it.
#![expect(
    clippy::print_stderr,
    reason = "a case that can't be made here has to be seen"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;
use tests::compile;
use tests::fixture::Fixture;
use tests::patch::{header, relocation, section, symbol, Image};
use tests::tool::{clean, finish, Finished, Tool};

/// Everything of the frame-pointer configuration, so that every part of an object is looked at.
const ARGS: [&str; 7] = [
    "--stackval",
    "--retpoline",
    "--rethunk",
    "--static-call",
    "--uaccess",
    "--prefix=16",
    "--hacks=jump_label,noinstr,skylake",
];

const NAME: &str = "input.o";

/// A sound object with every kind of section that is read, and reasons to write it.
const SOURCE: &str = r#"# args: --stackval
# expect: nothing

#include "annotations.h"

	.text
	nops	16
local_func static
	frame_begin
	call	__x86_indirect_thunk_rax
	call	__SCT__hook
	frame_end
	jmp	__x86_return_thunk
endfunc static

	nops	16
func branches
	unwind_hint HINT_FUNC
1:	jmp	2f
	nop
2:	mov	(%rdi), %rax
3:	nopl	(%rax)
4:	jmp	__x86_return_thunk
endfunc branches
	jump_label 1b, 2b, key + KEY_NOP
	exception 2b, 4b
	alternative 3b, 4b, 5f, 6f

	.section .altinstr_replacement, "ax", @progbits
5:	nop
6:
	.data
	.globl	__SCK__hook
__SCK__hook:
	.quad	branches
"#;

fn sound() -> Image {
    static OBJECT: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = OBJECT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("x86_64")).unwrap();
        let path = dir.path().join("x86_64/input.S");
        fs::write(&path, SOURCE).unwrap();
        let fixture = Fixture::read(&path).unwrap();
        fs::read(compile::build(&fixture, dir.path()).unwrap().object).unwrap()
    });
    Image {
        bytes: bytes.clone(),
    }
}

fn damaged(damage: impl FnOnce(&mut Image)) -> Vec<u8> {
    let mut image = sound();
    damage(&mut image);
    assert_ne!(image.bytes, sound().bytes, "nothing was damaged");
    image.bytes
}

/// A folder with the input in it.
struct Place {
    dir: TempDir,
    before: Option<Vec<u8>>,
}

impl Place {
    fn new(bytes: &[u8]) -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), bytes).unwrap();
        Place {
            dir,
            before: Some(bytes.to_vec()),
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join(NAME)
    }

    fn run(&self) -> Finished {
        let tool = Tool::under_test().unwrap();
        finish(tool.command(self.dir.path()).args(ARGS).arg(NAME)).unwrap()
    }

    /// What is wrong with how the tool took bad input; `place` are words of which one must be in
    /// the error.
    fn complaints(&self, run: &Finished, place: &[&str]) -> Vec<String> {
        let mut wrong = self.traces();
        if run.status != Some(1) {
            wrong.push(format!("exit status {:?}, not 1", run.status));
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
        if !place.is_empty() && !place.iter().any(|word| line.contains(word)) {
            wrong.push(format!("the error names no place: none of {place:?}"));
        }
        if !run.stdout.is_empty() {
            wrong.push("standard output is not empty".into());
        }
        wrong
    }

    /// What the tool changed or left though it should not have.
    fn traces(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(before) = &self.before {
            if fs::read(self.file()).ok().as_ref() != Some(before) {
                wrong.push("the input is not what it was".into());
            }
        }
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let name = entry.unwrap().file_name();
            if name != NAME && name != "tool" {
                wrong.push(format!("{} was left behind", name.to_string_lossy()));
            }
        }
        wrong
    }
}

/// The input `bytes` must be refused with an error that holds one of `place`.
#[track_caller]
fn refused(what: &str, bytes: &[u8], place: &[&str]) {
    if let Some(complaint) = not_refused(what, bytes, place) {
        panic!("{complaint}");
    }
}

/// Each of the inputs must be refused; what is wrong with any of them is told at the end.
#[track_caller]
fn all_refused(place: &[&str], inputs: &[(String, Vec<u8>)]) {
    let complaints = inputs
        .iter()
        .filter_map(|(what, bytes)| not_refused(what, bytes, place));
    let complaints: Vec<String> = complaints.collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn not_refused(what: &str, bytes: &[u8], place: &[&str]) -> Option<String> {
    let input = Place::new(bytes);
    let run = input.run();
    let wrong = input.complaints(&run, place);
    let stderr = &run.stderr;
    (!wrong.is_empty()).then(|| format!("{what}: {wrong:?}\n  standard error: {stderr}"))
}

/// Damages one field of a header of the section `name`.
fn header_of(name: &str, field: usize, value: u64, bytes: usize) -> Vec<u8> {
    damaged(|image| {
        let at = image.section(name).unwrap() + field;
        image.bytes[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
    })
}

#[test]
fn the_sound_object_is_accepted_and_written() {
    let input = Place::new(&sound().bytes);
    let run = input.run();
    assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
    assert_ne!(fs::read(input.file()).unwrap(), sound().bytes);
}

#[test]
fn the_checks_of_this_file_can_fail() {
    let input = Place::new(b"as it was");
    let good = Finished {
        status: Some(1),
        stdout: String::new(),
        stderr: format!("{NAME}: error: objtool: section 3: too short\n"),
    };
    assert!(input.complaints(&good, &["section 3"]).is_empty());
    assert_eq!(input.complaints(&good, &["section 4"]).len(), 1);
    let with = |status, stderr: &str| Finished {
        status,
        stdout: String::new(),
        stderr: stderr.into(),
    };
    assert_eq!(input.complaints(&with(Some(0), &good.stderr), &[]).len(), 1);
    assert_eq!(input.complaints(&with(None, &good.stderr), &[]).len(), 1);
    assert_eq!(
        input
            .complaints(&with(Some(1), &good.stderr.repeat(2)), &[])
            .len(),
        1
    );
    assert_eq!(input.complaints(&with(Some(1), ""), &[]).len(), 2);
    assert_eq!(
        input
            .complaints(&with(Some(1), "other.o: error: objtool: x\n"), &[])
            .len(),
        1
    );
    fs::write(input.dir.path().join("input.o.tmp"), "").unwrap();
    fs::write(input.file(), "changed").unwrap();
    assert_eq!(input.complaints(&good, &[]).len(), 2);
}

#[test]
fn no_file_a_directory_an_empty_file() {
    let gone = Place {
        dir: tempfile::tempdir().unwrap(),
        before: None,
    };
    let run = gone.run();
    assert_eq!(
        gone.complaints(&run, &["No such file"]),
        [""; 0],
        "{}",
        run.stderr
    );

    let folder = Place {
        dir: tempfile::tempdir().unwrap(),
        before: None,
    };
    fs::create_dir(folder.file()).unwrap();
    let run = folder.run();
    assert_eq!(
        folder.complaints(&run, &["directory"]),
        [""; 0],
        "{}",
        run.stderr
    );
    assert!(folder.file().is_dir());

    refused("empty", b"", &["empty", "0x0", "0 bytes"]);
}

#[test]
fn files_of_another_kind() {
    refused("text", b"int main(void) { return 0; }\n", &["ELF"]);
    refused("zeros", &[0; 4096], &["ELF"]);
    refused(
        "archive",
        b"!<arch>\nfoo.o/          0           0     0     644     0         `\n",
        &["ELF"],
    );
    let class = damaged(|image| image.put(header::CLASS, [1]));
    refused("32 bits", &class, &["32-bit", "32 bit", "class"]);
    let class = damaged(|image| image.put(header::CLASS, [7]));
    refused("no such class", &class, &["class", "ELF"]);
    let data = damaged(|image| image.put(header::DATA, [2]));
    refused("big endian", &data, &["endian"]);
    for (name, machine) in [("386", 3_u16), ("ARM64", 183), ("none", 0)] {
        let other = damaged(|image| image.put(header::MACHINE, machine.to_le_bytes()));
        refused(name, &other, &["machine"]);
    }
}

#[test]
fn truncated_anywhere() {
    let sound = sound().bytes;
    let mut accepted = Vec::new();
    for length in (1..sound.len())
        .step_by(13)
        .chain(sound.len() - 8..sound.len())
    {
        let input = Place::new(&sound[..length]);
        let run = input.run();
        let wrong = input.complaints(&run, &[]);
        if !wrong.is_empty() {
            accepted.push(format!(
                "{length} of {}: {wrong:?} {}",
                sound.len(),
                run.stderr
            ));
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
}

#[test]
fn section_table_out_of_range() {
    let at = |value: u64| damaged(|i| i.put(header::SECTIONS_AT, value.to_le_bytes()));
    let words = ["section header", "section table", "e_shoff"];
    refused("behind the end", &at(1 << 20), &words);
    refused("at the end of numbers", &at(u64::MAX - 8), &words);
    refused(
        "inside the last header",
        &at(sound().bytes.len() as u64 - 32),
        &words,
    );
    let count = damaged(|i| i.put(header::SECTION_COUNT, 0xfe00_u16.to_le_bytes()));
    refused("too many", &count, &["section"]);
    for size in [0_u16, 40, 63, 65] {
        let entry = damaged(|i| i.put(header::SECTION_SIZE, size.to_le_bytes()));
        refused(
            "entry size",
            &entry,
            &["section header", "e_shentsize", "section table"],
        );
    }
    let names = damaged(|i| i.put(header::NAMES, 0x300_u16.to_le_bytes()));
    refused(
        "names of the sections",
        &names,
        &["section name", "e_shstrndx", "768", "0x300"],
    );
}

#[test]
fn sections_out_of_range_or_overlapping() {
    let text = sound().section_index(".text").unwrap();
    let words = [
        ".text".to_owned(),
        format!("section {text}"),
        format!("section [{text}]"),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    for (field, value) in [
        (section::OFFSET, 1 << 20),
        (section::OFFSET, u64::MAX - 4),
        (section::SIZE, 1 << 20),
        (section::SIZE, 1 << 62),
        (section::SIZE, u64::MAX),
    ] {
        refused("extent", &header_of(".text", field, value, 8), &words);
    }
    let data = sound().content(".data").unwrap().start as u64;
    let overlapping = header_of(".text", section::OFFSET, data, 8);
    refused("over another section", &overlapping, &[".text", ".data"]);
    refused(
        "over the file header",
        &header_of(".text", section::OFFSET, 16, 8),
        &words,
    );
    let name = header_of(".text", section::NAME, 1 << 20, 4);
    refused("name", &name, &["name"]);
}

#[test]
fn wrong_entry_sizes() {
    for size in [0, 16, 23, 25, 1 << 40] {
        let table = header_of(".symtab", section::ENTRY_SIZE, size, 8);
        refused("symbols", &table, &["symtab", "symbol table"]);
        let table = header_of(".rela.text", section::ENTRY_SIZE, size, 8);
        refused("relocations", &table, &[".rela.text"]);
    }
    let image = sound();
    for name in [".symtab", ".rela.text"] {
        let content = image.content(name).unwrap();
        let short = header_of(name, section::SIZE, content.len() as u64 - 1, 8);
        refused("a piece of an entry", &short, &[name, "symbol table"]);
    }
}

#[test]
fn tables_that_refer_to_no_section() {
    let words = [".symtab", "symbol table", "sh_link"];
    refused(
        "names of the symbols",
        &header_of(".symtab", section::LINK, 0x300, 4),
        &words,
    );
    refused(
        "no names",
        &header_of(".symtab", section::LINK, 0, 4),
        &words,
    );
    let words = [".rela.text"];
    refused(
        "relocated section",
        &header_of(".rela.text", section::INFO, 0x300, 4),
        &words,
    );
    refused(
        "symbols to relocate by",
        &header_of(".rela.text", section::LINK, 0x300, 4),
        &words,
    );
}

#[test]
fn symbols_out_of_range() {
    let symbol = |field: usize, value: u64, bytes: usize| {
        damaged(|image| {
            let at = image.symbol("branches").unwrap() + field;
            image.bytes[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
        })
    };
    let image = sound();
    let table = image.content(".symtab").unwrap().start;
    let index = (image.symbol("branches").unwrap() - table) / symbol::BYTES;
    let words = [
        "branches".to_owned(),
        format!("symbol {index}"),
        format!("symbol [{index}]"),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let of = |what: &str, field, value, bytes| (what.to_owned(), symbol(field, value, bytes));
    let far = 1 << 20;
    all_refused(
        &words,
        &[
            of("name", symbol::NAME, far, 4),
            of("section", symbol::SECTION, 0x300, 2),
            of("value", symbol::VALUE, far, 8),
            of("value at the end of numbers", symbol::VALUE, u64::MAX, 8),
            of("size", symbol::SIZE, far, 8),
            of("size at the end of numbers", symbol::SIZE, u64::MAX, 8),
        ],
    );
}

#[test]
fn relocations_out_of_range() {
    for name in [
        ".text",
        ".altinstructions",
        "__jump_table",
        "__ex_table",
        ".data",
    ] {
        let table = format!(".rela{name}");
        let image = sound();
        let first = image.content(&table).unwrap().start;
        let of_symbol =
            damaged(|i| i.put(first + relocation::SYMBOL, 0x0100_0000_u32.to_le_bytes()));
        let mut inputs = vec![(format!("symbol in {table}"), of_symbol)];
        for offset in [1 << 20, u64::MAX, image.content(name).unwrap().len() as u64] {
            let at = damaged(|i| i.put(first + relocation::OFFSET, offset.to_le_bytes()));
            inputs.push((format!("offset {offset:#x} in {table}"), at));
        }
        all_refused(&[&table, name], &inputs);
    }
}

#[test]
fn undecodable_code() {
    let text = sound().content(".text").unwrap();
    // An opcode that 64-bit mode has not, and an instruction that the section cuts off.
    let opcode = damaged(|i| i.put(text.start, [0x06]));
    refused("opcode", &opcode, &[".text:0x0", ".text+0x0", "static"]);
    let last = text.len() - 1;
    let cut = damaged(|i| i.put(text.end - 1, [0xe8]));
    let words = [
        format!(".text:{last:#x}"),
        format!(".text+{last:#x}"),
        "branches".into(),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // The byte before must end an instruction: the last one is a jump, so it becomes nops first.
    let cut = {
        let mut bytes = cut;
        bytes[text.end - 5..text.end - 1].fill(0x90);
        bytes
    };
    refused("cut off", &cut, &words);
}

/// Functions and their parts that refer to one another in circles.
#[test]
fn symbol_cycles_end() {
    let sources = [
        // A part whose whole is not there, is a part itself, or is no function.
        ".globl f.cold\n.type f.cold, @function\nf.cold: call f\n ret\n.size f.cold, . - f.cold\n",
        ".type .cold, @function\n.cold: ret\n.size .cold, 1\n",
        ".type a.cold.cold, @function\na.cold.cold: ret\n.size a.cold.cold, 1\n\
         .type a.cold, @function\na.cold: jmp a.cold.cold\n.size a.cold, 2\n\
         .type a, @function\na: jmp a.cold\n.size a, 2\n",
        // Two wholes and two parts, each jumping to the other's.
        ".type a, @function\na: je b.cold\n jmp a.cold\n.size a, . - a\n\
         .type b, @function\nb: je a.cold\n jmp b.cold\n.size b, . - b\n\
         .type a.cold, @function\na.cold: je b\n jmp b.cold\n.size a.cold, . - a.cold\n\
         .type b.cold, @function\nb.cold: je a\n jmp a.cold\n.size b.cold, . - b.cold\n",
        // Tail calls in a circle, and a function that calls only itself.
        ".type a, @function\na: jmp b\n.size a, . - a\n\
         .type b, @function\nb: jmp c\n.size b, . - b\n\
         .type c, @function\nc: jmp a\n.size c, . - c\n\
         .type d, @function\nd: call d\n.size d, . - d\n",
        // A part around its whole.
        ".type a.cold, @function\na.cold: nop\n.type a, @function\na: ret\n.size a, 1\n nop\n\
         .size a.cold, . - a.cold\n",
    ];
    for source in sources {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("x86_64")).unwrap();
        let path = dir.path().join("x86_64/cycle.S");
        fs::write(
            &path,
            format!("# args: -s\n# expect: nothing\n\n\t.text\n{source}"),
        )
        .unwrap();
        let built = compile::build(&Fixture::read(&path).unwrap(), dir.path()).unwrap();
        let input = Place::new(&fs::read(built.object).unwrap());
        ends_well(source, &input);
    }
}

/// Whatever the input, the tool ends with 0 or with 1 and one error, and leaves nothing behind.
#[track_caller]
fn ends_well(what: &str, input: &Place) {
    let run = input.run();
    let wrong = match run.status {
        Some(1) => input.complaints(&run, &[]),
        Some(0) => {
            let mut wrong = input.traces();
            wrong.retain(|w| !w.starts_with("the input"));
            wrong
        }
        other => vec![format!("exit status {other:?}")],
    };
    assert!(
        wrong.is_empty(),
        "{what}: {wrong:#?}\nstandard error:\n{}",
        run.stderr
    );
}

/// Each byte of the headers, the symbols and the relocations turned over, one at a time.
#[test]
fn any_byte_damaged() {
    let image = sound();
    let sections = image.section(".text").unwrap() - 64..image.bytes.len();
    let mut places: Vec<usize> = (0..64).chain(sections).collect();
    for name in [
        ".symtab",
        ".rela.text",
        ".rela.altinstructions",
        ".rela__jump_table",
    ] {
        places.extend(image.content(name).unwrap());
    }
    places.extend(image.content(".strtab").unwrap().step_by(7));
    let half = places.len() / 2;
    std::thread::scope(|scope| {
        for half in [&places[..half], &places[half..]] {
            let image = &image;
            scope.spawn(move || {
                for &at in half {
                    let mut bytes = image.bytes.clone();
                    bytes[at] ^= 0xff;
                    ends_well(&format!("byte {at:#x}"), &Place::new(&bytes));
                }
            });
        }
    });
}

/// A command that runs as a user without root's rights, with a tool that this user can reach.
///
/// Root may write anything, so for root the tool is copied into the folder, the folder handed over,
/// and the command run by `setpriv` as nobody.
fn as_ordinary_user(input: &Place) -> Command {
    let tool = Tool::under_test().unwrap();
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        return tool.command(input.dir.path());
    }
    let copy = input.dir.path().join("tool");
    // By another process: a file that this one has open for writing, if only for a moment, can't be
    // run as long as a child that another test starts at that moment holds it open too.
    let copied = Command::new("cp").arg(&tool.path).arg(&copy).status();
    assert!(copied.unwrap().success(), "the tool can't be copied");
    for path in [input.dir.path(), &copy, &input.file()] {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(copy);
    clean(&mut command).current_dir(input.dir.path());
    command
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_read_only_file() {
    let input = Place::new(&sound().bytes);
    let mut command = as_ordinary_user(&input);
    set_mode(&input.file(), 0o444);
    let run = finish(command.args(ARGS).arg(NAME)).unwrap();
    let wrong = input.complaints(&run, &["ermission denied", "read-only"]);
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", run.stderr);
}

#[test]
fn a_file_that_may_not_be_read() {
    let input = Place::new(&sound().bytes);
    let mut command = as_ordinary_user(&input);
    set_mode(&input.file(), 0o000);
    let run = finish(command.args(ARGS).arg(NAME)).unwrap();
    set_mode(&input.file(), 0o644);
    let wrong = input.complaints(&run, &["ermission denied"]);
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", run.stderr);
}

#[test]
fn a_folder_that_may_not_be_written() {
    let input = Place::new(&sound().bytes);
    let mut command = as_ordinary_user(&input);
    set_mode(input.dir.path(), 0o555);
    let run = finish(command.args(ARGS).arg(NAME)).unwrap();
    set_mode(input.dir.path(), 0o755);
    let wrong = input.complaints(&run, &["ermission denied"]);
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", run.stderr);
}

/// A limit on the size of files stands in for the end of the disk: writing fails part way.
#[test]
fn a_file_that_can_not_be_written_whole() {
    let tool = Tool::under_test().unwrap();
    // The larger the object, the more of it fits before the limit.
    for blocks in [0, 1, 2] {
        let input = Place::new(&sound().bytes);
        let mut shell = Command::new("sh");
        clean(&mut shell).current_dir(input.dir.path());
        // Without the trap the signal would end the tool before it sees the error.
        shell.args([
            "-c",
            "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"",
            "sh",
        ]);
        shell
            .arg(blocks.to_string())
            .arg(&tool.path)
            .args(ARGS)
            .arg(NAME);
        // Standard error is a file too, and must stay below the limit: a pipe has none.
        let output = shell.output().unwrap();
        let run = Finished {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        let wrong = input.complaints(&run, &["too large", "os error 27"]);
        assert!(
            wrong.is_empty(),
            "limit {blocks}: {wrong:#?}\n{}",
            run.stderr
        );
    }
}

/// A disk that is full: a tmpfs of one page, in a mount namespace of its own.
#[test]
fn a_full_disk() {
    let input = Place::new(&sound().bytes);
    let tool = Tool::under_test().unwrap();
    // Copies the input onto the small disk, fills the rest, runs the tool there, copies back.
    let script = "set -e
        mkdir disk && mount -t tmpfs -o size=16k none disk || exit 77
        cp \"$1\" disk && cd disk
        cat /dev/zero > fill 2>/dev/null || true
        status=0; file=$1; shift; \"$@\" \"$file\" || status=$?
        rm fill && ls > ../left && cp \"$file\" ../after
        exit $status";
    let mut command = Command::new("unshare");
    clean(&mut command).current_dir(input.dir.path());
    command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh", NAME]);
    let run = finish(command.arg(&tool.path).args(ARGS)).unwrap();
    let left = fs::read_to_string(input.dir.path().join("left"));
    if run.status == Some(77) || left.is_err() {
        eprintln!(
            "SKIPPED: a full disk: this machine mounts no tmpfs for us: {}",
            run.stderr.trim()
        );
        return;
    }
    assert_eq!(
        left.unwrap(),
        format!("{NAME}\n"),
        "something was left on the disk"
    );
    let after = fs::read(input.dir.path().join("after")).unwrap();
    assert_eq!(after, sound().bytes, "the input is not what it was");
    for name in ["left", "after"] {
        fs::remove_file(input.dir.path().join(name)).unwrap();
    }
    fs::remove_dir(input.dir.path().join("disk")).unwrap();
    let wrong = input.complaints(&run, &["No space left"]);
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", run.stderr);
}
