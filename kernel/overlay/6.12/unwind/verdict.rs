//! Verdicts with their reasons, for C: `asm/stack_verdict.h`.
//!
//! Only types are translated here; words and numbers are `unwind`'s.

// SPDX-License-Identifier: GPL-2.0-only

use core::ffi::{c_uint, c_ulong, c_void};
use core::ptr;

use unwind::{Frame, FrameKind, Outcome, Reason, Verdict, Walk};

use super::{judge, own_frames, Stepper, Subject, Task};

/// `struct stack_words` of `asm/stack_verdict.h`: words for people, without a NUL at their end.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Words {
    text: *const u8,
    length: c_uint,
}

impl Words {
    const NONE: Self = Self {
        text: ptr::null(),
        length: 0,
    };

    fn new(text: &'static str) -> Self {
        Self {
            text: text.as_ptr(),
            length: text.len() as c_uint,
        }
    }
}

/// `struct stack_frame_seen` of `asm/stack_verdict.h`.
#[repr(C)]
pub(crate) struct Seen {
    address: c_ulong,
    slot: c_ulong,
    registers: c_ulong,
    number: c_uint,
    stack: c_uint,
    kind: Words,
}

impl Seen {
    const NOWHERE: Self = Self {
        address: 0,
        slot: 0,
        registers: 0,
        number: 0,
        stack: 0,
        kind: Words::NONE,
    };

    fn new(frame: &Frame) -> Self {
        Self {
            address: frame.address,
            slot: frame.slot.unwrap_or(0),
            registers: match frame.kind {
                FrameKind::Call | FrameKind::Trampoline => 0,
                FrameKind::Interrupted { registers, .. }
                | FrameKind::SystemCall { registers }
                | FrameKind::UserEntry { registers, .. } => registers,
            },
            number: c_uint::from(frame.number),
            stack: c_uint::from(frame.stack.number()).wrapping_add(1),
            kind: Words::new(frame.kind.text()),
        }
    }
}

/// `struct stack_verdict` of `asm/stack_verdict.h`.
#[repr(C)]
pub(crate) struct Judged {
    reliable: bool,
    reason: c_uint,
    why: Words,
    lost_at: Seen,
}

impl Judged {
    pub(super) fn new(outcome: &Outcome) -> Self {
        let wrong_end = (false, Reason::WrongEnd.number() as c_uint, Reason::WrongEnd.text());
        let (reliable, reason, why) = match (outcome.verdict, outcome.end) {
            (Verdict::Reliable, Some(end)) => (true, c_uint::MAX, end.text()),
            (Verdict::Reliable, None) => wrong_end,
            (Verdict::Unreliable(reason), _) => (false, reason.number() as c_uint, reason.text()),
        };
        Self {
            reliable,
            reason,
            why: Words::new(why),
            lost_at: outcome.lost_at.as_ref().map_or(Seen::NOWHERE, Seen::new),
        }
    }
}

pub(super) type Visit = unsafe extern "C" fn(cookie: *mut c_void, frame: *const Seen) -> bool;

/// Shows C a frame; whether it wants more.
///
/// # Safety
///
/// `visit`, unless null, can be called with `cookie`.
pub(super) unsafe fn show(visit: Option<Visit>, cookie: *mut c_void, frame: &Frame) -> bool {
    match visit {
        // SAFETY: by this function's own condition.
        Some(visit) => unsafe { visit(cookie, &Seen::new(frame)) },
        None => true,
    }
}

/// `stack_verdict` of `asm/stack_verdict.h`.
///
/// # Safety
///
/// `task` is a task with a stack that stays; `visit`, unless null, can be called with `cookie`;
/// `judged` can be written to.
#[no_mangle]
#[inline(never)]
unsafe extern "C" fn stack_verdict(
    task: *mut Task,
    visit: Option<Visit>,
    cookie: *mut c_void,
    judged: *mut Judged,
) {
    // SAFETY: by this function's own condition.
    let each = |frame: &Frame| unsafe { show(visit, cookie, frame) };
    let look = |walk: &mut Walk<Stepper>, subject: &Subject| walk.conclude_frames(subject, each);
    // SAFETY: by this function's own condition.
    let outcome = unsafe { judge(task, own_frames(), look) };
    // SAFETY: by this function's own condition.
    unsafe { judged.write(Judged::new(&outcome)) };
}

/// `stack_verdict_reason` of `asm/stack_verdict.h`.
#[no_mangle]
extern "C" fn stack_verdict_reason(number: c_uint) -> Words {
    let reason = Reason::ALL.get(number as usize);
    reason.map_or(Words::NONE, |reason| Words::new(reason.text()))
}
