//! Fuzzes `windlass_tests::fuzz::hostile`; without a fuzzer it replays the corpus.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| windlass_tests::fuzz::hostile(data));

#[cfg(not(fuzzing))]
fn main() {
    windlass_fuzz::replay("hostile", windlass_tests::fuzz::hostile);
}
