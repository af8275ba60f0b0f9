//! The stepper that follows frame pointers.
//!
//! Each function's frame pointer leads to a record of its caller's frame pointer and its return
//! address; entry code leads to saved registers instead. Where the kernel was interrupted, the
//! interrupted function may not have set its frame pointer up yet, or not any more: there a
//! reliable walk stops. The text on the way must keep the convention, by the validator's word.

use core::marker::PhantomData;

use arch::frame::{FramePointer, Frames, Origin, Privilege, WORD};

use crate::ends;
use crate::env::{Env, Recovered, TextKind, Vouch};
use crate::reason::Reason;
use crate::stack::Span;
use crate::walk::{At, Mode, Partial, ReturnSlot, Saved, Start, Status, Stepper, Walk};

/// Follows frame pointers.
#[derive(Clone, Copy, Debug)]
pub struct FramePointers {
    /// What lies below this on the stack is behind the walk.
    behind: u64,
    /// The frame pointer to go on with instead of the record's, or 0: a call to nowhere has pushed
    /// a return address, but no frame pointer.
    instead: u64,
    /// The walk has come to its first frame.
    has_begun: bool,
    /// The frame is the outermost record.
    is_last: bool,
    /// What a reliable walk has found out about the outermost record.
    end: Option<ends::End>,
}

/// How far below the top the outermost record may lie.
struct Farthest<A>(PhantomData<A>);

impl<A: Frames> Farthest<A> {
    const BELOW: u64 = {
        let mut farthest = 0;
        let mut rest = A::LAST_RECORDS;
        while let [last, others @ ..] = rest {
            if last.below > farthest {
                farthest = last.below;
            }
            rest = others;
        }
        farthest
    };
}

impl Partial for FramePointers {
    #[inline]
    fn is_partial(&self) -> bool {
        false
    }
}

impl<E: Env + ?Sized> ReturnSlot<E> for FramePointers {
    #[inline]
    fn return_slot(walk: &Walk<Self>) -> Option<u64> {
        (walk.sp != 0).then_some(walk.sp.wrapping_add(E::Arch::RECORD.return_address))
    }
}

impl<E: Env + ?Sized> Stepper<E> for FramePointers {
    const NEW: Self = Self {
        behind: 0,
        instead: 0,
        has_begun: false,
        is_last: false,
        end: None,
    };

    fn start(walk: &mut Walk<Self>, env: &E, start: Start, first: u64) {
        if walk.is_reliable() && env.is_running() {
            walk.lose(Reason::Running);
            return;
        }
        let fp = match start {
            Start::Here { fp, .. } => fp,
            Start::Inactive { sp } => sp.wrapping_add(E::Arch::INACTIVE.record),
            Start::Interrupted { user: true, .. } => {
                walk.finish();
                return;
            }
            Start::Interrupted { pc, sp, fp, .. } => {
                if !walk.doubt_or_registers() {
                    return;
                }
                if pc == 0 && sp >= first {
                    walk.stepper.instead = fp;
                    sp.wrapping_sub(WORD)
                } else {
                    fp
                }
            }
        };
        let at = match E::Arch::frame_pointer(fp) {
            FramePointer::Record(address) | FramePointer::Registers(address) => address,
        };
        match walk.other_stack(env, at, Reason::StartOffStack) {
            Some(stack) => walk.stack = stack,
            None => return,
        }
        walk.enter(env, fp);
        // Registers do not count as a frame that lies high enough.
        while !walk.is_done()
            && (!walk.stack.contains(first, WORD)
                || walk.stepper.instead == 0 && (!matches!(walk.at, At::Call) || walk.sp < first))
        {
            walk.next(env);
        }
    }

    // Called from where walks start, and from where they go on.
    #[inline(never)]
    fn next(walk: &mut Walk<Self>, env: &E) {
        if matches!(walk.at, At::User) {
            walk.finish();
        } else if walk.stepper.is_last {
            if ends::user_registers_at_top(env, &walk.stack) {
                // Entry code of system calls does not always lead to its registers. What entered
                // the kernel is found out only if somebody asks, by the address that stays here.
                walk.origin = None;
                walk.at = At::User;
                walk.number = walk.number.wrapping_add(1);
                walk.registers = env.top();
                walk.stepper.is_last = false;
            } else {
                walk.finish();
            }
        } else {
            let fp = match walk.stepper.instead {
                0 => walk.fp,
                fp => fp,
            };
            walk.stepper.instead = 0;
            walk.enter(env, fp);
        }
    }
}

