//! What a stack effect does to the state of the stack.
//!
//! The rules are the ones of the System V ABI's frames as compilers make them: pushes and pops,
//! frame pointers, stores and loads of callee-saved registers, and two special shapes:
//!
//! **DRAP** (dynamic realign argument pointer). To align its stack, GCC copies the CFA into a
//! register, masks the stack pointer, pushes the return address again and
//! sets up a frame. The CFA is then known by that register, and once the register is pushed, by
//! its place on the stack.
//!
//! **Stack switch.** The old stack pointer is stored at the top of the new stack, which the stack
//! pointer then is set to; the CFA is found through what the stack pointer points at, until a pop
//! into the stack pointer goes back.

use arch::insn::{Dest, Reg, Source, StackOp};
use arch::object::{Architecture, Base, Rule, MAX_REGISTERS};

use super::state::{FrameCopy, StackState};
use crate::decode::StackOps;
use crate::model::HintKind;
use crate::report::Message;

/// What a transition has to know about its instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Context {
    /// The instruction belongs to a function.
    pub in_function: bool,
    /// Frame pointers are validated.
    pub stackval: bool,
    /// The next instruction has an unwind hint.
    pub next_has_hint: bool,
    /// Linked code is judged.
    pub linked: bool,
}

/// Applies one effect.
///
/// # Errors
///
/// What can't be followed, as a finding's message.
pub fn apply<A: Architecture>(
    arch: &A,
    state: &mut StackState,
    op: StackOp,
    context: Context,
) -> Result<(), Message> {
    if state.force_undefined {
        return Ok(());
    }
    if state.cfa.base == Base::Undefined {
        return if context.in_function {
            Err(Message::UndefinedState)
        } else {
            Ok(())
        };
    }
    if matches!(state.kind, HintKind::REGS | HintKind::REGS_PARTIAL) {
        apply_in_entry::<A>(state, op);
        return Ok(());
    }
    match (op.dest, op.source) {
        (Dest::Reg(dest), Source::Reg(source)) => copy::<A>(state, dest, source),
        (Dest::Reg(dest), Source::Add { reg, offset }) => {
            return add::<A>(state, dest, reg, offset, context);
        }
        (Dest::Reg(dest), Source::And) => return align::<A>(state, dest),
        (Dest::Reg(dest), Source::Pop | Source::PopFlags) => pop::<A>(state, dest),
        (Dest::Reg(dest), Source::Mem { base, offset }) => load::<A>(state, dest, base, offset),
        (Dest::Reg(_), Source::Const) => return Err(Message::UnknownStackInstruction),
        (Dest::Push | Dest::PushFlags, source) => push(arch, state, source, context),
        (Dest::Mem { base, offset }, Source::Reg(source)) => {
            store(arch, state, base, offset, source);
        }
        (Dest::Mem { .. }, _) => return Err(Message::UnknownStackInstruction),
        (Dest::Elsewhere, Source::Pop | Source::PopFlags) => shrink::<A>(state),
        (Dest::Elsewhere, _) => return Err(Message::UnknownStackMemoryOperation),
    }
    Ok(())
}

/// Whether an effect is surely one of those that change nothing: a copy between registers that
/// neither the frame nor anything that is known depends on.
pub fn is_idle<A: Architecture>(state: &StackState, op: StackOp) -> bool {
    let (Dest::Reg(dest), Source::Reg(source)) = (op.dest, op.source) else {
        return false;
    };
    is_copy::<A>(&[Some(op), None])
        && state.cfa.base != Base::Undefined
        && state.cfa.base != Base::Reg(dest)
        && state.value(source).base != Base::Cfa
}

/// Whether an effect is a copy between registers of which neither is the stack or frame pointer.
pub fn is_copy<A: Architecture>(ops: &StackOps) -> bool {
    let is_general = |reg| reg != A::STACK_POINTER && reg != A::FRAME_POINTER;
    match ops {
        [Some(StackOp {
            dest: Dest::Reg(dest),
            source: Source::Reg(source),
        }), None] => is_general(*dest) && is_general(*source),
        _ => false,
    }
}

