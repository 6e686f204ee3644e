//! One large blob in several ranges at once: which requests are made, and what becomes of each that fails.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::collections::BTreeMap;
use std::ops::Range;

use http::StatusCode;
use windlass_core::call::TransportErrorKind;
use windlass_core::config::{Concurrency, Endpoint, Mode, Parts, Route};
use windlass_core::credential::CredentialAnswer;
use windlass_core::{
    Config, CopyTask, ErrorKind, Extents, Job, StoreError, StoreErrorKind, StoreId, Task,
    TaskLocation,
};
use windlass_testbed::{Answer, Image, Options, Ranges, Request, Storage, image};
use windlass_tests::world::scenes::{
    alice, basic, bearer, check_holds, digest, fill, large, open, pull, with_image,
};
use windlass_tests::world::{Fate, Lot, Memory, World};

/// The bytes of the layer, and the least of a part.
const SIZE: u64 = 4096;
const LEAST: u64 = 128;
/// Requests for the layer if nothing goes wrong, and the bytes of the first.
const N: usize = 31;
const FIRST: u64 = LEAST / 8;

fn config() -> Config {
    let mut config = Config::default();
    config.parts = Parts::of_at_least(LEAST);
    config
}

fn layer() -> Image {
    large(usize::try_from(SIZE).unwrap())
}

struct Scene {
    world: World,
    store: StoreId,
    memory: Memory,
    image: Image,
    task: windlass_core::TaskId,
}

impl Scene {
    fn new(config: Config, options: Options, credential: CredentialAnswer) -> Self {
        Self::of(config, options, credential, layer())
    }

    fn of(config: Config, options: Options, credential: CredentialAnswer, image: Image) -> Self {
        let mut world = World::new(config);
        world.chunk = 10;
        world.registry(&["reg.example", "cdn.example"], with_image(options, &image));
        world.credential("reg.example", credential, &["reg.example"]);
        let (store, memory) = world.store();
        let task = world.start(pull(store));
        Self {
            world,
            store,
            memory,
            image,
            task,
        }
    }

    fn open(config: Config) -> Self {
        Self::new(config, open(), CredentialAnswer::None)
    }

    fn layer(&self) -> String {
        digest(&self.image.layers[0]).to_string()
    }

    /// The ranges that the layer was asked for with, in order; all of it if there was none.
    fn asked(&self) -> Vec<Range<u64>> {
        let get = format!("> GET https://reg.example/v2/a/b/blobs/{}", self.layer());
        let lines = self.world.lines_with(&get).into_iter();
        let ranges = lines.map(|line| match line.split_once("bytes=") {
            Some((_, range)) => {
                let range = range.split(' ').next().unwrap();
                let (first, last) = range.split_once('-').unwrap();
                first.parse().unwrap()..last.parse::<u64>().unwrap() + 1
            }
            None => 0..SIZE,
        });
        ranges.collect()
    }

    /// Runs to the end, which is good. Returns how many bytes were moved.
    fn good(&mut self) -> u64 {
        let report = self.world.run(self.task).unwrap();
        self.world.run_all();
        check_holds(&self.memory, &self.image);
        assert_eq!(self.memory.partials(), BTreeMap::new());
        report.bytes
    }

    /// Runs to the end, which is an error.
    fn bad(&mut self) -> ErrorKind {
        let failure = self.world.run(self.task).unwrap_err();
        self.world.run_all();
        assert_eq!(self.memory.taken(), []);
        failure.first().kind()
    }
}

/// Each byte was asked for once.
fn check_disjoint(asked: &[Range<u64>]) {
    let mut extents = Extents::default();
    for range in asked {
        assert!(!extents.overlaps(range), "{range:?} of {asked:?}");
        extents.add(range.clone());
    }
    assert_eq!(extents, Extents::first(SIZE), "{asked:?}");
}

