//! The stepper that follows ORC entries.
//!
//! For every instruction an entry says where the caller's stack pointer is and what lies there, so
//! that interrupted functions can be walked too. The tables are [`table`]'s and [`sort`]'s.
//! Not here: the layout of the entries, which is the architecture's ([`arch::orc::Decode`]).

pub mod sort;
pub mod table;

use arch::frame::{Event, Frames, Origin, Privilege, WORD};
use arch::insn::Reg;
use arch::object::{Base, Rule};
use arch::orc::{Decode, Frame as Entry, FrameKind as EntryKind};

use crate::ends::{self, End};
use crate::env::{Lookup, OrcEnv, Recovered};
use crate::reason::Reason;
use crate::stack::{Slot, Stack};
use crate::walk::{
    At, Mode, Partial, ReturnSlot, Saved, Start, Status, Stepper, Walk, MAX_FRAMES, START_REGISTERS,
};

/// Follows ORC entries.
#[derive(Clone, Copy, Debug)]
pub struct Orc {
    /// What lies below this on the stack is behind the walk. Registers can say any stack pointer, so
    /// that its rising alone does not bring a walk to an end.
    floor: u64,
    /// A whole set of registers from before those that are there only in part, or 0.
    whole: u64,
    /// The registers are there only in part.
    partial: bool,
    /// The address is an interrupted instruction's, not one behind a call.
    exact: bool,
    /// The walk has not moved yet, and stands where a new task starts.
    never_ran: bool,
    /// What a reliable walk has found out about registers of user space.
    end: Option<End>,
}

impl Partial for Orc {
    #[inline]
    fn is_partial(&self) -> bool {
        self.partial
    }
}

impl<E: OrcEnv + ?Sized> ReturnSlot<E> for Orc {
    #[inline]
    fn return_slot(walk: &Walk<Self>) -> Option<u64> {
        (walk.sp != 0).then_some(walk.sp.wrapping_sub(WORD))
    }
}

impl<E: OrcEnv + ?Sized> Stepper<E> for Orc {
    const NEW: Self = Self {
        floor: 0,
        whole: 0,
        partial: false,
        exact: false,
        never_ran: false,
        end: None,
    };

    fn start(walk: &mut Walk<Self>, env: &E, start: Start, first: u64) {
        // In either mode: what is on the stack changes under the walk.
        if env.is_running() {
            walk.lose(Reason::Running);
            return;
        }
        let has_begun = match start {
            Start::Here { pc, sp, fp } => {
                walk.stepper.exact = true;
                walk.begin_at(env, pc, sp, fp)
            }
            Start::Inactive { sp } => walk.begin_inactive(env, sp),
            Start::Interrupted { user: true, .. } => {
                walk.finish(None);
                return;
            }
            Start::Interrupted { pc, sp, fp, .. } => {
                walk.at = At::Kernel;
                walk.registers = START_REGISTERS;
                walk.stepper.exact = true;
                walk.begin_at(env, pc, sp, fp)
            }
        };
        if !has_begun || walk.check_address(env).is_none() {
            return;
        }
        if walk.registers == START_REGISTERS {
            // Whoever has the registers knows them.
            walk.next(env);
            return;
        }
        while !walk.is_done() && (!walk.stack.contains(first, WORD) || walk.sp <= first) {
            walk.next(env);
        }
    }

    #[inline]
    fn next(walk: &mut Walk<Self>, env: &E) {
        if matches!(walk.at, At::User) {
            walk.finish(walk.stepper.end);
        } else if walk.count > MAX_FRAMES {
            walk.lose(Reason::TooDeep);
        } else {
            // Without a next frame it is over: that is its status.
            let _: Option<()> = walk.step(env);
        }
    }
}

/// The entry of an address 0: a call to nowhere has pushed its return address and nothing else.
fn of_nowhere<A: Frames>() -> Entry {
    Entry {
        kind: EntryKind::Call,
        signal: false,
        cfa: Rule::new(Base::Reg(A::SP), WORD as i32),
        frame_pointer: Rule::UNDEFINED,
    }
}

