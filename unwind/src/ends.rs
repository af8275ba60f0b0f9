//! Where a stack may end: for each kind of task, at the one place where it began.
//!
//! A walk that comes to its end elsewhere is unreliable, even if nothing else was wrong
//! (`Documentation/livepatch/reliable-stacktrace.rst`, 4.1). The place is always the task's
//! [`Env::top`]; which entry code lies in front of it, and what that code left on the stack, must
//! belong to the kind of task. Also here: the checks of a single address.

use arch::frame::{Event, Frames, Origin, Privilege};

use crate::env::{Env, TaskKind, TextKind};
use crate::reason::Reason;
use crate::stack::Stack;

/// Where a walk ended, as it must for the kind of task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// A user task at the registers of its system call.
    SystemCall,
    /// A user task at the registers of an interrupt or exception that it came from.
    UserEntry,
    /// A kernel thread, or a user task that has not left the kernel yet, at its first instruction.
    Fork,
    /// A task that has not run yet.
    NeverRan,
    /// An idle task at the start of its CPU.
    Startup,
    /// A task that is to die: all that lay further out was thrown away.
    Rewound,
}

impl End {
    /// A few words for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::SystemCall => "a system call",
            Self::UserEntry => "an interrupt or exception of user space",
            Self::Fork => "the first instruction of a new task",
            Self::NeverRan => "a task that has not run yet",
            Self::Startup => "the start of a CPU",
            Self::Rewound => "a task that is to die",
        }
    }
}

/// Whether registers of user space lie at the top.
#[inline]
pub(crate) fn user_registers_at_top<E: Env + ?Sized>(env: &E, stack: &Stack) -> bool {
    let slot = stack.slot(env.top().wrapping_add(E::Arch::REGISTERS.status));
    slot.is_some_and(|slot| E::Arch::privilege(env.read(slot)) == Privilege::User)
}

/// An end right in front of the top, where `origin`'s call lies; `caller_fp` is the frame pointer
/// that the entry code had, if that is known.
fn at_top<E: Env + ?Sized>(
    env: &E,
    stack: &Stack,
    origin: Option<Origin>,
    caller_fp: Option<u64>,
) -> Result<End, Reason> {
    let encoded = E::Arch::encoded(env.top());
    let cleared = caller_fp.map_or(true, |fp| fp == 0);
    let led_to_top = caller_fp.map_or(true, |fp| fp == encoded);
    let user = user_registers_at_top::<E>(env, stack);
    let kind = env.task_kind();
    let end = match (origin, kind) {
        // Some entries of system calls clear the frame pointer, others encode it.
        (Some(Origin::SystemCall), TaskKind::User) if user && (cleared || led_to_top) => {
            End::SystemCall
        }
        (Some(Origin::Event(_)), TaskKind::User) if user && led_to_top => End::UserEntry,
        // A kernel thread becomes a user task by exec before it has registers of user space.
        (Some(Origin::Fork), TaskKind::User) if led_to_top => End::Fork,
        (Some(Origin::Fork), TaskKind::KernelThread) if led_to_top && !user => End::Fork,
        (Some(Origin::Startup), TaskKind::Idle) if cleared => End::Startup,
        (Some(Origin::Rewound), TaskKind::User | TaskKind::KernelThread) if cleared => End::Rewound,
        _ => return Err(Reason::WrongEnd),
    };
    Ok(end)
}

/// Judges the outermost frame record. It is the walk's first one if `first`.
pub(crate) fn at_last_record<E: Env + ?Sized>(
    env: &E,
    stack: &Stack,
    caller_fp: u64,
    return_address: u64,
    first: bool,
) -> Result<End, Reason> {
    if env.is_fork_return(return_address) {
        // Nobody calls there: only a task that has not run yet has it on its stack.
        let whole = first && caller_fp == E::Arch::encoded(env.top());
        return whole.then_some(End::NeverRan).ok_or(Reason::WrongEnd);
    }
    check_return_address::<E>(env, return_address)?;
    let origin = env.origin(return_address.wrapping_sub(1));
    at_top::<E>(env, stack, origin, Some(caller_fp))
}

/// Judges the end of a stack that an ORC entry names, with the stack pointer `sp`. `never_ran` if
/// `pc` is where a new task starts, and the walk's first address.
pub(crate) fn at_marked_end<E: Env + ?Sized>(
    env: &E,
    stack: &Stack,
    sp: u64,
    pc: u64,
    never_ran: bool,
) -> Result<End, Reason> {
    if sp != env.top() {
        return Err(Reason::WrongEnd);
    }
    if never_ran {
        return Ok(End::NeverRan);
    }
    at_top::<E>(env, stack, env.origin(pc.wrapping_sub(1)), None)
}

/// Judges registers of user space at `address`, in front of which entry code of `origin` lies.
pub(crate) fn at_user_registers<E: Env + ?Sized>(
    env: &E,
    address: u64,
    origin: Option<Origin>,
) -> Result<End, Reason> {
    if address != env.top() || env.task_kind() != TaskKind::User {
        return Err(Reason::WrongEnd);
    }
    match origin {
        Some(Origin::SystemCall) => Ok(End::SystemCall),
        Some(Origin::Event(_)) => Ok(End::UserEntry),
        Some(Origin::Fork) => Ok(End::Fork),
        Some(Origin::Rewound) => Ok(End::Rewound),
        Some(Origin::Startup) | None => Err(Reason::WrongEnd),
    }
}

/// Whether code lies at `address` whose frames can be vouched for.
#[inline]
pub(crate) fn check_text<E: Env + ?Sized>(env: &E, address: u64) -> Result<TextKind, Reason> {
    match env.kind(address) {
        // Whoever started the first CPU stays on the stack of its idle task, and is not returned to.
        TextKind::Gone if matches!(env.task_kind(), TaskKind::Idle) => Ok(TextKind::Gone),
        TextKind::None | TextKind::Gone => Err(Reason::AddressNotInText),
        TextKind::Generated => Err(Reason::GeneratedCode),
        kind @ (TextKind::Fixed | TextKind::Trampoline) => Ok(kind),
    }
}

/// Whether a call may have left `address`.
#[inline(never)]
pub(crate) fn check_return_address<E: Env + ?Sized>(
    env: &E,
    address: u64,
) -> Result<TextKind, Reason> {
    let kind = check_text::<E>(env, address.wrapping_sub(1))?;
    if matches!(kind, TextKind::Gone) {
        return Ok(kind);
    }
    match env.bytes_before(address) {
        None => Err(Reason::AddressNotInText),
        Some(bytes) if E::Arch::may_follow_call(bytes) => Ok(kind),
        Some(_) => Err(Reason::AddressNotAfterCall),
    }
}

/// What interrupted, by the entry code in front of registers.
pub(crate) const fn event(origin: Option<Origin>) -> Event {
    match origin {
        Some(Origin::Event(event)) => event,
        _ => Event::Unknown,
    }
}
