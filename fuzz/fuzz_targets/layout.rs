//! Fuzzes `windlass_tests::fuzz::layout`; without a fuzzer it replays the corpus.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| windlass_tests::fuzz::layout(data));

#[cfg(not(fuzzing))]
fn main() {
    windlass_fuzz::replay("layout", windlass_tests::fuzz::layout);
}