/// Whether every such copy is idle in a state: the CFA is found by neither of its registers, and
/// none holds a place on the stack.
pub fn is_quiet<A: Architecture>(state: &StackState) -> bool {
    let (sp, fp) = (Base::Reg(A::STACK_POINTER), Base::Reg(A::FRAME_POINTER));
    let mut values = (0..MAX_REGISTERS as u8).map(|reg| state.value(Reg(reg)).base);
    (state.cfa.base == sp || state.cfa.base == fp) && values.all(|base| base != Base::Cfa)
}

/// With a full register frame on the stack only the distance to it is followed.
fn apply_in_entry<A: Architecture>(state: &mut StackState, op: StackOp) {
    let sp = A::STACK_POINTER;
    if !matches!(state.cfa.base, Base::StackPointerIndirect) && state.cfa.base != Base::Reg(sp) {
        return;
    }
    if matches!(op.dest, Dest::Push | Dest::PushFlags) {
        state.cfa.offset = state.cfa.offset.wrapping_add(A::WORD);
    }
    match (op.dest, op.source) {
        (_, Source::Pop | Source::PopFlags) => {
            state.cfa.offset = state.cfa.offset.wrapping_sub(A::WORD);
        }
        (Dest::Reg(dest), Source::Add { reg, offset }) if dest == sp && reg == sp => {
            state.cfa.offset = state.cfa.offset.wrapping_sub(offset);
        }
        _ => {}
    }
}

fn copy<A: Architecture>(state: &mut StackState, dest: Reg, source: Reg) {
    let (sp, fp) = (A::STACK_POINTER, A::FRAME_POINTER);
    let cfa = state.cfa;
    let known = state.value(source);
    if source == sp
        && dest == fp
        && cfa.base == Base::Reg(sp)
        && state.saved(fp) == Rule::new(Base::Cfa, cfa.offset.wrapping_neg())
    {
        // The frame is set up.
        state.cfa.base = Base::Reg(fp);
        state.frame_pointer_scratch = false;
    } else if source == sp && dest == fp && state.drap {
        state.set_saved(
            fp,
            Rule::new(Base::Reg(fp), state.stack_size.wrapping_neg()),
        );
        state.frame_pointer_scratch = false;
    } else if source == sp && cfa.base == Base::Reg(sp) {
        // Kept aside, to be restored from later.
        state.set_value(dest, Rule::new(Base::Cfa, state.stack_size.wrapping_neg()));
    } else if source == fp
        && dest == sp
        && (cfa.base == Base::Reg(fp)
            || state
                .drap_reg
                .is_some_and(|drap| cfa.base == Base::Reg(drap)))
    {
        state.stack_size = state.saved(fp).offset.wrapping_neg();
    } else if cfa.base == Base::Reg(dest) {
        if dest == sp && known.base == Base::Cfa {
            state.cfa.offset = known.offset.wrapping_neg();
            state.stack_size = state.cfa.offset;
        } else if dest == sp
            && known.base == Base::StackPointerIndirect
            && known.offset == cfa.offset
        {
            // On the new stack now; its top word is the old stack pointer.
            state.cfa.base = Base::StackPointerIndirect;
        } else {
            state.cfa = Rule::UNDEFINED;
        }
    } else if dest == sp && known.base == Base::StackPointerIndirect && known.offset == cfa.offset {
        // A stack switch with a frame pointer: the CFA stays, but the pop that goes back will
        // take a word off.
        state.stack_size = state.stack_size.wrapping_add(A::WORD);
    } else if known.base == Base::Cfa {
        state.set_value(dest, known);
    }
}