impl Walk<FramePointers> {
    /// Behind the last frame.
    #[cold]
    fn finish(&mut self) {
        match (self.stepper.end, self.mode) {
            (Some(end), _) => self.status = Status::Ended(Some(end)),
            (None, Mode::BestEffort) => self.status = Status::Ended(None),
            (None, Mode::Reliable) => {
                self.lose(Reason::WrongEnd);
            }
        }
    }

    /// The walk starts from, or comes to, registers of the kernel; whether it may go on.
    #[inline]
    fn doubt_or_registers(&mut self) -> bool {
        self.doubt_and_go_on(Reason::Interrupted(ends::event(self.origin)))
    }

    /// Goes to where `fp` leads, or gets lost.
    #[inline]
    fn enter<E: Env + ?Sized>(&mut self, env: &E, fp: u64) {
        match E::Arch::frame_pointer(fp) {
            FramePointer::Record(address) => self.enter_record(env, address),
            FramePointer::Registers(address) => self.enter_registers(env, address),
        }
    }

    /// The `len` bytes from `address`, which must lie behind the frame that the walk stands on;
    /// without them it is lost.
    #[inline]
    fn climb<E: Env + ?Sized>(&mut self, env: &E, address: u64, len: u64) -> Option<Span> {
        loop {
            match self.stack.span(address, len) {
                Some(span) if address >= self.stepper.behind => return Some(span),
                Some(_) => return self.lost(Reason::FramePointerNotRising),
                None if self.next_stack(env, address, len) => {}
                None => return None,
            }
        }
    }

    /// Goes over to the stack, of those that were used before this one, on which `len` bytes from
    /// `address` lie.
    #[cold]
    #[inline(never)]
    fn next_stack<E: Env + ?Sized>(&mut self, env: &E, address: u64, len: u64) -> bool {
        if address % WORD != 0 {
            return self.lose(Reason::FramePointerMisaligned);
        }
        let mut stack = self.stack;
        // It may lie on another stack than the next one, if that is empty.
        while !stack.contains(address, len) {
            if stack.next() == 0 {
                return self.lose(match address {
                    // That is how entry code marks the outermost frame.
                    0 => Reason::WrongEnd,
                    _ => Reason::FramePointerOffStack,
                });
            }
            match self.other_stack(env, stack.next(), Reason::FramePointerOffStack) {
                Some(next) => stack = next,
                None => return false,
            }
        }
        self.stack = stack;
        // What the walk has passed lies elsewhere.
        self.stepper.behind = 0;
        true
    }

    /// Counts the frame that lies in these bytes, and is behind it.
    #[inline]
    fn pass(&mut self, address: u64, len: u64) {
        if self.stepper.has_begun {
            self.number = self.number.wrapping_add(1);
        }
        self.stepper.has_begun = true;
        self.stepper.behind = address.wrapping_add(len);
    }

