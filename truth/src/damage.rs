//! Damaged copies of real stacks: nothing is read that is not on the stack, every walk ends, and what
//! the stack and the text can tell is told. What no unwinder can tell is counted apart, by kind.
//!
//! By frame pointers, a second, naive follower of records says what a walk must conclude; it shares
//! no code with the walk, and knows calls by decoding whole functions instead of a few bytes. By
//! ORC, what a reliable walk shows must be what calls leave, and the word that was changed one that
//! leads a walk. The crate `unwind` damages made-up stacks of all kinds and ends; here stacks are
//! those of functions that run.

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use unwind::{Reason, Start};

use crate::compare::{self, Expected, Way};
use crate::image::Image;
use crate::memory::{STACK, STACK_SIZE};
use crate::random::Random;
use crate::snapshot::{Memory, Registers, Snapshot};

/// The most words that a walk may read for each word of the stack.
const MOST_READS: u64 = 12;

/// What a word is replaced with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Damage {
    /// Itself with a bit flipped.
    Bit,
    /// Noise.
    Random,
    /// Zero.
    Zero,
    /// Where some call returns to.
    ReturnAddress,
    /// Some address of text.
    Text,
    /// An aligned address of the stack.
    StackAddress,
    /// An address of the stack with the mark of registers.
    RegistersAddress,
    /// An address of user space.
    UserAddress,
    /// Another word of the stack.
    OtherWord,
}

impl Damage {
    const ALL: [Self; 9] = [
        Self::Bit,
        Self::Random,
        Self::Zero,
        Self::ReturnAddress,
        Self::Text,
        Self::StackAddress,
        Self::RegistersAddress,
        Self::UserAddress,
        Self::OtherWord,
    ];

    fn value(self, random: &mut Random, image: &Image, live: &[u64], old: u64) -> u64 {
        let on_stack = |random: &mut Random| STACK + STACK_SIZE - 8 * (1 + random.below(256));
        match self {
            Self::Bit => old ^ 1 << random.below(64),
            Self::Random => random.word(),
            Self::Zero => 0,
            Self::ReturnAddress => *random.one_of(image.call_sites()),
            Self::Text => {
                let function = random.one_of(&image.functions);
                function.begin + random.below(function.end - function.begin)
            }
            Self::StackAddress => on_stack(random),
            Self::RegistersAddress => on_stack(random) | 1,
            Self::UserAddress => 0x5555_0000_0000 + random.below(0x1000),
            Self::OtherWord => *random.one_of(live),
        }
    }
}

/// What a word of the stack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// Where a call returns to.
    ReturnAddress,
    /// A frame pointer that a function has saved.
    FramePointer,
    /// Anything else.
    Other,
}

/// What came of a walk over a damaged stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It was told, for this reason.
    Told(&'static str),
    /// All frames are right: the word does not matter.
    NoMatter,
    /// Another stack could have it so.
    CannotBeTold(Word, Damage),
    /// Several words were changed, and another stack could have it so.
    SeveralCannotBeTold,
    /// Something that is not to be.
    Bad(&'static str),
}

impl Outcome {
    /// Whether it must not be.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Bad(_))
    }

    /// In words.
    pub fn text(self) -> String {
        match self {
            Self::Told(reason) => format!("told: {reason}"),
            Self::NoMatter => "of no matter".into(),
            Self::CannotBeTold(word, damage) => format!("cannot be told: {word:?} by {damage:?}"),
            Self::SeveralCannotBeTold => "cannot be told: several words".into(),
            Self::Bad(what) => format!("BAD: {what}"),
        }
    }
}

/// A task that sleeps at a call, and what is known of its stack.
pub struct Asleep<'a> {
    /// The kernel.
    pub image: &'a Image,
    /// How it is walked.
    pub way: Way,
    /// Its registers.
    pub registers: &'a Registers,
    /// The frames that there are.
    pub expected: &'a [Expected],
    /// Where frame pointers were saved.
    pub saved: &'a [(u64, u64)],
}

