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
use crate::env::{Lookup, OrcEnv, Recovered, TextKind};
use crate::reason::Reason;
use crate::stack::Slot;
use crate::walk::{
    At, Mode, Partial, ReturnSlot, Saved, Start, Status, Stepper, Walk, START_REGISTERS,
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
    fn start(env: &E, mode: Mode, start: Start, first: u64) -> Walk<Self> {
        let mut walk = Walk::new(
            mode,
            Self {
                floor: 0,
                whole: 0,
                partial: false,
                exact: false,
                never_ran: false,
                end: None,
            },
        );
        // In either mode: what is on the stack changes under the walk.
        if env.is_running() {
            walk.lose(Reason::Running);
            return walk;
        }
        let begun = match start {
            Start::Here { pc, sp, fp } => {
                walk.stepper.exact = true;
                walk.begin(env, pc, sp, fp)
            }
            Start::Inactive { sp } => walk.begin_inactive(env, sp),
            Start::Interrupted { user: true, .. } => {
                walk.end_unchecked();
                return walk;
            }
            Start::Interrupted { pc, sp, fp, .. } => {
                walk.at = At::Kernel;
                walk.registers = START_REGISTERS;
                walk.stepper.exact = true;
                walk.begin(env, pc, sp, fp)
            }
        };
        if let Err(reason) = begun {
            walk.lose(reason);
            return walk;
        }
        if walk.is_reliable() {
            if let Err(reason) = walk.check_address(env) {
                walk.lose(reason);
                return walk;
            }
        }
        if matches!(start, Start::Interrupted { .. }) {
            // Whoever has the registers knows them.
            walk.next(env);
            return walk;
        }
        while !walk.is_done() && (!walk.stack.contains(first, WORD) || walk.sp <= first) {
            walk.next(env);
        }
        walk
    }

    // Called from where walks start, and from where they go on.
    #[inline(never)]
    fn next(walk: &mut Walk<Self>, env: &E) {
        if matches!(walk.at, At::User) {
            match walk.stepper.end {
                Some(end) => walk.end(Ok(end)),
                None => walk.end_unchecked(),
            }
            return;
        }
        if let Err(reason) = walk.step(env) {
            walk.lose(reason);
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
    /// The stack pointer of the function that goes on at the walk's address.
    #[inline]
    pub const fn stack_pointer(&self) -> u64 {
        self.sp
    }

    /// The frame pointer of that function; what it is for is its own affair.
    #[inline]
    pub const fn frame_pointer(&self) -> u64 {
        self.fp
    }

    fn end_unchecked(&mut self) {
        match self.mode {
            Mode::BestEffort => self.status = Status::Ended(None),
            Mode::Reliable => {
                self.lose(Reason::WrongEnd);
            }
        }
    }

    fn begin<E: OrcEnv + ?Sized>(
        &mut self,
        env: &E,
        pc: u64,
        sp: u64,
        fp: u64,
    ) -> Result<(), Reason> {
        self.pc = pc;
        self.sp = sp;
        self.fp = fp;
        match self.switch_stack(env, sp, Reason::StartOffStack) {
            Ok(stack) => self.stack = stack,
            Err(reason) => {
                if !self.doubt_and_go_on(reason) {
                    return Err(reason);
                }
                // It may have run over the end of a stack, into the page that guards it.
                let page = E::Arch::PAGE;
                let above = sp.wrapping_add(page.wrapping_sub(1)) & page.wrapping_neg();
                self.stack = self.switch_stack(env, above, reason)?;
            }
        }
        Ok(())
    }

    fn begin_inactive<E: OrcEnv + ?Sized>(&mut self, env: &E, sp: u64) -> Result<(), Reason> {
        let layout = E::Arch::INACTIVE;
        let record = sp.wrapping_add(layout.record);
        let stack = env.stack_at(sp).ok_or(Reason::StartOffStack)?;
        let word = |offset| stack.slot(record.wrapping_add(offset));
        let caller = word(E::Arch::RECORD.caller).ok_or(Reason::StartOffStack)?;
        let address = word(E::Arch::RECORD.return_address).ok_or(Reason::StartOffStack)?;
        let pc = env.read(address);
        self.stepper.never_ran = env.is_fork_return(pc);
        self.stepper.exact = self.stepper.never_ran;
        self.begin(env, pc, sp.wrapping_add(layout.size), env.read(caller))
    }

    /// The word at `address`, on this stack or, for the first time, on another.
    #[inline]
    fn slot<E: OrcEnv + ?Sized>(&mut self, env: &E, address: u64) -> Result<Slot, Reason> {
        if address % WORD != 0 {
            return Err(Reason::StackPointerMisaligned);
        }
        if let Some(slot) = self.stack.slot(address) {
            return Ok(slot);
        }
        self.stack = self.switch_stack(env, address, Reason::StackPointerOffStack)?;
        self.stack.slot(address).ok_or(Reason::StackPointerOffStack)
    }

    #[inline]
    fn word<E: OrcEnv + ?Sized>(&mut self, env: &E, address: u64) -> Result<u64, Reason> {
        let slot = self.slot(env, address)?;
        Ok(env.read(slot))
    }

    /// A register of the interrupted function, if it was saved.
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

    /// The entry for the address that the walk stands on.
    #[inline]
    fn entry<E: OrcEnv + ?Sized>(&mut self, env: &E) -> Result<Entry, Reason> {
        let at = if self.stepper.exact {
            if self.pc == 0 {
                return Ok(of_nowhere::<E::Arch>());
            }
            match (self.at, self.origin) {
                (At::Kernel, Some(Origin::Event(Event::Breakpoint))) => self.at_breakpoint(env)?,
                _ => self.pc,
            }
        } else {
            // The next instruction may belong to another function, and have another stack.
            self.pc.wrapping_sub(1)
        };
        match Self::look_up(env, at) {
            Lookup::Found(entry) => E::Format::decode(entry).ok_or(Reason::OrcInvalid),
            Lookup::NotReady => Err(Reason::OrcNotReady),
            Lookup::Missing if self.doubt_and_go_on(Reason::OrcMissing) => Ok(guess::<E::Arch>()),
            Lookup::Missing => Err(Reason::OrcMissing),
        }
    }

    fn look_up<E: OrcEnv + ?Sized>(env: &E, at: u64) -> Lookup<<E::Format as Decode>::Entry> {
        match env.orc(at) {
            Lookup::Missing => match env.template(at) {
                Some(original) if original != at => env.orc(original),
                _ => Lookup::Missing,
            },
            found => found,
        }
    }

    /// The instruction that a breakpoint interrupted: not the one behind it, whose address was
    /// saved.
    #[cold]
    #[inline(never)]
    fn at_breakpoint<E: OrcEnv + ?Sized>(&mut self, env: &E) -> Result<u64, Reason> {
        let before = env.bytes_before(self.pc);
        if let Some(distance) = before.and_then(E::Arch::breakpoint) {
            return Ok(self.pc.wrapping_sub(distance));
        }
        // It was taken away since, or whoever handles it has set another address: that does not
        // matter where the stack is the same in front of the address and behind it.
        let decoded = |at| match Self::look_up(env, at) {
            Lookup::Found(entry) => E::Format::decode(entry),
            _ => None,
        };
        let same = decoded(self.pc.wrapping_sub(1)) == decoded(self.pc);
        if same || self.doubt_and_go_on(Reason::Interrupted(Event::Breakpoint)) {
            Ok(self.pc)
        } else {
            Err(Reason::Interrupted(Event::Breakpoint))
        }
    }

    /// The caller's stack pointer.
    #[inline]
    fn cfa<E: OrcEnv + ?Sized>(&mut self, env: &E, rule: Rule) -> Result<u64, Reason> {
        let offset = rule.offset;
        Ok(match rule.base {
            Base::Reg(register) if register == E::Arch::SP => moved(self.sp, offset),
            Base::Reg(register) if register == E::Arch::FP => moved(self.fp, offset),
            Base::StackPointerIndirect => moved(self.word(env, self.sp)?, offset),
            Base::FramePointerIndirect => self.word(env, moved(self.fp, offset))?,
            Base::Reg(register) => {
                let value = self.register(env, register);
                moved(value.ok_or(Reason::RegisterNotSaved)?, offset)
            }
            Base::Undefined | Base::Cfa => return Err(Reason::OrcInvalid),
        })
    }

    #[inline]
    fn step<E: OrcEnv + ?Sized>(&mut self, env: &E) -> Result<(), Reason> {
        let entry = self.entry(env)?;
        match entry.kind {
            EntryKind::Undefined => return Err(Reason::OrcUndefined),
            EntryKind::EndOfStack => {
                self.marked_end(env);
                return Ok(());
            }
            EntryKind::Call | EntryKind::Regs | EntryKind::RegsPartial => {}
        }
        if self.is_reliable() && self.is_rewound(env) {
            self.status = Status::Ended(Some(End::Rewound));
            return Ok(());
        }
        let (kind, from) = (self.stack.kind(), self.sp);
        let cfa = self.cfa(env, entry.cfa)?;
        // The word that makes the frame: it, too, lies on a stack, and no other frame's is it.
        let made_of = match entry.kind {
            EntryKind::Call => cfa.wrapping_sub(WORD),
            _ => cfa,
        };
        let slot = self.slot(env, made_of)?;
        if self.stack.kind() == kind && made_of < self.stepper.floor {
            return Err(Reason::StackPointerNotRising);
        }
        self.stepper.floor = made_of.wrapping_add(WORD);
        if matches!(entry.kind, EntryKind::Call) {
            self.enter_call(env, cfa, slot)?;
        } else {
            self.enter_registers(env, cfa, matches!(entry.kind, EntryKind::RegsPartial))?;
        }
        self.stepper.exact = entry.signal;
        self.stepper.never_ran = false;
        self.number = self.number.wrapping_add(1);
        match entry.frame_pointer.base {
            Base::Undefined => {
                if let Some(fp) = self.register(env, E::Arch::FP) {
                    self.fp = fp;
                }
            }
            Base::Cfa => self.fp = self.word(env, moved(cfa, entry.frame_pointer.offset))?,
            Base::Reg(register) if register == E::Arch::FP => {
                self.fp = self.word(env, moved(self.fp, entry.frame_pointer.offset))?;
            }
            _ => return Err(Reason::OrcInvalid),
        }
        let same_stack = self.stack.kind() == kind && self.stack.contains(self.sp, WORD);
        if same_stack && self.sp <= from {
            return Err(Reason::StackPointerNotRising);
        }
        if self.is_reliable() {
            self.check_address(env)?;
        }
        Ok(())
    }

    #[inline]
    fn enter_call<E: OrcEnv + ?Sized>(
        &mut self,
        env: &E,
        cfa: u64,
        slot: Slot,
    ) -> Result<(), Reason> {
        let found = env.read(slot);
        self.pc = match env.recover(&mut self.recovery, found, slot.address()) {
            Recovered::Same => found,
            Recovered::Original(original) => original,
            Recovered::Lost(instead) => {
                if !self.doubt_and_go_on(Reason::ReturnAddressLost) {
                    return Err(Reason::ReturnAddressLost);
                }
                instead
            }
        };
        self.at = At::Call;
        self.sp = cfa;
        self.registers = 0;
        self.stepper.whole = 0;
        self.stepper.partial = false;
        Ok(())
    }

    fn enter_registers<E: OrcEnv + ?Sized>(
        &mut self,
        env: &E,
        cfa: u64,
        partial: bool,
    ) -> Result<(), Reason> {
        let layout = E::Arch::REGISTERS;
        let start = if partial { layout.partial } else { 0 };
        let address = cfa.wrapping_sub(start);
        let saved = Saved::read(env, &self.stack, address).ok_or(Reason::StackPointerOffStack)?;
        self.origin = match self.at {
            // Of an interrupted instruction, the first one of an entry may be meant.
            At::Call if self.stepper.exact => env.origin(self.pc),
            At::Call => env.origin(self.pc.wrapping_sub(1)),
            At::Kernel => env.origin(self.pc),
            At::User => None,
        };
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
                    self.stepper.end = Some(ends::at_user_registers(env, address, self.origin)?);
                }
                return Ok(());
            }
            Privilege::Kernel => {}
            Privilege::Neither => {
                if !self.doubt_and_go_on(Reason::BadRegisters) {
                    return Err(Reason::BadRegisters);
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
                    return Err(Reason::ReturnAddressLost);
                }
                instead
            }
        };
        if self.is_reliable() {
            self.check_interrupted_sp(env, address.wrapping_add(layout.size))?;
        }
        Ok(())
    }

    /// Whether the stack pointer of registers that end at `end` is one that a function can have.
    fn check_interrupted_sp<E: OrcEnv + ?Sized>(&self, env: &E, end: u64) -> Result<(), Reason> {
        if self.stack.contains(self.sp, 0) {
            // An interrupted function's stack does not reach into what interrupted it.
            let above = self.sp >= end;
            return above.then_some(()).ok_or(Reason::StackPointerNotRising);
        }
        // It has something on its stack, if only its return address.
        let other = env.stack_at(self.sp);
        other.map(|_| ()).ok_or(Reason::StackPointerOffStack)
    }

    /// The end of the stack, says the entry.
    fn marked_end<E: OrcEnv + ?Sized>(&mut self, env: &E) {
        if self.is_reliable() {
            let never_ran = self.stepper.never_ran;
            let end = ends::at_marked_end(env, &self.stack, self.sp, self.pc, never_ran);
            self.end(end);
        } else {
            self.end_unchecked();
        }
    }

    /// Whether the walk stands on what calls the end of a task that is to die.
    fn is_rewound<E: OrcEnv + ?Sized>(&self, env: &E) -> bool {
        self.sp == env.top()
            && matches!(self.at, At::Call)
            && ends::at_marked_end(env, &self.stack, self.sp, self.pc, false) == Ok(End::Rewound)
    }

    /// Whether a reliable walk may stand on its frame.
    fn check_address<E: OrcEnv + ?Sized>(&mut self, env: &E) -> Result<(), Reason> {
        match self.at {
            At::User => Ok(()),
            // Where the walk starts, by a running instruction.
            At::Call if self.stepper.exact && self.number == 0 => {
                ends::check_text(env, self.pc).map(|_: TextKind| ())
            }
            At::Call => ends::check_return_address(env, self.pc).map(|_| ()),
            // A copy of the tracer's entry may be interrupted like anything else.
            At::Kernel => ends::check_text(env, self.pc).map(|_| ()),
        }
    }
}

/// Whether an entry is a mere mark of where text without entries begins: it must not hide a real
/// entry for the same address.
pub fn is_weak<D: Decode>(entry: D::Entry) -> bool {
    D::decode(entry).map_or(true, |entry| entry.kind == EntryKind::Undefined)
}
