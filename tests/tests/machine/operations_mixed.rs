//! Several concurrent tasks with faults, in any order, cancelled at any time: every task ends, nothing
//! stays locked, and every tagged image is complete. The seeds are fixed.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use windlass_core::{Config, Platforms, Task};
use windlass_store::Store as _;
use windlass_testbed::{Model, Unions, UnreadableMount};
use windlass_tests::world::scenes::{
    alice, bearer, bearer_with, check_pushed, copy_within, digest, fill, large, open, pull, push,
    reference, small,
};
use windlass_tests::world::{Fate, World};

/// SplitMix64.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn mixed(seed: u64) {
    let mut seeded = Seeded(seed);
    let image = if seeded.below(2) == 0 {
        small()
    } else {
        large(300_000)
    };
    let mut options = match seeded.below(4) {
        0 => open(),
        1 => bearer(),
        2 => bearer_with(windlass_testbed::Bearer {
            unions: Unions::RefusedAtRealm,
            ..Default::default()
        }),
        _ => bearer_with(windlass_testbed::Bearer {
            unions: Unions::RefusedAtRegistry,
            life: std::time::Duration::from_secs(61),
            ..Default::default()
        }),
    };
    if seeded.below(2) == 0 {
        options.uploads.unreadable_mount = UnreadableMount::Session;
    }
    let mut model = Model::new(options);
    model.put_image("a/b", Some("v1"), &image);
    model.put_image("a/b", Some("v2"), &small());
    let mut config = Config::default();
    config.in_flight = windlass_core::config::Concurrency::at_most(1 + seeded.below(4) as u32);
    let mut world = World::new(config);
    world.registry(&["reg.example"], model);
    let mut other = Model::new(open());
    other.put_image("x/y", Some("v1"), &image);
    world.registry(&["two.example"], other);
    world.credential("reg.example", alice(), &["reg.example"]);
    world.chunk = 1000;

    let (full, contents) = world.store();
    fill(&contents, &image);
    let (spool, spooled) = world.store();
    let (spool2, spooled2) = world.store();
    let (into, pulled) = world.store();
    let mut tasks = Vec::new();
    for _ in 0..2 + seeded.below(3) {
        let task = match seeded.below(6) {
            0 => pull(into),
            1 => push(full),
            2 => copy_within("two.example/x/y:v1", "reg.example/c/d:v1", Some(spool)),
            3 => copy_within("two.example/x/y:v1", "reg.example/c/d:v1", Some(spool2)),
            4 => copy_within("reg.example/a/b:v2", "reg.example/c/d:v2", Some(spool)),
            _ => {
                let from = reference("two.example/x/y:v1");
                Task::pull(from, into, Some("y".into()), Platforms::All)
            }
        };
        tasks.push(world.start(task));
    }
    for _ in 0..seeded.below(6) {
        let fate = match seeded.below(6) {
            0 => Fate::Cut(seeded.below(3000) as usize),
            1 => Fate::Unanswered,
            2 => Fate::Broken(seeded.below(3000) as usize),
            3 => Fate::Unreachable,
            4 => Fate::Lost,
            _ => Fate::Say(windlass_testbed::Answer::error(
                http::StatusCode::SERVICE_UNAVAILABLE,
                "X",
                "later",
            )),
        };
        let n = 1 + seeded.below(30) as usize;
        world.nth(n, |_| true, fate);
    }
    let cancels = seeded.below(3);
    let mut at: Vec<(u64, usize)> = (0..cancels)
        .map(|_| (seeded.below(150), seeded.below(tasks.len() as u64) as usize))
        .collect();
    at.sort_unstable();
    let mut cancelled = std::collections::BTreeSet::new();
    world.pick = Box::new(move |jobs| seeded.below(jobs.len() as u64) as usize);
    let mut steps = 0;
    loop {
        while let Some((when, which)) = at.first().copied()
            && when <= steps
        {
            at.remove(0);
            world.cancel(tasks[which]);
            cancelled.insert(tasks[which]);
        }
        if !world.step() {
            break;
        }
        steps += 1;
        assert!(steps < 10_000, "it does not end");
    }
    for (task, result) in world.run_all().clone() {
        if result.is_err() && !cancelled.contains(&task) {
            panic!("{task}: {result:?}\n{}", world.transcript());
        }
    }
    for memory in [&contents, &spooled, &spooled2, &pulled] {
        assert_eq!(memory.taken(), []);
        for (name, bytes) in memory.blobs() {
            assert_eq!(name, digest(&bytes));
        }
    }
    if pulled.find(Some("y")).is_ok() {
        assert!(
            image
                .blobs()
                .all(|blob| pulled.blobs().contains_key(&digest(blob)))
        );
    }
    if world.models[0].tag("c/d", "v1").is_some() {
        check_pushed(&world, "c/d", &image);
    }
}

#[test]
fn anything_beside_anything() {
    let seeds = std::env::var("WINDLASS_SEEDS").ok();
    let (from, to) = match seeds.as_deref().and_then(|it| it.split_once("..")) {
        Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
        None => (0, 300),
    };
    for seed in from..to {
        let result = std::panic::catch_unwind(|| mixed(seed));
        assert!(result.is_ok(), "seed {seed}");
    }
}
