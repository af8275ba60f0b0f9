//! Operators on what only some actions look at: landing pads, text that must not be instrumented,
//! entry code that makes returns safe, traps behind returns, calls of the function tracer, and
//! registers that ORC data can name.

use iced_x86::{FlowControl, Mnemonic, Register};

use super::flow::{is_call, opcode};
use super::{drop, insns, overwrite, pick, Change, Effect, Operator, Site};
use crate::mutants::code::{show, Insn, Subject};
use crate::mutants::rng::Rng;

/// Operators of this file.
pub const OPERATORS: &[Operator] = &[
    Operator {
        name: "drop-endbr",
        about: "nops in place of a landing pad",
        effect: Effect::LandingPad,
        varied: false,
        partial: false,
        sites: |subject| insns(subject, |s, i| is_landing_pad(&s.insns[i])),
        apply: |subject, site, _| drop(subject, site.0 as usize),
    },
    Operator {
        name: "drop-noendbr",
        about: "code is no longer said to be never branched to",
        effect: Effect::LandingPad,
        varied: false,
        partial: true,
        sites: |subject| annotations(subject, ".discard.noendbr"),
        apply: take_out,
    },
    Operator {
        name: "reference-moved",
        about: "an address in code is that of other code",
        effect: Effect::Reference,
        varied: true,
        partial: true,
        sites: references,
        apply: |subject, site, rng| {
            let (insn, reloc) = (&subject.insns[site.0 as usize], site.1 as usize);
            let entry = &subject.image.sections[insn.section].relocs[reloc];
            let (section, place) = subject.image.target(entry)?;
            // A relative field is counted from its own place, the processor counts from the end; so
            // the place may lie before the section.
            let bias = match insn.decoded.is_ip_rel_memory_operand() {
                true => insn.end() - entry.offset,
                false => 0,
            };
            let delta = elsewhere(subject, section, place.wrapping_add(bias), rng)?;
            let edit = subject
                .image
                .with_addend(insn.section, reloc, entry.addend + delta);
            Some(Change {
                section: insn.section,
                offset: insn.offset(),
                edits: vec![edit],
                what: format!("{}: {delta:+#x}", show(&insn.decoded)),
                insn: Some(site.0 as usize),
                register: None,
            })
        },
    },
    Operator {
        name: "reference-other",
        about: "an address in code is that of another function",
        effect: Effect::Reference,
        varied: true,
        partial: true,
        sites: references,
        apply: |subject, site, rng| {
            let (insn, reloc) = (&subject.insns[site.0 as usize], site.1 as usize);
            let (other, name) = function(subject, rng, |_| true)?;
            Some(Change {
                section: insn.section,
                offset: insn.offset(),
                edits: vec![subject.image.with_symbol(insn.section, reloc, other)],
                what: format!("{}: now of {name}", show(&insn.decoded)),
                insn: Some(site.0 as usize),
                register: None,
            })
        },
    },
    Operator {
        name: "pointer-moved",
        about: "a pointer in data goes elsewhere",
        effect: Effect::Reference,
        varied: true,
        partial: true,
        sites: pointers,
        apply: |subject, site, rng| {
            let (section, reloc) = (site.0 as usize, site.1 as usize);
            let entry = &subject.image.sections[section].relocs[reloc];
            let (target, place) = subject.image.target(entry)?;
            let delta = elsewhere(subject, target, place, rng)?;
            Some(Change {
                section,
                offset: entry.offset,
                edits: vec![subject
                    .image
                    .with_addend(section, reloc, entry.addend + delta)],
                what: format!("to {}: {delta:+#x}", subject.place(target, place)),
                insn: None,
                register: None,
            })
        },
    },
    Operator {
        name: "pointer-other",
        about: "a pointer in data goes to another function",
        effect: Effect::Reference,
        varied: true,
        partial: true,
        sites: pointers,
        apply: |subject, site, rng| {
            let (section, reloc) = (site.0 as usize, site.1 as usize);
            let (other, name) = function(subject, rng, |_| true)?;
            Some(Change {
                section,
                offset: subject.image.sections[section].relocs[reloc].offset,
                edits: vec![subject.image.with_symbol(section, reloc, other)],
                what: format!("now to {name}"),
                insn: None,
                register: None,
            })
        },
    },
    Operator {
        name: "call-leaves-noinstr",
        about: "text that must not be instrumented calls a function of other text",
        effect: Effect::Instrumentation,
        varied: true,
        partial: true,
        sites: |subject| {
            insns(subject, |s, i| {
                is_call(s, i) && is_noinstr(s, s.insns[i].section)
            })
        },
        apply: |subject, site, rng| leave(subject, site, rng),
    },
    Operator {
        name: "jump-leaves-noinstr",
        about: "text that must not be instrumented ends with a tail call of other text",
        effect: Effect::Instrumentation,
        varied: true,
        partial: true,
        sites: |subject| {
            insns(subject, |s, i| {
                let insn = &s.insns[i];
                s.is_return(insn) && insn.relocs.len() == 1 && is_noinstr(s, insn.section)
            })
        },
        apply: |subject, site, rng| leave(subject, site, rng),
    },
    Operator {
        name: "indirect-in-noinstr",
        about: "text that must not be instrumented makes an indirect call",
        effect: Effect::Instrumentation,
        varied: false,
        partial: false,
        sites: |subject| {
            insns(subject, |s, i| {
                is_call(s, i) && is_noinstr(s, s.insns[i].section)
            })
        },
        apply: |subject, site, _| overwrite(subject, site.0 as usize, &[0xff, 0xd0]),
    },
    Operator {
        name: "drop-instr-begin",
        about: "instrumentation is not allowed where it was",
        effect: Effect::Instrumentation,
        varied: false,
        partial: true,
        sites: |subject| noinstr_annotations(subject, ".discard.instr_begin"),
        apply: take_out,
    },
    Operator {
        name: "drop-instr-end",
        about: "instrumentation stays allowed",
        effect: Effect::Instrumentation,
        varied: false,
        partial: true,
        sites: |subject| noinstr_annotations(subject, ".discard.instr_end"),
        apply: take_out,
    },
    Operator {
        name: "entry-return",
        about: "a return in place of entry code",
        effect: Effect::Untrained,
        varied: false,
        partial: false,
        sites: |subject| insns(subject, is_entry),
        apply: |subject, site, _| overwrite(subject, site.0 as usize, &[0xc3]),
    },
    Operator {
        name: "entry-indirect",
        about: "an indirect call in place of entry code",
        effect: Effect::Untrained,
        varied: false,
        partial: false,
        sites: |subject| insns(subject, |s, i| is_entry(s, i) && s.insns[i].len() >= 2),
        apply: |subject, site, _| overwrite(subject, site.0 as usize, &[0xff, 0xd0]),
    },
    Operator {
        name: "drop-entry-call",
        about: "nops in place of a call in entry code",
        effect: Effect::Untrained,
        varied: false,
        partial: false,
        sites: |subject| {
            insns(subject, |s, i| {
                is_call(s, i) && is_entry_text(s, &s.insns[i])
            })
        },
        apply: |subject, site, _| drop(subject, site.0 as usize),
    },
    Operator {
        name: "entry-leaves-object",
        about: "a jump of entry code goes out of the object",
        effect: Effect::Untrained,
        varied: true,
        partial: true,
        sites: |subject| {
            insns(subject, |s, i| {
                let insn = &s.insns[i];
                is_entry_text(s, insn) && insn.len() == 5 && insn.relocs.len() == 1
            })
        },
        apply: |subject, site, rng| {
            let insn = &subject.insns[site.0 as usize];
            let symbols = &subject.image.symbols;
            let other = pick(rng, symbols.len(), |symbol| {
                symbols[symbol].section.is_none() && !symbols[symbol].name.is_empty()
            })?;
            let edit = subject
                .image
                .with_symbol(insn.section, insn.relocs.start, other);
            Some(Change {
                section: insn.section,
                offset: insn.offset(),
                edits: vec![edit],
                what: format!("{} -> {}", show(&insn.decoded), symbols[other].name),
                insn: Some(site.0 as usize),
                register: None,
            })
        },
    },
    Operator {
        name: "drop-safe-mark",
        about: "code is no longer said to be safe from speculation",
        effect: Effect::Untrained,
        varied: false,
        partial: true,
        sites: |subject| annotations(subject, ".discard.retpoline_safe"),
        apply: take_out,
    },
    Operator {
        name: "drop-trap",
        about: "nops in place of int3",
        effect: Effect::Trap,
        varied: false,
        partial: false,
        sites: |subject| {
            insns(subject, |s, i| {
                let before = i.checked_sub(1).map(|before| &s.insns[before]);
                let insn = &s.insns[i];
                let ends = |before: &&Insn| {
                    before.section == insn.section
                        && matches!(
                            before.decoded.flow_control(),
                            FlowControl::Return | FlowControl::IndirectBranch
                        )
                };
                insn.decoded.mnemonic() == Mnemonic::Int3 && before.filter(ends).is_some()
            })
        },
        apply: |subject, site, _| drop(subject, site.0 as usize),
    },
    Operator {
        name: "ret-without-trap",
        about: "ret and nops in place of a jump to the return thunk",
        effect: Effect::Trap,
        varied: false,
        partial: false,
        sites: |subject| {
            insns(subject, |s, i| {
                s.is_return(&s.insns[i]) && !s.insns[i].relocs.is_empty()
            })
        },
        apply: |subject, site, _| overwrite(subject, site.0 as usize, &[0xc3]),
    },
    Operator {
        name: "jump-to-tracer",
        about: "a call of the function tracer becomes a jump to it",
        effect: Effect::Path,
        varied: false,
        partial: false,
        sites: |subject| {
            insns(subject, |s, i| {
                is_call(s, i) && s.reloc_name(&s.insns[i]) == Some("__fentry__")
            })
        },
        apply: |subject, site, _| opcode(subject, site.0 as usize, 0xe9),
    },
    Operator {
        name: "realign-register",
        about: "a realigned stack is kept in a register that ORC data can't name",
        effect: Effect::Rsp,
        varied: false,
        partial: true,
        sites: |subject| {
            insns(subject, |s, i| {
                let insn = &s.insns[i].decoded;
                insn.mnemonic() == Mnemonic::Lea
                    && insn.memory_base() == Register::RSP
                    && insn.memory_index() == Register::None
                    && matches!(insn.op0_register(), Register::R10 | Register::R13)
                    && s.next(i).is_some_and(realigns)
            })
        },
        apply: |subject, site, _| {
            let insn = &subject.insns[site.0 as usize];
            let mut bytes = subject.bytes(insn).to_vec();
            // rbx, and no bit of the register in the prefix.
            *bytes.first_mut()? &= !4;
            let modrm = bytes.get_mut(2)?;
            *modrm = *modrm & !0x38 | 3 << 3;
            overwrite(subject, site.0 as usize, &bytes)
        },
    },
    Operator {
        name: "insert-pushf",
        about: "pushf in place of plain code",
        effect: Effect::Depth,
        varied: false,
        partial: false,
        sites: |subject| plain_other_than(subject, &[Mnemonic::Push, Mnemonic::Pushfq]),
        apply: |subject, site, _| overwrite(subject, site.0 as usize, &[0x9c]),
    },
    Operator {
        name: "insert-popf",
        about: "popf in place of plain code",
        effect: Effect::Depth,
        varied: false,
        partial: false,
        sites: |subject| plain_other_than(subject, &[Mnemonic::Pop, Mnemonic::Popfq]),
        apply: |subject, site, _| overwrite(subject, site.0 as usize, &[0x9d]),
    },
];

