//! Inputs that are made for the measurement: an object twice, and objects for which a careless
//! search takes time that grows with the square of their size.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};
use object::read::elf::{ElfFile64, SectionHeader as _};
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _};

use crate::cmd;

/// Thunks: calls in both copies go to those of the first, since what is called so is a thunk.
const KEPT: &str = "__x86_";

/// Functions in the thunks' sections that have others inside of their instructions, which only
/// those that keep their names may have. The second copy's are filled with nops.
const ENTANGLED: [&str; 2] = ["retbleed_", "srso_"];
const THUNKS: &str = ".text..__x86.";

/// Prefixes that say what a symbol is for, and stay in front.
const ROLES: [&str; 3] = ["__SCT__", "__SCK__", "__pfx_"];

/// Links an object with a copy of itself in which what it defines has other names.
pub(super) fn double(object: &Path, to: &Path) -> Result<()> {
    let names = cmd::stdout(
        Command::new("nm")
            .args(["--defined-only", "--format=just-symbols"])
            .arg(object),
    )?;
    let mut renamed = String::new();
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    names.dedup();
    for name in names.into_iter().filter(|name| !name.starts_with(KEPT)) {
        let role = ROLES.iter().find(|role| name.starts_with(**role));
        let role = role.copied().unwrap_or_default();
        let rest = &name[role.len()..];
        // Writing to a string cannot fail.
        let _ = writeln!(renamed, "{name} {role}second_{rest}");
    }
    let [list, plain, second] = ["names", "plain", "second"].map(|end| to.with_extension(end));
    fs::write(&list, renamed)?;
    let mut bytes = fs::read(object)?;
    disentangle(&mut bytes).with_context(|| format!("cannot read {}", object.display()))?;
    fs::write(&plain, bytes)?;
    cmd::stdout(
        Command::new("objcopy")
            .arg("--redefine-syms")
            .args([&list, &plain, &second]),
    )?;
    cmd::stdout(
        Command::new("ld")
            .args(["-m", "elf_x86_64", "-r", "--allow-multiple-definition"])
            .arg("-o")
            .args([to, object, &second]),
    )?;
    for file in [list, plain, second] {
        fs::remove_file(file)?;
    }
    Ok(())
}

/// Fills the entangled functions with nops, and voids their relocations.
fn disentangle(bytes: &mut [u8]) -> Result<()> {
    const NOP: u8 = 0x90;
    const RELA: usize = 24;
    // The type is in the low half of the second word; 0 is none.
    const TYPE: usize = 8;
    let mut patches: Vec<(usize, Vec<u8>)> = Vec::new();
    let file = ElfFile64::<Endianness>::parse(&*bytes)?;
    let endian = file.endian();
    let sections = file.elf_section_table();
    for symbol in file.symbols() {
        let name = symbol.name().unwrap_or_default();
        let Some(index) = symbol.section_index() else {
            continue;
        };
        let section = file.section_by_index(index)?;
        let is_entangled = ENTANGLED.iter().any(|start| name.starts_with(start))
            && section.name()?.starts_with(THUNKS)
            && symbol.kind() == object::SymbolKind::Text;
        if !is_entangled {
            continue;
        }
        let (start, _) = section.file_range().context("a thunk has no bytes")?;
        let (value, size) = (symbol.address(), symbol.size());
        patches.push(((start + value) as usize, vec![NOP; size as usize]));
        for relocs in sections.iter() {
            let is_for = relocs.sh_type(endian) == object::elf::SHT_RELA
                && relocs.sh_info(endian) as usize == index.0;
            let Some((at, len)) = relocs.file_range(endian).filter(|_| is_for) else {
                continue;
            };
            for entry in (at as usize..(at + len) as usize).step_by(RELA) {
                let offset = bytes.get(entry..entry + 8).context("half a relocation")?;
                let offset = u64::from_le_bytes(offset.try_into()?);
                if (value..value + size).contains(&offset) {
                    patches.push((entry + TYPE, vec![0; 4]));
                }
            }
        }
    }
    for (at, patch) in patches {
        bytes[at..at + patch.len()].copy_from_slice(&patch);
    }
    Ok(())
}

/// An input that is made for a quadratic search.
pub(super) struct Worst {
    /// What it is, as printed.
    pub what: &'static str,
    /// Its assembly, once or twice as much of it.
    pub source: fn(usize) -> String,
}

/// All of them.
pub(super) const WORST: [Worst; 3] = [
    Worst {
        what: "20 000 jump tables in a function",
        source: jump_tables,
    },
    Worst {
        what: "200 000 symbols at few addresses",
        source: symbols,
    },
    Worst {
        what: "a million relocations in a section",
        source: relocations,
    },
];

/// One function with many switches, each with its own table.
fn jump_tables(times: usize) -> String {
    let mut text = String::from(".text\n.globl f\n.type f, @function\nf:\n endbr64\n");
    let mut tables = String::from(".section .rodata, \"a\"\n");
    for switch in 0..20_000 * times {
        let _ = write!(text, " jmp *.Lt{switch}(,%rax,8)\n.Lc{switch}: nop\n nop\n");
        let _ = writeln!(tables, ".Lt{switch}: .quad .Lc{switch}, .Lc{switch}+1");
    }
    text.push_str(" ret\n int3\n.size f, . - f\n");
    text + &tables
}

/// Many names for a few places, functions and labels among them.
fn symbols(times: usize) -> String {
    let mut text = String::from(".text\n");
    for place in 0..4 {
        for name in 0..25_000 * times {
            let _ = write!(
                text,
                "l{place}_{name}:\n.globl f{place}_{name}\n.type f{place}_{name}, @function\n\
                 f{place}_{name}:\n.size f{place}_{name}, 6\n"
            );
        }
        text.push_str(" endbr64\n ret\n int3\n");
    }
    text
}

/// Many references from one section of data.
fn relocations(times: usize) -> String {
    let count = 1_000_000 * times;
    format!(
        ".text\n.globl f\n.type f, @function\nf:\n endbr64\n ret\n int3\n.size f, . - f\n\
         .data\n.rept {count}\n.quad f\n.endr\n"
    )
}

/// Assembles a source.
pub(super) fn assemble(source: &str, to: &Path) -> Result<()> {
    let mut child = Command::new("as")
        .args(["--64", "-o"])
        .arg(to)
        .arg("-")
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start as; binutils must be installed")?;
    let mut input = child.stdin.take().context("as has no standard input")?;
    input.write_all(source.as_bytes())?;
    drop(input);
    let status = child.wait()?;
    if !status.success() {
        bail!("as failed ({status})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_cases_assemble_and_twice_is_twice_as_much() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("worst.o");
        for case in &WORST {
            let mut sizes = Vec::new();
            for times in [1, 2] {
                let source = (case.source)(times);
                if times == 1 || case.what.contains("relocations") {
                    assemble(&source, &file).unwrap();
                    assert!(
                        fs::metadata(&file).unwrap().len() > 1_000_000,
                        "{}",
                        case.what
                    );
                }
                sizes.push(source.len() as f64);
            }
            let is_rept = case.what.contains("relocations");
            assert!(is_rept || sizes[1] / sizes[0] > 1.9, "{}", case.what);
        }
        assert!(assemble("no such instruction", &file).is_err());
    }
}