fn add<A: Architecture>(
    state: &mut StackState,
    dest: Reg,
    reg: Reg,
    offset: i32,
    context: Context,
) -> Result<(), Message> {
    let (sp, fp) = (A::STACK_POINTER, A::FRAME_POINTER);
    let cfa = state.cfa;
    if dest == sp && reg == sp {
        state.stack_size = state.stack_size.wrapping_sub(offset);
        if cfa.base == Base::Reg(sp) {
            state.cfa.offset = cfa.offset.wrapping_sub(offset);
        }
    } else if dest == sp && reg == fp {
        // With a CFA right at the frame pointer there is nothing below it to be kept.
        if cfa != Rule::new(Base::Reg(fp), 0) {
            let saved = state.saved(fp).offset;
            state.stack_size = offset.wrapping_add(saved).wrapping_neg();
        }
    } else if reg == sp && cfa.base == Base::Reg(sp) {
        // Perhaps the beginning of a realigned frame, perhaps only kept aside.
        state.drap_reg = Some(dest);
        let value = offset.wrapping_sub(state.stack_size);
        state.set_value(dest, Rule::new(Base::Cfa, value));
    } else if state.drap && dest == sp && state.drap_reg == Some(reg) {
        state.cfa = Rule::new(Base::Reg(sp), offset.wrapping_neg());
        state.stack_size = state.cfa.offset;
        state.drap_reg = None;
        state.drap = false;
    } else if cfa.base == Base::Reg(dest) && !context.next_has_hint {
        return Err(Message::UnsupportedStackRegisterChange);
    }
    Ok(())
}

fn align<A: Architecture>(state: &mut StackState, dest: Reg) -> Result<(), Message> {
    let expected = match state.drap_reg {
        Some(_) => A::STACK_POINTER,
        // Realigned without DRAP, which old compilers do behind a frame pointer.
        None => A::FRAME_POINTER,
    };
    if dest != A::STACK_POINTER || state.cfa.base != Base::Reg(expected) {
        return Err(Message::UnsupportedRealignment);
    }
    if let Some(drap) = state.drap_reg {
        state.cfa = Rule::new(Base::Reg(drap), 0);
        state.stack_size = 0;
        state.drap = true;
        state.copy = FrameCopy::None;
    }
    Ok(())
}

fn pop<A: Architecture>(state: &mut StackState, dest: Reg) {
    let sp = A::STACK_POINTER;
    if dest == sp && state.cfa.base == Base::StackPointerIndirect {
        state.cfa.base = Base::Reg(sp);
        return;
    }
    if !state.drap && state.cfa.base == Base::Reg(dest) {
        state.cfa.base = Base::Reg(sp);
    }
    let top = state.stack_size.wrapping_neg();
    if state.drap
        && state.cfa.base == Base::FramePointerIndirect
        && state.drap_reg == Some(dest)
        && state.drap_offset == top
    {
        state.cfa = Rule::new(Base::Reg(dest), 0);
        state.drap_offset = -1;
    } else if state.saved(dest).offset == top {
        restore::<A>(state, dest);
    }
    shrink::<A>(state);
}

/// Takes a word off the stack.
fn shrink<A: Architecture>(state: &mut StackState) {
    state.stack_size = state.stack_size.wrapping_sub(A::WORD);
    if state.cfa.base == Base::Reg(A::STACK_POINTER) {
        state.cfa.offset = state.cfa.offset.wrapping_sub(A::WORD);
    }
}

fn load<A: Architecture>(state: &mut StackState, dest: Reg, base: Reg, offset: i32) {
    let (sp, fp) = (A::STACK_POINTER, A::FRAME_POINTER);
    if !state.drap && state.cfa.base == Base::Reg(dest) && dest == fp {
        state.cfa = Rule::new(Base::Reg(sp), state.stack_size);
    }
    if state.drap && base == fp && offset == state.drap_offset {
        state.cfa = Rule::new(state.drap_reg.map_or(Base::Undefined, Base::Reg), 0);
        state.drap_offset = -1;
    }
    let saved = state.saved(dest).offset;
    let from_frame = state.drap && base == fp && offset == saved;
    let from_cfa =
        state.cfa.base == Base::Reg(base) && offset == saved.wrapping_add(state.cfa.offset);
    let from_stack = base == sp && offset == saved.wrapping_add(state.stack_size);
    if from_frame || from_cfa || from_stack {
        restore::<A>(state, dest);
    }
}

