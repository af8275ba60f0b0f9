//! The fuzzer's entry; see `tests::fuzz::orc_dump`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz::orc_dump::run(input));
