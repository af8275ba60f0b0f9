//! What the kernel changes in its own text when it boots: calls of the tracer are switched off,
//! alternatives take the place of what they are better than, thunks give way to the instructions they
//! stand for.
//!
//! Formats and rules are those of `arch/x86/kernel/alternative.c` and `kernel/trace/ftrace.c` of
//! Linux 6.12. Static calls stay as they were linked, and so do calls that paravirtual guests replace.

use anyhow::{Context, Result};
use iced_x86::{Decoder, DecoderOptions};

use crate::image::{distance, word, Image, Names};

/// What the kernel puts in the place of calls to its tracer.
const NO_TRACER: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

const NOP: u8 = 0x90;

/// Between functions, and behind what does not go on.
const TRAP: u8 = 0xcc;

/// Distance between the thunks of two registers (`RETPOLINE_THUNK_SIZE`).
const THUNK: u64 = 32;

/// A feature's number (`arch/x86/include/asm/cpufeatures.h`): word and bit.
const fn feature(word: u16, bit: u16) -> u16 {
    word * 32 + bit
}

const POPCNT: u16 = feature(4, 23);

/// Features that a processor is taken to have from the start, because objtool takes it so: the code
/// in their place is looked at by none (`arch_handle_alternative` of
/// `tools/objtool/arch/x86/special.c`). Without the first, bits are counted by calls without a
/// frame; with the second (SMAP), flags are pushed around accesses to user space.
const ASSUMED: [u16; 2] = [POPCNT, feature(9, 20)];

/// Features of a processor of these years beside those: always, REP_GOOD, ERMS, FSRM, FSRS, RDTSCP,
/// LFENCE_RDTSC, FSGSBASE, PCID, 3DNOWPREFETCH, CLFLUSHOPT, CLWB. It needs neither retpolines nor
/// return thunks.
const MODERN: [u16; 12] = [
    feature(3, 21),
    feature(3, 16),
    feature(9, 9),
    feature(18, 4),
    feature(12, 11),
    feature(1, 27),
    feature(20, 2),
    feature(9, 0),
    feature(4, 17),
    feature(6, 8),
    feature(9, 23),
    feature(9, 24),
];

/// An alternative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Alternative {
    to: u64,
    from: u64,
    feature: u16,
    flags: u16,
    size: usize,
    with: usize,
}

/// Taken when the feature is not there (`ALT_FLAG_NOT`).
const NOT: u16 = 1;

/// The places that boot changes.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    alternatives: Vec<Alternative>,
    returns: Vec<u64>,
    /// Calls of thunks and jumps to them.
    indirect: Vec<u64>,
    /// The first thunk.
    thunks: u64,
}

impl Sites {
    /// Reads an image's lists.
    pub(crate) fn read(image: &Image, names: &Names) -> Result<Self> {
        let list = |from: &str, to: &str| -> Result<Option<(u64, &[u8])>> {
            let Ok(start) = names.of(from) else {
                return Ok(None);
            };
            let len = usize::try_from(names.of(to)?.saturating_sub(start))?;
            let bytes = image.bytes(start, len).filter(|bytes| bytes.len() == len);
            let bytes = bytes.with_context(|| format!("{from} leads outside the image"))?;
            Ok(Some((start, bytes)))
        };
        let places = |from: &str, to: &str| -> Result<Vec<u64>> {
            let Some((start, bytes)) = list(from, to)? else {
                return Ok(Vec::new());
            };
            let places = (start..).step_by(4).zip(bytes.chunks_exact(4));
            Ok(places
                .map(|(place, entry)| leads_to(place, entry))
                .collect())
        };
        let mut alternatives = Vec::new();
        if let Some((start, bytes)) = list("__alt_instructions", "__alt_instructions_end")? {
            // `struct alt_instr`: distances to the code and to what replaces it, feature and flags,
            // the sizes of both.
            for (place, entry) in (start..).step_by(14).zip(bytes.chunks_exact(14)) {
                alternatives.push(Alternative {
                    to: leads_to(place, &entry[..4]),
                    from: leads_to(place + 4, &entry[4..8]),
                    feature: word(&entry[8..10]) as u16,
                    flags: word(&entry[10..12]) as u16,
                    size: usize::from(entry[12]),
                    with: usize::from(entry[13]),
                });
            }
        }
        Ok(Self {
            alternatives,
            returns: places("__return_sites", "__return_sites_end")?,
            indirect: places("__retpoline_sites", "__retpoline_sites_end")?,
            thunks: names.of("__x86_indirect_thunk_array").unwrap_or(0),
        })
    }
}

