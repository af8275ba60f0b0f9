//! Symbols with a role, by their names.
//!
//! Which names those are on an architecture is the architecture's; the ones that all share stand
//! here. What follows from a role is decided where control flow is resolved and checked.

use arch::object::Architecture;

use super::uaccess_safe;
use crate::read::{Binding, ElfFile, SymbolKind};

/// The roles of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    /// The trampoline of a static call.
    pub const STATIC_CALL_TRAMPOLINE: Self = Self(1 << 0);
    /// Stands in for an indirect branch.
    pub const RETPOLINE_THUNK: Self = Self(1 << 1);
    /// Stands in for a return.
    pub const RETURN_THUNK: Self = Self(1 << 2);
    /// Lies inside another instruction.
    pub const EMBEDDED: Self = Self(1 << 3);
    /// The function tracer's entry.
    pub const TRACE_ENTRY: Self = Self(1 << 4);
    /// Instrumentation that may be removed.
    pub const PROFILING: Self = Self(1 << 5);
    /// An assembler's local label that was kept.
    pub const LOCAL_LABEL: Self = Self(1 << 6);
    /// May be called while access to user memory is open.
    pub const USER_ACCESS_SAFE: Self = Self(1 << 7);

    /// Whether all of `other` are held.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn set(&mut self, other: Self, on: bool) {
        if on {
            self.0 |= other.0;
        }
    }
}

/// Prefix of the trampoline that a static call goes through (`include/linux/static_call_types.h`).
pub const STATIC_CALL_TRAMPOLINE_PREFIX: &[u8] = b"__SCT__";
/// Prefix of the key that belongs to it.
pub const STATIC_CALL_KEY_PREFIX: &[u8] = b"__SCK__";

/// Calls that compilers insert even where an attribute forbids it, and that may go: coverage, and
/// the entry and exit hooks of the race detector.
fn is_profiling(name: &[u8]) -> bool {
    name.starts_with(b"__sanitizer_cov_")
        || name.starts_with(b"__tsan_func_")
        || name == b"__tsan_atomic_signal_fence"
}

/// The roles of all symbols, by index.
pub fn classify<A: Architecture>(arch: &A, file: &ElfFile<'_>, user_access: bool) -> Vec<Roles> {
    let mut all: Vec<Roles> = file
        .symbols
        .iter()
        .map(|symbol| {
            let name = symbol.name;
            let mut roles = Roles::default();
            roles.set(
                Roles::LOCAL_LABEL,
                symbol.kind == SymbolKind::NoType && name.starts_with(b".L"),
            );
            if symbol.binding == Binding::Global {
                roles.set(
                    Roles::STATIC_CALL_TRAMPOLINE,
                    name.starts_with(STATIC_CALL_TRAMPOLINE_PREFIX),
                );
                roles.set(Roles::RETPOLINE_THUNK, arch.is_retpoline_thunk(name));
                roles.set(Roles::RETURN_THUNK, arch.is_return_thunk(name));
                roles.set(Roles::EMBEDDED, arch.is_embedded_insn(name));
                roles.set(Roles::TRACE_ENTRY, arch.is_trace_entry(name));
                roles.set(Roles::PROFILING, is_profiling(name));
            }
            roles
        })
        .collect();
    if user_access {
        for name in uaccess_safe::names() {
            if let Some(id) = file.symbol_by_name(name.as_bytes()) {
                all[id.index()].set(Roles::USER_ACCESS_SAFE, true);
            }
        }
    }
    all
}
