//! Why a stack trace must not be trusted, each with a text for people.
//!
//! The words of an unwinder's doubts, nothing of how they arise.

use core::fmt;

use arch::frame::Event;

/// Why a stack trace must not be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The stack is being used by a CPU at this moment.
    Running,
    /// The saved stack pointer, or the first frame pointer, lies on no stack of the task.
    StartOffStack,
    /// The kernel itself was interrupted, where frame pointers need not be set up.
    Interrupted(Event),
    /// Saved registers that no processor saves.
    BadRegisters,
    /// A frame pointer lies on no stack that can come next.
    FramePointerOffStack,
    /// A frame pointer is not a multiple of a word's size.
    FramePointerMisaligned,
    /// A frame pointer goes down, stays, or leads into the frame it comes from.
    FramePointerNotRising,
    /// A frame pointer leads past the place where a task's stack begins.
    FramePointerPastEnd,
    /// A stack pointer lies on no stack that can come next.
    StackPointerOffStack,
    /// A stack pointer is not a multiple of a word's size.
    StackPointerMisaligned,
    /// A stack pointer goes down or stays.
    StackPointerNotRising,
    /// A stack comes up for a second time.
    StackRevisited,
    /// An address on the stack lies in no known text.
    AddressNotInText,
    /// An address on the stack is not one that a call leaves.
    AddressNotAfterCall,
    /// Text that does not keep the frame-pointer convention, by the validator's table.
    KeepsNoFrame,
    /// Text that no table of the validator's speaks of.
    NotVouchedFor,
    /// The function tracer's entry. Whoever it calls may send its return elsewhere, as live patching
    /// does, and until it returns nothing on the stack tells where to.
    TracerEntry,
    /// Code made at run time, whose frames nobody vouches for.
    GeneratedCode,
    /// A return address was replaced by a tracer, which no longer knows the original.
    ReturnAddressLost,
    /// The walk ended, but not where this kind of task must end.
    WrongEnd,
    /// More frames than the walk takes, or whoever listens to it has stopped it.
    TooDeep,
    /// The ORC tables are not set up yet.
    OrcNotReady,
    /// No ORC entry for an address.
    OrcMissing,
    /// The ORC entry for an address says that nothing is known.
    OrcUndefined,
    /// An ORC entry that the format does not know.
    OrcInvalid,
    /// An ORC entry asks for a register that was not saved.
    RegisterNotSaved,
}

impl Reason {
    /// Every reason, in the order of their declaration; [`Reason::Interrupted`] once for each
    /// event.
    pub const ALL: &'static [Self] = &[
        Self::Running,
        Self::StartOffStack,
        Self::Interrupted(Event::Interrupt),
        Self::Interrupted(Event::NonMaskable),
        Self::Interrupted(Event::PageFault),
        Self::Interrupted(Event::Breakpoint),
        Self::Interrupted(Event::Exception),
        Self::Interrupted(Event::Unknown),
        Self::BadRegisters,
        Self::FramePointerOffStack,
        Self::FramePointerMisaligned,
        Self::FramePointerNotRising,
        Self::FramePointerPastEnd,
        Self::StackPointerOffStack,
        Self::StackPointerMisaligned,
        Self::StackPointerNotRising,
        Self::StackRevisited,
        Self::AddressNotInText,
        Self::AddressNotAfterCall,
        Self::KeepsNoFrame,
        Self::NotVouchedFor,
        Self::TracerEntry,
        Self::GeneratedCode,
        Self::ReturnAddressLost,
        Self::WrongEnd,
        Self::TooDeep,
        Self::OrcNotReady,
        Self::OrcMissing,
        Self::OrcUndefined,
        Self::OrcInvalid,
        Self::RegisterNotSaved,
    ];

    /// Its place in [`Self::ALL`].
    #[inline]
    pub fn number(self) -> usize {
        let place = Self::ALL.iter().position(|other| *other == self);
        place.unwrap_or(Self::ALL.len())
    }

    /// One sentence for people.
    #[inline]
    pub fn text(self) -> &'static str {
        line(TEXTS, self.number())
    }
}

/// A sentence for each of [`Reason::ALL`], in the same order, a line each.
const TEXTS: &str = "\
the stack is being used by a CPU
the saved stack pointer is not on a stack of the task
interrupted in the kernel by an interrupt
interrupted in the kernel by an interrupt that cannot be masked
interrupted in the kernel by a page fault
interrupted in the kernel by a breakpoint
interrupted in the kernel by an exception
interrupted in the kernel, or registers saved by a tracer
saved registers that no processor saves
a frame pointer is off the stack
a frame pointer is not aligned
a frame pointer goes down or in a circle
a frame pointer leads past the beginning of the stack
a stack pointer is off the stack
a stack pointer is not aligned
a stack pointer goes down or in a circle
a stack comes up for a second time
an address on the stack is not in kernel text
an address on the stack does not follow a call
text that keeps no frame, says the validator
text that the validator has not seen
the function tracer's entry, which may go on elsewhere
code that was made at run time
a rewritten return address cannot be recovered
the walk ended where this kind of task does not end
the walk was stopped before the end
the ORC tables are not set up
no ORC entry for an address
the ORC entry for an address is undefined
an ORC entry that means nothing
an ORC entry asks for a register that was not saved
";

/// A line of a text, by its number; none behind the last. Each ends with a line feed.
#[inline(never)]
pub(crate) fn line(text: &'static str, number: usize) -> &'static str {
    let (mut begin, mut left) = (0, number);
    for (at, byte) in (0..text.len()).zip(text.as_bytes()) {
        if *byte == b'\n' {
            if left == 0 {
                return text.get(begin..at).unwrap_or("");
            }
            left = left.wrapping_sub(1);
            begin = at.wrapping_add(1);
        }
    }
    ""
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_line() {
        assert_eq!(TEXTS.lines().count(), Reason::ALL.len());
        assert_eq!(line(TEXTS, Reason::ALL.len()), "");
        for (reason, text) in [
            (Reason::Running, "the stack is being used by a CPU"),
            (
                Reason::Interrupted(Event::Unknown),
                "interrupted in the kernel, or registers saved by a tracer",
            ),
            (
                Reason::BadRegisters,
                "saved registers that no processor saves",
            ),
            (Reason::StackRevisited, "a stack comes up for a second time"),
            (
                Reason::KeepsNoFrame,
                "text that keeps no frame, says the validator",
            ),
            (Reason::TooDeep, "the walk was stopped before the end"),
            (
                Reason::RegisterNotSaved,
                "an ORC entry asks for a register that was not saved",
            ),
        ] {
            assert_eq!(reason.text(), text, "{reason:?}");
        }
    }

    #[test]
    fn each_reason_has_words_of_its_own() {
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert!(reason.text().len() > 10, "{reason:?}");
            for other in Reason::ALL.iter().skip(i + 1) {
                assert_ne!(reason.text(), other.text(), "{reason:?} {other:?}");
            }
        }
    }
}
