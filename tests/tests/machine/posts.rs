//! Small blobs in the POST that begins their upload (PUSHB-18), request by request.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use http::StatusCode;
use windlass_core::call::TransportErrorKind;
use windlass_core::config::{RegistryKind, RegistrySettings};
use windlass_core::{Config, Report};
use windlass_testbed::{Answer, Image, Options, Request, Uploads, image};
use windlass_tests::world::scenes::{
    check_pushed, large, one_at_a_time, open, push, pushing, small,
};
use windlass_tests::world::{Fate, World};

/// From one byte more on, a blob is not posted.
const MOST: usize = 64 * 1024;

fn posting() -> Config {
    let mut config = one_at_a_time();
    config.post_blobs = Some(true);
    config
}

/// A registry that stores what is posted.
fn storing() -> Options {
    Options {
        uploads: Uploads {
            one_request: true,
            ..Uploads::default()
        },
        ..open()
    }
}

/// The requests for blobs: methods, statuses, and whether a POST had the digest.
fn requests(world: &mut World) -> Vec<String> {
    let log = world.take_log(0).into_iter();
    let log = log.filter(|line| line.contains("/blobs/"));
    log.map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let whole = words[0] == "POST" && words[1].contains("digest=");
        let method = if whole { "POST all" } else { words[0] };
        format!("{method} {}", words[2])
    })
    .collect()
}

/// Pushes an image to a registry in which this goes wrong. The requests, and what was reported.
fn pushed(
    (config, options): (Config, Options),
    image: &Image,
    goes_wrong: impl FnOnce(&mut World),
) -> (Vec<String>, Report) {
    let (mut world, store, _) = pushing(config, options, image);
    goes_wrong(&mut world);
    let task = world.start(push(store));
    let report = world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", image);
    (requests(&mut world), report)
}

fn well(_: &mut World) {}

fn bytes(image: &Image) -> u64 {
    image.blobs().map(|blob| blob.len() as u64).sum()
}

fn is_whole(request: &Request) -> bool {
    request.method == "POST" && request.target.contains("digest=")
}

#[test]
fn a_small_blob_is_one_request_where_the_registry_stores_it() {
    let image = small();
    let (log, report) = pushed((posting(), storing()), &image, well);
    assert_eq!(log, ["POST all 201", "POST all 201", "POST all 201"]);
    assert_eq!((report.moved, report.bytes), (3, bytes(&image)));
}

/// A 202 costs the bytes of one blob: they are put to the session that it opens, and nothing else is posted.
#[test]
fn bytes_that_are_ignored_are_put() {
    let image = small();
    let (log, report) = pushed((posting(), open()), &image, well);
    let expected = [
        "POST all 202",
        "PUT 201",
        "POST 202",
        "PUT 201",
        "POST 202",
        "PUT 201",
    ];
    assert_eq!(log, expected);
    let first = image.blobs().next().unwrap().len() as u64;
    assert_eq!((report.moved, report.bytes), (3, bytes(&image) + first));
}

/// By default only a registry that is known to store it is sent the bytes at once.
#[test]
fn by_default_a_small_blob_is_post_and_put() {
    let image = image(&[]);
    let (log, _) = pushed((one_at_a_time(), storing()), &image, well);
    assert_eq!(log, ["POST 202", "PUT 201"]);
    for kind in [RegistryKind::Zot, RegistryKind::Quay] {
        let mut config = one_at_a_time();
        let mut settings = RegistrySettings::new("reg.example".parse().unwrap(), "test");
        settings.kind = Some(kind);
        config.registries.push(settings);
        let (log, _) = pushed((config.clone(), storing()), &image, well);
        assert_eq!(log, ["POST all 201"], "{kind}");
        config.post_blobs = Some(false);
        let (log, _) = pushed((config, storing()), &image, well);
        assert_eq!(log, ["POST 202", "PUT 201"], "{kind}");
    }
}

#[test]
fn a_blob_that_is_not_small_is_not_posted() {
    for (size, layer) in [
        (MOST, vec!["POST all 201"]),
        (MOST + 1, vec!["POST 202", "PUT 201"]),
    ] {
        let image = large(size);
        let (log, _) = pushed((posting(), storing()), &image, well);
        let expected: Vec<_> = [vec!["POST all 201"], layer].concat();
        assert_eq!(log, expected, "{size}");
    }
    // Nor is one that is larger than a chunk.
    let mut config = posting();
    config.chunk_size = Some(MOST as u64);
    let (log, _) = pushed((config, storing()), &large(MOST), well);
    assert_eq!(log, ["POST all 201", "POST all 201"]);
}

/// One that refuses such a POST gets another one without bytes, and no other such POST.
#[test]
fn a_refused_post_does_not_end_a_push() {
    for status in [400, 405, 411, 413, 415] {
        let image = large(100);
        let refused = Answer::error(StatusCode::from_u16(status).unwrap(), "UNSUPPORTED", "no");
        let (log, report) = pushed((posting(), open()), &image, |world| {
            world.all(is_whole, Fate::Say(refused.clone()));
        });
        let posted = format!("POST all {status}");
        let expected = [&posted, "POST 202", "PUT 201", "POST 202", "PUT 201"];
        assert_eq!(log, expected, "{status}");
        assert_eq!(report.moved, 2);
    }
}

/// Whatever breaks off, the blob is put then.
#[test]
fn a_post_that_breaks_off_is_not_repeated() {
    let fates = [
        Fate::Broken(10),
        Fate::Unanswered,
        Fate::NotSent(TransportErrorKind::Reset),
    ];
    for fate in fates {
        let image = image(&[]);
        let (log, report) = pushed((posting(), storing()), &image, |world| {
            world.nth(1, is_whole, fate.clone());
        });
        let put: Vec<_> = log.iter().filter(|line| !line.contains("all")).collect();
        assert_eq!(put, ["POST 202", "PUT 201"], "{fate:?}");
        assert_eq!(report.moved, 1);
    }
}

/// Bytes that are not the blob's do not get to the registry.
#[test]
fn a_damaged_blob_is_not_posted() {
    let image = large(100);
    let (mut world, store, memory) = pushing(posting(), storing(), &image);
    let layer = windlass_tests::world::scenes::digest(&image.layers[0]);
    memory.blob(&layer, &[9; 100]);
    let task = world.start(push(store));
    let failure = world.run(task).unwrap_err();
    assert!(failure.to_string().contains("damaged"), "{failure}");
    let held = &image.blob_digests()[1];
    assert_eq!(world.models[0].blob_bytes("a/b", held), None);
}
