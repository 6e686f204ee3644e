//! Pushes of images whose layers are not all in the store: the missing ones come from where the image comes from.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use windlass_core::{ErrorKind, StoreId, Task};
use windlass_testbed::{Image, Model, image};
use windlass_tests::world::World;
use windlass_tests::world::scenes::{
    check_pushed, digest, fill, one_at_a_time, open, push, reference, with_image, world,
};

fn two_layers() -> Image {
    image(&[
        b"the layer that is here".to_vec(),
        b"the other one".to_vec(),
    ])
}

/// A store that has an image without its last layer, to be pushed to `reg.example/a/b:v1`.
fn lacking(world: &mut World, image: &Image) -> StoreId {
    let (store, memory) = world.store();
    let mut held = image.clone();
    held.layers.truncate(1);
    fill(&memory, &held);
    store
}

fn missing_from(store: StoreId, source: &str) -> Task {
    push(store).missing_from(reference(source))
}

#[test]
fn a_missing_layer_is_mounted_within_a_registry() {
    let image = two_layers();
    let mut model = Model::new(open());
    model.put_image("source", None, &image);
    let mut world = world(one_at_a_time(), model);
    let store = lacking(&mut world, &image);
    let task = world.start(missing_from(store, "reg.example/source"));
    let report = world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    let counts = (report.moved, report.mounted, report.present);
    assert_eq!(counts, (2, 1, 0));
    let log = world.take_log(0);
    let log: Vec<_> = log.iter().map(|line| &line[..4]).collect();
    let expected = [
        "HEAD", "HEAD", "POST", "PUT ", "POST", "PUT ", "POST", "PUT ",
    ];
    assert_eq!(log, expected, "two blobs, a mount, the manifest");
}

#[test]
fn a_missing_layer_is_relayed_from_another_registry() {
    let image = two_layers();
    let mut world = world(one_at_a_time(), Model::new(open()));
    world.registry(&["other.example"], with_image(open(), &image));
    let store = lacking(&mut world, &image);
    let task = world.start(missing_from(store, "other.example/a/b"));
    let report = world.run(task).unwrap();
    world.run_all();
    check_pushed(&world, "a/b", &image);
    assert_eq!((report.moved, report.mounted), (3, 0));
    let layer = digest(&image.layers[1]);
    let expected = ["HEAD", "GET"].map(|it| format!("{it} /v2/a/b/blobs/{layer} 200"));
    assert_eq!(world.take_log(1), expected);
    let log = world.take_log(0);
    let posts = log.iter().filter(|line| line.starts_with("POST")).count();
    let puts = log.iter().filter(|line| line.starts_with("PUT")).count();
    assert_eq!((posts, puts, log.len()), (3, 4, 9), "{log:?}");
}

/// What the source lacks, too, or has wrong, fails the push.
#[test]
fn a_layer_that_is_nowhere_fails_the_push() {
    let image = two_layers();
    let mut world = world(one_at_a_time(), Model::new(open()));
    world.registry(&["other.example"], Model::new(open()));
    let store = lacking(&mut world, &image);
    let task = world.start(missing_from(store, "other.example/a/b"));
    let failure = world.run(task).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound, "{failure}");
    let task = world.start(push(store));
    let failure = world.run(task).unwrap_err();
    let layer = digest(&image.layers[1]);
    assert!(failure.to_string().contains(layer.as_str()), "{failure}");
    assert_eq!(world.models[0].tag("a/b", "v1"), None);
}

/// Another process goes on with what was asked for.
#[test]
fn a_checkpoint_says_where_missing_layers_are() {
    let image = two_layers();
    let mut world = world(one_at_a_time(), Model::new(open()));
    world.registry(&["other.example"], with_image(open(), &image));
    let store = lacking(&mut world, &image);
    world.start(missing_from(store, "other.example/a/b"));
    world.step();
    let [task] = world.restart()[..] else {
        panic!("one task");
    };
    assert_eq!(world.run(task).unwrap().moved, 3);
    check_pushed(&world, "a/b", &image);
}
