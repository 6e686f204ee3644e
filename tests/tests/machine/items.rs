//! Scenes for items of [the list](../../ITEMS.md) that no other scene is about.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use http::StatusCode;
use serde_json::Value;
use windlass_core::{Config, ErrorKind, Platform, Platforms, Task};
use windlass_testbed::{Answer, Image, Model, OCI_MANIFEST};
use windlass_tests::world::scenes::{
    check_holds, check_pushed, copy_within, digest, is, large, one_at_a_time, open, pull, pulling,
    push, pushing, reference, small, two_platforms, with_image, with_manifest, world,
};
use windlass_tests::world::{Fate, World};

const RETIRING: &str = r#"299 - "this registry retires in May""#;

/// WARN-02, WARN-03, WARN-06: a warning is told once, however many responses have it, and changes nothing
/// else, on success and on failure.
#[test]
fn a_warning_of_the_registry_is_told_once() {
    let image = small();
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    let said = |status: StatusCode| Answer::new(status).header("warning", RETIRING);
    let manifest = said(StatusCode::OK)
        .header("content-type", OCI_MANIFEST)
        .body(image.manifest.clone());
    world.all(is("GET", "/manifests/v1"), Fate::Say(manifest));
    for blob in image.blobs() {
        let target = format!("/v2/a/b/blobs/{}", digest(blob));
        let answer = said(StatusCode::OK).body(blob.clone());
        world.all(move |request| request.target == target, Fate::Say(answer));
    }
    let task = world.start(pull(store));
    world.run(task).unwrap();
    check_holds(&memory, &image);
    let told = world.lines_with("this registry retires in May");
    assert_eq!(told.len(), 1, "{told:?}");

    let mut world = World::new(Config::default());
    world.registry(&["reg.example"], Model::new(open()));
    let absent = said(StatusCode::NOT_FOUND);
    world.all(is("HEAD", "/manifests/"), Fate::Say(absent.clone()));
    world.all(is("GET", "/manifests/"), Fate::Say(absent));
    let task = world.start(Task::resolve(reference("reg.example/a/b:v1")));
    let failure = world.resolve(task).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound);
    assert_eq!(world.lines_with("this registry retires in May").len(), 1);
}

/// PULLM-11: what a tag stood for when it was resolved is what the requests that follow name.
#[test]
fn a_tag_that_moves_changes_nothing_of_a_pull() {
    let (model, amd64, _) = two_platforms(open());
    let mut world = world(one_at_a_time(), model);
    let (store, memory) = world.store();
    let amd: Platform = "linux/amd64".parse().unwrap();
    let tag = reference("reg.example/a/b:v1");
    let task = world.start(Task::pull(tag, store, None, Platforms::One(amd)));
    world.run_until(|world| !world.models[0].log().is_empty());
    world.models[0].put_image("a/b", Some("v1"), &small());
    world.run(task).unwrap();
    for blob in amd64.blobs() {
        assert!(memory.bytes(&digest(blob)).is_some());
    }
    let log = world.take_log(0);
    let by_tag = log.iter().filter(|line| line.contains("/manifests/v1"));
    assert_eq!(by_tag.count(), 1, "{log:?}");
}

/// PULLM-20: a manifest that is elsewhere is fetched there; one that is nowhere is not looked for among the
/// blobs.
#[test]
fn a_manifest_is_not_looked_for_among_the_blobs() {
    let image = small();
    let elsewhere = "https://cdn.example/a/b/manifest";
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &image);
    let redirect = Answer::new(StatusCode::TEMPORARY_REDIRECT).header("location", elsewhere);
    world.all(is("GET", "/manifests/v1"), Fate::Say(redirect));
    let manifest = Answer::new(StatusCode::OK)
        .header("content-type", OCI_MANIFEST)
        .body(image.manifest.clone());
    world.all(|request| request.host == "cdn.example", Fate::Say(manifest));
    let task = world.start(pull(store));
    world.run(task).unwrap();
    check_holds(&memory, &image);

    let mut model = Model::new(open());
    model.put_blob("a/b", image.manifest.clone());
    let mut world = world_of(model);
    let name = format!("reg.example/a/b@{}", image.digest);
    let (store, _) = world.store();
    let task = world.start(Task::pull(reference(&name), store, None, Platforms::All));
    let failure = world.run(task).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound, "{failure}");
    assert_eq!(world.take_log(0).len(), 1);
}

