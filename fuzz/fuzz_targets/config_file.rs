//! Fuzzes `windlass_tests::fuzz::config_file`; without a fuzzer it replays the corpus.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| windlass_tests::fuzz::config_file(data));

#[cfg(not(fuzzing))]
fn main() {
    windlass_fuzz::replay("config_file", windlass_tests::fuzz::config_file);
}
