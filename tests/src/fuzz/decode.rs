//! Any bytes as code: the records that decoding makes, and how they are found again.

use std::cell::RefCell;

use arch::insn::{Decode as _, Insn, InsnKind, Wanted};
use arch::object::Architecture as _;
use arch_x86_64::X86_64;
use objtool_rs::decode::{InsnId, Insns};
use objtool_rs::read::{ElfFile, ReadError, SectionId};

use super::image::{elf, Image, Section};

/// The longest instruction (Intel SDM volume 2, "Instruction Format").
const LONGEST: u8 = 15;

/// Runs one input: a byte that says where to divide the rest into two sections, and the code.
///
/// # Panics
///
/// When a record is impossible, or a lookup does not find what the decoder has handed out.
pub fn run(input: &[u8]) {
    let Some((&at, code)) = input.split_first() else {
        return;
    };
    let (first, second) = code.split_at(usize::from(at).min(code.len()));
    let decoded: Vec<Decoded> = [first, second].into_iter().map(decode).collect();

    let image = Image {
        sections: vec![
            Section::code(".text", first.to_vec()),
            Section::new(".data", elf::ALLOC, vec![0xcc; 3]),
            Section::code(".text.second", second.to_vec()),
        ],
        ..Image::default()
    };
    let bytes = image.bytes(X86_64::MACHINE);
    let file = ElfFile::parse(&bytes, X86_64::MACHINE).expect("the file around the code is valid");
    let sections = [SectionId(1), SectionId(3)];
    let insns = match Insns::decode(&X86_64, &file, Wanted::All) {
        Ok(insns) => insns,
        Err(ReadError::Undecodable { section, offset }) => {
            let names = [".text", ".text.second"];
            let bad = decoded.iter().position(|d| d.end.is_some());
            let bad = bad.expect("one of the sections can't be decoded");
            assert_eq!(names[bad], section);
            assert_eq!(decoded[bad].end.map(|end| end as u64), Some(offset));
            return;
        }
        Err(e) => panic!("{e}"),
    };
    assert!(decoded.iter().all(|d| d.end.is_none()));
    build(&file, &insns);
    let count: usize = decoded.iter().map(|d| d.insns.len()).sum();
    assert_eq!(insns.len() as usize, count);
    assert_eq!(insns.records(), count);
    assert_eq!(insns.is_empty(), count == 0);
    for ((section, code), decoded) in sections.into_iter().zip([first, second]).zip(&decoded) {
        lookups(&insns, section, code, decoded);
    }
    assert_eq!(insns.ids_of(SectionId(2)).count(), 0);
    assert_eq!(insns.at(SectionId(2), 0), None);
}

/// What a build wants to know is the same, however it is decoded.
fn build(file: &ElfFile<'_>, all: &Insns) {
    let build = Insns::decode(&X86_64, file, Wanted::Build).expect("it was decoded before");
    assert_eq!(build.records(), all.records());
    for id in all.ids() {
        let (known, found) = (all.get(id), build.get(id));
        assert_eq!(
            (found.offset, found.len, found.kind, found.displacement()),
            (known.offset, known.len, known.kind, known.displacement())
        );
        assert_eq!(build.ops(found.ops()), all.ops(known.ops()));
    }
}

/// What the decoder hands out for a run of code, and where it stopped if it did.
struct Decoded {
    insns: Vec<(usize, Insn)>,
    end: Option<usize>,
}

fn decode(code: &[u8]) -> Decoded {
    let insns = RefCell::new(Vec::new());
    let result = X86_64.decode(code, &mut |offset, insn| {
        insns.borrow_mut().push((offset, insn));
    });
    let insns = insns.into_inner();
    let mut next = 0;
    for (offset, insn) in &insns {
        assert_eq!(*offset, next, "instructions follow each other");
        assert!((1..=LONGEST).contains(&insn.len), "{} bytes", insn.len);
        next += usize::from(insn.len);
        let is_direct = insn.kind.is_static_jump() || insn.kind == InsnKind::Call;
        assert!(is_direct || insn.displacement == 0);
        assert!(insn.ops[0].is_some() || insn.ops[1].is_none());
    }
    let end = result.err().map(|e| e.offset);
    match end {
        Some(end) => assert_eq!(end, next, "it stops where an instruction would begin"),
        None => assert_eq!(next, code.len(), "all of the code is decoded"),
    }
    Decoded { insns, end }
}

fn lookups(insns: &Insns, section: SectionId, code: &[u8], decoded: &Decoded) {
    let ids: Vec<InsnId> = insns.ids_of(section).collect();
    assert_eq!(ids.len(), decoded.insns.len());
    assert_eq!(insns.last_of(section), ids.last().copied());
    for (i, (&id, (offset, insn))) in ids.iter().zip(&decoded.insns).enumerate() {
        let record = insns.get(id);
        assert_eq!(record.offset as usize, *offset);
        assert_eq!((record.len, record.kind), (insn.len, insn.kind));
        assert_eq!(record.displacement(), insn.displacement);
        assert_eq!(*insns.ops(record.ops()), insn.ops);
        assert_eq!(insns.section(id), section);
        assert_eq!(insns.next(id), ids.get(i + 1).copied());
        assert_eq!(insns.prev(id), i.checked_sub(1).map(|i| ids[i]));
        if insn.kind.is_static_jump() {
            let target = record.end() as i64 + i64::from(insn.displacement);
            assert_eq!(record.branch_target() as i64, target);
        }
    }
    let mut next = ids.iter().copied().peekable();
    for offset in 0..code.len() as u64 + 20 {
        let here = next.next_if(|&id| u64::from(insns.get(id).offset) == offset);
        assert_eq!(insns.at(section, offset), here, "at {offset:#x}");
    }
    assert_eq!(insns.at(section, u64::MAX), None);
}