impl Asleep<'_> {
    /// Damages a copy of the stack, walks it, and says what came of it. `stack` has all words of the
    /// stack, and is as before afterwards.
    pub fn damage(&self, stack: &mut [u64], random: &mut Random) -> Outcome {
        let first = ((self.registers[4] - STACK) / 8) as usize;
        // Behind the top there are no frames; what lies there says that it is a kernel thread.
        let count = if random.below(8) == 0 {
            2 + random.below(3)
        } else {
            1
        };
        let mut undo = Vec::new();
        let mut single = None;
        for _ in 0..count {
            let at = self.place(first, stack.len(), random);
            let damage = *random.one_of(&Damage::ALL);
            let value = damage.value(random, self.image, &stack[first..], stack[at]);
            undo.push((at, stack[at]));
            stack[at] = value;
            let word = self.kind(STACK + 8 * at as u64);
            single = (count == 1).then_some((word, damage, value));
        }
        let outcome = self.walk(stack, single);
        for (at, old) in undo.into_iter().rev() {
            stack[at] = old;
        }
        outcome
    }

    /// A word to damage: mostly one that leads a walk.
    fn place(&self, first: usize, end: usize, random: &mut Random) -> usize {
        let index = |address: u64| ((address - STACK) / 8) as usize;
        match random.below(4) {
            0 | 1 => index(random.one_of(self.expected).slot),
            2 if !self.saved.is_empty() => index(random.one_of(self.saved).0),
            _ => first + random.below((end - first) as u64) as usize,
        }
    }

    fn kind(&self, address: u64) -> Word {
        if self.expected.iter().any(|frame| frame.slot == address) {
            Word::ReturnAddress
        } else if self.saved.iter().any(|(slot, _)| *slot == address) {
            Word::FramePointer
        } else {
            Word::Other
        }
    }

    fn walk(&self, stack: &[u64], single: Option<(Word, Damage, u64)>) -> Outcome {
        let memory = Memory {
            begin: STACK,
            words: stack,
        };
        let mut snapshot = Snapshot::new(self.image, memory, self.registers);
        let start = snapshot.sleep();
        let (verdict, frames) = compare::frames(&snapshot, self.way, start);
        if snapshot.outside() > 0 {
            return Outcome::Bad("read what is not on the stack");
        }
        if snapshot.reads() > MOST_READS * stack.len() as u64 {
            return Outcome::Bad("read more than there is to read");
        }
        let shown: Vec<(u64, u64)> = frames
            .iter()
            .map(|f| (f.address, f.slot.unwrap_or(0)))
            .collect();
        if self.way != Way::Orc {
            let naive = |called| follow(self.image, &memory, &snapshot, start, called);
            let agreed = match verdict {
                None => naive(looks_called).as_ref() == Some(&shown),
                // Bytes in the midst of other instructions need not be taken for a call.
                Some(_) => naive(is_called).is_none(),
            };
            if !agreed {
                return Outcome::Bad("the naive follower says otherwise");
            }
        }
        if let Some(reason) = verdict {
            return Outcome::Told(Reason::text(reason));
        }
        let right = shown.len() == self.expected.len()
            && shown
                .iter()
                .zip(self.expected)
                .all(|(f, e)| f.0 == e.address);
        if right {
            return Outcome::NoMatter;
        }
        let calls = shown
            .iter()
            .all(|(address, _)| looks_called(self.image, *address));
        let rising = shown.windows(2).all(|pair| pair[0].1 < pair[1].1);
        if !calls || !rising {
            return Outcome::Bad("vouched for what no calls leave");
        }
        let Some((word, damage, value)) = single else {
            return Outcome::SeveralCannotBeTold;
        };
        let on_stack = (STACK..STACK + STACK_SIZE).contains(&value);
        let plausible = match word {
            Word::ReturnAddress => looks_called(self.image, value),
            // ORC finds the ends of some frames by what else was saved.
            Word::FramePointer | Word::Other => on_stack && value.is_multiple_of(8),
        };
        if plausible {
            Outcome::CannotBeTold(word, damage)
        } else {
            Outcome::Bad("did not tell what can be told")
        }
    }
}

