//! The stepper that follows frame pointers.
//!
//! Each function's frame pointer leads to a record of its caller's frame pointer and its return
//! address; entry code leads to saved registers instead. Where the kernel was interrupted, the
//! interrupted function may not have set its frame pointer up yet, or not any more: there a
//! reliable walk stops. The text on the way must keep the convention, by the validator's word.

use arch::frame::{Event, FramePointer, Frames, Origin, Privilege, WORD};

use crate::ends::{self, End};
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
    /// Whether the frame is the outermost record.
    last: Last,
    /// What a reliable walk has found out about the outermost record.
    end: Option<End>,
}

/// What comes behind a record.
#[derive(Clone, Copy, Debug)]
enum Last {
    /// What its frame pointer leads to.
    No,
    /// Nothing: it is the outermost one.
    Kernel,
    /// It is the outermost one, and user space's registers lie behind it.
    User,
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
        last: Last::No,
        end: None,
    };

    #[inline]
    fn start(walk: &mut Walk<Self>, env: &E, start: Start, first: u64) {
        if walk.is_reliable() && env.is_running() {
            walk.lose(Reason::Running);
            return;
        }
        walk.fp = match start {
            Start::Here { fp, .. } => fp,
            Start::Inactive { sp } => sp.wrapping_add(E::Arch::INACTIVE.record),
            Start::Interrupted { user, pc, sp, fp } => {
                if user {
                    walk.at = At::User;
                } else if !walk.doubt_and_go_on(Reason::Interrupted(Event::Unknown)) {
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
        // The first frame lies on whatever stack it lies on.
        let (FramePointer::Record(at) | FramePointer::Registers(at)) =
            E::Arch::frame_pointer(walk.fp);
        walk.stack = walk.stack.leading_to(at);
        loop {
            walk.next(env);
            // Registers do not count as a frame that lies high enough.
            if walk.is_done()
                || walk.stack.contains(first, WORD)
                    && (walk.stepper.instead != 0
                        || matches!(walk.at, At::Call) && walk.sp >= first)
            {
                return;
            }
        }
    }

    #[inline]
    fn next(walk: &mut Walk<Self>, env: &E) {
        if matches!(walk.stepper.last, Last::User) {
            // Entry code of system calls does not always lead to its registers. What entered
            // the kernel is found out only if somebody asks, by the address that stays here.
            walk.origin = None;
            walk.at = At::User;
            walk.count = walk.count.wrapping_add(1);
            walk.registers = env.top();
            walk.stepper.last = Last::No;
        } else if matches!(
            (walk.stepper.last, walk.at),
            (Last::Kernel, _) | (_, At::User)
        ) {
            walk.finish();
        } else {
            let fp = match (walk.count, walk.stepper.instead) {
                (0, _) | (_, 0) => walk.fp,
                (_, fp) => {
                    walk.stepper.instead = 0;
                    fp
                }
            };
            walk.enter(env, fp);
        }
    }
}

impl Walk<FramePointers> {
    /// Whether it is one that has not started. Whoever has zeros to start a walk in asks for this.
    pub const fn is_new(&self) -> bool {
        let stepper = &self.stepper;
        self.has_not_started()
            && stepper.behind | stepper.instead == 0
            && matches!(stepper.last, Last::No)
            && stepper.end.is_none()
    }

    /// Behind the last frame.
    #[inline]
    fn finish(&mut self) {
        match (self.stepper.end, self.mode) {
            (Some(end), _) => self.status = Status::Ended(Some(end)),
            (None, Mode::BestEffort) => self.status = Status::Ended(None),
            (None, Mode::Reliable) => {
                self.lose(Reason::WrongEnd);
            }
        }
    }

    /// Goes to where `fp` leads, or gets lost.
    #[inline]
    fn enter<E: Env + ?Sized>(&mut self, env: &E, fp: u64) {
        let (is_record, address, len) = match E::Arch::frame_pointer(fp) {
            FramePointer::Record(address) => (true, address, E::Arch::RECORD.size),
            FramePointer::Registers(address) => (false, address, E::Arch::REGISTERS.size),
        };
        // It must lie behind the frame that the walk stands on.
        let span = loop {
            match self.stack.span(address, len) {
                Some(span) if address >= self.stepper.behind => break span,
                Some(_) => {
                    self.lose(Reason::FramePointerNotRising);
                    return;
                }
                None if self.next_stack(env, address, len) => {}
                None => return,
            }
        };
        self.count = self.count.wrapping_add(1);
        self.stepper.behind = address.wrapping_add(len);
        self.stepper.last = Last::No;
        if is_record {
            self.enter_record(env, &span);
        } else {
            self.enter_registers(env, &span);
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
        loop {
            let next = stack.next();
            stack = match self.other_stack(env, next) {
                Ok(stack) => stack,
                // That is how entry code marks the outermost frame.
                Err(_) if address == 0 => return self.lose(Reason::WrongEnd),
                Err(reason) => {
                    return self.lose(reason.unwrap_or(match self.count {
                        0 => Reason::StartOffStack,
                        _ => Reason::FramePointerOffStack,
                    }))
                }
            };
            if stack.contains(address, len) {
                self.stack = stack;
                // What lies below was left by calls that have returned.
                self.stepper.behind = next;
                return true;
            }
        }
    }

    #[inline]
    fn enter_record<E: Env + ?Sized>(&mut self, env: &E, span: &Span) {
        let layout = E::Arch::RECORD;
        let (caller, slot) = (span.slot(layout.caller), span.slot(layout.return_address));
        // Both lie there.
        let (Some(caller), Some(slot)) = (caller, slot) else {
            self.lose(Reason::FramePointerOffStack);
            return;
        };
        let address = span.address();
        self.at = At::Call;
        self.registers = 0;
        self.sp = address;
        self.fp = env.read(caller);
        let (pc, goes_on) = self.recover(env, slot);
        self.pc = pc;
        if !goes_on {
            return;
        }
        // Not far in front of where the task's stack begins, or behind that.
        let below = env.top().wrapping_sub(address);
        let behind = E::Arch::REGISTERS.size;
        if below.wrapping_add(behind) <= E::Arch::LAST_RECORD.wrapping_add(behind) {
            self.see_whether_last(env, below);
        }
        if !self.is_reliable() || !matches!(self.stepper.last, Last::No) {
            return;
        }
        if let Err(reason) = self.check_record(env) {
            self.lose(reason);
        }
    }

    #[cold]
    #[inline(never)]
    fn enter_registers<E: Env + ?Sized>(&mut self, env: &E, span: &Span) {
        let layout = E::Arch::REGISTERS;
        let Some(span) = span.first(layout.size) else {
            self.lose(Reason::FramePointerOffStack);
            return;
        };
        // Only in front of registers is it of interest what called.
        self.origin = match self.at {
            At::Call if self.count != 1 => env.origin(self.pc.wrapping_sub(1)),
            _ => None,
        };
        // All of them lie there.
        let word = |offset| span.slot(offset).map_or(0, |slot| env.read(slot));
        self.registers = span.address();
        self.sp = 0;
        self.fp = word(layout.fp);
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
        self.doubt_and_go_on(Reason::Interrupted(ends::event(self.origin)));
    }

    /// Looks whether a record that lies so far below the top is the outermost one of the task, which a
    /// reliable walk judges then.
    #[cold]
    #[inline(never)]
    fn see_whether_last<E: Env + ?Sized>(&mut self, env: &E, below: u64) {
        // From there on up to the end of what lies at the top.
        let all = below.wrapping_add(E::Arch::REGISTERS.size);
        let span = self.stack.span(self.sp, all).filter(|span| {
            let word = |offset| span.slot(offset).map(|slot| env.read(slot));
            E::Arch::is_last_record(below, |a, b| match (word(a), word(b)) {
                (Some(a), Some(b)) => a == b,
                _ => false,
            })
        });
        let Some(span) = span else {
            // Where the task's stack begins lies no other one.
            if self.is_reliable() && (below.wrapping_sub(E::Arch::RECORD.size) as i64) < 0 {
                self.stepper.last = Last::Kernel;
                self.lose(Reason::FramePointerPastEnd);
            }
            return;
        };
        let status = span.slot(below.wrapping_add(E::Arch::REGISTERS.status));
        let user = ends::is_users(env, status);
        self.stepper.last = if user { Last::User } else { Last::Kernel };
        if self.is_reliable() {
            match self.check_last_record(env, user) {
                Ok(end) => self.stepper.end = Some(end),
                Err(reason) => {
                    self.lose(reason);
                }
            }
        }
    }

    /// Whether a reliable walk may stand on its record.
    #[inline]
    fn check_record<E: Env + ?Sized>(&mut self, env: &E) -> Result<(), Reason> {
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
    #[inline]
    fn check_last_record<E: Env + ?Sized>(&self, env: &E, user: bool) -> Result<End, Reason> {
        if env.is_fork_return(self.pc) {
            // Nobody calls there: only a task that has not run yet has it on its stack.
            if self.count != 1 || self.fp != E::Arch::encoded(env.top()) {
                return Err(Reason::WrongEnd);
            }
            return Ok(End::NeverRan);
        }
        ends::check_return_address(env, self.pc)?;
        ends::at_last_record(env, user, self.fp, self.pc)
    }
}
