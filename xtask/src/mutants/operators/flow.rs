//! Operators on calls, returns and dead ends, and code that does not decode.

use iced_x86::{FlowControl, Mnemonic};

use super::{drop, insns, overwrite, pick, Change, Effect, Operator, Site};
use crate::mutants::code::{show, Insn, Subject, RETURN_THUNK};
use crate::mutants::rng::Rng;

/// Operators of this file.
pub const OPERATORS: &[Operator] = &[
    Operator {
        name: "ret-to-nop",
        about: "nops in place of a return",
        effect: Effect::Path,
        varied: false,
        partial: false,
        sites: |subject| insns(subject, |s, i| s.is_return(&s.insns[i])),
        apply: |subject, site, _| drop(subject, site.0 as usize),
    },
    Operator {
        name: "naked-ret",
        about: "ret in place of a jump to the return thunk",
        effect: Effect::Speculation,
        varied: false,
        partial: false,
        sites: |subject| {
            insns(subject, |s, i| {
                s.is_return(&s.insns[i]) && !s.insns[i].relocs.is_empty()
            })
        },
        apply: |subject, site, _| {
            overwrite(subject, site.0 as usize, &[0xc3, 0xcc, 0xcc, 0xcc, 0xcc])
        },
    },
    Operator {
        name: "early-ret",
        about: "ret in place of plain code",
        effect: Effect::Path,
        varied: false,
        partial: false,
        sites: |subject| insns(subject, |s, i| s.is_plain(&s.insns[i])),
        apply: |subject, site, _| overwrite(subject, site.0 as usize, &[0xc3]),
    },
    Operator {
        name: "early-return-thunk",
        about: "a call becomes a jump to the return thunk",
        effect: Effect::Path,
        varied: false,
        partial: true,
        sites: |subject| insns(subject, is_call),
        apply: |subject, site, _| {
            let thunk = symbol(subject, RETURN_THUNK)?;
            let mut change = opcode(subject, site.0 as usize, 0xe9)?;
            let insn = &subject.insns[site.0 as usize];
            change.edits.push(
                subject
                    .image
                    .with_symbol(insn.section, insn.relocs.start, thunk),
            );
            change.what = format!("{} -> jmp {RETURN_THUNK}", called(subject, insn));
            Some(change)
        },
    },
    Operator {
        name: "indirect-call",
        about: "call *%rax in place of a call",
        effect: Effect::Speculation,
        varied: false,
        partial: false,
        sites: |subject| insns(subject, is_call),
        apply: |subject, site, _| overwrite(subject, site.0 as usize, &[0xff, 0xd0]),
    },
    Operator {
        name: "indirect-jump",
        about: "jmp *%rax in place of a jump",
        effect: Effect::Speculation,
        varied: false,
        partial: false,
        sites: |subject| {
            insns(subject, |s, i| {
                let insn = &s.insns[i];
                insn.decoded.flow_control() == FlowControl::UnconditionalBranch
                    && s.is_text(insn.section)
            })
        },
        apply: |subject, site, _| overwrite(subject, site.0 as usize, &[0xff, 0xe0]),
    },
    Operator {
        name: "call-to-jump",
        about: "a call becomes a jump to the same function",
        effect: Effect::Path,
        varied: false,
        partial: false,
        sites: |subject| insns(subject, is_call),
        apply: |subject, site, _| opcode(subject, site.0 as usize, 0xe9),
    },
    Operator {
        name: "jump-to-call",
        about: "a tail call becomes a call",
        effect: Effect::Path,
        varied: false,
        partial: false,
        sites: |subject| {
            insns(subject, |s, i| {
                let insn = &s.insns[i];
                insn.decoded.flow_control() == FlowControl::UnconditionalBranch
                    && insn.relocs.len() == 1
                    && insn.len() == 5
                    && !s.is_return(insn)
            })
        },
        apply: |subject, site, _| opcode(subject, site.0 as usize, 0xe8),
    },
    Operator {
        name: "call-before-frame",
        about: "the call to __fentry__ goes to another function",
        effect: Effect::Callee,
        varied: true,
        partial: true,
        sites: |subject| {
            insns(subject, |s, i| {
                is_call(s, i) && s.reloc_name(&s.insns[i]) == Some("__fentry__")
            })
        },
        apply: |subject, site, rng| call_other(subject, site, rng, |name| name != "__fentry__"),
    },
    Operator {
        name: "call-other",
        about: "a call to another symbol",
        effect: Effect::Callee,
        varied: true,
        partial: true,
        sites: |subject| insns(subject, is_call),
        apply: |subject, site, rng| call_other(subject, site, rng, |_| true),
    },
    Operator {
        name: "call-noreturn",
        about: "a call to a function that does not return",
        effect: Effect::Path,
        varied: true,
        partial: true,
        sites: |subject| insns(subject, |s, i| is_call(s, i) && !never_returns(s, i)),
        apply: |subject, site, rng| call_other(subject, site, rng, is_noreturn),
    },
    Operator {
        name: "call-without-relocation",
        about: "the relocation of a call is taken out of its table",
        effect: Effect::Callee,
        varied: false,
        partial: true,
        sites: |subject| insns(subject, is_call),
        apply: |subject, site, _| {
            let index = site.0 as usize;
            let insn = &subject.insns[index];
            Some(Change::of_insn(
                subject,
                index,
                subject.image.remove(insn.section, insn.relocs.start)?,
                format!("{}: no relocation", called(subject, insn)),
            ))
        },
    },
    Operator {
        name: "drop-noreturn-call",
        about: "nops in place of a call that does not return",
        effect: Effect::Path,
        varied: false,
        partial: false,
        sites: |subject| insns(subject, never_returns),
        apply: |subject, site, _| drop(subject, site.0 as usize),
    },
    Operator {
        name: "drop-jump",
        about: "nops in place of an unconditional jump",
        effect: Effect::Path,
        varied: false,
        partial: false,
        sites: |subject| {
            insns(subject, |s, i| {
                let insn = &s.insns[i];
                insn.decoded.flow_control() == FlowControl::UnconditionalBranch
                    && !s.is_return(insn)
            })
        },
        apply: |subject, site, _| drop(subject, site.0 as usize),
    },
    Operator {
        name: "drop-ud2",
        about: "nops in place of ud2",
        effect: Effect::Path,
        varied: false,
        partial: false,
        sites: |subject| {
            insns(subject, |s, i| {
                s.insns[i].decoded.mnemonic() == Mnemonic::Ud2
            })
        },
        apply: |subject, site, _| drop(subject, site.0 as usize),
    },
    Operator {
        name: "insert-ud2",
        about: "ud2 in place of plain code",
        effect: Effect::Path,
        varied: false,
        partial: false,
        sites: |subject| {
            insns(subject, |s, i| {
                s.is_plain(&s.insns[i]) && s.insns[i].len() >= 2
            })
        },
        apply: |subject, site, _| overwrite(subject, site.0 as usize, &[0x0f, 0x0b]),
    },
    Operator {
        name: "undecodable",
        about: "a VEX prefix on an instruction that takes none, in place of plain code",
        effect: Effect::Decoding,
        varied: true,
        partial: false,
        sites: |subject| {
            insns(subject, |s, i| {
                s.is_plain(&s.insns[i]) && s.insns[i].len() >= 3
            })
        },
        apply: |subject, site, rng| {
            // syscall, ud2, cpuid and rdtsc behind a VEX prefix
            let opcode = *rng.choose(&[0x05_u8, 0x0b, 0xa2, 0x31])?;
            invalid(subject, site, &[0xc5, 0xf8, opcode])
        },
    },
    Operator {
        name: "invalid-opcode",
        about: "an opcode that 64-bit mode does not have in place of plain code",
        effect: Effect::Decoding,
        varied: true,
        partial: false,
        sites: |subject| insns(subject, |s, i| s.is_plain(&s.insns[i])),
        apply: |subject, site, rng| invalid(subject, site, &[*rng.choose(INVALID)?]),
    },
];

