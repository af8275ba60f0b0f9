//! The stepper that follows frame pointers.
//!
//! Each function's frame pointer leads to a record of its caller's frame pointer and its return
//! address; entry code leads to saved registers instead. Where the kernel was interrupted, the
//! interrupted function may not have set its frame pointer up yet, or not any more: there a
//! reliable walk stops. The text on the way must keep the convention, by the validator's word.

use arch::frame::{FramePointer, Frames, Origin, Privilege, WORD};

use crate::ends;
use crate::env::{Env, Recovered, Vouch};
use crate::reason::Reason;
use crate::stack::Span;
use crate::walk::{At, Mode, Partial, ReturnSlot, Start, Status, Stepper, Walk};

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
        is_last: false,
        end: None,
    };

    #[inline]
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
        if !walk.go_over(env, at, Reason::StartOffStack) {
            return;
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

    #[inline]
    fn next(walk: &mut Walk<Self>, env: &E) {
        if matches!(walk.at, At::User) {
            walk.finish();
        } else if walk.stepper.is_last {
            if ends::user_registers_at_top(env, &walk.stack) {
                // Entry code of system calls does not always lead to its registers. What entered
                // the kernel is found out only if somebody asks, by the address that stays here.
                walk.origin = None;
                walk.at = At::User;
                walk.count = walk.count.wrapping_add(1);
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
        let left = self.stack;
        // It may lie on another stack than the next one, if that is empty.
        while !self.stack.contains(address, len) {
            let next = self.stack.next();
            let reached = match next {
                0 => self.lose(match address {
                    // That is how entry code marks the outermost frame.
                    0 => Reason::WrongEnd,
                    _ => Reason::FramePointerOffStack,
                }),
                _ => self.go_over(env, next, Reason::FramePointerOffStack),
            };
            if !reached {
                self.stack = left;
                return false;
            }
            // What lies below was left by calls that have returned.
            self.stepper.behind = next;
        }
        true
    }

    /// Counts the frame that lies in these bytes, and is behind it.
    #[inline]
    fn pass(&mut self, address: u64, len: u64) {
        self.count = self.count.wrapping_add(1);
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
        let below = env.top().wrapping_sub(address);
        self.stepper.is_last = below <= E::Arch::LAST_RECORD && self.is_last_at(env, below);
        if self.is_reliable() {
            if let Err(reason) = self.check_record(env) {
                self.lose(reason);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn enter_registers<E: Env + ?Sized>(&mut self, env: &E, address: u64) {
        let layout = E::Arch::REGISTERS;
        // Only in front of registers is it of interest what called.
        self.origin = match self.at {
            At::Call if self.count != 0 => env.origin(self.pc.wrapping_sub(1)),
            _ => None,
        };
        let Some(span) = self.climb(env, address, layout.size) else {
            return;
        };
        // All of them lie there.
        let word = |offset| span.slot(offset).map_or(0, |slot| env.read(slot));
        self.pass(address, layout.size);
        self.registers = address;
        self.sp = 0;
        self.fp = word(layout.fp);
        self.stepper.is_last = false;
        self.at = At::Kernel;
        self.pc = word(layout.pc);
        match E::Arch::privilege(word(layout.status)) {
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
        let left = word(layout.sp).wrapping_sub(WORD);
        match env.recover_interrupted(&mut self.recovery, self.pc, left) {
            Recovered::Same => {}
            Recovered::Original(address) | Recovered::Lost(address) => self.pc = address,
        }
        self.doubt_or_registers();
    }

    /// Whether a record that lies so far below the top is the outermost one of the task.
    #[cold]
    #[inline(never)]
    fn is_last_at<E: Env + ?Sized>(&self, env: &E, below: u64) -> bool {
        // A word at the top belongs to it, too.
        let Some(span) = self.stack.span(self.sp, below) else {
            return false;
        };
        let word = |offset| span.slot(offset).map(|slot| env.read(slot));
        E::Arch::is_last_record(below, |a, b| match (word(a), word(b)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        })
    }

    /// Whether a reliable walk may stand on its record.
    #[inline]
    fn check_record<E: Env + ?Sized>(&mut self, env: &E) -> Result<(), Reason> {
        if self.stepper.is_last {
            return self.check_last_record(env);
        }
        // Where the task's stack begins lies no other one.
        let past = self
            .sp
            .wrapping_sub(env.top())
            .wrapping_add(E::Arch::RECORD.size);
        if past.wrapping_sub(1) < E::Arch::RECORD.size.wrapping_add(E::Arch::REGISTERS.size) {
            return Err(Reason::FramePointerPastEnd);
        }
        ends::check_return_address(env, self.pc)?;
        let call = self.pc.wrapping_sub(1);
        // Entry code leads to registers, and those decide.
        let to_registers = matches!(E::Arch::frame_pointer(self.fp), FramePointer::Registers(_));
        if to_registers && matches!(env.origin(call), Some(Origin::Event(_))) {
            return Ok(());
        }
        match env.vouch(call) {
            Vouch::Keeps => Ok(()),
            Vouch::KeepsNot => Err(Reason::KeepsNoFrame),
            Vouch::Unknown => Err(Reason::NotVouchedFor),
        }
    }

    /// The same of the outermost record.
    #[cold]
    #[inline(never)]
    fn check_last_record<E: Env + ?Sized>(&mut self, env: &E) -> Result<(), Reason> {
        let end = if env.is_fork_return(self.pc) {
            // Nobody calls there: only a task that has not run yet has it on its stack.
            if self.count != 1 || self.fp != E::Arch::encoded(env.top()) {
                return Err(Reason::WrongEnd);
            }
            ends::End::NeverRan
        } else {
            ends::check_return_address(env, self.pc)?;
            ends::at_last_record(env, &self.stack, self.fp, self.pc)?
        };
        self.stepper.end = Some(end);
        Ok(())
    }
}
