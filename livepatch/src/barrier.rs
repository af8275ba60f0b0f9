//! The barriers, each with its partner and with what goes wrong without it.
//!
//! `tests/loom.rs` removes each in turn and sees that it goes wrong. A barrier is a call of
//! [`crate::Port::order`], so that a port, not this crate, says what it is made of: `smp_wmb` and
//! `smp_rmb` in the kernel, fences in the model.
//!
//! The C core of 6.12 has a barrier before requests when it disables and when it reverses, and none
//! when it enables, between putting functions on their sites and asking tasks to switch. The model
//! shows a task that has switched and meets an old stack there, as a machine may that orders stores
//! weakly. Here it is one barrier for all three.

/// What a barrier orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Loads before it come before loads after it.
    Read,
    /// Stores before it come before stores after it.
    Write,
}

/// A barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Barrier {
    /// Write: the tasks' sides before the functions' being in transition. Partner:
    /// [`Barrier::Side`]. Without it a handler meets a function in transition and a task without a
    /// side.
    Sides,
    /// Write: a replacement's being in transition, and all else that is in it, before it is seen on
    /// a site's stack. Partner: [`Barrier::Stack`]. Without it a handler meets a new function not
    /// yet in transition, and gives it to a task on the other side.
    Push,
    /// Write: the target, the functions' being in transition and the sites' stacks before requests
    /// to switch. Partner: [`crate::port::Tasks::take_pending`]. Without it a task that has switched
    /// still gets a function of the other side, or switches to where it was just called back from.
    Start,
    /// Read: a site's stack before what is in its topmost function. Partner: [`Barrier::Push`].
    Stack,
    /// Read: the function's being in transition before the task's side. Partner:
    /// [`Barrier::Sides`].
    Side,
}

impl Barrier {
    /// Every barrier.
    pub const ALL: [Self; 5] = [
        Self::Sides,
        Self::Push,
        Self::Start,
        Self::Stack,
        Self::Side,
    ];

    /// What it orders.
    #[inline]
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Sides | Self::Push | Self::Start => Kind::Write,
            Self::Stack | Self::Side => Kind::Read,
        }
    }
}