fn is_from(from: u64) -> impl Fn(&Request) -> bool + 'static {
    let range = format!("bytes={from}-");
    move |request| {
        let field = request.field(http::header::RANGE);
        field.is_some_and(|field| field.starts_with(&range))
    }
}

/// Exactly as many requests as there are parts, however one has to sign in: a token is fetched once.
#[test]
fn as_many_requests_as_parts() {
    for (options, credential, more) in [
        (open(), CredentialAnswer::None, 0),
        (basic(), alice(), 1),
        (bearer(), alice(), 2),
    ] {
        let mut scene = Scene::new(config(), options, credential);
        assert_eq!(scene.good(), SIZE + scene.image.config.len() as u64);
        let asked = scene.asked();
        assert_eq!(asked[0], 0..FIRST);
        check_disjoint(&asked);
        assert_eq!(asked.len(), N, "{asked:?}");
        let least = asked[1..].iter().map(|it| it.end - it.start).min();
        assert!(least >= Some(LEAST), "{asked:?}");
        // The manifest, the configuration, and what signing in takes.
        assert_eq!(scene.world.take_log(0).len(), N + 2 + more);
        assert_eq!(scene.world.lines_with(" begins: ").len(), 2, "told once");
    }
}

/// How many requests a blob takes.
#[test]
fn what_is_fetched_in_parts() {
    let with = |most, in_flight| {
        let mut config = config();
        config.parts.most = most;
        config.in_flight = Concurrency::at_most(in_flight);
        config
    };
    let mut large_enough = config();
    large_enough.parts.threshold = SIZE;
    let mut too_small = config();
    too_small.parts.threshold = SIZE + 1;
    let mut none = Config::default();
    none.parts = Parts::NONE;
    let ignored = Options {
        ranges: Ranges::Ignored,
        ..open()
    };
    let stored = Options {
        storage: Some(Storage::new("https://cdn.example")),
        ..open()
    };
    for (name, config, options, expected) in [
        ("by default, a small one", Config::default(), open(), 1),
        ("turned off", none, open(), 1),
        ("one at most", with(1, 16), open(), 1),
        ("below the threshold", too_small, open(), 1),
        ("at the threshold", large_enough, open(), N),
        ("two requests to the host", with(8, 2), open(), 1),
        ("one of three to spare", with(12, 3), open(), N),
        ("two parts", with(2, 16), open(), 12),
        ("a registry without ranges", config(), ignored, 1),
        ("each part asks the registry", config(), stored, N),
    ] {
        let mut scene = Scene::new(config, options, CredentialAnswer::None);
        scene.good();
        let asked = scene.asked();
        assert_eq!(asked.len(), expected, "{name}: {asked:?}");
    }
}

/// Jobs end in any order.
#[test]
fn parts_end_in_any_order() {
    for seed in 0..50_usize {
        let mut scene = Scene::open(config());
        let mut state = seed;
        scene.world.pick = Box::new(move |jobs| {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            (state >> 16) % jobs.len()
        });
        assert_eq!(scene.good(), SIZE + scene.image.config.len() as u64);
        check_disjoint(&scene.asked());
    }
}

/// Of whatever breaks off nothing is asked for twice, and the hash is right.
#[test]
fn a_part_that_breaks_off_goes_on_where_it_was() {
    for nth in 1..=N {
        for (fate, kept) in [
            (Fate::Cut(7), 7),
            (Fate::Unanswered, 0),
            (Fate::NotSent(TransportErrorKind::Connect), 0),
            (Fate::Say(Answer::new(StatusCode::SERVICE_UNAVAILABLE)), 0),
        ] {
            let mut scene = Scene::open(config());
            let layer = scene.layer();
            let is_layer = move |request: &Request| request.target.contains(&layer);
            scene.world.nth(nth, is_layer, fate.clone());
            assert_eq!(scene.good(), SIZE + scene.image.config.len() as u64);
            let mut asked = scene.asked();
            let broken = asked[nth - 1].clone();
            assert_eq!(asked.len(), N + 1, "{fate:?} {nth}: {asked:?}");
            asked[nth - 1].end = broken.start + kept;
            asked.retain(|it| !it.is_empty());
            check_disjoint(&asked);
        }
    }
}

