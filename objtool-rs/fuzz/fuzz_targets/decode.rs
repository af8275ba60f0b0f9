//! The fuzzer's entry; see `tests::fuzz::decode`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz::decode::run(input));