/// The entry of code without one, if it keeps the frame-pointer convention.
fn guess<A: Frames>() -> Entry {
    let size = A::RECORD.size as i32;
    Entry {
        kind: EntryKind::Call,
        signal: false,
        cfa: Rule::new(Base::Reg(A::FP), size),
        frame_pointer: Rule::new(Base::Cfa, size.wrapping_neg()),
    }
}

/// `address`, `offset` bytes further.
#[inline]
const fn moved(address: u64, offset: i32) -> u64 {
    address.wrapping_add_signed(offset as i64)
}

impl Walk<Orc> {
    /// Whether it is one that has not started. Whoever has zeros to start a walk in asks for this.
    pub const fn is_new(&self) -> bool {
        let stepper = &self.stepper;
        self.has_not_started()
            && stepper.floor | stepper.whole == 0
            && !(stepper.partial || stepper.exact || stepper.never_ran)
            && stepper.end.is_none()
    }

    /// The stack pointer of the function that goes on at the walk's address.
    #[inline]
    pub const fn stack_pointer(&self) -> u64 {
        self.sp
    }

    /// The end of the walk, which only a best-effort walk may come to without knowing where it is.
    #[cold]
    fn finish(&mut self, end: Option<End>) {
        match (end, self.mode) {
            (None, Mode::Reliable) => {
                self.lose(Reason::WrongEnd);
            }
            _ => self.status = Status::Ended(end),
        }
    }

    /// Begins in a function that goes on at `pc`; false if the walk is lost.
    #[cold]
    #[inline(never)]
    fn begin_at<E: OrcEnv + ?Sized>(&mut self, env: &E, pc: u64, sp: u64, fp: u64) -> bool {
        let mut stack = env.stack_at(sp);
        if stack.is_none() && self.doubt_and_go_on(Reason::StartOffStack) {
            // It may have run over the end of a stack, into the page that guards it.
            let page = E::Arch::PAGE;
            stack = env.stack_at(sp.wrapping_add(page.wrapping_sub(1)) & page.wrapping_neg());
        }
        self.begin_on(stack, pc, sp, fp)
    }

    #[inline]
    fn begin_on(&mut self, stack: Option<Stack>, pc: u64, sp: u64, fp: u64) -> bool {
        self.pc = pc;
        self.sp = sp;
        self.fp = fp;
        let Some(stack) = stack else {
            return self.lose(Reason::StartOffStack);
        };
        self.count = 1;
        self.visited = stack.kind().bit();
        self.stack = stack;
        true
    }

    /// Begins in a task that is not running, by its saved stack pointer.
    #[inline]
    fn begin_inactive<E: OrcEnv + ?Sized>(&mut self, env: &E, sp: u64) -> bool {
        let layout = E::Arch::INACTIVE;
        let stack = env.stack_at(sp);
        let word = |offset: u64| {
            // Behind all of it, the function that goes on has something on the stack.
            let span = stack?.span(sp, layout.size.wrapping_add(WORD))?;
            Some(env.read(span.slot(layout.record.wrapping_add(offset))?))
        };
        let (caller, address) = (
            word(E::Arch::RECORD.caller),
            word(E::Arch::RECORD.return_address),
        );
        let (Some(fp), Some(pc)) = (caller, address) else {
            return self.lose(Reason::StartOffStack);
        };
        self.stepper.never_ran = env.is_fork_return(pc);
        self.stepper.exact = self.stepper.never_ran;
        self.begin_on(stack, pc, sp.wrapping_add(layout.size), fp)
    }

    /// The word at `address`, on this stack or, for the first time, on another; without it the walk
    /// is lost.
    #[inline]
    fn slot<E: OrcEnv + ?Sized>(&mut self, env: &E, address: u64) -> Option<Slot> {
        match self.stack.slot(address) {
            Some(slot) => Some(slot),
            None => self.slot_elsewhere(env, address),
        }
    }

    #[cold]
    #[inline(never)]
    fn slot_elsewhere<E: OrcEnv + ?Sized>(&mut self, env: &E, address: u64) -> Option<Slot> {
        if address % WORD != 0 {
            return self.lost(Reason::StackPointerMisaligned);
        }
        let slot = self.other_stack(env, address).and_then(|stack| {
            self.stack = stack;
            stack.slot(address).ok_or(None)
        });
        match slot {
            Ok(slot) => Some(slot),
            Err(reason) => self.lost(reason.unwrap_or(Reason::StackPointerOffStack)),
        }
    }