fn push<A: Architecture>(arch: &A, state: &mut StackState, source: Source, context: Context) {
    let fp = A::FRAME_POINTER;
    if context.linked && state.drap {
        state.copy = copied::<A>(state, source);
    }
    state.stack_size = state.stack_size.wrapping_add(A::WORD);
    if state.cfa.base == Base::Reg(A::STACK_POINTER) {
        state.cfa.offset = state.cfa.offset.wrapping_add(A::WORD);
    }
    let Source::Reg(reg) = source else { return };
    let top = state.stack_size.wrapping_neg();
    let by_drap = state
        .drap_reg
        .is_some_and(|drap| state.cfa.base == Base::Reg(drap));
    if !state.drap {
        save(arch, state, reg, Rule::new(Base::Cfa, top));
    } else if by_drap && state.drap_reg == Some(reg) {
        state.cfa = Rule::new(Base::FramePointerIndirect, top);
        state.drap_offset = top;
    } else if reg == fp && by_drap {
        state.stack_size = 0;
    } else {
        save(arch, state, reg, Rule::new(Base::Reg(fp), top));
    }
    // Assembly that saves the frame pointer may be about to use it for something else.
    if context.stackval && context.in_function && reg == fp && state.cfa.base != Base::Reg(fp) {
        state.frame_pointer_scratch = true;
    }
}

/// What a push adds to the frame of a realigned stack: it must be the return address first, by the
/// register that holds the CFA, and the frame pointer next.
fn copied<A: Architecture>(state: &StackState, source: Source) -> FrameCopy {
    let Some(drap) = state
        .drap_reg
        .filter(|&drap| state.cfa.base == Base::Reg(drap))
    else {
        return state.copy;
    };
    let return_address = Source::Mem {
        base: drap,
        offset: -A::WORD,
    };
    let holds_cfa = state.value(drap) == Rule::new(Base::Cfa, 0);
    match (state.copy, state.stack_size) {
        (FrameCopy::None, 0) if source == return_address && holds_cfa => FrameCopy::ReturnAddress,
        (FrameCopy::ReturnAddress, size)
            if size == A::WORD && source == Source::Reg(A::FRAME_POINTER) =>
        {
            FrameCopy::FramePointer
        }
        (copy, _) => copy,
    }
}

fn store<A: Architecture>(arch: &A, state: &mut StackState, base: Reg, offset: i32, source: Reg) {
    let (sp, fp) = (A::STACK_POINTER, A::FRAME_POINTER);
    if state.drap {
        if state.cfa.base == Base::Reg(source) && state.drap_reg == Some(source) {
            state.cfa = Rule::new(Base::FramePointerIndirect, offset);
            state.drap_offset = offset;
        } else {
            save(arch, state, source, Rule::new(Base::Reg(fp), offset));
        }
    } else if state.cfa.base == Base::Reg(base) {
        let at = offset.wrapping_sub(state.cfa.offset);
        save(arch, state, source, Rule::new(Base::Cfa, at));
    } else if base == sp {
        let at = offset.wrapping_sub(state.stack_size);
        save(arch, state, source, Rule::new(Base::Cfa, at));
    } else if source == sp && offset == 0 {
        // The first half of a stack switch.
        state.set_value(
            base,
            Rule::new(Base::StackPointerIndirect, state.cfa.offset),
        );
    }
}

/// The first save of a callee-saved register is the one that counts.
fn save<A: Architecture>(arch: &A, state: &mut StackState, reg: Reg, rule: Rule) {
    if arch.is_callee_saved(reg) && state.saved(reg).base == Base::Undefined {
        state.set_saved(reg, rule);
    }
}

fn restore<A: Architecture>(state: &mut StackState, reg: Reg) {
    let rule = if reg == A::RETURN_ADDRESS {
        Rule::new(Base::Cfa, -A::WORD)
    } else {
        Rule::UNDEFINED
    };
    state.set_saved(reg, rule);
}