/// Follows records from where the task sleeps: addresses and where they lie, if all is well;
/// `called` says what a call may have left.
fn follow(
    image: &Image,
    memory: &Memory<'_>,
    snapshot: &Snapshot<'_>,
    start: Start,
    called: fn(&Image, u64) -> bool,
) -> Option<Vec<(u64, u64)>> {
    let Start::Inactive { sp } = start else {
        return None;
    };
    let top = memory.top();
    let word = |address: u64| snapshot.word(address);
    let mut shown = Vec::new();
    let mut record = sp + 40;
    loop {
        let (caller, address) = (word(record)?, word(record + 8)?);
        shown.push((address, record + 8));
        let copied = record == top - 24 && word(record + 8) == word(record + 16);
        let traced = record == top - 40
            && word(record) == word(record + 16)
            && word(record + 8) == word(record + 32);
        if record == top - 16 || copied || traced {
            let status = word(top + 136)?;
            let user = status >> 19 == 0 && status & 3 == 3 && status & 0xffff > 3;
            let function = image.function_at(address.wrapping_sub(1))?;
            let fork = function.begin == image.fork && called(image, address);
            return (fork && caller == top | 1 && !user).then_some(shown);
        }
        let frame = called(image, address) && !image.unreliable().contains(address - 1);
        let on = caller.is_multiple_of(8) && caller >= record + 16 && caller <= memory.end() - 16;
        if !frame || !on || record > top - 16 {
            return None;
        }
        record = caller;
    }
}

/// Whether a call of a function leaves this address.
fn is_called(image: &Image, address: u64) -> bool {
    image.call_sites().binary_search(&address).is_ok()
}

/// Whether a call may have left this address: one does, or the bytes in front of it can be read as
/// one, or as what the kernel puts in the place of calls.
pub fn looks_called(image: &Image, address: u64) -> bool {
    if is_called(image, address) {
        return true;
    }
    if !image.is_text(address.wrapping_sub(1)) {
        return false;
    }
    (2..=7).any(|len| {
        let Some(code) = image.bytes(address - len, len as usize) else {
            return false;
        };
        let insn = Decoder::with_ip(64, code, address - len, DecoderOptions::NONE).decode();
        let whole = !insn.is_invalid() && insn.len() as u64 == len;
        let call = matches!(
            insn.flow_control(),
            FlowControl::Call | FlowControl::IndirectCall
        );
        whole && call || in_place_of_call(code)
    })
}

/// What the kernel puts in the place of a call: a jump, the tracer's and a static call's nothing, a
/// static call's zero; and a breakpoint in its first byte, but not padding.
fn in_place_of_call(code: &[u8]) -> bool {
    match code {
        [0xe9, _, _, _, _] | [0x0f, 0x1f, 0x44, 0x00, 0x00] | [0x2e, 0x2e, 0x2e, 0x31, 0xc0] => {
            true
        }
        [0xcc, rest @ ..] if rest.iter().any(|byte| *byte != 0xcc) => {
            let mut call = code.to_vec();
            let is_call = |code: &[u8]| {
                let insn = Decoder::with_ip(64, code, 0, DecoderOptions::NONE).decode();
                insn.flow_control() == FlowControl::IndirectCall && insn.len() == code.len()
            };
            call[0] = 0xff;
            code.len() == 5 || is_call(&call)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::small;

    #[test]
    fn what_may_follow_a_call_is_known_by_its_bytes() {
        let mut image = small();
        let at = image.functions[0].begin + 0x300;
        for (code, expected) in [
            (&[0xe8, 1, 2, 3, 4][..], true),
            (&[0xff, 0xd0], true),
            (&[0x41, 0xff, 0x54, 0x24, 8], true),
            (&[0x0f, 0x1f, 0x44, 0, 0], true),
            (&[0xcc, 1, 2, 3, 4], true),
            (&[0xcc, 0xd0], true),
            (&[0xcc; 8], false),
            (&[0x90; 8], false),
            (&[0x48, 0x89, 0xe5], false),
            (&[0xff, 0xe0], false),
        ] {
            let bytes = &mut image.segments[0].bytes[0x2f0..0x300];
            bytes.fill(0x90);
            bytes[16 - code.len()..].copy_from_slice(code);
            assert_eq!(looks_called(&image, at), expected, "{code:x?}");
            assert!(!is_called(&image, at));
        }
        assert!(is_called(&image, image.functions[0].begin + 9));
    }
}