/// Where the distance at a place leads.
fn leads_to(place: u64, entry: &[u8]) -> u64 {
    place.wrapping_add_signed(i64::from(distance(entry)))
}

/// Does what the kernel does when it boots: nobody traces.
pub(crate) fn switch_tracer_off(image: &mut Image, names: &Names) -> Result<()> {
    let Ok(start) = names.of("__start_mcount_loc") else {
        return Ok(());
    };
    let stop = names.of("__stop_mcount_loc")?;
    let list = image.bytes(start, usize::try_from(stop.saturating_sub(start))?);
    let list = list.context("the tracer's list of calls lies outside the image")?;
    // Calls of functions that were replaced by others are 0.
    let places = list.chunks_exact(8).map(word);
    let places: Vec<u64> = places.filter(|place| *place != 0).collect();
    for place in places {
        let code = image.bytes_mut(place, NO_TRACER.len());
        let code = code.context("a call of the tracer lies outside the image")?;
        code.copy_from_slice(&NO_TRACER);
    }
    Ok(())
}

/// Applies the alternatives that objtool takes for granted. Returns where bits are counted, and the
/// calls that stood there.
pub(crate) fn assume(image: &mut Image) -> Result<Vec<(u64, Vec<u8>)>> {
    let mut counting = Vec::new();
    for alternative in image.sites().alternatives.clone() {
        if ASSUMED.contains(&alternative.feature) && alternative.flags == 0 {
            let old = image.bytes(alternative.to, alternative.size);
            let old = old.unwrap_or_default().to_vec();
            apply(image, &alternative)?;
            if alternative.feature == POPCNT {
                counting.push((alternative.to, old));
            }
        }
    }
    Ok(counting)
}

/// Changes text as boot does on a processor of these years; how many places.
pub(crate) fn boot(image: &mut Image, sites: &Sites) -> Result<usize> {
    let mut changed = 0;
    for place in &sites.indirect {
        changed += usize::from(without_thunk(image, *place, sites.thunks)?);
    }
    for place in &sites.returns {
        let code = image.bytes_mut(*place, 5);
        let code = code.context("a return lies outside the image")?;
        if code[0] == 0xe9 {
            code.copy_from_slice(&[0xc3, TRAP, TRAP, TRAP, TRAP]);
            changed += 1;
        }
    }
    for alternative in &sites.alternatives {
        let there = MODERN.contains(&alternative.feature) || ASSUMED.contains(&alternative.feature);
        // Whether it is there or is not; all other flags are about calls that guests replace.
        let wanted = match alternative.flags {
            0 => there,
            NOT => !there,
            _ => false,
        };
        if wanted {
            apply(image, alternative)?;
            changed += 1;
        }
    }
    Ok(changed)
}

/// Puts an alternative in its place, with what it has relative to its own.
fn apply(image: &mut Image, alternative: &Alternative) -> Result<()> {
    let broken = "an alternative lies outside the image";
    let code = image.bytes(alternative.from, alternative.with);
    let mut code = code.context(broken)?.to_vec();
    let end = alternative.from + code.len() as u64;
    let original = code.clone();
    let mut decoder = Decoder::with_ip(64, &original, alternative.from, DecoderOptions::NONE);
    while decoder.can_decode() {
        let insn = decoder.decode();
        let offsets = decoder.get_constant_offsets(&insn);
        let at = (insn.ip() - alternative.from) as usize;
        let target = insn.near_branch_target();
        let leaves = insn.near_branch_target() != 0
            && !(alternative.from..end).contains(&target)
            && offsets.immediate_size() == 4;
        let place = if leaves {
            Some(at + offsets.immediate_offset())
        } else if insn.is_ip_rel_memory_operand() {
            Some(at + offsets.displacement_offset())
        } else {
            None
        };
        if let Some(field) = place.and_then(|place| code.get_mut(place..place + 4)) {
            let moved = alternative.from.wrapping_sub(alternative.to) as i32;
            let value = distance(field).wrapping_add(moved);
            field.copy_from_slice(&value.to_le_bytes());
        }
    }
    code.resize(alternative.size, NOP);
    let old = image.bytes_mut(alternative.to, alternative.size);
    old.context(broken)?.copy_from_slice(&code);
    Ok(())
}