    #[inline]
    fn word<E: OrcEnv + ?Sized>(&mut self, env: &E, address: u64) -> Option<u64> {
        let slot = self.slot(env, address)?;
        Some(env.read(slot))
    }

    /// A register of the interrupted function, if it was saved.
    #[cold]
    #[inline(never)]
    fn register<E: OrcEnv + ?Sized>(&self, env: &E, register: Reg) -> Option<u64> {
        let registers = match (self.registers, self.stepper.partial) {
            (0, _) => return None,
            // What the processor saved came before anything was changed.
            (_, true) => self.stepper.whole,
            (registers, false) => registers,
        };
        match registers {
            0 => None,
            START_REGISTERS => env.start_register(register),
            _ => {
                let offset = E::Arch::register_offset(register)?;
                let address = registers.wrapping_add(offset);
                // They may lie on the stack from which this one was found.
                let stack = match self.stack.slot(address) {
                    Some(slot) => return Some(env.read(slot)),
                    None => env.stack_at(address)?,
                };
                Some(env.read(stack.slot(address)?))
            }
        }
    }

    /// The entry for the address that the walk stands on; without one it is lost.
    #[inline]
    fn entry<E: OrcEnv + ?Sized>(&mut self, env: &E) -> Option<Entry> {
        let at = if self.stepper.exact {
            if self.pc == 0 {
                return Some(of_nowhere::<E::Arch>());
            }
            match (self.at, self.origin) {
                (At::Kernel, Some(Origin::Event(Event::Breakpoint))) => self.at_breakpoint(env)?,
                _ => self.pc,
            }
        } else {
            // The next instruction may belong to another function, and have another stack.
            self.pc.wrapping_sub(1)
        };
        let reason = match Self::look_up(env, at) {
            Lookup::Found(entry) => match E::Format::decode(entry) {
                Some(entry) => return Some(entry),
                None => Reason::OrcInvalid,
            },
            Lookup::NotReady => Reason::OrcNotReady,
            Lookup::Missing if self.doubt_and_go_on(Reason::OrcMissing) => {
                return Some(guess::<E::Arch>())
            }
            Lookup::Missing => Reason::OrcMissing,
        };
        self.lost(reason)
    }

    #[inline]
    fn look_up<E: OrcEnv + ?Sized>(env: &E, at: u64) -> Lookup<<E::Format as Decode>::Entry> {
        match env.orc(at) {
            Lookup::Missing => Self::look_up_copied(env, at),
            found => found,
        }
    }

    /// The entry of the original of what is a copy.
    #[cold]
    #[inline(never)]
    fn look_up_copied<E: OrcEnv + ?Sized>(
        env: &E,
        at: u64,
    ) -> Lookup<<E::Format as Decode>::Entry> {
        match env.template(at) {
            Some(original) if original != at => env.orc(original),
            _ => Lookup::Missing,
        }
    }

    /// The instruction at which whoever a breakpoint interrupted is: as a rule the one that the
    /// breakpoint stands on, not the one behind it, whose address was saved.
    #[cold]
    #[inline(never)]
    fn at_breakpoint<E: OrcEnv + ?Sized>(&mut self, env: &E) -> Option<u64> {
        let on = self.pc.wrapping_sub(1);
        match env.has_run(on) {
            Some(true) => return Some(self.pc),
            Some(false) => return Some(on),
            None => {}
        }
        let before = env.bytes_before(self.pc);
        let stands = before.and_then(E::Arch::breakpoint);
        // Its handlers may have run the instruction already, or have set another address; or it was
        // taken away. That does not matter where the stack is the same on both sides.
        let entry = |at| match Self::look_up(env, at) {
            Lookup::Found(entry) => Some(entry),
            _ => None,
        };
        let certain = entry(on) == entry(self.pc)
            || self.doubt_and_go_on(Reason::Interrupted(Event::Breakpoint));
        certain.then_some(self.pc.wrapping_sub(stands.unwrap_or(0)))
    }

