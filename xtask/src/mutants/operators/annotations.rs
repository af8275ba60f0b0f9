//! Operators on what sections say about code: unwind hints, alternatives, the exception table,
//! jump labels, jump tables and the `.discard.*` annotations.
//!
//! Layouts: `struct unwind_hint` in the kernel's `include/linux/objtool_types.h`, and `struct
//! alt_instr`, `struct exception_table_entry` and `struct jump_entry` of `arch/x86/include/asm`.

use super::{pick, Change, Effect, Operator, Site};
use crate::mutants::code::{show, Subject};
use crate::mutants::image::Edit;
use crate::mutants::rng::Rng;

/// Operators of this file.
pub const OPERATORS: &[Operator] = &[
    Operator {
        name: "hint-offset",
        about: "another stack offset in an unwind hint",
        effect: Effect::Hint,
        varied: true,
        partial: true,
        sites: |subject| entries(subject, &HINTS),
        apply: |subject, site, rng| {
            let delta = *rng.choose(&[8_i16, -8, 16, 1, 0x100])?;
            let old = i16::from_le_bytes(field(subject, site, &HINTS, 4, 2)?.try_into().ok()?);
            set(
                subject,
                site,
                &HINTS,
                4,
                &old.wrapping_add(delta).to_le_bytes(),
                "offset",
            )
        },
    },
    Operator {
        name: "hint-register",
        about: "another base register in an unwind hint",
        effect: Effect::Hint,
        varied: true,
        partial: true,
        sites: |subject| entries(subject, &HINTS),
        apply: |subject, site, rng| {
            // ORC_REG_* end at 9; 15 and 200 are none.
            let register = *rng.choose(&[0_u8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 200])?;
            set(subject, site, &HINTS, 6, &[register], "register")
        },
    },
    Operator {
        name: "hint-type",
        about: "another type in an unwind hint",
        effect: Effect::Hint,
        varied: true,
        partial: true,
        sites: |subject| entries(subject, &HINTS),
        apply: |subject, site, rng| {
            // UNWIND_HINT_TYPE_* end at 7; 8 and 255 are none.
            let kind = *rng.choose(&[0_u8, 1, 2, 3, 4, 5, 6, 7, 8, 255])?;
            set(subject, site, &HINTS, 7, &[kind], "type")
        },
    },
    Operator {
        name: "hint-signal",
        about: "the other signal flag in an unwind hint",
        effect: Effect::Hint,
        varied: false,
        partial: true,
        sites: |subject| entries(subject, &HINTS),
        apply: |subject, site, _| {
            let flag = *field(subject, site, &HINTS, 8, 1)?.first()?;
            set(subject, site, &HINTS, 8, &[flag ^ 1], "signal")
        },
    },
    Operator {
        name: "hint-without-relocation",
        about: "the relocation of an unwind hint is taken out of its table",
        effect: Effect::Hint,
        varied: false,
        partial: true,
        sites: |subject| relocs(subject, |name| name == HINTS.section, 0, 1),
        apply: |subject, site, _| remove(subject, site),
    },
    Operator {
        name: "hint-moved",
        about: "an unwind hint for another place",
        effect: Effect::Hint,
        varied: true,
        partial: true,
        sites: |subject| relocs(subject, |name| name == HINTS.section, 0, 1),
        apply: |subject, site, rng| shift(subject, site, rng, false),
    },
    Operator {
        name: "alternative-length",
        about: "another length of the code that an alternative replaces",
        effect: Effect::Patching,
        varied: true,
        partial: true,
        sites: |subject| entries(subject, &ALTERNATIVES),
        apply: |subject, site, rng| other_length(subject, site, rng, 12),
    },
    Operator {
        name: "replacement-length",
        about: "another length of an alternative's replacement",
        effect: Effect::Patching,
        varied: true,
        partial: true,
        sites: |subject| entries(subject, &ALTERNATIVES),
        apply: |subject, site, rng| other_length(subject, site, rng, 13),
    },
    Operator {
        name: "alternative-moved",
        about: "an alternative for another place",
        effect: Effect::Patching,
        varied: true,
        partial: true,
        sites: |subject| relocs(subject, |name| name == ALTERNATIVES.section, 0, 14),
        apply: |subject, site, rng| shift(subject, site, rng, true),
    },
    Operator {
        name: "replacement-moved",
        about: "another replacement for an alternative",
        effect: Effect::Patching,
        varied: true,
        partial: true,
        sites: |subject| relocs(subject, |name| name == ALTERNATIVES.section, 4, 14),
        apply: |subject, site, rng| shift(subject, site, rng, true),
    },
    Operator {
        name: "alternative-without-relocation",
        about: "a relocation of an alternative is taken out of its table",
        effect: Effect::Patching,
        varied: false,
        partial: true,
        sites: |subject| relocs(subject, |name| name == ALTERNATIVES.section, 0, 1),
        apply: |subject, site, _| remove(subject, site),
    },
    Operator {
        name: "extable-place",
        about: "an exception table entry for another place",
        effect: Effect::Patching,
        varied: true,
        partial: true,
        sites: |subject| relocs(subject, |name| name == EXTABLE, 0, 12),
        apply: |subject, site, rng| shift(subject, site, rng, true),
    },
    Operator {
        name: "extable-fixup",
        about: "an exception table entry that continues elsewhere",
        effect: Effect::Patching,
        varied: true,
        partial: true,
        sites: |subject| relocs(subject, |name| name == EXTABLE, 4, 12),
        apply: |subject, site, rng| shift(subject, site, rng, true),
    },
    Operator {
        name: "extable-without-relocation",
        about: "a relocation of an exception table entry is taken out of its table",
        effect: Effect::Patching,
        varied: false,
        partial: true,
        sites: |subject| relocs(subject, |name| name == EXTABLE, 0, 1),
        apply: |subject, site, _| remove(subject, site),
    },
    Operator {
        name: "jump-label-place",
        about: "a jump label for another place",
        effect: Effect::Patching,
        varied: true,
        partial: true,
        sites: |subject| relocs(subject, |name| name == JUMP_LABELS, 0, 16),
        apply: |subject, site, rng| shift(subject, site, rng, true),
    },
    Operator {
        name: "jump-label-target",
        about: "a jump label that jumps elsewhere",
        effect: Effect::Patching,
        varied: true,
        partial: true,
        sites: |subject| relocs(subject, |name| name == JUMP_LABELS, 4, 16),
        apply: |subject, site, rng| shift(subject, site, rng, true),
    },
    Operator {
        name: "jump-table-target",
        about: "a jump table entry that goes elsewhere",
        effect: Effect::Patching,
        varied: true,
        partial: true,
        sites: |subject| {
            let mut sites = relocs(subject, is_rodata, 0, 1);
            sites.retain(|&site| inside_function(subject, site));
            sites
        },
        apply: |subject, site, rng| shift(subject, site, rng, true),
    },
    Operator {
        name: "drop-annotation",
        about: "the relocation of a .discard annotation is taken out of its table",
        effect: Effect::Annotation,
        varied: false,
        partial: true,
        sites: |subject| relocs(subject, is_annotation, 0, 1),
        apply: |subject, site, _| remove(subject, site),
    },
    Operator {
        name: "annotation-moved",
        about: "a .discard annotation for another place",
        effect: Effect::Annotation,
        varied: true,
        partial: true,
        sites: |subject| relocs(subject, is_annotation, 0, 1),
        apply: |subject, site, rng| shift(subject, site, rng, false),
    },
    Operator {
        name: "annotation-symbol",
        about: "a .discard annotation that refers to a symbol of another kind",
        effect: Effect::Annotation,
        varied: true,
        partial: true,
        sites: |subject| relocs(subject, is_annotation, 0, 1),
        apply: |subject, site, rng| {
            let (section, reloc) = (site.0 as usize, site.1 as usize);
            let symbols = &subject.image.symbols;
            let old = &subject.image.sections[section].relocs[reloc];
            let other = pick(rng, symbols.len(), |symbol| {
                symbol != 0 && symbols[symbol].kind != symbols[old.symbol].kind
            })?;
            let edit = subject.image.with_symbol(section, reloc, other);
            let what = format!("symbol -> {} {:?}", other, symbols[other].name);
            Some(change(
                subject,
                section,
                old.offset,
                edit,
                &what,
                annotated(subject, site),
            ))
        },
    },
];