/// Calls or jumps where a thunk would have led (`patch_retpoline`); false for conditional jumps,
/// which stay.
fn without_thunk(image: &mut Image, place: u64, thunks: u64) -> Result<bool> {
    let broken = "a call of a thunk lies outside the image";
    let insn = {
        let code = image.bytes(place, 15).context(broken)?;
        Decoder::with_ip(64, code, place, DecoderOptions::NONE).decode()
    };
    let number = insn.near_branch_target().wrapping_sub(thunks) / THUNK;
    let operation = match insn.mnemonic() {
        iced_x86::Mnemonic::Call => 0xd0,
        iced_x86::Mnemonic::Jmp => 0xe0,
        _ => return Ok(false),
    };
    if number >= 16 {
        return Ok(false);
    }
    let mut code = Vec::with_capacity(insn.len());
    if number >= 8 {
        code.push(0x41);
    }
    code.extend([0xff, operation | (number & 7) as u8]);
    let rest = if operation == 0xd0 { NOP } else { TRAP };
    code.resize(insn.len(), rest);
    let old = image.bytes_mut(place, code.len()).context(broken)?;
    old.copy_from_slice(&code);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::small;

    fn code(image: &Image, at: u64, len: usize) -> Vec<u8> {
        image.bytes(at, len).unwrap().to_vec()
    }

    #[test]
    fn an_alternative_takes_its_targets_along() {
        let mut image = small();
        let text = image.segments[0].address;
        let (to, from) = (text + 0x400, text + 0x600);
        // call text; mov text(%rip),%rax
        let call = [
            0xe8, 0xfb, 0xf9, 0xff, 0xff, 0x48, 0x8b, 5, 0xf4, 0xf9, 0xff, 0xff,
        ];
        image.bytes_mut(from, 12).unwrap().copy_from_slice(&call);
        let alternative = Alternative {
            to,
            from,
            feature: POPCNT,
            flags: 0,
            size: 14,
            with: 12,
        };
        apply(&mut image, &alternative).unwrap();
        let bytes = code(&image, to, 14);
        let mut decoder = Decoder::with_ip(64, &bytes, to, DecoderOptions::NONE);
        assert_eq!(decoder.decode().near_branch_target(), text);
        assert_eq!(decoder.decode().ip_rel_memory_address(), text);
        assert_eq!(bytes[12..], [NOP, NOP]);
    }

    #[test]
    fn thunks_and_returns_give_way() {
        let mut image = small();
        let text = image.segments[0].address;
        let thunks = text + 0x700;
        let mut put = |at: u64, opcode: &[u8], target: u64| {
            let end = at + opcode.len() as u64 + 4;
            let distance = target.wrapping_sub(end) as i32;
            let bytes = image.bytes_mut(at, opcode.len() + 4).unwrap();
            bytes[..opcode.len()].copy_from_slice(opcode);
            bytes[opcode.len()..].copy_from_slice(&distance.to_le_bytes());
        };
        put(text + 0x200, &[0xe8], thunks + 2 * THUNK);
        put(text + 0x210, &[0x2e, 0xe9], thunks + 9 * THUNK);
        put(text + 0x220, &[0x0f, 0x84], thunks);
        put(text + 0x230, &[0xe9], text);
        let sites = Sites {
            alternatives: Vec::new(),
            returns: vec![text + 0x230],
            indirect: vec![text + 0x200, text + 0x210, text + 0x220],
            thunks,
        };
        let old = code(&image, text + 0x220, 6);
        assert_eq!(boot(&mut image, &sites).unwrap(), 3);
        assert_eq!(code(&image, text + 0x200, 5), [0xff, 0xd2, NOP, NOP, NOP]);
        let jump = [0x41, 0xff, 0xe1, TRAP, TRAP, TRAP];
        assert_eq!(code(&image, text + 0x210, 6), jump);
        assert_eq!(code(&image, text + 0x220, 6), old);
        let ret = [0xc3, TRAP, TRAP, TRAP, TRAP];
        assert_eq!(code(&image, text + 0x230, 5), ret);
    }

    #[test]
    fn the_processor_decides_which_alternatives_are_taken() {
        let text = small().segments[0].address;
        let alternative = |n: u64, feature, flags| Alternative {
            to: text + 0x400 + 8 * n,
            from: text + 0x500,
            feature,
            flags,
            size: 1,
            with: 1,
        };
        let old = feature(22, 7);
        let sites = Sites {
            alternatives: vec![
                alternative(0, MODERN[0], 0),
                alternative(1, MODERN[0], NOT),
                alternative(2, old, 0),
                alternative(3, old, NOT),
                alternative(4, MODERN[0], 2),
            ],
            ..Sites::default()
        };
        let mut image = small();
        image.bytes_mut(text + 0x500, 1).unwrap()[0] = 0xc3;
        assert_eq!(boot(&mut image, &sites).unwrap(), 2);
        let taken = [0, 1, 2, 3, 4].map(|n| code(&image, text + 0x400 + 8 * n, 1)[0] == 0xc3);
        assert_eq!(taken, [true, false, false, true, false]);
    }
}
