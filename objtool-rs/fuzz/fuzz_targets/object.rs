//! The fuzzer's entry; see `tests::fuzz::object`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz::object::run(input));
