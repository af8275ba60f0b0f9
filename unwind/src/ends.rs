//! Where a stack may end: for each kind of task, at the one place where it began.
//!
//! A walk that comes to its end elsewhere is unreliable, even if nothing else was wrong
//! (`Documentation/livepatch/reliable-stacktrace.rst`, 4.1). The place is always the task's
//! [`Env::top`]; which entry code lies in front of it, and what that code left on the stack, must
//! belong to the kind of task. Also here: the checks of a single address.

use arch::frame::{Event, Frames, Origin, Privilege};

use crate::env::{Env, TaskKind, TextKind};
use crate::reason::Reason;
use crate::stack::{Slot, Stack};

/// Where a walk ended, as it must for the kind of task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// A user task at the registers of its system call. That it is not 0 leaves this for `None`.
    SystemCall = 1,
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

/// Whether registers are user space's, by the place of their status.
#[inline]
pub(crate) fn is_users<E: Env + ?Sized>(env: &E, status: Option<Slot>) -> bool {
    status.is_some_and(|slot| E::Arch::privilege(env.read(slot)) == Privilege::User)
}

/// What must be so where a stack ends in front of the top.
struct Rule {
    end: End,
    /// The kinds of task, by [`state`]: with registers of user space at the top, and without.
    states: u8,
    /// Whether the entry code may have had no frame pointer, or one that leads to the top.
    cleared: bool,
    led_to_top: bool,
}

/// A bit for a kind of task, and whether registers of user space lie at its top.
const fn state(kind: TaskKind, user: bool) -> u8 {
    1 << (kind as u8 * 2 + user as u8)
}

/// A kind of task, whatever lies at its top.
const fn any(kind: TaskKind) -> u8 {
    state(kind, false) | state(kind, true)
}

/// The end of what was entered so.
const fn rule(origin: Origin) -> Rule {
    let (end, states, cleared, led_to_top) = match origin {
        // Some entries of system calls clear the frame pointer, others encode it.
        Origin::SystemCall => (End::SystemCall, state(TaskKind::User, true), true, true),
        Origin::Event(_) => (End::UserEntry, state(TaskKind::User, true), false, true),
        // A kernel thread becomes a user task by exec before it has registers of user space.
        Origin::Fork => {
            let states = any(TaskKind::User) | state(TaskKind::KernelThread, false);
            (End::Fork, states, false, true)
        }
        Origin::Startup => (End::Startup, any(TaskKind::Idle), true, false),
        Origin::Rewound => {
            let states = any(TaskKind::User) | any(TaskKind::KernelThread);
            (End::Rewound, states, true, false)
        }
    };
    Rule {
        end,
        states,
        cleared,
        led_to_top,
    }
}

/// An end right in front of the top, where registers of user space lie or not, and `origin`'s call;
/// `caller_fp` is the frame pointer that the entry code had, if that is known.
#[inline]
fn at_top<E: Env + ?Sized>(
    env: &E,
    user: bool,
    origin: Option<Origin>,
    caller_fp: Option<u64>,
) -> Result<End, Reason> {
    let Some(origin) = origin else {
        return Err(Reason::WrongEnd);
    };
    let rule = rule(origin);
    let fits = match caller_fp {
        Some(0) => rule.cleared,
        Some(fp) => rule.led_to_top && fp == E::Arch::encoded(env.top()),
        None => true,
    };
    let state = state(env.task_kind(), user);
    if fits && rule.states & state != 0 {
        Ok(rule.end)
    } else {
        Err(Reason::WrongEnd)
    }
}

/// Judges the outermost frame record, with `caller_fp` and an address that a call may have left, and
/// whether registers of user space lie at the top.
#[inline]
pub(crate) fn at_last_record<E: Env + ?Sized>(
    env: &E,
    user: bool,
    caller_fp: u64,
    return_address: u64,
) -> Result<End, Reason> {
    let origin = env.origin(return_address.wrapping_sub(1));
    at_top::<E>(env, user, origin, Some(caller_fp))
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
    let status = env.top().wrapping_add(E::Arch::REGISTERS.status);
    let user = is_users(env, stack.slot(status));
    at_top::<E>(env, user, env.origin(pc.wrapping_sub(1)), None)
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

/// Whether frames can be vouched for of code of this kind, by its task.
#[inline]
fn check_kind<E: Env + ?Sized>(env: &E, kind: TextKind) -> Result<(), Reason> {
    match kind {
        TextKind::Fixed => Ok(()),
        // Whoever started the first CPU stays on the stack of its idle task, and is not returned to.
        TextKind::Gone if matches!(env.task_kind(), TaskKind::Idle) => Ok(()),
        TextKind::None | TextKind::Gone => Err(Reason::AddressNotInText),
        TextKind::Generated => Err(Reason::GeneratedCode),
        TextKind::Trampoline => Err(Reason::TracerEntry),
    }
}

/// Whether code lies at `address` whose frames can be vouched for.
#[inline]
pub(crate) fn check_text<E: Env + ?Sized>(env: &E, address: u64) -> Result<(), Reason> {
    check_kind::<E>(env, env.kind(address))
}

/// Whether a call may have left `address`.
#[inline(never)]
pub(crate) fn check_return_address<E: Env + ?Sized>(env: &E, address: u64) -> Result<(), Reason> {
    match env.before(address) {
        Ok(bytes) if E::Arch::may_follow_call(bytes) => Ok(()),
        Ok(_) => Err(Reason::AddressNotAfterCall),
        Err(kind) => check_kind::<E>(env, kind),
    }
}

/// What interrupted, by the entry code in front of registers.
pub(crate) const fn event(origin: Option<Origin>) -> Event {
    match origin {
        Some(Origin::Event(event)) => event,
        _ => Event::Unknown,
    }
}
