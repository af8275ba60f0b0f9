//! The fuzzer's entry; see `tests::fuzz::annotations`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz::annotations::run(input));
