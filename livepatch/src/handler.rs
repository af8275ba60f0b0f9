//! The handler's choice: which code a call of a redirected function gets. No lock, any context.

use crate::barrier::Barrier;
use crate::port::Port;
use crate::universe::{Side, Universe};

/// What the handler does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<Func> {
    /// The original function runs.
    Original,
    /// This replacement runs.
    Replacement(Func),
    /// The same as [`Choice::Original`], but it should not have come to this: a redirected function
    /// with nothing on its stack.
    Empty,
    /// A function in transition, and a task on neither side; gets the replacement.
    Sideless(Func),
}

/// Chooses for the task that calls, which is not preempted meanwhile.
#[inline]
pub fn choose<P: Port>(port: &P, site: P::Site, caller: P::Task) -> Choice<P::Func> {
    let Some(top) = port.top(site) else {
        return Choice::Empty;
    };
    port.order(Barrier::Stack);
    let mut chosen = top;
    if port.is_in_transition(top) {
        port.order(Barrier::Side);
        let universe = port.universe(caller);
        // Comparisons, because of a match over both a compiler may make arithmetic.
        if universe == Universe::On(Side::Unpatched) {
            match port.below(site, top) {
                Some(below) => chosen = below,
                None => return Choice::Original,
            }
        } else if universe == Universe::Undefined {
            return Choice::Sideless(top);
        }
    }
    if port.is_nop(chosen) {
        Choice::Original
    } else {
        Choice::Replacement(chosen)
    }
}