/// A section that is an array of structures.
struct Table {
    section: &'static str,
    entry: usize,
}

const HINTS: Table = Table {
    section: ".discard.unwind_hints",
    entry: 12,
};

const ALTERNATIVES: Table = Table {
    section: ".altinstructions",
    entry: 14,
};

const EXTABLE: &str = "__ex_table";
const JUMP_LABELS: &str = "__jump_table";

fn is_annotation(name: &str) -> bool {
    name.starts_with(".discard.") && name != HINTS.section && name != ".discard.addressable"
}

/// Where the compiler puts jump tables.
fn is_rodata(name: &str) -> bool {
    (name.starts_with(".rodata") && !name.contains(".str1.")) || name.starts_with(".data.rel.ro")
}

/// Sites of a table: section and entry number.
fn entries(subject: &Subject, table: &Table) -> Vec<Site> {
    let Some(section) = subject.image.section(table.section) else {
        return Vec::new();
    };
    let count = subject.image.sections[section].size / table.entry;
    (0..count)
        .map(|entry| Site(section as u32, entry as u32))
        .collect()
}

/// Sites of relocations: section and relocation number. Only those at `offset` modulo `period`
/// bytes, in sections whose name is wanted.
fn relocs(subject: &Subject, wanted: impl Fn(&str) -> bool, offset: u64, period: u64) -> Vec<Site> {
    let mut sites = Vec::new();
    for (index, section) in subject.image.sections.iter().enumerate() {
        if !wanted(&section.name) {
            continue;
        }
        for (reloc, entry) in section.relocs.iter().enumerate() {
            if entry.offset % period == offset {
                sites.push(Site(index as u32, reloc as u32));
            }
        }
    }
    sites
}

