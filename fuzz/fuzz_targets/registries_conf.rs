//! Fuzzes `windlass_tests::fuzz::registries_conf`; without a fuzzer it replays the corpus.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| windlass_tests::fuzz::registries_conf(data));

#[cfg(not(fuzzing))]
fn main() {
    windlass_fuzz::replay("registries_conf", windlass_tests::fuzz::registries_conf);
}
