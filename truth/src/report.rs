//! Words for what was found.

use std::fmt;

use iced_x86::{Decoder, DecoderOptions, Formatter as _, GasFormatter};
use unwind::Frame;

use crate::compare::{Answer, Expected, Question};
use crate::image::Image;
use crate::snapshot::Registers;

/// Bytes of code shown in front of an instruction.
const BEFORE: u64 = 24;

/// A walk that must not be.
pub struct Failure<'a> {
    /// The kernel.
    pub image: &'a Image,
    /// The function that was run, and the number of the run.
    pub run: (&'a str, u64),
    /// The instruction that it was stopped at.
    pub pc: u64,
    /// How the walk began.
    pub question: Question,
    /// What came of it.
    pub answer: Answer,
    /// The frames that there are.
    pub expected: &'a [Expected],
    /// The frames that it showed.
    pub shown: &'a [Frame],
    /// The registers.
    pub registers: &'a Registers,
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = self.image;
        let (name, seed) = self.run;
        writeln!(
            f,
            "{}, {}: {:?} (run {seed} of {name})",
            image.name(self.pc),
            self.question.text(),
            self.answer
        )?;
        let [sp, fp] = [self.registers[4], self.registers[5]];
        writeln!(f, "    rsp {sp:#x} rbp {fp:#x}")?;
        if let Some(entry) = image.orc.as_ref().and_then(|orc| orc.find(self.pc)) {
            writeln!(f, "    ORC entry here: {entry:02x?}")?;
        }
        for frame in self.expected {
            let name = image.name(frame.address);
            writeln!(
                f,
                "    there is  {:#x} at {:#x} {name}",
                frame.address, frame.slot
            )?;
        }
        for frame in self.shown {
            let name = image.name(frame.address);
            let slot = frame.slot.unwrap_or(0);
            writeln!(f, "    it showed {:#x} at {slot:#x} {name}", frame.address)?;
        }
        code(image, self.pc, f)
    }
}

/// The code around an address, from its function's beginning or a little before it.
fn code(image: &Image, pc: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(function) = image.function_at(pc) else {
        return Ok(());
    };
    let Some(bytes) = image.bytes(function.begin, (pc - function.begin) as usize + 24) else {
        return Ok(());
    };
    let mut formatter = GasFormatter::new();
    let decoder = Decoder::with_ip(64, bytes, function.begin, DecoderOptions::NONE);
    for insn in decoder {
        let at = insn.ip();
        if at + BEFORE < pc || at > pc + 12 {
            continue;
        }
        let mut text = String::new();
        formatter.format(&insn, &mut text);
        let mark = if at == pc { "=>" } else { "  " };
        writeln!(f, "  {mark} {at:#x} {} {text}", image.name(at))?;
    }
    Ok(())
}
