//! Fuzz targets of windlass: shims in `fuzz_targets` over `windlass_tests::fuzz`, and a corpus for
//! each in `corpus`, which is replayed on stable.

use std::path::Path;

/// Runs a target with every file of its corpus, in the order of their names. How many there were.
///
/// # Panics
///
/// If the corpus cannot be read, or the target panics.
pub fn replay(target: &str, run: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let entries = std::fs::read_dir(&folder).expect("every target has a corpus");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    for file in &files {
        run(&std::fs::read(file).expect("a file that can be read"));
    }
    files.len()
}
