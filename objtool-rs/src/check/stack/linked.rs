//! What the walk looks at besides when linked code is judged.
//!
//! In a build the rules are C objtool's, word for word, because builds must get the same findings.
//! A verdict has to hold for whatever the code does, so here the walk is stricter, and keeps what
//! the verdict has to know about code that leads from one function into another. What follows from
//! it is the verdict's (`verify::entries`).

use arch::insn::{Dest, Reg, Registers, Source, StackOp};
use arch::object::{Architecture, Base, Rule, MAX_REGISTERS};
use rustc_hash::{FxHashMap, FxHashSet};

use super::state::{Depth, FrameCopy, Rules, StackPointerCopy, StackState, StateId};
use crate::decode::{InsnId, StackOps};
use crate::read::SymbolId;
use crate::report::Message;

/// Functions that may lead to the same code of none. Real code has a dozen that share the handler
/// of their faults; without a limit each function could walk through all of the file.
pub(super) const MAX_OWNERS: usize = 64;

/// What the walk keeps.
#[derive(Debug, Default)]
pub struct Linked {
    /// Functions of which a path was given up, so that others may not have been followed.
    pub given_up: FxHashSet<SymbolId>,
    /// Functions that make a call, wherever on their paths it stands.
    pub callers: FxHashSet<SymbolId>,
    /// Paths from a function into another one, other than by a call or a sibling call.
    pub crossings: Vec<Crossing>,
    /// Instructions of no function, by the functions whose paths lead to them.
    pub owners: FxHashMap<InsnId, Vec<SymbolId>>,
    /// The state of a function's paths at an instruction of no function.
    pub(super) outside: FxHashMap<(SymbolId, InsnId), StateId>,
    /// Calls without a frame in code that runs only on the oldest machines, and who makes them;
    /// harmless if the function that is called makes no call itself.
    pub rare_calls: Vec<(SymbolId, InsnId)>,
}

/// A path that leads from a function into another one.
#[derive(Clone, Copy, Debug)]
pub struct Crossing {
    /// The function that it comes from.
    pub from: SymbolId,
    /// Where it enters the other one.
    pub to: InsnId,
    /// Its state there.
    pub(super) state: StateId,
}

/// An instruction that changes the frame pointer, or a word of the frame at it, must set up a
/// frame, take it down, or come at a time when the caller's frame pointer is kept elsewhere and
/// no frame of the function's own is claimed.
pub(super) fn frame_touched<A: Architecture>(
    before: &StackState,
    after: &StackState,
) -> Result<(), Message> {
    if before.cfa.base == Base::Undefined || before.force_undefined {
        return Ok(());
    }
    let fp = A::FRAME_POINTER;
    let is_kept = before.saved(fp).base != Base::Undefined;
    let keeps_claim = before.has_frame::<A>() && after.has_frame::<A>();
    let realigns = before.drap
        && before.copy == FrameCopy::FramePointer
        && after.saved(fp) == Rule::new(Base::Reg(fp), 0);
    if keeps_claim || !(is_kept || realigns) {
        return Err(Message::FramePointerScratch);
    }
    Ok(())
}

/// Whether a call leaves the frame alone: what it pushes must come below it.
pub(super) fn is_above_stack<A: Architecture>(state: &StackState) -> bool {
    let plain = !state.drap && state.cfa.base == Base::Reg(A::FRAME_POINTER);
    state.depth == Depth::Unknown
        || (plain && state.stack_size < state.cfa.offset)
        || (state.has_realigned_frame::<A>() && state.stack_size < 0)
}

/// The state from which a path goes on where it meets another one whose state is the same but for
/// the depth of the stack, or what is known of registers; none if nothing new comes of it. Behind a
/// frame pointer the depth does not show in the CFA, and a build does not compare it; but calls push
/// below it, and an epilogue of pops relies on it.
pub(super) fn joined(known: &StackState, found: &StackState) -> Option<StackState> {
    let same_depth = known.stack_size == found.stack_size && known.depth == found.depth;
    let is_open = known.cfa.base == Base::Undefined || known.force_undefined;
    let joined = StackState {
        depth: match same_depth {
            true => known.depth,
            false => Depth::Unknown,
        },
        kept: known.kept.filter(|_| known.kept == found.kept),
        values: known.values.common(&found.values),
        drap_reg: known.drap_reg.filter(|_| known.drap_reg == found.drap_reg),
        copy: match known.copy == found.copy {
            true => known.copy,
            false => FrameCopy::None,
        },
        ..*known
    };
    (!is_open && joined != *known).then_some(joined)
}

