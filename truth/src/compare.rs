//! One walk, held against the record: it is right, it is refused, or it is wrong.
//!
//! What may be refused is [`crate::judge`]'s affair.

use unwind::walk::{Partial, ReturnSlot, Stepper};
use unwind::{
    reliable, End, Frame, FrameKind, FramePointers, Mode, Orc, Reason, Start, Verdict, Walk,
};

use crate::shadow;
use crate::snapshot::Snapshot;

/// How a walk is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// The task sleeps in the function that it has just called.
    AsleepAtCall,
    /// The task was interrupted at any instruction, and preempted: its registers lie on its stack.
    Preempted,
    /// The task is interrupted at any instruction, and its registers are at hand.
    FromRegisters,
}

impl Question {
    /// In words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::AsleepAtCall => "asleep at a call",
            Self::Preempted => "preempted at any instruction",
            Self::FromRegisters => "from registers at any instruction",
        }
    }
}

/// A way to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By frame pointers.
    FramePointers,
    /// By ORC.
    Orc,
    /// By frame pointers, and what would be refused is trusted: wrong on purpose.
    Trusting,
}

/// A frame that a walk must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Where it goes on.
    pub address: u64,
    /// Where that lies.
    pub slot: u64,
    /// Its registers, where it was interrupted.
    pub registers: Option<u64>,
    /// The frame pointer that it goes on with.
    pub fp: u64,
    /// No call has left the address.
    pub made_up: bool,
}

impl From<shadow::Frame> for Expected {
    fn from(frame: shadow::Frame) -> Self {
        Self {
            address: frame.address,
            slot: frame.slot,
            registers: None,
            fp: frame.fp,
            made_up: frame.made_up,
        }
    }
}

/// What came of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It showed exactly the frames that there are, and ended where it must.
    Right,
    /// It did not vouch for the stack; with the address of the frame at which it was lost.
    Refused(Reason, u64),
    /// It vouched for something else.
    Wrong(Wrong),
}

/// How a walk is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// This frame is not the one that there is.
    Frame(usize),
    /// There are fewer frames than it showed, or more.
    Number(usize),
    /// It ended elsewhere.
    End(Option<End>),
    /// The frame pointer of this frame is not what it was.
    FramePointer(usize),
}

/// Walks, and compares each frame.
pub fn ask(snapshot: &Snapshot<'_>, way: Way, start: Start, expected: &[Expected]) -> Answer {
    match way {
        Way::FramePointers => verdict::<FramePointers>(snapshot, way, start, expected),
        Way::Orc => verdict::<Orc>(snapshot, way, start, expected),
        Way::Trusting => trusting::<FramePointers>(snapshot, way, start, expected),
    }
}

/// The lowest address at which a frame may lie: a walk shows those from there on.
const fn lowest(start: Start) -> u64 {
    match start {
        Start::Here { sp, .. } | Start::Inactive { sp } | Start::Interrupted { sp, .. } => sp,
    }
}

/// Whether a frame is the one that there is.
///
/// A function that aligns its stack copies its return address next to its frame pointer: frame
/// pointers lead to the copy, which lies below the address.
fn is_it(frame: &Frame, expected: &Expected, copies: bool) -> bool {
    let copied = copies && frame.slot.is_some_and(|slot| slot < expected.slot);
    let kind = match (frame.kind, expected.registers) {
        (FrameKind::Call, None) => true,
        (FrameKind::Interrupted { registers, .. }, Some(at)) => registers == at,
        _ => false,
    };
    kind && frame.address == expected.address && (frame.slot == Some(expected.slot) || copied)
}

/// Compares frames one after the other.
struct Comparison {
    copies: bool,
    shown: usize,
    wrong: Option<Wrong>,
}

impl Comparison {
    const fn new(way: Way) -> Self {
        Self {
            copies: !matches!(way, Way::Orc),
            shown: 0,
            wrong: None,
        }
    }

    fn take(&mut self, frame: &Frame, expected: &[Expected]) {
        let right = expected
            .get(self.shown)
            .map(|expected| is_it(frame, expected, self.copies));
        if right == Some(false) && self.wrong.is_none() {
            self.wrong = Some(Wrong::Frame(self.shown));
        }
        self.shown += 1;
    }

    fn end(&self, end: Option<End>, expected: &[Expected]) -> Answer {
        if let Some(wrong) = self.wrong {
            Answer::Wrong(wrong)
        } else if self.shown != expected.len() {
            Answer::Wrong(Wrong::Number(self.shown))
        } else if end != Some(End::Fork) {
            Answer::Wrong(Wrong::End(end))
        } else {
            Answer::Right
        }
    }
}