/// RNG-06, RNG-13: a 200 to one of several ranges is not taken. What the others bring stays, and the rest is
/// asked for as one stream.
#[test]
fn the_whole_blob_is_no_part() {
    let parts = {
        let mut scene = Scene::open(config());
        scene.good();
        scene.asked()
    };
    for (nth, part) in parts.iter().enumerate() {
        let mut scene = Scene::open(config());
        let whole = Answer::new(StatusCode::OK).body(scene.image.layers[0].clone());
        scene.world.nth(1, is_from(part.start), Fate::Say(whole));
        let moved = scene.good();
        let asked = scene.asked();
        if nth == 0 {
            assert_eq!(
                asked,
                std::slice::from_ref(part),
                "nothing else is asked for"
            );
            assert_eq!(moved, SIZE + scene.image.config.len() as u64);
            continue;
        }
        let again = asked.iter().filter(|it| it.start == part.start);
        assert_eq!(again.count(), 2, "{nth}: {asked:?}");
        let mut asked = asked;
        let place = asked.iter().position(|it| it.start == part.start).unwrap();
        asked.remove(place);
        check_disjoint(&asked);
        assert_eq!(moved, SIZE + scene.image.config.len() as u64, "{nth}");
        let warnings = scene
            .world
            .lines_with("answered a Range with the whole blob");
        assert_eq!(warnings.len(), 1, "{nth}");
    }
}

/// RNG-05: a gap that an earlier run left is filled, and nothing behind it is fetched again, however little is
/// missing.
#[test]
fn a_small_gap_is_filled_and_nothing_else() {
    for gap in [1000..1040, 1000..1001, 4000..4095] {
        let mut scene = Scene::open(config());
        let bytes = scene.image.layers[0].clone();
        let layer = digest(&bytes);
        scene.memory.partial_with_gap(&layer, &bytes, gap.clone());
        scene.good();
        let asked = scene.asked();
        let total: u64 = asked.iter().map(|range| range.end - range.start).sum();
        assert_eq!(total, gap.len() as u64, "{gap:?}: {asked:?}");
        let within =
            |range: &Range<u64>| range.start >= gap.start as u64 && range.end <= gap.end as u64;
        assert!(asked.iter().all(within), "{gap:?}: {asked:?}");
    }
}

/// A registry that serves the first range and then none: all is fetched once more, as one stream.
#[test]
fn ranges_may_end() {
    for (status, has_body) in [(200, true), (416, false), (400, false), (501, false)] {
        let mut scene = Scene::open(config());
        let (layer, image) = (scene.layer(), scene.image.clone());
        let is_layer = move |request: &Request| {
            let field = request.field(http::header::RANGE);
            request.target.contains(&layer) && field.is_some_and(|it| !it.starts_with("bytes=0-"))
        };
        let answer = Answer::new(StatusCode::from_u16(status).unwrap());
        let body = if has_body {
            image.layers[0].clone()
        } else {
            Vec::new().into()
        };
        scene.world.all(is_layer, Fate::Say(answer.body(body)));
        let moved = scene.good();
        assert_eq!(moved, SIZE + FIRST + image.config.len() as u64, "{status}");
        let asked = scene.asked();
        let last = asked.last().unwrap().clone();
        // With a 200 it is the answer to what is missing; else it has to be asked for.
        assert_eq!(last.end, SIZE, "{status}: {asked:?}");
    }
}