/// Whether an instruction rounds the stack pointer down.
fn realigns(insn: &Insn) -> bool {
    insn.decoded.mnemonic() == Mnemonic::And && insn.decoded.op0_register() == Register::RSP
}

/// Plain code that a push or pop of the flags would not be as good as.
fn plain_other_than(subject: &Subject, alike: &[Mnemonic]) -> Vec<Site> {
    insns(subject, |s, i| {
        s.is_plain(&s.insns[i]) && !alike.contains(&s.insns[i].decoded.mnemonic())
    })
}

fn is_landing_pad(insn: &Insn) -> bool {
    insn.decoded.mnemonic() == Mnemonic::Endbr64
}

/// The sections that must not be instrumented (`decode_instructions()` marks them in C objtool).
fn is_noinstr(subject: &Subject, section: usize) -> bool {
    let name = subject.image.sections[section].name.as_str();
    [".noinstr.text", ".entry.text", ".cpuidle.text"].contains(&name)
        || name.starts_with(".text..__x86.")
}

/// Whether an instruction is entry code in assembly, which belongs to no function.
fn is_entry_text(subject: &Subject, insn: &Insn) -> bool {
    insn.function.is_none() && subject.image.sections[insn.section].name == ".entry.text"
}

fn is_entry(subject: &Subject, index: usize) -> bool {
    let insn = &subject.insns[index];
    is_entry_text(subject, insn)
        && insn.relocs.is_empty()
        && insn.decoded.flow_control() == FlowControl::Next
}

