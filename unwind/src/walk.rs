//! The walk over a stack: its state, its frames, its verdict.
//!
//! A [`Walk`] stands on one frame at a time. How it finds the next one is its stepper's
//! ([`crate::frame_pointers`], [`crate::orc`]); where it may end is [`crate::ends`]'s. Two modes
//! share everything: a *reliable* walk stops at the first doubt, a *best-effort* walk goes on as
//! long as something can be read.

use arch::frame::{Event, Frames, Origin, Privilege};

use crate::ends::{self, End};
use crate::env::{Env, Recovered, Recovery, TextKind};
use crate::reason::Reason;
use crate::stack::{Slot, Stack, StackKind};
use crate::Verdict;

/// The most frames of a walk by ORC: more than fit on the largest stack, 64 KiB of frame records. With
/// frame pointers each frame takes its part of a stack, and there can't be more.
pub const MAX_FRAMES: u16 = 4096;

/// Stands for the registers that a walk was started from; no registers lie at an odd address.
pub(crate) const START_REGISTERS: u64 = 1;

/// What a walk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A verdict: it stops at the first doubt.
    Reliable,
    /// As many frames as can be found: for oops messages, profiles, lock debugging.
    BestEffort,
}

/// Where a walk starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Here: in a function of the task itself.
    Here {
        /// The running instruction.
        pc: u64,
        /// The stack pointer.
        sp: u64,
        /// The frame pointer.
        fp: u64,
    },
    /// In a task that is not running, by its saved stack pointer.
    Inactive {
        /// The saved stack pointer.
        sp: u64,
    },
    /// Behind saved registers, wherever they are kept.
    Interrupted {
        /// The interrupted instruction.
        pc: u64,
        /// The stack pointer.
        sp: u64,
        /// The frame pointer.
        fp: u64,
        /// User space was interrupted: there is nothing to walk.
        user: bool,
    },
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A function that called.
    Call,
    /// The function tracer's entry, or a copy of it, that called.
    Trampoline,
    /// The kernel was interrupted; its registers lie at this address.
    Interrupted {
        /// Where the registers lie.
        registers: u64,
        /// Only the part that the processor saved is there.
        partial: bool,
        /// What interrupted, where known.
        event: Event,
    },
    /// The kernel was entered from user space by a system call.
    SystemCall {
        /// Where user space's registers lie.
        registers: u64,
    },
    /// The kernel was entered from user space by something else.
    UserEntry {
        /// Where user space's registers lie.
        registers: u64,
        /// What interrupted, where known.
        event: Event,
    },
}

impl FrameKind {
    /// A few words for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Trampoline => "tracer's entry",
            Self::Interrupted { event, .. } => match event {
                Event::Interrupt => "interrupted",
                Event::NonMaskable => "interrupted, not maskable",
                Event::PageFault => "page fault",
                Event::Breakpoint => "breakpoint",
                Event::Exception => "exception",
                Event::Unknown => "registers",
            },
            Self::SystemCall { .. } => "system call",
            Self::UserEntry { .. } => "entry from user space",
        }
    }
}

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// Where it goes on: a return address, or the interrupted instruction; 0 for user space's.
    pub address: u64,
    /// Where this address lies on the stack.
    pub slot: Option<u64>,
    /// The stack that it lies on.
    pub stack: StackKind,
    /// Its number, from 0.
    pub number: u16,
}

/// Where a walk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// On a frame.
    Walking,
    /// Behind the last frame; where a best-effort walk does not look at the end there is no
    /// [`End`].
    Ended(Option<End>),
    /// It got lost on the way to the next frame.
    Lost(Reason),
}

/// Registers on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Where the whole set lies, or would lie if only a part of it is there.
    pub address: u64,
    /// Only the part that the processor saved is there.
    pub partial: bool,
}

/// What a walk stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Call,
    Kernel,
    User,
}

