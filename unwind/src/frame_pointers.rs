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
use crate::stack::{Span, Stack};
use crate::walk::{At, Mode, Partial, ReturnSlot, Saved, Start, Status, Stepper, Walk};

/// Follows frame pointers.
#[derive(Clone, Copy, Debug)]
pub struct FramePointers {
    /// What lies below this on the stack is behind the walk.
    behind: u64,
    /// The frame pointer to go on with instead of the record's, or 0: a call to nowhere has pushed
    /// a return address, but no frame pointer.
    instead: u64,
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
    fn start(env: &E, mode: Mode, start: Start, first: u64) -> Walk<Self> {
        let mut walk = Walk::new(
            mode,
            Self {
                behind: 0,
                instead: 0,
                is_last: false,
                end: None,
            },
        );
        if walk.is_reliable() && env.is_running() {
            walk.lose(Reason::Running);
            return walk;
        }
        let fp = match start {
            Start::Here { fp, .. } => fp,
            Start::Inactive { sp } => sp.wrapping_add(E::Arch::INACTIVE.record),
            Start::Interrupted { user: true, .. } => {
                walk.end_unchecked(Reason::WrongEnd);
                return walk;
            }
            Start::Interrupted { pc, sp, fp, .. } => {
                if !walk.doubt_or_registers() {
                    return walk;
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
        match walk.switch_stack(env, at, Reason::StartOffStack) {
            Ok(stack) => walk.stack = stack,
            Err(reason) => {
                walk.lose(reason);
                return walk;
            }
        }
        walk.enter(env, fp, true);
        // Registers do not count as a frame that lies high enough.
        while !walk.is_done()
            && (!walk.stack.contains(first, WORD)
                || walk.stepper.instead == 0 && (!matches!(walk.at, At::Call) || walk.sp < first))
        {
            walk.next(env);
        }
        walk
    }

    // Called from where walks start, and from where they go on.
    #[inline(never)]
    fn next(walk: &mut Walk<Self>, env: &E) {
        if matches!(walk.at, At::User) {
            walk.finish();
            return;
        }
        if walk.stepper.is_last {
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
            return;
        }
        let fp = match walk.stepper.instead {
            0 => walk.fp,
            fp => fp,
        };
        walk.stepper.instead = 0;
        walk.enter(env, fp, false);
    }
}

impl Walk<FramePointers> {
    /// Behind the last frame.
    fn finish(&mut self) {
        match self.stepper.end {
            Some(end) => self.end(Ok(end)),
            None => self.end_unchecked(Reason::WrongEnd),
        }
    }

    fn end_unchecked(&mut self, reason: Reason) {
        match self.mode {
            Mode::BestEffort => self.status = Status::Ended(None),
            Mode::Reliable => {
                self.lose(reason);
            }
        }
    }

    /// The walk starts from, or comes to, registers of the kernel; whether it may go on.
    fn doubt_or_registers(&mut self) -> bool {
        self.doubt_and_go_on(Reason::Interrupted(ends::event(self.origin)))
    }

    /// Goes to where `fp` leads.
    #[inline]
    fn enter<E: Env + ?Sized>(&mut self, env: &E, fp: u64, first: bool) -> bool {
        match E::Arch::frame_pointer(fp) {
            FramePointer::Record(address) => self.enter_record(env, address, first),
            FramePointer::Registers(address) => self.enter_registers(env, address, first),
        }
    }

    /// The `len` bytes from `address`, which must lie behind the frame that the walk stands on.
    #[inline]
    fn climb<E: Env + ?Sized>(&mut self, env: &E, address: u64, len: u64) -> Result<Span, Reason> {
        if let Some(span) = self.stack.span(address, len) {
            if address < self.stepper.behind {
                return Err(Reason::FramePointerNotRising);
            }
            return Ok(span);
        }
        self.stack = self.next_stack_with(env, address, len)?;
        self.stack
            .span(address, len)
            .ok_or(Reason::FramePointerOffStack)
    }

    /// The stack, of those that were used before this one, on which `len` bytes from `address` lie.
    #[cold]
    #[inline(never)]
    fn next_stack_with<E: Env + ?Sized>(
        &mut self,
        env: &E,
        address: u64,
        len: u64,
    ) -> Result<Stack, Reason> {
        if address % WORD != 0 {
            return Err(Reason::FramePointerMisaligned);
        }
        let mut stack = self.stack;
        // It may lie on another stack than the next one, if that is empty.
        while !stack.contains(address, len) {
            if stack.next() == 0 {
                return Err(match address {
                    // That is how entry code marks the outermost frame.
                    0 => Reason::WrongEnd,
                    _ => Reason::FramePointerOffStack,
                });
            }
            stack = self.switch_stack(env, stack.next(), Reason::FramePointerOffStack)?;
        }
        Ok(stack)
    }

    #[inline(never)]
    fn enter_record<E: Env + ?Sized>(&mut self, env: &E, address: u64, first: bool) -> bool {
        let layout = E::Arch::RECORD;
        let span = match self.climb(env, address, layout.size) {
            Ok(span) => span,
            Err(reason) => return self.lose(reason),
        };
        let (caller, slot) = (span.slot(layout.caller), span.slot(layout.return_address));
        let (Some(caller), Some(slot)) = (caller, slot) else {
            return self.lose(Reason::FramePointerOffStack);
        };
        self.stepper.behind = address.wrapping_add(layout.size);
        if !first {
            self.number = self.number.wrapping_add(1);
        }
        self.at = At::Call;
        self.registers = 0;
        self.sp = address;
        self.fp = env.read(caller);
        let found = env.read(slot);
        self.pc = match env.recover(&mut self.recovery, found, slot.address()) {
            Recovered::Same => found,
            Recovered::Original(original) => original,
            Recovered::Lost(instead) => {
                self.pc = instead;
                if !self.doubt_and_go_on(Reason::ReturnAddressLost) {
                    return false;
                }
                instead
            }
        };
        self.stepper.is_last = self.is_last_record(env);
        if self.is_reliable() {
            if let Err(reason) = self.check_record(env, first) {
                return self.lose(reason);
            }
        }
        true
    }

    #[inline(never)]
    fn enter_registers<E: Env + ?Sized>(&mut self, env: &E, address: u64, first: bool) -> bool {
        let layout = E::Arch::REGISTERS;
        let span = match self.climb(env, address, layout.size) {
            Ok(span) => span,
            Err(reason) => return self.lose(reason),
        };
        let saved = Saved::read(env, &self.stack, address);
        let (Some(fp), Some(saved)) = (span.slot(layout.fp), saved) else {
            return self.lose(Reason::FramePointerOffStack);
        };
        self.stepper.behind = address.wrapping_add(layout.size);
        // Only in front of registers is it of interest what called.
        self.origin = match self.at {
            At::Call if !first => env.origin(self.pc.wrapping_sub(1)),
            _ => None,
        };
        if !first {
            self.number = self.number.wrapping_add(1);
        }
        self.registers = address;
        self.sp = 0;
        self.fp = env.read(fp);
        self.stepper.is_last = false;
        match saved.privilege {
            Privilege::User => {
                self.at = At::User;
                self.pc = 0;
                // What entry code calls has the outermost record, and the walk would have ended
                // there: nothing else leads here.
                return !self.is_reliable() || self.lose(Reason::WrongEnd);
            }
            Privilege::Kernel => {}
            // The tracer's entry saves registers without their segments.
            Privilege::Neither => {
                if !self.doubt_and_go_on(Reason::BadRegisters) {
                    self.at = At::Kernel;
                    self.pc = saved.pc;
                    return false;
                }
            }
        }
        self.at = At::Kernel;
        let left = saved.sp.wrapping_sub(WORD);
        self.pc = match env.recover_interrupted(&mut self.recovery, saved.pc, left) {
            Recovered::Same => saved.pc,
            Recovered::Original(address) | Recovered::Lost(address) => address,
        };
        self.doubt_or_registers()
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
