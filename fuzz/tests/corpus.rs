//! What fuzzing once found interesting stays good.

use windlass_fuzz::replay;
use windlass_tests::fuzz;

/// What a target does with its bytes.
type Target = fn(&[u8]);

#[test]
fn the_corpus_is_good() {
    let targets: [(&str, Target); 12] = [
        ("credentials", fuzz::credentials),
        ("policy", fuzz::policy),
        ("headers", fuzz::headers),
        ("names", fuzz::names),
        ("documents", fuzz::documents),
        ("world", fuzz::world),
        ("hostile", fuzz::hostile),
        ("layout", fuzz::layout),
        ("tape", fuzz::tape),
        ("hosts_toml", fuzz::hosts_toml),
        ("registries_conf", fuzz::registries_conf),
        ("config_file", fuzz::config_file),
    ];
    for (target, run) in targets {
        assert!(replay(target, run) > 0, "{target} has a corpus");
    }
}