/// The state of a walk; `S` is its stepper.
///
/// It is small and can be copied and stored between two steps; everything else is asked of the
/// [`Env`], which must be about the same task each time.
#[derive(Clone, Copy, Debug)]
pub struct Walk<S> {
    /// The stack that the frame lies on.
    pub(crate) stack: Stack,
    /// Where the frame goes on.
    pub(crate) pc: u64,
    /// Frame pointers: the record. ORC: the stack pointer of the function that goes on.
    pub(crate) sp: u64,
    /// The frame pointer of the function that goes on.
    pub(crate) fp: u64,
    /// Registers: 0, [`START_REGISTERS`], or where they lie.
    pub(crate) registers: u64,
    pub(crate) recovery: Recovery,
    /// The stacks that came up, by [`StackKind::bit`].
    pub(crate) visited: u32,
    /// The frames that it has come to.
    pub(crate) count: u16,
    pub(crate) mode: Mode,
    pub(crate) at: At,
    /// The entry code that the frame in front of registers lies in.
    pub(crate) origin: Option<Origin>,
    pub(crate) status: Status,
    pub(crate) stepper: S,
}

/// A way to find the next frame.
pub trait Stepper<E: Env + ?Sized>: Copy + Sized {
    /// What it knows before a walk has started.
    const NEW: Self;

    /// Takes a new walk to its first frame, which lies at or above `first` on its stack.
    fn start(walk: &mut Walk<Self>, env: &E, start: Start, first: u64);

    /// Goes to the next frame, or changes the walk's status.
    fn next(walk: &mut Walk<Self>, env: &E);
}

impl<S> Walk<S> {
    /// A walk that has not started.
    const fn new<E: Env + ?Sized>() -> Self
    where
        S: Stepper<E>,
    {
        Self {
            stack: Stack::NONE,
            pc: 0,
            sp: 0,
            fp: 0,
            registers: 0,
            recovery: Recovery { hook: 0, index: 0 },
            visited: 0,
            count: 0,
            mode: Mode::Reliable,
            at: At::Call,
            origin: None,
            status: Status::Walking,
            stepper: S::NEW,
        }
    }

    /// Whether it is one that has not started, but for what its stepper knows.
    pub(crate) const fn has_not_started(&self) -> bool {
        let stack = &self.stack;
        stack.begin() | stack.end() | stack.next() | stack.kind().number() as u64 == 0
            && self.pc | self.sp | self.fp | self.registers | self.recovery.hook == 0
            && self.recovery.index == 0
            && self.visited == 0
            && self.count == 0
            && matches!(self.at, At::Call)
            && self.origin.is_none()
            && matches!(self.status, Status::Walking)
    }

    /// Starts a walk; it stands on its first frame, if there is one.
    ///
    /// Frames below the address `first` are passed over; give the stack pointer that the walk
    /// starts with to see all.
    #[inline]
    pub fn start<E: Env + ?Sized>(env: &E, mode: Mode, start: Start, first: u64) -> Self
    where
        S: Stepper<E>,
    {
        let mut walk = Self::new::<E>();
        walk.start_here(env, mode, start, first);
        walk
    }

    /// The same for a walk that is there already and `is_new`.
    #[inline]
    pub fn start_here<E: Env + ?Sized>(&mut self, env: &E, mode: Mode, start: Start, first: u64)
    where
        S: Stepper<E>,
    {
        self.mode = mode;
        S::start(self, env, start, first);
    }

    /// Goes to the next frame; false if there is none, for whatever reason.
    // Called from where walks start, and from where they go on.
    #[inline(never)]
    pub fn next<E: Env + ?Sized>(&mut self, env: &E) -> bool
    where
        S: Stepper<E>,
    {
        if self.is_done() {
            return false;
        }
        S::next(self, env);
        !self.is_done()
    }

    /// Whether the walk is over, and stands on no frame any more.
    #[inline]
    pub const fn is_done(&self) -> bool {
        !matches!(self.status, Status::Walking)
    }

    /// Where the walk is.
    pub const fn status(&self) -> Status {
        self.status
    }

    /// The frame pointer with which the frame goes on; with ORC, what it is for is the function's own
    /// affair.
    #[inline]
    pub const fn frame_pointer(&self) -> u64 {
        self.fp
    }

    /// Whether the walk has come across registers of an interrupted kernel. Where it did, losing
    /// one's way with frame pointers is no sign of a damaged stack.
    #[inline]
    pub const fn is_on_registers(&self) -> bool {
        matches!(self.at, At::Kernel)
    }

    /// The address where the frame goes on, if it is one of known text.
    #[inline]
    pub fn address<E: Env + ?Sized>(&self, env: &E) -> Option<u64> {
        let is_known = !self.is_done() && !matches!(self.at, At::User) && env.is_known(self.pc);
        is_known.then_some(self.pc)
    }

