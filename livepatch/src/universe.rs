//! The words of the consistency model: which functions a task gets, and where a transition leads.

/// The two sides of a transition: with the patch, or without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Functions as they were before the patch.
    Unpatched,
    /// The patch's functions.
    Patched,
}

impl Side {
    /// The side that a transition to this one comes from.
    #[inline]
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Unpatched => Self::Patched,
            Self::Patched => Self::Unpatched,
        }
    }

    /// What a transition to this side is called: `patching` or `unpatching`.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Unpatched => "unpatching",
            Self::Patched => "patching",
        }
    }
}

/// What a task is told about the transition (`task->patch_state`), and the same for the system's
/// goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Universe {
    /// No transition is going on: everyone gets the newest functions.
    Undefined,
    /// A transition is going on, and the task stands on this side of it.
    On(Side),
}

impl Universe {
    /// The number that C code knows it by (`KLP_TRANSITION_IDLE` and the like in
    /// `include/linux/livepatch.h`).
    #[inline]
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Undefined => -1,
            Self::On(Side::Unpatched) => 0,
            Self::On(Side::Patched) => 1,
        }
    }

    /// The universe with this number; any unknown number is none.
    #[inline]
    #[must_use]
    pub const fn from_number(number: i32) -> Self {
        match number {
            0 => Self::On(Side::Unpatched),
            1 => Self::On(Side::Patched),
            _ => Self::Undefined,
        }
    }
}

/// A transition: one patch, one goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition<Patch> {
    /// The patch that is being enabled or disabled.
    pub patch: Patch,
    /// Where every task is to go.
    pub target: Side,
}

/// How far the system is. There is never more than one transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase<Patch> {
    /// No transition.
    Idle,
    /// Tasks stand on the side where the transition begins, and none may switch yet.
    Prepared(Transition<Patch>),
    /// Tasks switch.
    Running {
        /// The transition.
        transition: Transition<Patch>,
        /// How often it was tried to complete it.
        attempts: u32,
    },
}

impl<Patch: Copy> Phase<Patch> {
    /// The transition that is prepared or running.
    #[inline]
    #[must_use]
    pub fn transition(self) -> Option<Transition<Patch>> {
        match self {
            Self::Idle => None,
            Self::Prepared(transition) | Self::Running { transition, .. } => Some(transition),
        }
    }
}

/// When something happened, counted in forced transitions: what carries a smaller or equal number
/// came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub struct Epoch(pub usize);

impl Epoch {
    /// Before anything was forced.
    pub const START: Self = Self(0);

    /// The next one.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Self {
        // At one a nanosecond it takes 500 years to get to the end.
        Self(self.0.saturating_add(1))
    }
}

/// A piece of machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Address of its first byte.
    pub start: usize,
    /// Bytes.
    pub size: usize,
}

impl Code {
    /// Whether an address found on a stack says that this code is being executed.
    ///
    /// The address just behind the code counts: it is what a call leaves that is the last
    /// instruction of a function, because the function called never returns.
    #[inline]
    #[must_use]
    pub const fn executes(self, address: usize) -> bool {
        // What is in front of it is far behind it, in numbers that wrap.
        address.wrapping_sub(self.start) <= self.size
    }
}
