//! The simulated world, as far as every test run goes: fixed seeds, tiny worlds in full, the same
//! twice. `simulate` goes further.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use windlass_tests::sim::{self, Operation, WorldKind};

#[test]
fn seeds() {
    for seed in 0..300 {
        let run = sim::seeded(seed);
        assert_eq!(run.violation, None, "seed {seed}\n{}", run.transcript);
    }
}

#[test]
fn the_same_choices_give_the_same_world() {
    for seed in 0..40 {
        let (first, second) = (sim::seeded(seed), sim::seeded(seed));
        assert_eq!(first.transcript, second.transcript, "seed {seed}");
        let again = sim::replayed(&first.choices);
        assert_eq!(first.transcript, again.transcript, "seed {seed}, replayed");
    }
}

/// Registries that answer anything, and registries that try to make a session hold much.
#[test]
fn hostile_and_greedy_worlds() {
    for sort in [WorldKind::Hostile, WorldKind::Greedy] {
        for seed in 0..10 {
            let run = sort.seeded(seed);
            let violation = run.violation.as_deref();
            assert_eq!(violation, None, "{sort:?}, seed {seed}\n{}", run.transcript);
        }
    }
}

/// Registries with mirrors that lack things, lie, fail, or die in a blob.
#[test]
fn mirrored_worlds() {
    for seed in 0..100 {
        let run = WorldKind::Mirrored.seeded(seed);
        assert_eq!(run.violation, None, "seed {seed}\n{}", run.transcript);
    }
}

/// Copies that take along referrers, and what cosign keeps at tags.
#[test]
fn carrying_worlds() {
    for seed in 0..60 {
        let run = WorldKind::Carrying.seeded(seed);
        assert_eq!(run.violation, None, "seed {seed}\n{}", run.transcript);
    }
}

/// Tasks that put streams of unknown size, which cannot be read again.
#[test]
fn streaming_worlds() {
    for seed in 0..60 {
        let run = WorldKind::Streaming.seeded(seed);
        assert_eq!(run.violation, None, "seed {seed}\n{}", run.transcript);
    }
}

/// Blobs that are read while they arrive, or not read for a while, or not to their end.
#[test]
fn reading_worlds() {
    for seed in 0..60 {
        let run = WorldKind::Reading.seeded(seed);
        assert_eq!(run.violation, None, "seed {seed}\n{}", run.transcript);
    }
}

/// Images with several tags.
#[test]
fn optional_worlds() {
    for seed in 0..60 {
        let run = WorldKind::Optional.seeded(seed);
        assert_eq!(run.violation, None, "seed {seed}\n{}", run.transcript);
    }
}

/// Every fault at every place where it can be, one at a time. For operations with many places these
/// are the last ones only: `simulate --every 20000` tries them all.
#[test]
fn every_fault_everywhere() {
    for operation in Operation::ALL {
        let tried = sim::every(operation, 150);
        if let Some((sort, run)) = tried.failed {
            panic!("{sort:?}, choices {:?}\n{}", run.choices, run.transcript);
        }
        let few = operation == Operation::LayoutCopy;
        assert_eq!(tried.all, few, "{operation:?}: {} worlds", tried.worlds);
    }
}
