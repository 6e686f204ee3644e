//! Relays whose sink or source breaks off, is redirected, or answers in the wrong order.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use http::StatusCode;
use windlass_core::{Config, TaskId};
use windlass_testbed::{Answer, Image, Model, Options, Ranges, Request, Signature, Storage};
use windlass_tests::world::scenes::{
    check_pushed, copy_within, digest, large, one_at_a_time, open, with_image,
};
use windlass_tests::world::{Fate, World};

/// Large enough to be asked for before it is sent, and to be resumed.
const SIZE: usize = 400_000;

/// A world with an image at one registry, `src.example`, and an empty one, `reg.example`, which takes bodies at
/// `put.example` if it says so.
fn relaying(config: Config, to: Options, image: &Image) -> World {
    let mut world = World::new(config);
    world.registry(&["reg.example", "put.example"], Model::new(to));
    world.registry(&["src.example"], with_image(open(), image));
    world
}

fn copy(world: &mut World) -> TaskId {
    let (spool, _) = world.store();
    world.start(copy_within(
        "src.example/a/b:v1",
        "reg.example/a/b:v1",
        Some(spool),
    ))
}

/// A registry that sends bodies elsewhere.
fn redirecting() -> Options {
    let mut options = open();
    options.uploads.redirects = Some("https://put.example".into());
    options
}

/// GET of the layer at its registry.
fn fetches(image: &Image) -> impl Fn(&Request) -> bool + Clone + use<> {
    let layer = format!("/blobs/{}", digest(&image.layers[0]));
    move |it| it.method == "GET" && it.host == "src.example" && it.target.contains(&layer)
}

/// What the storage was asked: methods and results.
fn at_storage(world: &World) -> Vec<String> {
    let log = world.models[0].log().iter();
    let there = log.filter(|it| it.host == "put.example");
    there
        .map(|it| {
            let status = it
                .status
                .map_or_else(|| "cut".into(), |it| it.as_u16().to_string());
            format!("{} {status}", it.method)
        })
        .collect()
}

/// HTTP-15, PUSHB-23: what a redirect led to is for one request. The next one goes to the registry, also if
/// that one ended because its source did.
#[test]
fn a_redirected_relay_whose_source_breaks_goes_back_to_the_registry() {
    for kept in [0, 100_000, 300_000, SIZE - 1] {
        let image = large(SIZE);
        let mut world = relaying(one_at_a_time(), redirecting(), &image);
        let fetches = fetches(&image);
        // The first one is for the request that is redirected.
        world.nth(2, fetches.clone(), Fate::Cut(kept));
        world.nth(3, fetches, Fate::Unreachable);
        let task = copy(&mut world);
        world.run(task).unwrap();
        world.run_all();
        check_pushed(&world, "a/b", &image);
        let asked = at_storage(&world);
        let good = asked
            .iter()
            .all(|it| matches!(&it[..], "PUT 201" | "PUT cut" | "PATCH 202" | "PATCH cut"));
        assert!(good, "{kept}: {asked:?}");
    }
}

/// HTTP-15: both sides of a relay redirect it, and each is led on once.
#[test]
fn two_sides_that_redirect() {
    let image = large(SIZE);
    let mut world = World::new(one_at_a_time());
    world.registry(&["reg.example", "put.example"], Model::new(redirecting()));
    let mut from = open();
    from.storage = Some(Storage::new("https://cdn.example"));
    world.registry(&["src.example", "cdn.example"], with_image(from, &image));
    let task = copy(&mut world);
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_eq!(at_storage(&world), ["PUT 201", "PUT 201"]);
    let source = world.models[1].log().iter();
    let asked = source.filter(|it| it.host == "src.example" && it.target.contains("/blobs/"));
    // For each of two blobs: a request to the sink that is redirected takes its source with it.
    assert_eq!(asked.count(), 4);
}

/// PUSHB-05: the session that wrong bytes went to is given up, and the next one is asked for at the registry.
#[test]
fn a_redirected_relay_of_wrong_bytes_begins_again_at_the_registry() {
    let image = large(SIZE);
    let mut world = relaying(one_at_a_time(), redirecting(), &image);
    let mut wrong = image.layers[0].to_vec();
    wrong[SIZE - 1] ^= 1;
    let wrong = Answer::new(StatusCode::OK).body(wrong);
    world.nth(2, fetches(&image), Fate::Say(wrong));
    let task = copy(&mut world);
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    // The layer, twice, and the configuration.
    let asked = at_storage(&world);
    let mut expected = ["PUT cut", "PUT 201", "PUT 201"];
    expected.sort_unstable();
    let mut sorted = asked.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected, "{asked:?}");
}