/// One-byte opcodes of 32-bit mode that are invalid in 64-bit mode, or prefixes there, from the
/// opcode map in the *Intel 64 and IA-32 Software Developer's Manual*, volume 2D, appendix A.
const INVALID: &[u8] = &[
    0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x62, 0x82, 0x9a,
    0xce, 0xd4, 0xd5, 0xd6, 0xea,
];

/// Functions outside the object that the kernel's list of functions without return holds; some of
/// those which many objects call.
const NORETURN: &[&str] = &[
    "panic",
    "do_exit",
    "make_task_dead",
    "__stack_chk_fail",
    "__module_put_and_kthread_exit",
    "kthread_exit",
    "rewind_stack_and_make_dead",
    "cpu_startup_entry",
    "machine_real_restart",
    "__fortify_panic",
];

fn is_noreturn(name: &str) -> bool {
    NORETURN.contains(&name) || (name.starts_with("_R") && name.contains("9panicking"))
}

/// Whether an instruction is a direct call with a relocation, which the assembler leaves for every
/// call to a symbol that others may see.
pub(super) fn is_call(subject: &Subject, index: usize) -> bool {
    let insn = &subject.insns[index];
    insn.decoded.flow_control() == FlowControl::Call
        && insn.relocs.len() == 1
        && insn.len() == 5
        && subject.is_text(insn.section)
}

