//! The fuzzer's entry; see `tests::fuzz::elf`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzz::elf::run(input));
