//! What the work on an object takes at the least: to read the file, to decode its code, and to
//! write the result. Nothing that looks at every instruction once can be faster than the sum.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use iced_x86::{Decoder, DecoderOptions, Instruction};
use object::read::elf::{ElfFile64, FileHeader as _, SectionHeader as _};
use object::Endianness;

/// How often each part is measured; the shortest time counts, because this is a floor.
const TIMES: usize = 3;

/// Measures and prints the floor, and how many times as long the whole took.
pub(super) fn print(input: &Path, output: &Path, dir: &Path, wall: f64) -> Result<()> {
    let bytes = fs::read(input).with_context(|| format!("cannot read {}", input.display()))?;
    let result = fs::read(output).with_context(|| format!("cannot read {}", output.display()))?;
    let code = code(&bytes)?;
    let read = shortest(|| {
        let bytes = fs::read(input)?;
        // Each page is looked at, as whoever maps the file has to.
        let sum: u64 = bytes.iter().step_by(4096).map(|&b| u64::from(b)).sum();
        std::hint::black_box(sum);
        Ok(())
    })?;
    let decode = shortest(|| {
        let mut instruction = Instruction::default();
        for code in &code {
            let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
            while decoder.can_decode() {
                decoder.decode_out(&mut instruction);
            }
        }
        std::hint::black_box(&instruction);
        Ok(())
    })?;
    let file = dir.join("floor.o");
    let write = shortest(|| {
        let _ = fs::remove_file(&file);
        File::create(&file)?.write_all(&result)?;
        Ok(())
    })?;
    fs::remove_file(&file)?;
    let floor = read + decode + write;
    println!(
        "The floor, on one thread: read {:.1} MB {:.0} ms, decode {:.1} MB of code {:.0} ms, \
         write {:.1} MB {:.0} ms: {:.0} ms; objtool-rs takes {:.1} times as long",
        bytes.len() as f64 / 1e6,
        read * 1e3,
        code.iter().map(|code| code.len()).sum::<usize>() as f64 / 1e6,
        decode * 1e3,
        result.len() as f64 / 1e6,
        write * 1e3,
        floor * 1e3,
        wall / floor
    );
    Ok(())
}

/// The bytes of all executable sections.
fn code(bytes: &[u8]) -> Result<Vec<&[u8]>> {
    let file = ElfFile64::<Endianness>::parse(bytes)?;
    let endian = file.endian();
    let sections = file.elf_header().sections(endian, bytes)?;
    let mut code = Vec::new();
    for section in sections.iter() {
        if section.sh_flags(endian).0 & object::elf::SHF_EXECINSTR.0 != 0 {
            code.push(section.data(endian, bytes)?);
        }
    }
    Ok(code)
}

/// The shortest of a few times, in seconds.
fn shortest(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut shortest = f64::INFINITY;
    for _ in 0..TIMES {
        let start = Instant::now();
        work()?;
        shortest = shortest.min(start.elapsed().as_secs_f64());
    }
    Ok(shortest)
}