/// RNG-03 to RNG-05: what is not the range that was asked for is not taken.
#[test]
fn a_wrong_content_range_is_not_taken() {
    let from = FIRST + 2 * 255;
    for range in [
        "bytes 0-9/4096",
        "bytes 527-9999/4096",
        "bytes 526-4095/4096",
        "bytes 526-600/9",
        "",
    ] {
        let mut scene = Scene::open(config());
        let parts = {
            let mut scene = Scene::open(config());
            scene.good();
            scene.asked()
        };
        let part = parts.iter().find(|it| it.start <= from && from < it.end);
        let part = part.unwrap().clone();
        let body = scene.image.layers[0].clone();
        let wrong = Answer::new(StatusCode::PARTIAL_CONTENT)
            .header("content-range", range)
            .body(body);
        scene.world.nth(1, is_from(part.start), Fate::Say(wrong));
        assert_eq!(
            scene.good(),
            SIZE + scene.image.config.len() as u64,
            "{range}"
        );
    }
}

/// A server may send less of a range than was asked for.
#[test]
fn shortened_ranges_are_gone_on_with() {
    let options = Options {
        ranges: Ranges::Shortened(100),
        ..open()
    };
    let mut scene = Scene::new(config(), options, CredentialAnswer::None);
    assert_eq!(scene.good(), SIZE + scene.image.config.len() as u64);
}

/// A worker that dies takes its bytes with it only as far as the store has none of them.
#[test]
fn a_worker_of_a_part_dies() {
    for nth in 1..=N {
        let mut scene = Scene::open(config());
        let layer = scene.layer();
        let is_layer = move |request: &Request| request.target.contains(&layer);
        scene.world.nth(nth, is_layer, Fate::Lost);
        scene.good();
        let begun = scene.world.lines_with("store s0: begin");
        assert_eq!(
            begun.len(),
            3,
            "{nth}: the configuration, and the layer twice"
        );
    }
}

/// One wrong byte anywhere: the blob is fetched once more, as one stream, and then it is wrong.
#[test]
fn a_wrong_digest_starts_over_once() {
    for from in [0, FIRST] {
        for twice in [false, true] {
            let mut scene = Scene::open(config());
            let mut bytes = scene.image.layers[0].to_vec();
            bytes[usize::try_from(from).unwrap()] ^= 1;
            let parts = {
                let mut scene = Scene::open(config());
                scene.good();
                scene.asked()
            };
            let part = parts.into_iter().find(|it| it.start == from).unwrap();
            let range = |n: u64| usize::try_from(n).unwrap();
            let body = bytes[range(part.start)..range(part.end)].to_vec();
            let content = format!("bytes {}-{}/{SIZE}", part.start, part.end - 1);
            let wrong = Answer::new(StatusCode::PARTIAL_CONTENT)
                .header("content-range", content)
                .body(body);
            scene.world.nth(1, is_from(from), Fate::Say(wrong));
            let layer = scene.layer();
            let is_whole = move |request: &Request| {
                request.target.contains(&layer) && request.field(http::header::RANGE).is_none()
            };
            if twice {
                let whole = Answer::new(StatusCode::OK).body(bytes);
                scene.world.all(is_whole, Fate::Say(whole));
                assert_eq!(scene.bad(), ErrorKind::Mismatch);
                assert_eq!(scene.memory.partials().values().sum::<usize>(), 0);
            } else {
                let config = scene.image.config.len() as u64;
                assert_eq!(scene.good(), 2 * SIZE + config, "all of it was sent twice");
            }
            assert_eq!(scene.asked().len(), N + 1);
            assert_eq!(scene.asked().last(), Some(&(0..SIZE)));
        }
    }
}

/// What one part cannot have, one stream is asked for, and its error is the error.
#[test]
fn a_part_that_cannot_be_had_fails_in_the_end() {
    let mut scene = Scene::open(config());
    let denied = Answer::error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "gone");
    scene.world.all(is_from(FIRST), Fate::Say(denied));
    assert_eq!(scene.bad(), ErrorKind::NotFound);
}