    /// The caller's stack pointer; without it the walk is lost.
    #[inline]
    fn cfa<E: OrcEnv + ?Sized>(&mut self, env: &E, rule: Rule) -> Option<u64> {
        let offset = rule.offset;
        Some(match rule.base {
            Base::Reg(register) if register == E::Arch::SP => moved(self.sp, offset),
            Base::Reg(register) if register == E::Arch::FP => moved(self.fp, offset),
            _ => return self.unusual_cfa(env, rule),
        })
    }

    #[cold]
    #[inline(never)]
    fn unusual_cfa<E: OrcEnv + ?Sized>(&mut self, env: &E, rule: Rule) -> Option<u64> {
        let offset = rule.offset;
        match rule.base {
            Base::StackPointerIndirect => Some(moved(self.word(env, self.sp)?, offset)),
            Base::FramePointerIndirect => self.word(env, moved(self.fp, offset)),
            Base::Reg(register) => match self.register(env, register) {
                Some(value) => Some(moved(value, offset)),
                None => self.lost(Reason::RegisterNotSaved),
            },
            Base::Undefined | Base::Cfa => self.lost(Reason::OrcInvalid),
        }
    }

    /// Goes to the next frame; without one the walk is over.
    #[inline]
    fn step<E: OrcEnv + ?Sized>(&mut self, env: &E) -> Option<()> {
        let entry = self.entry(env)?;
        match entry.kind {
            EntryKind::Undefined => return self.lost(Reason::OrcUndefined),
            EntryKind::EndOfStack => {
                self.marked_end(env);
                return None;
            }
            EntryKind::Call | EntryKind::Regs | EntryKind::RegsPartial => {}
        }
        if self.is_reliable() && self.sp == env.top() && self.is_rewound(env) {
            self.status = Status::Ended(Some(End::Rewound));
            return None;
        }
        let (stack, from) = (self.stack.begin(), self.sp);
        let cfa = self.cfa(env, entry.cfa)?;
        // The word that makes the frame: it, too, lies on a stack, and no other frame's is it.
        let made_of = match entry.kind {
            EntryKind::Call => cfa.wrapping_sub(WORD),
            _ => cfa,
        };
        let slot = self.slot(env, made_of)?;
        if self.stack.begin() == stack && made_of < self.stepper.floor {
            return self.lost(Reason::StackPointerNotRising);
        }
        self.stepper.floor = made_of.wrapping_add(WORD);
        if matches!(entry.kind, EntryKind::Call) {
            self.enter_call(env, cfa, slot)?;
        } else {
            self.enter_registers(env, cfa, matches!(entry.kind, EntryKind::RegsPartial))?;
        }
        self.stepper.exact = entry.signal;
        self.stepper.never_ran = false;
        self.count = self.count.wrapping_add(1);
        let rule = entry.frame_pointer;
        let saved_at = match rule.base {
            Base::Cfa => Some(cfa),
            Base::Reg(register) if register == E::Arch::FP => Some(self.fp),
            Base::Undefined => None,
            _ => return self.lost(Reason::OrcInvalid),
        };
        if let Some(base) = saved_at {
            self.fp = self.word(env, moved(base, rule.offset))?;
        } else if self.registers != 0 {
            // Nothing is saved in front of a mere call.
            self.fp = self.register(env, E::Arch::FP).unwrap_or(self.fp);
        }
        let same_stack = self.stack.begin() == stack && self.stack.contains(self.sp, WORD);
        if same_stack && self.sp <= from {
            return self.lost(Reason::StackPointerNotRising);
        }
        self.check_address(env)
    }

    #[inline]
    fn enter_call<E: OrcEnv + ?Sized>(&mut self, env: &E, cfa: u64, slot: Slot) -> Option<()> {
        let (pc, goes_on) = self.recover(env, slot);
        if !goes_on {
            return None;
        }
        self.pc = pc;
        self.at = At::Call;
        self.sp = cfa;
        self.registers = 0;
        self.stepper.whole = 0;
        self.stepper.partial = false;
        Some(())
    }