/// PULLB-09: a layer is verified by the algorithm of its digest, and one that cannot be verified is not
/// fetched.
#[test]
fn a_layer_is_verified_by_the_algorithm_of_its_digest() {
    let image = small();
    let sha512 = windlass_testbed::Digest::sha512(&image.layers[0]);
    let known = with_layer(&image, sha512.as_str());
    let mut model = with_image(open(), &known);
    model.put_damaged_blob("a/b", &sha512, image.layers[0].clone());
    let mut world = world_of(model);
    let (store, memory) = world.store();
    let task = world.start(pull(store));
    world.run(task).unwrap();
    let stored = memory.bytes(&sha512.as_str().parse().unwrap());
    assert_eq!(stored.unwrap(), image.layers[0]);

    let unknown = with_layer(&image, "blake9:0123456789abcdef0123456789abcdef");
    let mut world = world_of(with_image(open(), &unknown));
    let (store, _) = world.store();
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    assert!(failure.to_string().contains("blake9"), "{failure}");
    let log = world.take_log(0);
    assert!(!log.iter().any(|line| line.contains("blake9")), "{log:?}");
}

/// PULLB-09, RNG-10: the same where bytes are wrong: none of them is kept.
#[test]
fn a_wrong_layer_is_no_layer_in_any_algorithm() {
    let image = large(300);
    let sha512 = windlass_testbed::Digest::sha512(&image.layers[0]);
    let known = with_layer(&image, sha512.as_str());
    let mut model = with_image(open(), &known);
    let mut wrong = image.layers[0].to_vec();
    wrong[299] ^= 1;
    model.put_damaged_blob("a/b", &sha512, wrong);
    let mut world = world_of(model);
    let (store, memory) = world.store();
    let task = world.start(pull(store));
    let failure = world.run(task).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Mismatch, "{failure}");
    assert_eq!(memory.bytes(&sha512.as_str().parse().unwrap()), None);
}

/// PUSHM-05: a push makes the tag it was asked for and no other, also for the children of an index.
#[test]
fn children_get_no_tags() {
    let (model, amd64, arm64) = two_platforms(open());
    let mut world = world_of(model);
    let to = "reg.example/c/d:v1";
    let from = "reg.example/a/b:v1";
    let task = world.start(copy_within(from, to, None));
    world.run(task).unwrap();
    let puts: Vec<_> = world
        .take_log(0)
        .into_iter()
        .filter(|line| line.starts_with("PUT") && line.contains("/manifests/"))
        .collect();
    assert_eq!(puts.len(), 3, "{puts:?}");
    for child in [&amd64, &arm64] {
        let by_digest = format!("/manifests/{}", child.digest);
        assert!(puts[..2].iter().any(|line| line.contains(&by_digest)));
    }
    assert!(puts[2].contains("/manifests/v1"), "{puts:?}");
}

/// MT-02: what a manifest consists of may have any types.
#[test]
fn unknown_types_are_moved_like_others() {
    let mut manifest: Value = serde_json::from_slice(&small().manifest).unwrap();
    manifest["config"]["mediaType"] = "application/vnd.example.thing+json".into();
    manifest["layers"][0]["mediaType"] = "x-unheard/of".into();
    manifest["artifactType"] = "application/vnd.example.unheard".into();
    manifest["io.example.unheard"] = serde_json::json!({"of": [null, 1.50]});
    let odd = with_manifest(&small(), &manifest);
    let (mut world, store, memory) = pulling(one_at_a_time(), open(), &odd);
    let task = world.start(pull(store));
    world.run(task).unwrap();
    check_holds(&memory, &odd);
    let (mut world, store, _) = pushing(one_at_a_time(), open(), &odd);
    let task = world.start(push(store));
    world.run(task).unwrap();
    check_pushed(&world, "a/b", &odd);
}

fn world_of(model: Model) -> World {
    world(one_at_a_time(), model)
}

/// The same image whose first layer has this digest.
fn with_layer(image: &Image, digest: &str) -> Image {
    let mut manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
    manifest["layers"][0]["digest"] = digest.into();
    with_manifest(image, &manifest)
}