/// Sites of an annotation: section and relocation number.
fn annotations(subject: &Subject, name: &str) -> Vec<Site> {
    let Some(section) = subject.image.section(name) else {
        return Vec::new();
    };
    let relocs = 0..subject.image.sections[section].relocs.len();
    relocs
        .map(|reloc| Site(section as u32, reloc as u32))
        .collect()
}

/// Those about text that must not be instrumented. Every `WARN()` has some, anywhere.
fn noinstr_annotations(subject: &Subject, name: &str) -> Vec<Site> {
    let mut sites = annotations(subject, name);
    sites.retain(|site| {
        let entry = &subject.image.sections[site.0 as usize].relocs[site.1 as usize];
        let place = subject.image.target(entry);
        place.is_some_and(|(section, _)| is_noinstr(subject, section))
    });
    sites
}

/// Takes an annotation's relocation out of its table.
fn take_out(subject: &Subject, site: Site, _: &mut Rng) -> Option<Change> {
    let (section, reloc) = (site.0 as usize, site.1 as usize);
    let entry = &subject.image.sections[section].relocs[reloc];
    let (target, place) = subject.image.target(entry)?;
    Some(Change {
        section,
        offset: entry.offset,
        edits: subject.image.remove(section, reloc)?,
        what: format!(
            "{} of {}: no relocation",
            subject.image.sections[section].name,
            subject.place(target, place)
        ),
        insn: subject.find(target, place),
        register: None,
    })
}

