//! What is checked at calls, returns and sibling calls on the way.
//!
//! Each rule gets the state of a path at an instruction and says what is broken, if anything is.
//! Frames are the ABI's (System V psABI 3.2.2); user access and the direction flag are rules of
//! the kernel (`tools/objtool/Documentation/objtool.txt`, warnings 8 to 11).

use arch::insn::{Dest, InsnKind, Source};

use super::state::StackState;
use crate::decode::{InsnId, Marks, OpsId};
use crate::model::{Model, Roles};
use crate::read::SymbolId;
use crate::report::Message;

/// What a path carries besides the state of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags {
    /// Access to user memory is open.
    pub user_access: bool,
    /// String instructions run downwards.
    pub direction: bool,
    /// The path began in text that must not be instrumented.
    pub noinstr: bool,
    /// How many times instrumentation is allowed at present.
    pub instrumentation: i8,
    /// Saved values of `user_access`, one bit each above a marker bit; 0 is none.
    pub user_access_stack: u32,
}

/// Whether a function may be called, and return, with user access open.
pub fn is_user_access_safe<A>(model: &Model<'_, A>, function: Option<SymbolId>) -> bool {
    function.is_some_and(|function| model.has_role(function, Roles::USER_ACCESS_SAFE))
}

/// Rules for every call and sibling call.
pub fn call<A>(model: &Model<'_, A>, insn: InsnId, flags: Flags) -> Result<(), Message> {
    let callee = model.callee(insn);
    if flags.user_access && !is_user_access_safe(model, callee) {
        return Err(Message::CallWithUserAccess { callee });
    }
    if flags.direction {
        return Err(Message::CallWithDirection { callee });
    }
    Ok(())
}

/// A jump out of a function must leave the frame as the function found it.
pub fn sibling_call(
    function: Option<SymbolId>,
    state: &StackState,
    entry: &StackState,
) -> Result<(), Message> {
    if function.is_some() && state.is_modified(entry) {
        return Err(Message::SiblingCallWithFrame);
    }
    Ok(())
}

/// A return must leave everything as the function found it.
pub fn ret<A>(
    model: &Model<'_, A>,
    function: Option<SymbolId>,
    state: &StackState,
    entry: &StackState,
    flags: Flags,
) -> Result<(), Message> {
    if flags.noinstr && flags.instrumentation > 0 {
        return Err(Message::ReturnWithInstrumentation);
    }
    let safe = is_user_access_safe(model, function);
    if flags.user_access && !safe {
        return Err(Message::ReturnWithUserAccess);
    }
    if !flags.user_access && safe {
        return Err(Message::ReturnWithoutUserAccess);
    }
    if flags.direction {
        return Err(Message::ReturnWithDirection);
    }
    if function.is_some() && state.is_modified(entry) {
        return Err(Message::ReturnWithFrame);
    }
    if state.frame_pointer_scratch {
        return Err(Message::FramePointerScratch);
    }
    Ok(())
}

/// Opening and closing of user access, and the direction flag.
pub fn flag_change<A>(
    model: &Model<'_, A>,
    function: Option<SymbolId>,
    kind: InsnKind,
    flags: &mut Flags,
) -> Result<(), Message> {
    match kind {
        InsnKind::UserAccessEnable if model.options.uaccess => {
            if flags.user_access {
                return Err(Message::RecursiveUserAccess);
            }
            flags.user_access = true;
        }
        InsnKind::UserAccessDisable if model.options.uaccess => {
            if !flags.user_access && function.is_some() {
                return Err(Message::RedundantUserAccessDisable);
            }
            if is_user_access_safe(model, function) && flags.user_access_stack == 0 {
                return Err(Message::SafeDisablesUserAccess);
            }
            flags.user_access = false;
        }
        InsnKind::DirectionSet => {
            if flags.direction {
                return Err(Message::RecursiveDirection);
            }
            flags.direction = true;
        }
        InsnKind::DirectionClear => {
            if !flags.direction && function.is_some() {
                return Err(Message::RedundantDirectionClear);
            }
            flags.direction = false;
        }
        _ => {}
    }
    Ok(())
}

/// Pushes and pops of the flags, where they stand in an alternative: there they keep user access
/// and give it back.
///
/// # Errors
///
/// More pushes than can be followed.
pub fn flags_kept<A>(
    model: &Model<'_, A>,
    insn: InsnId,
    ops: OpsId,
    flags: &mut Flags,
) -> Result<(), Message> {
    if !model.options.uaccess || !model.insn(insn).marks.has(Marks::IN_GROUP) {
        return Ok(());
    }
    for op in model.insns.ops(ops).iter().flatten() {
        if op.dest == Dest::PushFlags {
            push_flags(flags)?;
        }
        if op.source == Source::PopFlags {
            pop_flags(flags);
        }
    }
    Ok(())
}

/// A push of the flags keeps user access, a pop gives it back.
///
/// # Errors
///
/// More pushes than can be followed.
fn push_flags(flags: &mut Flags) -> Result<(), Message> {
    if flags.user_access_stack == 0 {
        flags.user_access_stack = 1;
    } else if flags.user_access_stack >> 31 != 0 {
        return Err(Message::PushFlagsExhausted);
    }
    flags.user_access_stack = flags.user_access_stack << 1 | u32::from(flags.user_access);
    Ok(())
}

/// See [`push_flags`].
fn pop_flags(flags: &mut Flags) {
    if flags.user_access_stack != 0 {
        flags.user_access = flags.user_access_stack & 1 != 0;
        flags.user_access_stack >>= 1;
        if flags.user_access_stack == 1 {
            flags.user_access_stack = 0;
        }
    }
}