/// The store fails while one of several parts is written.
#[test]
fn a_store_that_fails_ends_all_parts() {
    let mut scene = Scene::open(config());
    let mut steps = 0;
    scene.world.lot = Box::new(move |job| {
        let is_hash = matches!(job, Job::Store(call) if call.op().name() == "hash");
        steps += usize::from(is_hash);
        if is_hash && steps == 2 {
            return Lot::Fail(StoreError::new(StoreErrorKind::Io, "planned"));
        }
        Lot::Run
    });
    assert_eq!(scene.bad(), ErrorKind::Refused);
}

/// At each step of the way, the task is cancelled: nothing stays open.
#[test]
fn parts_are_cancelled_at_any_time() {
    for steps in 0.. {
        let mut scene = Scene::open(config());
        for _ in 0..steps {
            scene.world.step();
        }
        if scene.world.is_finished(scene.task) {
            assert!(steps > 50, "{steps}");
            break;
        }
        scene.world.cancel(scene.task);
        scene.world.run_all();
        assert_eq!(scene.memory.taken(), []);
    }
}

/// The task whose registry the parts come from leaves, while another one wants the blob from a store: the parts
/// go on.
#[test]
fn the_task_that_began_the_parts_leaves() {
    for steps in 0..80 {
        let mut scene = Scene::open(config());
        let (from, source) = scene.world.store();
        fill(&source, &scene.image);
        for _ in 0..steps {
            scene.world.step();
        }
        if scene.world.is_finished(scene.task) {
            break;
        }
        let place = |store| TaskLocation::Store { store, name: None };
        let copy = Task::copy(CopyTask::new(place(from), place(scene.store)));
        let other = scene.world.start(copy);
        scene.world.step();
        scene.world.cancel(scene.task);
        scene.world.run(other).unwrap();
        scene.world.run_all();
        check_holds(&scene.memory, &scene.image);
    }
}

/// Small layers go before further parts of a large one, and slots stay free for what comes next.
#[test]
fn other_blobs_go_first() {
    let mut layers = vec![layer().layers[0].to_vec()];
    layers.extend((0..30).map(|n| vec![n; 20]));
    let mut scene = Scene::of(config(), open(), CredentialAnswer::None, image(&layers));
    let mut most = 0;
    let layer = scene.layer();
    let last = format!("blobs/{}", digest(&layers[30]));
    while scene.world.step() {
        let is_http = |job: &Job| matches!(job, Job::Http(_));
        let is_part = |job: &Job| matches!(job, Job::Http(call) if call.request().uri().path().contains(&layer));
        let (parts, all) = (scene.world.outside(is_part), scene.world.outside(is_http));
        let waits = scene.world.lines_with(&last).is_empty();
        assert!(parts <= 1 || !waits, "{parts} while others wait");
        assert!(parts <= 1 || all < 16, "{parts} of {all}");
        most = most.max(parts);
    }
    check_holds(&scene.memory, &scene.image);
    assert_eq!(most, 12);
}

/// Parts come from whatever endpoint has them.
#[test]
fn a_mirror_that_dies_is_replaced_for_each_part() {
    for nth in [1, 2, 5, N] {
        let mut config = config();
        let mirror = Endpoint::mirror("https://m.example".parse().unwrap());
        let registry = "reg.example".parse().unwrap();
        let rule = Route::new(registry, "the rule", Mode::Prefer, vec![mirror]);
        config.routes.push(rule);
        let image = layer();
        let mut world = World::new(config);
        world.registry(&["reg.example"], with_image(open(), &image));
        world.registry(&["m.example"], with_image(open(), &image));
        let (store, memory) = world.store();
        let task = world.start(pull(store));
        let layer = digest(&image.layers[0]).to_string();
        let is_there =
            move |request: &Request| request.host == "m.example" && request.target.contains(&layer);
        for n in nth..nth + 2 * N {
            let fate = Fate::NotSent(TransportErrorKind::Connect);
            world.nth(n, is_there.clone(), fate);
        }
        let report = world.run(task).unwrap();
        world.run_all();
        check_holds(&memory, &image);
        assert_eq!(report.bytes, SIZE + image.config.len() as u64, "{nth}");
    }
}