/// The instruction that a relocation refers to.
fn annotated(subject: &Subject, site: Site) -> Option<usize> {
    let reloc = &subject.image.sections[site.0 as usize].relocs[site.1 as usize];
    let (section, offset) = subject.image.target(reloc)?;
    subject.find(section, offset)
}

/// Whether a relocation refers to code of a function behind its start.
fn inside_function(subject: &Subject, site: Site) -> bool {
    let Some(index) = annotated(subject, site) else {
        return false;
    };
    let insn = &subject.insns[index];
    insn.function
        .is_some_and(|function| subject.image.symbols[function].value != insn.offset())
}

fn change(
    subject: &Subject,
    section: usize,
    offset: u64,
    edit: Edit,
    what: &str,
    insn: Option<usize>,
) -> Change {
    let about = insn.map_or_else(String::new, |index| {
        let insn = &subject.insns[index];
        let place = subject.place(insn.section, insn.offset());
        format!(" of {place} ({})", show(&insn.decoded))
    });
    Change {
        section,
        offset,
        edits: vec![edit],
        what: format!("{}{about}: {what}", subject.image.sections[section].name),
        insn,
        register: None,
    }
}

fn field<'s>(
    subject: &'s Subject,
    site: Site,
    table: &Table,
    at: usize,
    len: usize,
) -> Option<&'s [u8]> {
    let start = site.1 as usize * table.entry + at;
    subject
        .image
        .contents(site.0 as usize)
        .get(start..start + len)
}

/// Writes a field of an entry; none where it has that value already.
fn set(
    subject: &Subject,
    site: Site,
    table: &Table,
    at: usize,
    bytes: &[u8],
    name: &str,
) -> Option<Change> {
    let old = field(subject, site, table, at, bytes.len())?;
    if old == bytes {
        return None;
    }
    let section = site.0 as usize;
    let start = site.1 as usize * table.entry;
    let code = subject
        .image
        .relocs_in(section, start as u64, 4)
        .next()
        .and_then(|reloc| annotated(subject, Site(site.0, reloc as u32)));
    let edit = Edit::new(subject.image.sections[section].at + start + at, bytes);
    let what = format!("{name} {old:02x?} -> {bytes:02x?}");
    Some(change(subject, section, start as u64, edit, &what, code))
}

fn other_length(subject: &Subject, site: Site, rng: &mut Rng, at: usize) -> Option<Change> {
    let old = *field(subject, site, &ALTERNATIVES, at, 1)?.first()?;
    let lengths = [
        old.wrapping_add(1),
        old.wrapping_sub(1),
        old.wrapping_add(5),
        0,
        255,
    ];
    let start = rng.below(lengths.len());
    let mut lengths = lengths[start..].iter().chain(&lengths[..start]);
    let new = *lengths.find(|&&length| length != old)?;
    let name = if at == 12 {
        "length"
    } else {
        "replacement length"
    };
    set(subject, site, &ALTERNATIVES, at, &[new], name)
}

fn remove(subject: &Subject, site: Site) -> Option<Change> {
    let (section, reloc) = (site.0 as usize, site.1 as usize);
    let offset = subject.image.sections[section].relocs[reloc].offset;
    let edits = subject.image.remove(section, reloc)?;
    let insn = annotated(subject, site);
    let first = edits.first()?.clone();
    let change = change(subject, section, offset, first, "no relocation", insn);
    Some(Change { edits, ..change })
}

/// Moves what a relocation refers to: into an instruction, to a neighbouring one, to another
/// function, or past the section's end. `far` allows what is in another function.
fn shift(subject: &Subject, site: Site, rng: &mut Rng, far: bool) -> Option<Change> {
    let (section, index) = (site.0 as usize, site.1 as usize);
    let reloc = &subject.image.sections[section].relocs[index];
    let (target, offset) = subject.image.target(reloc)?;
    let range = subject.by_section.get(target)?.clone();
    if range.is_empty() {
        return None;
    }
    let code = &subject.insns[range.clone()];
    let at = code.partition_point(|insn| insn.offset() < offset);
    let new = match rng.below(if far { 5 } else { 4 }) {
        0 => offset + 1,
        1 => code.get(at + 1).map_or(offset + 1, |next| next.offset()),
        2 => match at.checked_sub(1) {
            Some(previous) => code[previous].offset(),
            None => offset + 1,
        },
        3 => subject.image.sections[target].size as u64 + rng.below(32) as u64,
        _ => code[rng.below(code.len())].offset(),
    };
    if new == offset {
        return None;
    }
    let addend = reloc.addend + (new as i64 - offset as i64);
    let edit = subject.image.with_addend(section, index, addend);
    let what = format!("now {}", subject.place(target, new));
    let insn = annotated(subject, site);
    Some(change(subject, section, reloc.offset, edit, &what, insn))
}