    /// Where on the stack the address lies at which the frame goes on.
    #[inline]
    pub fn address_slot<E: Env + ?Sized>(&self, _env: &E) -> Option<u64>
    where
        S: Stepper<E> + ReturnSlot<E>,
    {
        if self.is_done() {
            None
        } else if self.registers > START_REGISTERS {
            Some(self.registers.wrapping_add(E::Arch::REGISTERS.pc))
        } else {
            S::return_slot(self)
        }
    }

    /// The registers that the frame consists of, if it is one of registers.
    #[inline]
    pub fn registers(&self) -> Option<Registers>
    where
        S: Partial,
    {
        (!self.is_done() && self.registers > START_REGISTERS).then_some(Registers {
            address: self.registers,
            partial: self.stepper.is_partial(),
        })
    }

    /// The frame that the walk stands on; when it got lost, the one from which it did not get on.
    #[inline(never)]
    pub fn frame<E: Env + ?Sized>(&self, env: &E) -> Frame
    where
        S: ReturnSlot<E> + Partial,
    {
        let origin = match self.at {
            At::User if self.origin.is_none() => env.origin(self.pc.wrapping_sub(1)),
            _ => self.origin,
        };
        let event = ends::event(origin);
        let registers = self.registers;
        let kind = match self.at {
            At::Kernel => FrameKind::Interrupted {
                registers,
                partial: self.stepper.is_partial(),
                event,
            },
            At::User if matches!(origin, Some(Origin::Event(_))) => {
                FrameKind::UserEntry { registers, event }
            }
            At::User => FrameKind::SystemCall { registers },
            At::Call => match env.kind(self.pc.wrapping_sub(1)) {
                TextKind::Trampoline => FrameKind::Trampoline,
                _ => FrameKind::Call,
            },
        };
        let slot = if self.registers > START_REGISTERS {
            Some(registers.wrapping_add(E::Arch::REGISTERS.pc))
        } else {
            S::return_slot(self)
        };
        Frame {
            kind,
            address: if matches!(self.at, At::User) {
                0
            } else {
                self.pc
            },
            slot,
            stack: self.stack.kind(),
            number: self.count.saturating_sub(1),
        }
    }

    /// There is a doubt; true if the walk may go on in spite of it.
    #[inline]
    pub(crate) fn doubt_and_go_on(&mut self, reason: Reason) -> bool {
        match self.mode {
            Mode::BestEffort => true,
            Mode::Reliable => self.lose(reason),
        }
    }

    /// Gives up; false, for callers to return.
    #[cold]
    #[inline(never)]
    pub(crate) fn lose(&mut self, reason: Reason) -> bool {
        self.status = Status::Lost(reason);
        false
    }

    #[inline]
    pub(crate) const fn is_reliable(&self) -> bool {
        matches!(self.mode, Mode::Reliable)
    }

    /// Gives up, for callers that have nothing to return.
    #[inline]
    pub(crate) fn lost<T>(&mut self, reason: Reason) -> Option<T> {
        self.lose(reason);
        None
    }

    /// The stack that `address` lies on, if that did not come up yet.
    ///
    /// # Errors
    /// Without a reason: there is no such stack.
    #[inline]
    pub(crate) fn other_stack<E: Env + ?Sized>(
        &mut self,
        env: &E,
        address: u64,
    ) -> Result<Stack, Option<Reason>> {
        let stack = env.stack_at(address).ok_or(None)?;
        let bit = stack.kind().bit();
        if self.visited & bit != 0 {
            return Err(Some(Reason::StackRevisited));
        }
        self.visited |= bit;
        Ok(stack)
    }

    /// The return address in `slot`, as it was before a tracer replaced it, and whether the walk
    /// may go on with it.
    #[inline]
    pub(crate) fn recover<E: Env + ?Sized>(&mut self, env: &E, slot: Slot) -> (u64, bool) {
        let found = env.read(slot);
        match env.recover(&mut self.recovery, found, slot.address()) {
            Recovered::Same => (found, true),
            Recovered::Original(original) => (original, true),
            Recovered::Lost(instead) => (instead, self.doubt_and_go_on(Reason::ReturnAddressLost)),
        }
    }
}