/// Whether code that is replaced and what replaces it leave the stack alike; what registers hold
/// besides is nobody's business behind it.
pub(super) fn is_alike(known: &StackState, found: &StackState) -> bool {
    let known = StackState {
        kept: found.kept,
        values: found.values,
        ..*known
    };
    known == *found
}

/// Whether something is known of registers that the next instruction may put an end to.
pub(super) fn holds_values<A: Architecture>(state: &StackState) -> bool {
    state.kept.is_some()
        || !state.values.is_empty()
        || by_register::<A>(state).is_some()
        || is_lost::<A>(state)
}

/// Whether nothing says where the frame is.
fn is_lost<A: Architecture>(state: &StackState) -> bool {
    state.depth == Depth::Unknown && state.cfa.base == Base::Reg(A::STACK_POINTER)
}

/// The register that alone says where the CFA is, while a stack is realigned.
fn by_register<A: Architecture>(state: &StackState) -> Option<Reg> {
    match state.cfa.base {
        Base::Reg(reg) if reg != A::STACK_POINTER && reg != A::FRAME_POINTER => Some(reg),
        _ => None,
    }
}

/// The state behind a fault, whose handler may have changed registers.
pub(super) fn faulted(state: &StackState) -> StackState {
    StackState {
        kept: None,
        values: Rules::UNDEFINED,
        ..*state
    }
}

/// A build remembers what was put into a register until something else that it follows is put there.
/// Most instructions it does not follow.
pub(super) fn forgotten<A: Architecture>(
    arch: &A,
    (before, after): (&StackState, &StackState),
    ops: &StackOps,
    written: Registers,
    is_call: bool,
) -> StackState {
    let mut state = *after;
    let any = |is: &dyn Fn(StackOp) -> bool| ops.iter().flatten().any(|op| is(*op));
    let clobbers = |reg| is_call && !arch.is_callee_saved(reg);
    let changes = |reg| written.contains(reg) || clobbers(reg);
    for reg in (0..MAX_REGISTERS as u8).map(Reg) {
        let is_set = any(&|op| sets_value::<A>(before, op, reg));
        // Which register another stack came from is what its end is known by, behind calls, too.
        let is_lost = clobbers(reg) && after.value(reg).base == Base::Cfa;
        if is_lost || (written.contains(reg) && !is_set) {
            state.set_value(reg, Rule::UNDEFINED);
        }
    }
    let has_same_frame = after.cfa == before.cfa && after.drap == before.drap;
    let loses_cfa = has_same_frame && by_register::<A>(before).is_some_and(changes);
    let makes_frame = is_lost::<A>(before) && any(&takes_stack::<A>);
    if makes_frame || loses_cfa {
        state.cfa = Rule::UNDEFINED;
    }
    state.kept = before.kept.filter(|it| has_same_frame && !changes(it.reg));
    state
}

/// Whether an effect makes a register find the frame by the stack pointer.
fn takes_stack<A: Architecture>(op: StackOp) -> bool {
    let (Source::Reg(from) | Source::Add { reg: from, .. }) = op.source else {
        return false;
    };
    from == A::STACK_POINTER && op.dest != Dest::Reg(from) && matches!(op.dest, Dest::Reg(_))
}

/// Whether an effect is one that says what a register holds ([`super::transition`]).
fn sets_value<A: Architecture>(before: &StackState, op: StackOp, reg: Reg) -> bool {
    let (sp, fp) = (A::STACK_POINTER, A::FRAME_POINTER);
    let finds_cfa = before.cfa.base == Base::Reg(sp);
    let from_known = match op.source {
        Source::Reg(from) => (from == sp && finds_cfa) || before.value(from).base == Base::Cfa,
        Source::Add { reg: from, .. } => from == sp && finds_cfa,
        _ => false,
    };
    op.dest == Dest::Reg(reg) && reg != sp && reg != fp && from_known
}

/// The state behind an instruction that copies the stack pointer, or sets it if `sets`. `op` is what the
/// decoder made of it.
pub(super) fn moved<A: Architecture>(
    before: &StackState,
    after: &StackState,
    op: Option<StackOp>,
    sets: bool,
) -> StackState {
    let (sp, fp) = (A::STACK_POINTER, A::FRAME_POINTER);
    let copied = op.and_then(|op| match (op.dest, op.source) {
        (Dest::Reg(dest), Source::Reg(source)) => Some((dest, source)),
        _ => None,
    });
    let kept = before.kept.filter(|kept| copied == Some((sp, kept.reg)));
    let mut state = *after;
    match (kept, copied) {
        (Some(kept), _) => {
            state.stack_size = kept.stack_size;
            state.depth = kept.depth;
        }
        (None, _) if sets => state.depth = depth_after::<A>(before, op),
        (None, Some((reg, source))) => {
            let has_frame = before.cfa.base == Base::Reg(fp) && !before.drap;
            if source == sp && reg != fp && has_frame && before.depth != Depth::Unknown {
                state.kept = Some(StackPointerCopy {
                    reg,
                    stack_size: before.stack_size,
                    depth: before.depth,
                });
            }
        }
        (None, None) => {}
    }
    state
}

