//! `.static_call_sites`: calls to trampolines, to be patched into direct calls of the present
//! target (`include/linux/static_call_types.h`).

use arch::object::Architecture;

use super::{exists, NewReloc, NewRelocs, NewSection, Output, SymbolRef};
use crate::model::{Model, STATIC_CALL_KEY_PREFIX, STATIC_CALL_TRAMPOLINE_PREFIX};
use crate::read::{elf, printable};
use crate::report::{Abort, Findings, Message};

const NAME: &str = ".static_call_sites";

/// Two 32-bit distances: to the call, and to its key with flags in the low bits.
const ENTRY: u64 = 8;
const KEY: u64 = 4;

/// Flag of a key: the call is a tail call.
const TAIL: i64 = 1;

pub(super) fn emit<A: Architecture>(
    model: &Model<'_, A>,
    output: &mut Output,
    findings: &mut Findings,
) -> Result<(), Abort> {
    if exists(model, findings, NAME, " section") {
        return Ok(());
    }
    let insns = &model.sites.static_calls;
    if insns.is_empty() {
        return Ok(());
    }
    let mut relocs = Vec::with_capacity(2 * insns.len());
    for (index, &insn) in insns.iter().enumerate() {
        let offset = index as u64 * ENTRY;
        let place = model.place(insn);
        relocs.push(NewReloc {
            offset,
            symbol: output.section_symbol(model.file, place.section),
            kind: A::RELOCATIONS.relative32,
            addend: place.offset as i64,
        });
        let Some(trampoline) = model.callee(insn) else {
            continue;
        };
        let name = model.file.symbol(trampoline).name;
        let Some(base) = name.strip_prefix(STATIC_CALL_TRAMPOLINE_PREFIX) else {
            findings.add(Message::MalformedTrampoline(trampoline));
            return Err(Abort);
        };
        let key_name = [STATIC_CALL_KEY_PREFIX, base].concat();
        let key = match model.file.symbol_by_name(&key_name) {
            Some(key) => key,
            // A key that is not exported to modules: they may call, but not change. The address
            // of the trampoline stands in until the module is loaded.
            None if model.options.module => trampoline,
            None => {
                let key = printable(&key_name).into_owned();
                findings.add(Message::NoStaticCallKey { key });
                return Err(Abort);
            }
        };
        relocs.push(NewReloc {
            offset: offset + KEY,
            symbol: SymbolRef::Existing(key),
            kind: A::RELOCATIONS.relative32,
            addend: if model.is_sibling_call(insn) { TAIL } else { 0 },
        });
    }
    let relocs = NewRelocs::List(relocs);
    let mut section = NewSection::relocated(NAME, ENTRY, insns.len(), relocs);
    // Modules keep flags in the keys' low bits.
    section.flags |= elf::SHF_WRITE;
    output.add_section(section);
    Ok(())
}
