//! Fuzzes `windlass_tests::fuzz::policy`; without a fuzzer it replays the corpus.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| windlass_tests::fuzz::policy(data));

#[cfg(not(fuzzing))]
fn main() {
    windlass_fuzz::replay("policy", windlass_tests::fuzz::policy);
}