fn verdict<S>(snapshot: &Snapshot<'_>, way: Way, start: Start, expected: &[Expected]) -> Answer
where
    S: for<'a> Stepper<Snapshot<'a>> + for<'a> ReturnSlot<Snapshot<'a>> + Partial,
{
    let mut comparison = Comparison::new(way);
    let outcome = reliable::<S, _>(snapshot, start, lowest(start), |frame| {
        comparison.take(frame, expected);
        true
    });
    match outcome.verdict {
        Verdict::Reliable => comparison.end(outcome.end, expected),
        Verdict::Unreliable(reason) => {
            Answer::Refused(reason, outcome.lost_at.map_or(0, |frame| frame.address))
        }
    }
}

/// The first frame whose frame pointer is not what it was when the function called. Only ORC finds
/// that one out; a later frame may rest on it.
pub fn other_frame_pointer(
    snapshot: &Snapshot<'_>,
    start: Start,
    expected: &[Expected],
) -> Option<usize> {
    let mut walk = Walk::<Orc>::start(snapshot, Mode::Reliable, start, lowest(start));
    for (number, frame) in expected.iter().enumerate() {
        if walk.is_done() {
            return None;
        }
        if walk.frame_pointer() != frame.fp {
            return Some(number);
        }
        walk.next(snapshot);
    }
    None
}

/// A walk that does not stop at doubts. It does not say how it ended, so that does not count.
fn trusting<S>(snapshot: &Snapshot<'_>, way: Way, start: Start, expected: &[Expected]) -> Answer
where
    S: for<'a> Stepper<Snapshot<'a>> + for<'a> ReturnSlot<Snapshot<'a>> + Partial,
{
    let mut comparison = Comparison::new(way);
    let mut walk = Walk::<S>::start(snapshot, Mode::BestEffort, start, lowest(start));
    while !walk.is_done() {
        comparison.take(&walk.frame(snapshot), expected);
        walk.next(snapshot);
    }
    comparison.end(Some(End::Fork), expected)
}

/// The frames that a walk of this way shows, and why it is not reliable, if it is not.
pub fn frames(snapshot: &Snapshot<'_>, way: Way, start: Start) -> (Option<Reason>, Vec<Frame>) {
    let mut frames = Vec::new();
    let visit = |frame: &Frame| {
        frames.push(*frame);
        true
    };
    let outcome = match way {
        Way::FramePointers | Way::Trusting => {
            reliable::<FramePointers, _>(snapshot, start, lowest(start), visit)
        }
        Way::Orc => reliable::<Orc, _>(snapshot, start, lowest(start), visit),
    };
    match outcome.verdict {
        Verdict::Reliable => (None, frames),
        Verdict::Unreliable(reason) => (Some(reason), frames),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::small;
    use crate::memory::{STACK, STACK_SIZE};
    use crate::snapshot::Memory;

    #[test]
    fn a_walk_is_right_only_if_every_frame_is() {
        let image = small();
        let mut words = vec![0; (STACK_SIZE / 8) as usize];
        let top = Memory {
            begin: STACK,
            words: &words,
        }
        .top();
        let begin = image.functions[0].begin;
        let mut set = |address: u64, value| words[((address - STACK) / 8) as usize] = value;
        // The caller's frame, and its call.
        set(top - 8, image.fork_return);
        set(top - 16, top | 1);
        set(top - 24, begin + 9);
        let mut registers = [0; 16];
        registers[4] = top - 24;
        registers[5] = top - 16;
        let frame = |address, slot| Expected {
            address,
            slot,
            registers: None,
            fp: 0,
            made_up: false,
        };
        let expected = [
            frame(begin + 9, top - 24),
            frame(image.fork_return, top - 8),
        ];
        let memory = Memory {
            begin: STACK,
            words: &words,
        };
        let mut snapshot = Snapshot::new(&image, memory, &registers);
        let start = snapshot.sleep();
        let by_records =
            |expected: &[Expected]| ask(&snapshot, Way::FramePointers, start, expected);
        assert_eq!(by_records(&expected), Answer::Right);
        assert_eq!(by_records(&expected[..1]), Answer::Wrong(Wrong::Number(2)));
        let other = [expected[0], frame(image.fork_return + 1, top - 8)];
        assert_eq!(by_records(&other), Answer::Wrong(Wrong::Frame(1)));
        let elsewhere = [frame(begin + 9, top - 32), expected[1]];
        assert_eq!(by_records(&elsewhere), Answer::Wrong(Wrong::Frame(0)));
        let more = [expected[0], expected[1], expected[1]];
        assert_eq!(by_records(&more), Answer::Wrong(Wrong::Number(2)));
        assert_eq!((snapshot.outside(), snapshot.reads() > 0), (0, true));
        // Interrupted, it is refused; there is no ORC at all.
        let start = snapshot.interrupted(begin);
        let refused = ask(&snapshot, Way::FramePointers, start, &expected);
        assert!(matches!(
            refused,
            Answer::Refused(Reason::Interrupted(_), _)
        ));
        let no_orc = ask(&snapshot, Way::Orc, start, &expected);
        assert!(matches!(no_orc, Answer::Refused(Reason::OrcNotReady, _)));
    }
}
