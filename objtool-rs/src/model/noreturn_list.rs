//! Functions of other objects that do not return.
//!
//! An object says nothing about the functions that it only calls, so those that do not return
//! are listed; for functions inside the object it is worked out (`noreturn`). The names are a fact
//! about Linux 6.12 (`tools/objtool/noreturns.h` is its own list); Rust's panic functions are told
//! by their paths, because their mangled names change with every compiler.

use std::fmt::{self, Write};

use rustc_demangle::try_demangle;

/// Whether a function that another object defines does not return.
pub fn is_listed(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    NAMES.binary_search(&name).is_ok() || is_rust_panic(name)
}

/// Sorted.
const NAMES: &[&str] = &[
    "__fortify_panic",
    "__ia32_sys_exit",
    "__ia32_sys_exit_group",
    "__kunit_abort",
    "__module_put_and_kthread_exit",
    "__reiserfs_panic",
    "__stack_chk_fail",
    "__tdx_hypercall_failed",
    "__ubsan_handle_builtin_unreachable",
    "__x64_sys_exit",
    "__x64_sys_exit_group",
    "arch_cpu_idle_dead",
    "bch2_trans_in_restart_error",
    "bch2_trans_restart_error",
    "bch2_trans_unlocked_error",
    "cpu_bringup_and_idle",
    "cpu_startup_entry",
    "do_exit",
    "do_group_exit",
    "do_task_dead",
    "ex_handler_msr_mce",
    "hlt_play_dead",
    "hv_ghcb_terminate",
    "kthread_complete_and_exit",
    "kthread_exit",
    "kunit_try_catch_throw",
    "machine_real_restart",
    "make_task_dead",
    "mpt_halt_firmware",
    "nmi_panic_self_stop",
    "panic",
    "panic_smp_self_stop",
    "rest_init",
    "rewind_stack_and_make_dead",
    "rust_begin_unwind",
    "rust_helper_BUG",
    "sev_es_terminate",
    "snp_abort",
    "start_kernel",
    "stop_this_cpu",
    "usercopy_abort",
    "x86_64_start_kernel",
    "x86_64_start_reservations",
    "xen_cpu_bringup_again",
    "xen_start_kernel",
];

/// Paths in Rust's `core`, without generic arguments.
const RUST_PATHS: &[&str] = &[
    "<[_]>::copy_from_slice::len_mismatch_fail",
    "__rustc::rust_begin_unwind",
    "core::num::from_ascii_radix_panic",
    "core::option::expect_failed",
    "core::option::unwrap_failed",
    "core::panicking::assert_failed",
    "core::panicking::assert_failed_inner",
    "core::panicking::panic",
    "core::panicking::panic_bounds_check",
    "core::panicking::panic_explicit",
    "core::panicking::panic_fmt",
    "core::panicking::panic_misaligned_pointer_dereference",
    "core::panicking::panic_nounwind",
    "core::panicking::panic_nounwind_fmt",
    "core::panicking::panic_null_pointer_dereference",
    "core::panicking::panic_null_reference_constructed",
    "core::result::unwrap_failed",
    "core::result::unwrap_failed::unwrap_failed_inner",
];

/// A path that is longer is no panic function's. A mangled name may refer to its own parts, so that
/// a short one stands for a path of any length.
const LONGEST_PATH: usize = 8192;

/// Text up to [`LONGEST_PATH`].
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LONGEST_PATH {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

fn is_rust_panic(name: &str) -> bool {
    if !name.starts_with("_R") {
        return false;
    }
    let Ok(demangled) = try_demangle(name) else {
        return false;
    };
    let mut path = Bounded(String::new());
    if write!(path, "{demangled:#}").is_err() {
        return false;
    }
    let path = path.0;
    // Generic arguments of a function follow its path.
    let base = match path.rfind("::<") {
        Some(at) if path.ends_with('>') => &path[..at],
        _ => &path,
    };
    RUST_PATHS.contains(&base)
        || base.starts_with("core::panicking::panic_const::panic_const_")
        || base
            .strip_prefix("core::slice::index::")
            .is_some_and(|rest| rest.contains("slice_") && rest.ends_with("_fail"))
}

#[cfg(test)]
mod tests {
    use super::{is_listed, NAMES};

    #[test]
    fn names_are_sorted() {
        assert!(NAMES.is_sorted());
    }

    #[test]
    fn rust_panics_are_told_by_their_path() {
        for name in [
            "_RNvNtCs1234_4core9panicking5panic",
            "_RNvNtCs1234_4core9panicking9panic_fmt",
            "_RNvNtNtCs1234_4core9panicking11panic_const24panic_const_add_overflow",
            "_RNvNtNtCs1234_4core5slice5index22slice_index_order_fail",
            "_RINvNtCs1234_4core9panicking13assert_failedjjECs5678_6kernel",
        ] {
            assert!(is_listed(name.as_bytes()), "{name}");
        }
        for name in [
            "_RNvNtCs1234_4core9panicking5other",
            "_RNvNtCs1234_6kernel9panicking5panic",
            "_RNvNtCs1234_4core6option3map",
            "panics",
        ] {
            assert!(!is_listed(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_name_that_multiplies_itself_is_given_up() {
        // A generic argument `(i32, i32)`, then pairs of the one before, 30 times over.
        let mut name = "_RINvC1a1fTllE".to_owned();
        let mut last = 8;
        for _ in 0..30 {
            let backref = format!("B{}_", base62(last - 1));
            last = name.len() - 2;
            name += &format!("T{backref}{backref}E");
        }
        name += "E";
        let demangled = rustc_demangle::try_demangle(&name).expect("the name is well-formed");
        let len = format!("{demangled:#}").len();
        assert!(len > super::LONGEST_PATH, "{len} bytes, which is no test");
        assert!(!is_listed(name.as_bytes()));
    }

    /// A number as the v0 mangling scheme writes it, without the closing underscore.
    fn base62(mut number: usize) -> String {
        let digit =
            |d: usize| b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[d] as char;
        let mut digits = Vec::new();
        while digits.is_empty() || number > 0 {
            digits.push(digit(number % 62));
            number /= 62;
        }
        digits.iter().rev().collect()
    }
}
