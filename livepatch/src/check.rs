//! What is looked for on a task's stack.
//!
//! A task that switched at safe points all its life can only be in one variant of a function: the
//! one that its universe gives. So a transition looks for the one variant that it takes away: the
//! replacement when it unpatches, what is below the replacement when it patches.
//!
//! A task that was forced can be anywhere: in the original, in any replacement that is stacked, and
//! in those of patches that were disabled or replaced since. All of them are looked for, but for the
//! one that the task gets after the switch, in which it may well be. Of a patch that was disabled or
//! replaced since, and that replaced the function, all of the module's code is looked for.
//!
//! Where a patch's code goes, its functions are not enough: one that ends with a call leaves its place on
//! the stack to what it calls, which may be a function of the same module. So all of the module's code is
//! looked for, as one range: when the patch is disabled, when it is replaced, and when it waits for tasks
//! that were forced.

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
    /// Where else, if there is code far from there.
    pub(crate) other: Option<Code>,
    /// Whether stacks are looked at.
    pub(crate) has_stacks: bool,
}

/// From the first of some pieces of code to the end of the last.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    const EMPTY: Self = Self {
        start: usize::MAX,
        end: 0,
    };

    fn add(&mut self, code: Code) {
        self.start = self.start.min(code.start);
        self.end = self.end.max(code.start.saturating_add(code.size));
    }

    fn holds(self, code: Code) -> bool {
        self.start <= code.start && code.start < self.end
    }

    /// Nothing executes that of an empty one.
    fn code(self) -> Code {
        Code {
            start: self.start,
            size: self.end.saturating_sub(self.start),
        }
    }
}

impl<P: Port> Locked<'_, P> {
    pub(crate) fn sought(self, transition: Transition<P::Patch>) -> Sought<P> {
        let (mut functions, mut going) = (Span::EMPTY, Span::EMPTY);
        self.each_going(transition, |patch| {
            going.add(self.port.text(patch));
            Step::Next
        });
        for func in self.patched_funcs(transition.patch) {
            let (_, code) = self.taken(func, transition.target);
            if !going.holds(code) {
                functions.add(code);
            }
        }
        let (span, other) = if functions.end == 0 {
            (going, None)
        } else if going.end == 0 {
            (functions, None)
        } else {
            (functions, Some(going.code()))
        };
        Sought {
            transition,
            span: span.code(),
            other,
            has_stacks: self.port.has_reliable_stacks(),
        }
    }

    /// Calls `f` for every patch whose code goes when the transition ends, until it says to stop.
    fn each_going(self, transition: Transition<P::Patch>, mut f: impl FnMut(P::Patch) -> Step) {
        let Transition { patch, target } = transition;
        match target {
            Side::Unpatched => {
                f(patch);
            }
            Side::Patched if self.port.replaces(patch) => self.each_patch(|old| {
                if old == patch {
                    return Step::Stop;
                }
                f(old)
            }),
            Side::Patched => {}
        }
    }

    /// Why a task with this stack cannot be switched; `None` if it can.
    pub(crate) fn stack_blocks(
        self,
        transition: Transition<P::Patch>,
        stack: &[usize],
        since: Option<Epoch>,
    ) -> Option<Blocker<P>> {
        let inside = self.patched_funcs(transition.patch).find_map(|func| {
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
        });
        if inside.is_some() {
            return inside;
        }
        let mut found = None;
        self.each_going(transition, |patch| {
            found = frame_in(self.port.text(patch), stack)
                .map(|frame| Blocker::InModule { patch, frame });
            if found.is_some() {
                Step::Stop
            } else {
                Step::Next
            }
        });
        found
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
                    found = self.in_retired(patch, original, stack);
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

    /// Whether the stack executes what a patch that is gone but for its code had for a function, or
    /// anything that this may have left its place on the stack to.
    fn in_retired(
        self,
        patch: P::Patch,
        original: Code,
        stack: &[usize],
    ) -> Option<(Variant<P>, usize)> {
        let code = self.port.retired_code(patch, original.start)?;
        let frame = frame_in(code, stack).or_else(|| frame_in(self.port.text(patch), stack))?;
        Some((Variant::Retired(patch), frame))
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
                    is_clear = frame_in(self.port.text(patch), stack).is_none();
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