/// Where a stepper has the return address that its walk stands on.
pub trait ReturnSlot<E: Env + ?Sized>: Sized {
    /// The address of the word, if the frame is a call's.
    fn return_slot(walk: &Walk<Self>) -> Option<u64>;
}

/// Whether a stepper stands on registers of which only a part was saved.
pub trait Partial {
    /// Whether it does.
    fn is_partial(&self) -> bool;
}

/// What the processor saved of registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saved {
    pub(crate) pc: u64,
    pub(crate) privilege: Privilege,
    pub(crate) sp: u64,
}

impl Saved {
    /// Reads what the processor saved of registers at `address`; `None` if it does not lie on
    /// `stack`.
    #[inline]
    pub(crate) fn read<E: Env + ?Sized>(env: &E, stack: &Stack, address: u64) -> Option<Self> {
        let layout = E::Arch::REGISTERS;
        let span = stack.span(
            address.wrapping_add(layout.partial),
            layout.size.wrapping_sub(layout.partial),
        )?;
        let pc = span.slot(layout.pc.wrapping_sub(layout.partial))?;
        let status = span.slot(layout.status.wrapping_sub(layout.partial))?;
        let sp = span.slot(layout.sp.wrapping_sub(layout.partial))?;
        Some(Self {
            pc: env.read(pc),
            privilege: E::Arch::privilege(env.read(status)),
            sp: env.read(sp),
        })
    }
}

/// What came of a reliable walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// Where it ended, if it is reliable.
    pub end: Option<End>,
    /// The frame from which it did not get on, if it is not.
    pub lost_at: Option<Frame>,
}

/// Walks a stack for a verdict. `visit` is shown every frame but user space's, and returns whether
/// it wants more; a trace that it cut short is not reliable.
pub fn reliable<S, E>(
    env: &E,
    start: Start,
    first: u64,
    visit: impl FnMut(&Frame) -> bool,
) -> Outcome
where
    E: Env + ?Sized,
    S: Stepper<E> + ReturnSlot<E> + Partial,
{
    Walk::<S>::start(env, Mode::Reliable, start, first).conclude_frames(env, visit)
}

impl<S> Walk<S> {
    /// Goes on to the end, and concludes; the walk was started for a verdict. `visit` is shown the
    /// address of every frame but user space's, and returns whether it wants more; a trace that it cut
    /// short is not reliable.
    #[inline]
    pub fn conclude<E>(&mut self, env: &E, mut visit: impl FnMut(u64) -> bool) -> Verdict
    where
        E: Env + ?Sized,
        S: Stepper<E>,
    {
        match self.walk_on(env, |walk| visit(walk.pc)) {
            Ok(_) => Verdict::Reliable,
            Err(reason) => Verdict::Unreliable(reason),
        }
    }

    /// The same for those who want to know more of the frames and of the end.
    #[inline]
    pub fn conclude_frames<E>(&mut self, env: &E, mut visit: impl FnMut(&Frame) -> bool) -> Outcome
    where
        E: Env + ?Sized,
        S: Stepper<E> + ReturnSlot<E> + Partial,
    {
        match self.walk_on(env, |walk| visit(&walk.frame(env))) {
            Ok(end) => Outcome {
                verdict: Verdict::Reliable,
                end: Some(end),
                lost_at: None,
            },
            Err(reason) => Outcome {
                verdict: Verdict::Unreliable(reason),
                end: None,
                lost_at: Some(self.frame(env)),
            },
        }
    }

    #[inline]
    fn walk_on<E>(&mut self, env: &E, mut visit: impl FnMut(&Self) -> bool) -> Result<End, Reason>
    where
        E: Env + ?Sized,
        S: Stepper<E>,
    {
        while !self.is_done() && (matches!(self.at, At::User) || visit(self)) {
            self.next(env);
        }
        // It may have started to run while it was looked at.
        let running = env.is_running();
        if running || !self.is_done() {
            self.lose(if running {
                Reason::Running
            } else {
                Reason::TooDeep
            });
        }
        match self.status {
            Status::Ended(Some(end)) => Ok(end),
            Status::Ended(None) | Status::Walking => Err(Reason::WrongEnd),
            Status::Lost(reason) => Err(reason),
        }
    }
}