/// Whether a call is the last thing its function does, or goes to a function that is known not to
/// return.
fn never_returns(subject: &Subject, index: usize) -> bool {
    if !is_call(subject, index) {
        return false;
    }
    let insn = &subject.insns[index];
    let last = subject.next(index).is_none_or(|next| {
        next.function != insn.function
            || (next.is_nop() && next.end() - next.offset() == 1)
            || next.decoded.mnemonic() == Mnemonic::Int3
    });
    last || subject.reloc_name(insn).is_some_and(is_noreturn)
}

/// The instruction with another opcode byte, its relocation kept.
pub(super) fn opcode(subject: &Subject, index: usize, opcode: u8) -> Option<Change> {
    let insn = &subject.insns[index];
    let mut bytes = subject.bytes(insn).to_vec();
    *bytes.first_mut()? = opcode;
    let change = overwrite(subject, index, &bytes)?;
    let code = change.edits.last()?.clone();
    Some(Change {
        edits: vec![code],
        ..change
    })
}

/// Puts bytes over an instruction that are none.
fn invalid(subject: &Subject, site: Site, bytes: &[u8]) -> Option<Change> {
    let change = overwrite(subject, site.0 as usize, bytes)?;
    let old = show(&subject.insns[site.0 as usize].decoded);
    Some(Change {
        what: format!("{old} -> bytes {bytes:02x?}"),
        ..change
    })
}

fn symbol(subject: &Subject, name: &str) -> Option<usize> {
    subject
        .image
        .symbols
        .iter()
        .position(|symbol| symbol.name == name)
}

fn called(subject: &Subject, insn: &Insn) -> String {
    match subject.reloc_name(insn) {
        Some(name) if !name.is_empty() => format!("call {name}"),
        _ => show(&insn.decoded),
    }
}

/// Makes a call's relocation refer to another function, inside or outside the object.
fn call_other(
    subject: &Subject,
    site: Site,
    rng: &mut Rng,
    wanted: impl Fn(&str) -> bool,
) -> Option<Change> {
    let index = site.0 as usize;
    let insn = &subject.insns[index];
    let symbols = &subject.image.symbols;
    let old = subject.image.sections[insn.section].relocs[insn.relocs.start].symbol;
    // Only what is called or is a function: other undefined symbols may be data.
    let is_target = |symbol: usize| {
        symbols[symbol].is_function()
            || (symbols[symbol].section.is_none() && is_called(subject, symbol))
    };
    let other = pick(rng, symbols.len(), |symbol| {
        symbol != old && wanted(&symbols[symbol].name) && is_target(symbol)
    })?;
    Some(Change::of_insn(
        subject,
        index,
        vec![subject
            .image
            .with_symbol(insn.section, insn.relocs.start, other)],
        format!("{} -> call {}", called(subject, insn), symbols[other].name),
    ))
}

fn is_called(subject: &Subject, symbol: usize) -> bool {
    subject.called.contains(&symbol)
}
