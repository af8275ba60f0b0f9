//! What the walk looks at besides when linked code is judged.
//!
//! In a build the rules are C objtool's, word for word, because builds must get the same findings.
//! A verdict has to hold for whatever the code does, so here the walk is stricter, and keeps what
//! the verdict has to know about code that leads from one function into another. What follows from
//! it is the verdict's (`verify::entries`).

use arch::insn::{Dest, Source, StackOp};
use arch::object::{Architecture, Base, Rule};
use rustc_hash::{FxHashMap, FxHashSet};

use super::state::{Depth, FrameCopy, StackState, StateId};
use crate::decode::InsnId;
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
    state.depth == Depth::Unknown || (plain && state.stack_size < state.cfa.offset)
}

/// The state from which a path goes on where it meets another one whose state is the same but for
/// the depth of the stack; none if nothing new comes of it. Behind a frame pointer the depth does
/// not show in the CFA, and a build does not compare it; but calls push below it, and an epilogue of
/// pops relies on it.
pub(super) fn joined(known: &StackState, found: &StackState) -> Option<StackState> {
    let same_depth = known.stack_size == found.stack_size && known.depth == found.depth;
    let is_open = known.cfa.base == Base::Undefined || known.force_undefined;
    let is_new = known.depth != Depth::Unknown && !same_depth && !is_open;
    is_new.then_some(StackState {
        depth: Depth::Unknown,
        ..*known
    })
}

/// What is known of the depth behind an instruction that sets the stack pointer. `op` is what the
/// decoder made of it.
pub(super) fn depth_after<A: Architecture>(before: &StackState, op: Option<StackOp>) -> Depth {
    let (sp, fp) = (A::STACK_POINTER, A::FRAME_POINTER);
    if before.cfa.base == Base::Undefined || before.force_undefined {
        return before.depth;
    }
    let Some(op) = op.filter(|op| op.dest == Dest::Reg(sp)) else {
        return Depth::Unknown;
    };
    let has_frame =
        before.cfa.base == Base::Reg(fp) || (before.drap && before.saved(fp).base == Base::Reg(fp));
    let other_stack = Rule::new(Base::StackPointerIndirect, before.cfa.offset);
    match op.source {
        Source::Add { reg, .. } if reg == sp => before.depth,
        Source::Add { reg, .. } | Source::Reg(reg) if reg == fp && has_frame => Depth::Known,
        // The beginning and the end of a realigned frame.
        Source::And if before.drap_reg.is_some() => Depth::Known,
        Source::Add { reg, .. } if before.drap && before.drap_reg == Some(reg) => Depth::Known,
        Source::And if before.depth != Depth::Unknown => Depth::AtLeast,
        // From a copy that was kept aside, and to another stack and back.
        Source::Reg(reg) if before.value(reg).base == Base::Cfa => before.depth,
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

/// A store at a distance from the stack pointer must not overwrite the words that a frame keeps.
pub(super) fn stored<A: Architecture>(
    state: &StackState,
    (offset, size): (i32, u32),
) -> Result<(), Message> {
    let (sp, fp) = (A::STACK_POINTER, A::FRAME_POINTER);
    let is_plain = state.cfa.base == Base::Reg(sp) || state.cfa.base == Base::Reg(fp);
    if !is_plain || state.drap || state.depth != Depth::Known || state.force_undefined {
        return Ok(());
    }
    let start = i64::from(offset) - i64::from(state.stack_size);
    let end = start + i64::from(size);
    let hits = |rule: Rule| {
        let word = i64::from(rule.offset);
        rule.base == Base::Cfa && start < word + i64::from(A::WORD) && word < end
    };
    if hits(state.saved(A::RETURN_ADDRESS)) || hits(state.saved(fp)) {
        return Err(Message::FramePointerScratch);
    }
    Ok(())
}
