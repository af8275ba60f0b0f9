//! Why a task cannot be switched, as values with a text.

use core::fmt;

use crate::port::Handles;

/// Whose code a task is in.
pub enum Variant<H: Handles> {
    /// The function as it was compiled into the kernel or its module.
    Original,
    /// A replacement that is stacked.
    Replacement(H::Func),
    /// The replacement of a patch that is disabled.
    Retired(H::Patch),
}

impl<H: Handles> Clone for Variant<H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: Handles> Copy for Variant<H> {}

/// Why a task cannot be switched now.
pub enum Blocker<H: Handles> {
    /// A CPU executes it.
    Running,
    /// Its stack cannot be trusted.
    Unreliable(H::Doubt),
    /// It is in a function that changes with the switch.
    Inside {
        /// The transition's replacement of that function.
        func: H::Func,
        /// Which of the function's variants it is in.
        variant: Variant<H>,
        /// The frame, counted from the innermost.
        frame: usize,
    },
    /// It is in the code of a patch that goes with the switch, in none of the patch's functions.
    InModule {
        /// The patch.
        patch: H::Patch,
        /// The frame, as above.
        frame: usize,
    },
    /// Stacks cannot be trusted here; it must come to a safe point by itself.
    NotAtSafePoint,
}

impl<H: Handles> Clone for Blocker<H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: Handles> Copy for Blocker<H> {}

impl<H: Handles> fmt::Display for Blocker<H>
where
    H::Doubt: fmt::Display,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("is running"),
            Self::Unreliable(doubt) => write!(f, "has an unreliable stack: {doubt}"),
            Self::Inside { variant, frame, .. } => {
                let of = match variant {
                    Variant::Original => "the original",
                    Variant::Replacement(_) => "a replacement",
                    Variant::Retired(_) => "a disabled replacement",
                };
                write!(f, "is in {of} of a changed function, at frame {frame}")
            }
            Self::InModule { frame, .. } => {
                write!(f, "is in the code of a patch that goes, at frame {frame}")
            }
            Self::NotAtSafePoint => f.write_str("has not come to a safe point"),
        }
    }
}