    #[inline(never)]
    fn enter_record<E: Env + ?Sized>(&mut self, env: &E, address: u64) {
        let layout = E::Arch::RECORD;
        let Some(span) = self.climb(env, address, layout.size) else {
            return;
        };
        let (caller, slot) = (span.slot(layout.caller), span.slot(layout.return_address));
        let (Some(caller), Some(slot)) = (caller, slot) else {
            self.lose(Reason::FramePointerOffStack);
            return;
        };
        let first = !self.stepper.has_begun;
        self.pass(address, layout.size);
        self.at = At::Call;
        self.registers = 0;
        self.sp = address;
        self.fp = env.read(caller);
        let (pc, goes_on) = self.recover(env, slot);
        self.pc = pc;
        if !goes_on {
            return;
        }
        self.stepper.is_last = self.is_last_record(env);
        if self.is_reliable() {
            if let Err(reason) = self.check_record(env, first) {
                self.lose(reason);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn enter_registers<E: Env + ?Sized>(&mut self, env: &E, address: u64) {
        let layout = E::Arch::REGISTERS;
        let Some(span) = self.climb(env, address, layout.size) else {
            return;
        };
        let saved = Saved::read(env, &self.stack, address);
        let (Some(fp), Some(saved)) = (span.slot(layout.fp), saved) else {
            self.lose(Reason::FramePointerOffStack);
            return;
        };
        // Only in front of registers is it of interest what called.
        self.origin = match self.at {
            At::Call if self.stepper.has_begun => env.origin(self.pc.wrapping_sub(1)),
            _ => None,
        };
        self.pass(address, layout.size);
        self.registers = address;
        self.sp = 0;
        self.fp = env.read(fp);
        self.stepper.is_last = false;
        self.at = At::Kernel;
        self.pc = saved.pc;
        match saved.privilege {
            Privilege::User => {
                self.at = At::User;
                self.pc = 0;
                // What entry code calls has the outermost record, and the walk would have ended
                // there: nothing else leads here.
                if self.is_reliable() {
                    self.lose(Reason::WrongEnd);
                }
                return;
            }
            Privilege::Kernel => {}
            // The tracer's entry saves registers without their segments.
            Privilege::Neither => {
                if !self.doubt_and_go_on(Reason::BadRegisters) {
                    return;
                }
            }
        }
        let left = saved.sp.wrapping_sub(WORD);
        self.pc = match env.recover_interrupted(&mut self.recovery, saved.pc, left) {
            Recovered::Same => saved.pc,
            Recovered::Original(address) | Recovered::Lost(address) => address,
        };
        self.doubt_or_registers();
    }

    /// Whether the record that the walk stands on is the outermost one of the task.
    #[inline]
    fn is_last_record<E: Env + ?Sized>(&self, env: &E) -> bool {
        let below = env.top().wrapping_sub(self.sp);
        below <= Farthest::<E::Arch>::BELOW && self.is_last_at(env, below)
    }

    /// The same, of a record that far below the top.
    #[cold]
    #[inline(never)]
    fn is_last_at<E: Env + ?Sized>(&self, env: &E, below: u64) -> bool {
        let same = |&(a, b): &(u64, u64)| {
            let word = |offset| self.stack.slot(self.sp.wrapping_add(offset));
            match (word(a), word(b)) {
                (Some(a), Some(b)) => env.read(a) == env.read(b),
                _ => false,
            }
        };
        E::Arch::LAST_RECORDS
            .iter()
            .any(|last| last.below == below && last.equal.iter().all(same))
    }

    /// Whether a reliable walk may stand on its record.
    #[inline(never)]
    fn check_record<E: Env + ?Sized>(&mut self, env: &E, first: bool) -> Result<(), Reason> {
        if self.stepper.is_last {
            let end = ends::at_last_record(env, &self.stack, self.fp, self.pc, first)?;
            self.stepper.end = Some(end);
            return Ok(());
        }
        let end = env.top().wrapping_sub(E::Arch::RECORD.size);
        let on_task_stack = self.stack.contains(env.top(), E::Arch::REGISTERS.size);
        if on_task_stack && self.sp > end {
            return Err(Reason::FramePointerPastEnd);
        }
        let text = ends::check_return_address(env, self.pc)?;
        let call = self.pc.wrapping_sub(1);
        // Entry code leads to registers, and those decide.
        let to_registers = matches!(E::Arch::frame_pointer(self.fp), FramePointer::Registers(_));
        if to_registers && matches!(env.origin(call), Some(Origin::Event(_))) {
            return Ok(());
        }
        let of = match text {
            // What is said of the original holds for the copy.
            TextKind::Trampoline => env.template(call).ok_or(Reason::GeneratedCode)?,
            _ => call,
        };
        match env.vouch(of) {
            Vouch::Keeps => Ok(()),
            Vouch::KeepsNot => Err(Reason::KeepsNoFrame),
            Vouch::Unknown => Err(Reason::NotVouchedFor),
        }
    }
}
