//! Fuzzes `windlass_tests::fuzz::hosts_toml`; without a fuzzer it replays the corpus.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| windlass_tests::fuzz::hosts_toml(data));

#[cfg(not(fuzzing))]
fn main() {
    windlass_fuzz::replay("hosts_toml", windlass_tests::fuzz::hosts_toml);
}