/// What is known of the depth behind an instruction that sets the stack pointer. `op` is what the
/// decoder made of it.
fn depth_after<A: Architecture>(before: &StackState, op: Option<StackOp>) -> Depth {
    let (sp, fp) = (A::STACK_POINTER, A::FRAME_POINTER);
    if before.cfa.base == Base::Undefined || before.force_undefined {
        return before.depth;
    }
    let Some(op) = op.filter(|op| op.dest == Dest::Reg(sp)) else {
        return Depth::Unknown;
    };
    let has_frame = before.cfa.base == Base::Reg(fp) || before.has_realigned_frame::<A>();
    let other_stack = Rule::new(Base::StackPointerIndirect, before.cfa.offset);
    match op.source {
        Source::Add { reg, .. } if reg == sp => before.depth,
        Source::Add { reg, .. } | Source::Reg(reg) if reg == fp && has_frame => Depth::Known,
        // The beginning and the end of a realigned frame.
        Source::And
            if before
                .drap_reg
                .is_some_and(|drap| before.value(drap) == Rule::new(Base::Cfa, 0)) =>
        {
            Depth::Known
        }
        Source::Add { reg, .. }
            if before.drap && before.drap_reg == Some(reg) && before.cfa.base == Base::Reg(reg) =>
        {
            Depth::Known
        }
        Source::And if before.drap_reg.is_none() && before.depth != Depth::Unknown => {
            Depth::AtLeast
        }
        // From a copy that was kept aside, and to another stack and back.
        Source::Reg(reg)
            if before.value(reg).base == Base::Cfa && before.cfa.base == Base::Reg(sp) =>
        {
            before.depth
        }
        Source::Reg(reg) if before.value(reg) == other_stack => before.depth,
        Source::Pop
            if before.cfa.base == Base::StackPointerIndirect
                || before.values.contains(other_stack) =>
        {
            before.depth
        }
        _ => Depth::Unknown,
    }
}

/// A store at a distance from the stack pointer, or a push, must not overwrite the words that a frame
/// keeps.
pub(super) fn stored<A: Architecture>(
    state: &StackState,
    (offset, size): (i32, u32),
) -> Result<(), Message> {
    let (sp, fp) = (A::STACK_POINTER, A::FRAME_POINTER);
    let is_plain = state.cfa.base == Base::Reg(sp) || state.cfa.base == Base::Reg(fp);
    let is_realigned = state.drap && state.saved(fp) == Rule::new(Base::Reg(fp), 0);
    if state.force_undefined || state.depth == Depth::Unknown {
        return Ok(());
    }
    // Behind a frame pointer of a realigned stack the depth is counted from there.
    let words = match (state.drap, is_plain, is_realigned) {
        (false, true, _) => {
            let at = |rule: Rule| (rule.base == Base::Cfa).then_some(rule.offset);
            [at(state.saved(A::RETURN_ADDRESS)), at(state.saved(fp))]
        }
        (true, _, true) => [Some(0), Some(A::WORD)],
        _ => return Ok(()),
    };
    let start = i64::from(offset) - i64::from(state.stack_size);
    let end = start + i64::from(size);
    let hits = |word: i32| {
        let word = i64::from(word);
        // The stack pointer may be lower, and what is stored by it, too.
        let below = state.depth == Depth::AtLeast || start < word + i64::from(A::WORD);
        below && word < end
    };
    if words.into_iter().flatten().any(hits) {
        return Err(Message::FramePointerScratch);
    }
    Ok(())
}

/// The same for a push.
pub(super) fn pushed<A: Architecture>(state: &StackState) -> Result<(), Message> {
    stored::<A>(state, (-A::WORD, A::WORD.unsigned_abs()))
}

/// Whether an instruction's effects push something.
pub(super) fn pushes(ops: &StackOps) -> bool {
    let mut ops = ops.iter().flatten();
    ops.any(|op| matches!(op.dest, Dest::Push | Dest::PushFlags))
}
