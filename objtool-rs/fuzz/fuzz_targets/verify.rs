//! The fuzzer's entry; see `tests::fuzz::verify`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz::verify::run(input));
