//! Functions that may be called while access to user memory is open.
//!
//! They are what compilers insert on their own (sanitizers, coverage, stack protection), and the
//! few routines that user copies are made of. The list is a fact about Linux 6.12: its own is in
//! `tools/objtool/check.c`, and each entry must preserve the flag and not sleep.

/// All names.
pub fn names() -> impl Iterator<Item = String> {
    let plain = PLAIN.iter().map(|name| (*name).to_owned());
    plain
        .chain(asan())
        .chain(tsan())
        .chain(coverage())
        .chain(msan())
}

const PLAIN: &[&str] = &[
    // The copy routines themselves.
    "copy_mc_enhanced_fast_string",
    "copy_mc_fragile",
    "copy_mc_fragile_handle_tail",
    "copy_to_nontemporal",
    "csum_partial_copy_generic",
    "rep_movs_alternative",
    "rep_stos_alternative",
    // Address sanitizer.
    "__kasan_check_read",
    "__kasan_check_write",
    "kasan_check_range",
    "kasan_report",
    // Concurrency sanitizer.
    "__kcsan_check_access",
    "__kcsan_mb",
    "__kcsan_release",
    "__kcsan_rmb",
    "__kcsan_wmb",
    "kcsan_check_scoped_accesses",
    "kcsan_disable_current",
    "kcsan_enable_current_nowarn",
    "kcsan_found_watchpoint",
    "kcsan_setup_watchpoint",
    // Undefined behaviour sanitizer.
    "__ubsan_handle_load_invalid_value",
    "__ubsan_handle_shift_out_of_bounds",
    "__ubsan_handle_type_mismatch",
    "__ubsan_handle_type_mismatch_v1",
    "ubsan_type_mismatch_common",
    // Memory sanitizer.
    "kmsan_copy_to_user",
    "kmsan_disable_current",
    "kmsan_enable_current",
    "kmsan_report",
    "kmsan_unpoison_entry_regs",
    "kmsan_unpoison_memory",
    // Others that the compiler calls.
    "__stack_chk_fail",
    "ftrace_likely_update",
    "stackleak_track_stack",
];

fn asan() -> impl Iterator<Item = String> {
    let sizes = || ["N", "1_", "2_", "4_", "8_", "16_"].into_iter();
    ["load", "store"].into_iter().flat_map(move |access| {
        let check = sizes().map(move |size| {
            let size = if size == "N" { "N_" } else { size };
            format!("__asan_{access}{size}noabort")
        });
        let report = sizes().map(move |size| {
            let size = if size == "N" { "_n_" } else { size };
            format!("__asan_report_{access}{size}noabort")
        });
        check.chain(report)
    })
}

fn tsan() -> impl Iterator<Item = String> {
    const FIXED: &[&str] = &[
        "__tsan_func_entry",
        "__tsan_func_exit",
        "__tsan_read_range",
        "__tsan_write_range",
        "__tsan_unaligned_read16",
        "__tsan_unaligned_write16",
        "__tsan_atomic_thread_fence",
        "__tsan_atomic_signal_fence",
    ];
    const PLAIN: &[&str] = &[
        "read",
        "write",
        "read_write",
        "volatile_read",
        "volatile_write",
    ];
    const ATOMIC: &[&str] = &[
        "load",
        "store",
        "exchange",
        "fetch_add",
        "fetch_sub",
        "fetch_and",
        "fetch_or",
        "fetch_xor",
        "fetch_nand",
        "compare_exchange_strong",
        "compare_exchange_weak",
        "compare_exchange_val",
    ];
    let fixed = FIXED.iter().map(|name| (*name).to_owned());
    let plain = PLAIN
        .iter()
        .flat_map(|access| [1, 2, 4, 8, 16].map(|bytes| format!("__tsan_{access}{bytes}")));
    let atomic = ATOMIC
        .iter()
        .flat_map(|what| [8, 16, 32, 64].map(|bits| format!("__tsan_atomic{bits}_{what}")));
    fixed.chain(plain).chain(atomic)
}

fn coverage() -> impl Iterator<Item = String> {
    let fixed = [
        "write_comp_data",
        "check_kcov_mode",
        "__sanitizer_cov_trace_pc",
    ]
    .into_iter()
    .chain(["__sanitizer_cov_trace_switch"])
    .map(str::to_owned);
    let compares = ["const_cmp", "cmp"]
        .into_iter()
        .flat_map(|kind| [1, 2, 4, 8].map(|bytes| format!("__sanitizer_cov_trace_{kind}{bytes}")));
    fixed.chain(compares)
}

fn msan() -> impl Iterator<Item = String> {
    let fixed = [
        "chain_origin",
        "get_context_state",
        "instrument_asm_store",
        "poison_alloca",
        "warning",
    ]
    .into_iter()
    .map(|what| format!("__msan_{what}"));
    let metadata = ["load", "store"].into_iter().flat_map(|access| {
        ["1", "2", "4", "8", "n"].map(|size| format!("__msan_metadata_ptr_for_{access}_{size}"))
    });
    fixed.chain(metadata)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn names_are_distinct_and_spelled_as_compilers_do() {
        let names: Vec<String> = super::names().collect();
        let set: HashSet<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(set.len(), names.len());
        for name in [
            "__asan_loadN_noabort",
            "__asan_store16_noabort",
            "__asan_report_load_n_noabort",
            "__asan_report_store8_noabort",
            "__tsan_volatile_write16",
            "__tsan_atomic8_compare_exchange_val",
            "__sanitizer_cov_trace_const_cmp8",
            "__msan_metadata_ptr_for_store_n",
        ] {
            assert!(set.contains(name), "{name}");
        }
    }
}
