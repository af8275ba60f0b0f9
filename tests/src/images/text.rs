//! Which bytes of text may be left out of the text that must not be trusted: those of trusted
//! functions, and filling between functions. Everything else must be in it.
//!
//! Worked out byte by byte from the classes of the functions, without the tool's own ranges.

use anyhow::Result;
use arch::insn::{Decode as _, InsnKind};
use arch_x86_64::X86_64;
use object::{Object, ObjectSection, SectionFlags};

use super::judge::Range;

/// A function: its section, the offset in it, its size, and whether it is trusted.
#[derive(Clone, Debug)]
pub struct Function {
    /// Section.
    pub section: String,
    /// Offset of its first byte in the section.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
    /// Whether it is trusted.
    pub trusted: bool,
}

/// Section of code that never runs where it stands.
const REPLACEMENTS: &str = ".altinstr_replacement";

/// What is wrong with the ranges of a file, whose bytes these are.
///
/// # Errors
/// A file that can't be read.
pub fn complaints(data: &[u8], functions: &[Function], ranges: &[Range]) -> Result<Vec<String>> {
    let file = object::File::parse(data)?;
    let mut wrong = Vec::new();
    let mut known = Vec::new();
    for section in file.sections() {
        let is_code = matches!(section.flags(), SectionFlags::Elf { sh_flags, .. }
            if sh_flags.0 & object::elf::SHF_EXECINSTR.0 != 0);
        let name = section.name()?;
        if !is_code || name == REPLACEMENTS {
            continue;
        }
        known.push(name.to_owned());
        let bytes = section.data()?;
        let own = ranges.iter().filter(|range| range.section == name);
        let mut end = 0;
        let mut listed = vec![false; bytes.len()];
        for range in own {
            let here = format!("range {name}+{:#x}, {:#x} bytes", range.offset, range.size);
            if range.address != section.address() + range.offset {
                wrong.push(format!("{here}: its address is {:#x}", range.address));
            }
            if range.size == 0 || (range.offset < end && end != 0) {
                wrong.push(format!("{here}: empty, or not behind the one before"));
            }
            end = range.offset + range.size;
            match listed.get_mut(range.offset as usize..end as usize) {
                Some(bytes) => bytes.fill(true),
                None => wrong.push(format!("{here}: it leaves its section")),
            }
        }
        section_complaints(name, bytes, functions, &listed, &mut wrong);
    }
    for range in ranges {
        if !known.contains(&range.section) {
            wrong.push(format!("a range in {}, which holds no text", range.section));
        }
    }
    Ok(wrong)
}

fn section_complaints(
    name: &str,
    bytes: &[u8],
    functions: &[Function],
    listed: &[bool],
    wrong: &mut Vec<String>,
) {
    let mut covered = vec![None; bytes.len()];
    let mut own: Vec<&Function> = functions.iter().filter(|f| f.section == name).collect();
    // Where functions overlap, the one that is not trusted counts.
    own.sort_by_key(|function| std::cmp::Reverse(function.trusted));
    for function in own {
        let range = function.offset as usize..(function.offset + function.size) as usize;
        if let Some(bytes) = covered.get_mut(range) {
            bytes.fill(Some(function.trusted));
        }
    }
    let mut at = 0;
    while at < bytes.len() {
        let same = |&&i: &&usize| (covered[i], listed[i]) == (covered[at], listed[at]);
        let run: Vec<usize> = (at..bytes.len()).collect();
        let len = run.iter().take_while(same).count();
        let here = format!("{name}+{at:#x}, {len:#x} bytes");
        match (covered[at], listed[at]) {
            (Some(true), true) => wrong.push(format!("{here}: trusted, but listed")),
            (Some(false), false) => wrong.push(format!("{here}: not trusted, and not listed")),
            (None, false) if !is_filling(&bytes[at..at + len]) => {
                wrong.push(format!("{here}: no function, no filling, and not listed"));
            }
            _ => {}
        }
        at += len;
    }
}

/// Whether bytes are nothing that anybody is meant to run.
fn is_filling(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        if rest[0] == 0 {
            rest = &rest[1..];
            continue;
        }
        let mut len = 0;
        let _ = X86_64.decode(rest, &mut |offset, insn| {
            let is_nothing = matches!(insn.kind, InsnKind::Nop | InsnKind::Trap);
            if offset == 0 && is_nothing {
                len = usize::from(insn.len);
            }
        });
        if len == 0 {
            return false;
        }
        rest = &rest[len..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(functions: &[(u64, u64, bool)], listed: &[u8], bytes: &[u8]) -> Vec<String> {
        let functions: Vec<Function> = functions
            .iter()
            .map(|&(offset, size, trusted)| Function {
                section: ".text".into(),
                offset,
                size,
                trusted,
            })
            .collect();
        let listed: Vec<bool> = listed.iter().map(|&byte| byte != 0).collect();
        let mut wrong = Vec::new();
        section_complaints(".text", bytes, &functions, &listed, &mut wrong);
        wrong
    }

    #[test]
    fn each_kind_of_mistake_is_told() {
        // A return, filling, and a return of nobody's.
        let bytes = [0xc3, 0xcc, 0x66, 0x90, 0x00, 0xc3];
        let none: [String; 0] = [];
        assert_eq!(of(&[(0, 1, true)], &[0, 0, 0, 0, 0, 1], &bytes), none);
        assert_eq!(of(&[(0, 1, true)], &[0, 1, 1, 1, 1, 1], &bytes), none);
        assert_eq!(of(&[(0, 1, true)], &[1, 0, 0, 0, 0, 1], &bytes).len(), 1);
        assert_eq!(of(&[(0, 1, false)], &[0, 0, 0, 0, 0, 1], &bytes).len(), 1);
        assert_eq!(of(&[(0, 1, true)], &[0; 6], &bytes).len(), 1);
        let overlap = [(0, 2, true), (1, 4, false)];
        assert_eq!(of(&overlap, &[0, 1, 1, 1, 1, 1], &bytes), none);
        assert_eq!(of(&overlap, &[0, 0, 1, 1, 1, 1], &bytes).len(), 1);
    }
}
