//! What is looked for on a task's stack.
//!
//! A task that switched at safe points all its life can only be in one variant of a function: the
//! one that its universe gives. So a transition looks for the one variant that it takes away: the
//! replacement when it unpatches, what is below the replacement when it patches.
//!
//! A task that was forced can be anywhere: in the original, in any replacement that is stacked, and
//! in those of patches that were disabled or replaced since. All of them are looked for, but for the
//! one that the task gets after the switch, in which it may well be.

use crate::blocker::{Blocker, Variant};
use crate::entry::{Locked, Step};
use crate::port::Port;
use crate::universe::{Code, Epoch, Side, Transition};

/// The frame that executes some code.
fn frame_in(code: Code, stack: &[usize]) -> Option<usize> {
    stack.iter().position(|&address| code.executes(address))
}

/// A transition, and between which addresses the code is that it takes away: a stack that has nothing
/// there needs no closer look. Good for as long as the lock is held.
pub(crate) struct Sought<P: Port> {
    pub(crate) transition: Transition<P::Patch>,
    pub(crate) span: Code,
    /// Whether stacks are looked at.
    pub(crate) has_stacks: bool,
}

impl<P: Port> Locked<'_, P> {
    pub(crate) fn sought(self, transition: Transition<P::Patch>) -> Sought<P> {
        let (mut start, mut end) = (usize::MAX, 0);
        for func in self.patched_funcs(transition.patch) {
            let (_, code) = self.taken(func, transition.target);
            start = start.min(code.start);
            end = end.max(code.start.saturating_add(code.size));
        }
        let size = end.saturating_sub(start);
        Sought {
            transition,
            span: Code { start, size },
            has_stacks: self.port.has_reliable_stacks(),
        }
    }

    /// Why a task with this stack cannot be switched; `None` if it can.
    pub(crate) fn stack_blocks(
        self,
        transition: Transition<P::Patch>,
        stack: &[usize],
        since: Option<Epoch>,
    ) -> Option<Blocker<P>> {
        self.patched_funcs(transition.patch).find_map(|func| {
            let found = match since {
                None => {
                    let (variant, code) = self.taken(func, transition.target);
                    frame_in(code, stack).map(|frame| (variant, frame))
                }
                Some(since) => {
                    let (_, after) = self.resolved(func, transition.target);
                    self.stale(func, after, since, stack)
                }
            };
            let (variant, frame) = found?;
            Some(Blocker::Inside {
                func,
                variant,
                frame,
            })
        })
    }

    /// The variant that the transition takes away.
    fn taken(self, func: P::Func, target: Side) -> (Variant<P>, Code) {
        match target {
            Side::Unpatched => (Variant::Replacement(func), self.port.replacement(func)),
            Side::Patched => self.below(func),
        }
    }

    /// What is below a replacement.
    fn below(self, func: P::Func) -> (Variant<P>, Code) {
        let below = self
            .port
            .site(func)
            .and_then(|site| self.port.below(site, func));
        match below {
            Some(below) => (Variant::Replacement(below), self.port.replacement(below)),
            None => (Variant::Original, self.port.original(func)),
        }
    }

    /// What a task on this side of the transition of `func` gets when it calls the function.
    fn resolved(self, func: P::Func, side: Side) -> (Variant<P>, Code) {
        let top = self.port.site(func).and_then(|site| self.port.top(site));
        match top {
            Some(top) if top == func && side == Side::Unpatched => self.below(func),
            Some(top) => (Variant::Replacement(top), self.port.replacement(top)),
            None => (Variant::Original, self.port.original(func)),
        }
    }

    /// Any variant of the function of `func` but `now` that is on the stack of a task that was
    /// forced at `since`.
    fn stale(
        self,
        func: P::Func,
        now: Code,
        since: Epoch,
        stack: &[usize],
    ) -> Option<(Variant<P>, usize)> {
        let original = self.port.original(func);
        let look = |variant, code: Code| {
            if code.start == now.start {
                return None;
            }
            Some((variant, frame_in(code, stack)?))
        };
        let mut found = look(Variant::Original, original);
        let site = self.port.site(func);
        let mut next = site.and_then(|site| self.port.top(site));
        while let (None, Some(site), Some(stacked)) = (found, site, next) {
            found = look(
                Variant::Replacement(stacked),
                self.port.replacement(stacked),
            );
            next = self.port.below(site, stacked);
        }
        if found.is_none() {
            self.each_retired(|patch| {
                if self.port.retired_at(patch) >= since {
                    found = self
                        .port
                        .retired_code(patch, original.start)
                        .and_then(|code| look(Variant::Retired(patch), code));
                }
                if found.is_some() {
                    Step::Stop
                } else {
                    Step::Next
                }
            });
        }
        found
    }

    /// Whether a task that was forced at `since` has nothing on its stack but what it would get
    /// now. Only asked when there is no transition.
    pub(crate) fn is_clear(self, stack: &[usize], since: Epoch) -> bool {
        let mut is_clear = true;
        self.each_patch(|patch| {
            is_clear = self.patched_funcs(patch).all(|func| {
                let (_, now) = self.resolved(func, Side::Patched);
                self.stale(func, now, since, stack).is_none()
            });
            if is_clear {
                Step::Next
            } else {
                Step::Stop
            }
        });
        if is_clear {
            self.each_retired(|patch| {
                if self.port.retired_at(patch) >= since {
                    self.port.each_retired_code(patch, |code| {
                        is_clear &= frame_in(code, stack).is_none();
                    });
                }
                if is_clear {
                    Step::Next
                } else {
                    Step::Stop
                }
            });
        }
        is_clear
    }
}