    #[cold]
    #[inline(never)]
    fn enter_registers<E: OrcEnv + ?Sized>(
        &mut self,
        env: &E,
        cfa: u64,
        partial: bool,
    ) -> Option<()> {
        let layout = E::Arch::REGISTERS;
        let start = if partial { layout.partial } else { 0 };
        let address = cfa.wrapping_sub(start);
        let Some(saved) = Saved::read(env, &self.stack, address) else {
            return self.lost(Reason::StackPointerOffStack);
        };
        // Of an interrupted instruction, the first one of an entry may be meant.
        let is_call = matches!(self.at, At::Call) && !self.stepper.exact;
        self.origin = env.origin(self.pc.wrapping_sub(u64::from(is_call)));
        self.stepper.whole = match (partial, self.stepper.partial) {
            (true, false) => self.registers,
            (true, true) => self.stepper.whole,
            (false, _) => 0,
        };
        self.stepper.partial = partial;
        self.registers = address;
        self.sp = saved.sp;
        match saved.privilege {
            Privilege::User => {
                self.at = At::User;
                self.pc = saved.pc;
                if self.is_reliable() {
                    match ends::at_user_registers(env, address, self.origin) {
                        Ok(end) => self.stepper.end = Some(end),
                        Err(reason) => return self.lost(reason),
                    }
                }
                return Some(());
            }
            Privilege::Kernel => {}
            Privilege::Neither => {
                if !self.doubt_and_go_on(Reason::BadRegisters) {
                    return None;
                }
            }
        }
        self.at = At::Kernel;
        // Somebody who had just returned to a hook was interrupted before its first instruction.
        let left = saved.sp.wrapping_sub(WORD);
        self.pc = match env.recover_interrupted(&mut self.recovery, saved.pc, left) {
            Recovered::Same => saved.pc,
            Recovered::Original(original) => original,
            Recovered::Lost(instead) => {
                if !self.doubt_and_go_on(Reason::ReturnAddressLost) {
                    return None;
                }
                instead
            }
        };
        if !self.is_reliable() {
            return Some(());
        }
        if self.stack.contains(self.sp, 0) {
            // An interrupted function's stack does not reach into what interrupted it.
            if self.sp < address.wrapping_add(layout.size) {
                return self.lost(Reason::StackPointerNotRising);
            }
        } else if env.stack_at(self.sp).is_none() {
            // It has something on its stack, if only its return address.
            return self.lost(Reason::StackPointerOffStack);
        }
        Some(())
    }

    /// The end of the stack, says the entry.
    #[cold]
    #[inline(never)]
    fn marked_end<E: OrcEnv + ?Sized>(&mut self, env: &E) {
        if !self.is_reliable() {
            self.finish(None);
            return;
        }
        match ends::at_marked_end(env, &self.stack, self.sp, self.pc, self.stepper.never_ran) {
            Ok(end) => self.finish(Some(end)),
            Err(reason) => {
                self.lose(reason);
            }
        }
    }

    /// Whether the walk, which is at the top, stands on what calls the end of a task that is to die.
    #[cold]
    #[inline(never)]
    fn is_rewound<E: OrcEnv + ?Sized>(&self, env: &E) -> bool {
        matches!(self.at, At::Call)
            && ends::at_marked_end(env, &self.stack, self.sp, self.pc, false) == Ok(End::Rewound)
    }

    /// Whether a reliable walk may stand on its frame; if not, it is lost.
    #[inline]
    fn check_address<E: OrcEnv + ?Sized>(&mut self, env: &E) -> Option<()> {
        if !self.is_reliable() {
            return Some(());
        }
        let is_call = matches!(self.at, At::Call) && (!self.stepper.exact || self.count != 1);
        let found = match is_call {
            true => ends::check_return_address(env, self.pc),
            false => self.check_instruction(env),
        };
        match found {
            Ok(()) => Some(()),
            Err(reason) => self.lost(reason),
        }
    }

    /// The same of a running instruction, where the walk starts, or of an interrupted one.
    #[cold]
    #[inline(never)]
    fn check_instruction<E: OrcEnv + ?Sized>(&self, env: &E) -> Result<(), Reason> {
        match self.at {
            At::User => Ok(()),
            At::Call | At::Kernel => ends::check_text(env, self.pc),
        }
    }
}

/// Whether an entry is a mere mark of where text without entries begins: it must not hide a real
/// entry for the same address.
#[inline]
pub fn is_weak<D: Decode>(entry: D::Entry) -> bool {
    D::kind(entry).map_or(true, |kind| kind == EntryKind::Undefined)
}
