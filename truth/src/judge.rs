//! Which answers are good: a walk is never wrong, and may be refused only for a reason that the
//! place gives.
//!
//! - By frame pointers, a task that sleeps at a call is walked, but where the validator's table
//!   names a function on the way. At any other instruction it is walked or refused.
//! - By ORC, it is walked at every instruction, but where the kernel's sources say that nothing is
//!   known, and where a retpoline is about to return to its target: no call has left that address.

use unwind::Reason;

use crate::compare::{Answer, Expected, Question, Way};

/// Code of which the kernel's sources say that nothing is to be said about its stack, by the
/// beginning of its name, each with how they say so.
const UNDEFINED: &[(&str, &str)] = &[
    (
        "__x86_indirect_thunk_",
        "UNWIND_HINT_UNDEFINED, arch/x86/lib/retpoline.S",
    ),
    (
        "clear_bhb_loop",
        "STACK_FRAME_NON_STANDARD, arch/x86/entry/entry_64.S",
    ),
    (
        "__crash_kexec",
        "STACK_FRAME_NON_STANDARD, kernel/crash_core.c",
    ),
    (
        "machine_real_restart",
        "STACK_FRAME_NON_STANDARD, arch/x86/kernel/reboot.c",
    ),
    (
        "_einittext",
        "the label in front of .altinstr_aux, of which no objtool says anything; it is left for \
         good when alternatives are applied",
    ),
];

/// What is thought of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sentence {
    /// It is right.
    Right,
    /// It is refused, as it must or may be.
    Refused(Why),
    /// It is refused where it must be right.
    RefusedForNothing(&'static str),
    /// It is wrong.
    Wrong,
}

/// Why a walk may be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Frame pointers are not followed from an interrupted instruction.
    Interrupted,
    /// The validator's table names a function on the way.
    KeepsNoFrame,
    /// The ORC entry says that nothing is known.
    OrcUndefined,
    /// A retpoline returns to its target.
    Retpoline,
}

impl Why {
    /// In words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted in the kernel",
            Self::KeepsNoFrame => "text that keeps no frame, by the validator's table",
            Self::OrcUndefined => "the ORC entry says that nothing is known",
            Self::Retpoline => "a retpoline is about to return to its target",
        }
    }
}

impl Sentence {
    /// Whether it must not be.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Wrong | Self::RefusedForNothing(_))
    }

    /// In words.
    pub fn text(self) -> String {
        match self {
            Self::Right => "right".into(),
            Self::Refused(why) => format!("refused: {}", why.text()),
            Self::RefusedForNothing(reason) => format!("REFUSED FOR NOTHING: {reason}"),
            Self::Wrong => "WRONG".into(),
        }
    }
}

/// Judges an answer; a refused walk was lost in the function `lost_in`.
pub fn judge(
    way: Way,
    question: Question,
    answer: Answer,
    expected: &[Expected],
    lost_in: &str,
) -> Sentence {
    let reason = match answer {
        Answer::Right => return Sentence::Right,
        Answer::Wrong(_) => return Sentence::Wrong,
        Answer::Refused(reason, _) => reason,
    };
    let interrupted = question != Question::AsleepAtCall;
    let frame_pointers = way != Way::Orc;
    let why = match reason {
        Reason::Interrupted(_) if frame_pointers && interrupted => Why::Interrupted,
        Reason::KeepsNoFrame if frame_pointers => Why::KeepsNoFrame,
        Reason::OrcUndefined
            if !frame_pointers && UNDEFINED.iter().any(|(name, _)| lost_in.starts_with(name)) =>
        {
            Why::OrcUndefined
        }
        Reason::AddressNotAfterCall | Reason::AddressNotInText
            if !frame_pointers && expected.iter().any(|frame| frame.made_up) =>
        {
            Why::Retpoline
        }
        other => return Sentence::RefusedForNothing(other.text()),
    };
    Sentence::Refused(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Wrong;
    use arch::frame::Event;

    #[test]
    fn each_way_may_be_refused_for_its_own_reasons_only() {
        let frame = Expected {
            address: 1,
            slot: 8,
            registers: None,
            fp: 0,
            made_up: false,
        };
        let made_up = Expected {
            made_up: true,
            ..frame
        };
        let interrupted = Reason::Interrupted(Event::Interrupt);
        let good = |way, question, reason, frame| {
            !judge(
                way,
                question,
                Answer::Refused(reason, 0),
                &[frame],
                "clear_bhb_loop",
            )
            .is_failure()
        };
        let (call, any) = (Question::AsleepAtCall, Question::Preempted);
        assert!(good(Way::FramePointers, any, interrupted, frame));
        assert!(good(Way::FramePointers, call, Reason::KeepsNoFrame, frame));
        assert!(good(Way::Orc, any, Reason::OrcUndefined, frame));
        assert!(good(Way::Orc, any, Reason::AddressNotAfterCall, made_up));
        assert!(!good(Way::FramePointers, call, interrupted, frame));
        assert!(!good(
            Way::FramePointers,
            call,
            Reason::FramePointerOffStack,
            frame
        ));
        assert!(!good(Way::Orc, any, interrupted, frame));
        assert!(!good(Way::Orc, any, Reason::KeepsNoFrame, frame));
        assert!(!good(Way::Orc, any, Reason::AddressNotAfterCall, frame));
        for reason in Reason::ALL {
            let answer = Answer::Refused(*reason, 0);
            assert_ne!(judge(Way::Orc, any, answer, &[frame], ""), Sentence::Right);
        }
        let undefined = Answer::Refused(Reason::OrcUndefined, 0);
        assert!(judge(Way::Orc, any, undefined, &[frame], "schedule").is_failure());
        let wrong = Answer::Wrong(Wrong::Frame(0));
        assert!(judge(Way::Orc, call, wrong, &[frame], "").is_failure());
        let right = judge(Way::Orc, call, Answer::Right, &[frame], "");
        assert_eq!(right, Sentence::Right);
    }
}