/// Sites of addresses in code, other than those that are branched to directly: instruction and
/// relocation number. Only addresses of code.
fn references(subject: &Subject) -> Vec<Site> {
    let mut sites = Vec::new();
    for (index, insn) in subject.insns.iter().enumerate() {
        if insn.decoded.flow_control() != FlowControl::Next || insn.is_nop() {
            continue;
        }
        for reloc in insn.relocs.clone() {
            let entry = &subject.image.sections[insn.section].relocs[reloc];
            if is_code(subject, subject.image.target(entry)) {
                sites.push(Site(index as u32, reloc as u32));
            }
        }
    }
    sites
}

/// Sites of pointers to code in data: section and relocation number.
fn pointers(subject: &Subject) -> Vec<Site> {
    const DATA: [&str; 5] = [".data", ".rodata", ".init.data", ".ref.data", ".initcall"];
    let mut sites = Vec::new();
    for (index, section) in subject.image.sections.iter().enumerate() {
        if section.is_code() || !DATA.iter().any(|name| section.name.starts_with(name)) {
            continue;
        }
        for (reloc, entry) in section.relocs.iter().enumerate() {
            if is_code(subject, subject.image.target(entry)) {
                sites.push(Site(index as u32, reloc as u32));
            }
        }
    }
    sites
}

fn is_code(subject: &Subject, place: Option<(usize, u64)>) -> bool {
    place.is_some_and(|(section, _)| subject.image.sections[section].is_code())
}

/// How far away another place of a section's code is: into the instruction, a neighbouring one, one
/// of any function.
fn elsewhere(subject: &Subject, section: usize, place: u64, rng: &mut Rng) -> Option<i64> {
    let code = &subject.insns[subject.by_section.get(section)?.clone()];
    let at = code.partition_point(|insn| insn.offset() < place);
    let new = match rng.below(4) {
        0 => place.wrapping_add(1),
        1 => code.get(at + 1)?.offset(),
        2 => code.get(at.checked_sub(1)?)?.offset(),
        _ => rng.choose(code)?.offset(),
    };
    (new != place).then_some(new.wrapping_sub(place) as i64)
}

/// A function of the object: its symbol and name. `wanted` decides by the section.
fn function<'s>(
    subject: &'s Subject,
    rng: &mut Rng,
    wanted: impl Fn(usize) -> bool,
) -> Option<(usize, &'s str)> {
    let symbols = &subject.image.symbols;
    let found = pick(rng, symbols.len(), |symbol| {
        symbols[symbol].is_function() && symbols[symbol].section.is_some_and(&wanted)
    })?;
    Some((found, &symbols[found].name))
}

/// Makes a direct branch go to a function of text that may be instrumented.
fn leave(subject: &Subject, site: Site, rng: &mut Rng) -> Option<Change> {
    let insn = &subject.insns[site.0 as usize];
    let (other, name) = function(subject, rng, |section| !is_noinstr(subject, section))?;
    let edit = subject
        .image
        .with_symbol(insn.section, insn.relocs.start, other);
    Some(Change {
        section: insn.section,
        offset: insn.offset(),
        edits: vec![edit],
        what: format!("{} -> {name}", show(&insn.decoded)),
        insn: Some(site.0 as usize),
        register: None,
    })
}