/// HTTP-15: an address that was not gone to in time is asked for again, once.
#[test]
fn an_address_for_a_body_that_has_expired_is_asked_for_again() {
    let image = large(SIZE);
    let mut world = relaying(one_at_a_time(), redirecting(), &image);
    let expired = Answer::error(StatusCode::FORBIDDEN, "DENIED", "Request has expired");
    let at_storage = |it: &Request| it.host == "put.example" && it.body.len() == SIZE;
    world.nth(1, at_storage, Fate::Say(expired.clone()));
    let task = copy(&mut world);
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    let mut world = relaying(one_at_a_time(), redirecting(), &image);
    world.all(at_storage, Fate::Say(expired));
    let task = copy(&mut world);
    let failure = world.run(task).unwrap_err();
    world.run_all();
    assert!(failure.to_string().contains("403"), "{failure}");
    let puts = world.models[0]
        .log()
        .iter()
        .filter(|it| it.body == SIZE as u64);
    assert_eq!(puts.count(), 4, "each address costs two requests");
}

/// How often the source was asked for bytes of the layer, and for which.
fn ranges(world: &World, image: &Image) -> Vec<String> {
    let layer = format!("/blobs/{}", digest(&image.layers[0]));
    let log = world.models[1].log().iter();
    let those = log.filter(|it| it.method == "GET" && it.target.ends_with(&layer));
    those
        .map(|it| {
            let range = it.headers.get("range").and_then(|it| it.to_str().ok());
            range
                .unwrap_or("all")
                .trim_start_matches("bytes=")
                .to_owned()
        })
        .collect()
}

/// Uploads in chunks of a quarter of the layer.
fn in_quarters() -> Config {
    let mut config = one_at_a_time();
    config.chunk_size = Some(SIZE as u64 / 4);
    config
}

/// RNG-06: the source answers a range with the whole blob, which breaks off before the bytes that are needed.
#[test]
fn the_rest_of_a_whole_blob_is_not_passed_on_twice() {
    let image = large(SIZE);
    let mut world = relaying(in_quarters(), open(), &image);
    let whole = Answer::new(StatusCode::OK).body(image.layers[0].clone());
    world.nth(2, fetches(&image), Fate::SayCut(whole, 1000));
    let task = copy(&mut world);
    let report = world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    let expected = [
        "0-99999",
        "100000-199999",
        "100000-199999",
        "200000-299999",
        "300000-399999",
    ];
    assert_eq!(ranges(&world, &image), expected);
    let blobs: usize = image.blobs().map(|it| it.len()).sum();
    assert_eq!(report.bytes, blobs as u64, "nothing was sent twice");
}

/// HTTP-17: "later" in response to the request for the rest is for all requests to that server.
#[test]
fn a_source_that_says_later_to_the_rest_is_heard() {
    let image = large(SIZE);
    let mut world = relaying(one_at_a_time(), open(), &image);
    let later = Answer::error(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "slower");
    world.nth(1, fetches(&image), Fate::Cut(150_000));
    world.nth(
        2,
        fetches(&image),
        Fate::Say(later.header("retry-after", "30")),
    );
    let task = copy(&mut world);
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_eq!(ranges(&world, &image).len(), 3);
    assert_eq!(world.lines_with("* try 1 failed").len(), 1);
    assert!(world.now() >= windlass_core::Time::ZERO + std::time::Duration::from_secs(30));
}

/// The sink's connection breaks behind 10 MiB of 12. What the source sent is fetched again from where a hash was kept.
#[test]
fn a_sink_that_breaks_costs_little_of_the_source() {
    const MIB: usize = 1 << 20;
    let image = large(12 * MIB);
    let mut world = relaying(one_at_a_time(), open(), &image);
    let puts = |it: &Request| it.method == "PUT" && it.body.len() == 12 * MIB;
    world.nth(1, puts, Fate::Broken(10 * MIB));
    let task = copy(&mut world);
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    let again = format!("{}-{}", 8 * MIB, 12 * MIB - 1);
    assert_eq!(ranges(&world, &image), ["all", &again]);
}

/// RNG-05, HTTP-15: ranges end before the sink's chunks do, and each signed URL is good for one request. The blob goes
/// through a store, instead of using up the attempts.
#[test]
fn a_source_of_short_ranges_is_left_for_a_store() {
    let image = large(SIZE);
    let mut config = in_quarters();
    config.retry.attempts = 1;
    let mut world = World::new(config);
    world.registry(&["reg.example"], Model::new(open()));
    let mut storage = Storage::new("https://cdn.example");
    storage.signature = Signature::OneTime;
    let mut from = open();
    from.storage = Some(storage);
    from.ranges = Ranges::Shortened(90_000);
    world.registry(&["src.example", "cdn.example"], with_image(from, &image));
    let task = copy(&mut world);
    world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_eq!(world.lines_with("try 1 failed"), Vec::<String>::new());
    let relayed = world.lines_with("relayed up to 90000 of 100000");
    assert_eq!(relayed.len(), 1, "{relayed:?}");
}
