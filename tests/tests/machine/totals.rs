//! What a task says it has to do, and has done.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use windlass_core::{Amount, Config, CopyTask, Session, Task, TaskId, TaskLocation, Time, Totals};
use windlass_testbed::{Image, image};
use windlass_tests::world::scenes::{
    digest, fill, is, large, one_at_a_time, open, pull, pulling, push, pushing, reference, small,
    two_platforms, with_image, world,
};
use windlass_tests::world::{Fate, World};

/// A layer that is put without a HEAD before.
const SIZE: usize = 100_000;

fn amount(blobs: &[&[u8]]) -> Amount {
    Amount::new(
        blobs.len() as u64,
        blobs.iter().map(|blob| blob.len() as u64).sum(),
    )
}

fn all(image: &Image) -> Amount {
    let blobs: Vec<&[u8]> = image.blobs().map(AsRef::as_ref).collect();
    amount(&blobs)
}

/// The totals as they are told: known, moved, mounted, skipped, transferred.
type Told = (Amount, Amount, Amount, Amount, u64);

fn told(totals: &Totals) -> Told {
    let Totals {
        known,
        moved,
        mounted,
        skipped,
        transferred,
        ..
    } = *totals;
    (known, moved, mounted, skipped, transferred)
}

#[track_caller]
fn check(world: &World, task: TaskId, expected: &[Told]) {
    let found: Vec<_> = world.totals(task).iter().map(told).collect();
    assert_eq!(found, expected);
}

const NONE: Amount = Amount::new(0, 0);

/// Two images with a layer in common: it counts once, and the second manifest adds what is its own.
#[test]
fn a_layer_that_images_share_counts_once() {
    let (model, amd64, arm64) = two_platforms(open());
    let mut world = world(one_at_a_time(), model);
    let (store, _) = world.store();
    let task = world.start(pull(store));
    let report = world.run(task).unwrap();
    let last = *world.totals(task).last().unwrap();
    let mut blobs: Vec<&[u8]> = [&amd64, &arm64]
        .iter()
        .flat_map(|image| image.blobs().map(AsRef::as_ref))
        .collect();
    blobs.sort_unstable();
    blobs.dedup();
    assert_eq!(
        blobs.len(),
        5,
        "two configurations, two layers, a shared one"
    );
    let expected = amount(&blobs);
    assert_eq!(
        told(&last),
        (expected, expected, NONE, NONE, expected.bytes)
    );
    assert_eq!((report.moved, report.bytes), (5, expected.bytes));
    let known: Vec<u64> = world.totals(task).iter().map(|it| it.known.blobs).collect();
    assert_eq!(known.first(), Some(&3), "{known:?}");
    assert!(known.is_sorted(), "{known:?}");
}

/// What a task has to do is told before the first byte of it is asked for.
#[test]
fn totals_come_before_bytes() {
    let image = small();
    let (mut world, store, _) = pulling(one_at_a_time(), open(), &image);
    let task = world.start(pull(store));
    world.run_until(|world| !world.totals(task).is_empty());
    let expected = all(&image);
    check(&world, task, &[(expected, NONE, NONE, NONE, 0)]);
    let log = world.take_log(0);
    assert_eq!(log, ["GET /v2/a/b/manifests/v1 200"]);
    assert_eq!(world.totals(task)[0].remaining(), expected);
}

/// One blob is at the registry, one is mounted, one is sent.
#[test]
fn a_push_tells_what_is_mounted_and_what_is_there() {
    let (first, second) = (vec![1; 300_000], vec![2; 20_000]);
    let pushed = image(&[first.clone(), second.clone()]);
    let mut model = with_image(open(), &image(std::slice::from_ref(&second)));
    model.put_image("c", None, &image(std::slice::from_ref(&first)));
    let mut world = world(one_at_a_time(), model);
    let (store, memory) = world.store();
    fill(&memory, &pushed);
    let task = world.start(Task::copy(
        CopyTask::new(
            TaskLocation::Store { store, name: None },
            TaskLocation::Registry(reference("reg.example/c:v1")),
        )
        .mount_from(["a/b".parse().unwrap()]),
    ));
    let report = world.run(task).unwrap();
    let known = all(&pushed);
    let (present, mounted) = (amount(&[&first]), amount(&[&second]));
    let sent = Amount::new(1, known.bytes - present.bytes - mounted.bytes);
    let last = *world.totals(task).last().unwrap();
    assert_eq!(told(&last), (known, sent, mounted, present, sent.bytes));
    assert_eq!((report.moved, report.mounted, report.present), (1, 1, 1));
}

/// An upload breaks after half, and begins again: the bytes count twice, the blob once.
#[test]
fn what_is_sent_twice_counts_twice() {
    let image = large(SIZE);
    let (mut world, store, _) = pushing(one_at_a_time(), open(), &image);
    let sent =
        |request: &windlass_testbed::Request| request.method == "PUT" && request.body.len() == SIZE;
    world.nth(1, sent, Fate::Broken(SIZE / 2));
    // Nothing says how far it came.
    world.all(is("GET", "/uploads/"), Fate::Say(not_found()));
    let task = world.start(push(store));
    let report = world.run(task).unwrap();
    let known = all(&image);
    let config = known.bytes - SIZE as u64;
    // What breaks off had been lent as a whole.
    let transferred = config + 2 * SIZE as u64;
    let last = *world.totals(task).last().unwrap();
    assert_eq!(told(&last), (known, known, NONE, NONE, transferred));
    assert_eq!(report.bytes, transferred);
    assert_eq!(last.remaining(), NONE);
}

fn not_found() -> windlass_testbed::Answer {
    windlass_testbed::Answer::error(http::StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "no")
}

/// A task that is cancelled leaves what remains, and tells nothing more.
#[test]
fn a_cancelled_task_leaves_what_remains() {
    let image = small();
    let (mut world, store, _) = pulling(one_at_a_time(), open(), &image);
    let layer = digest(&image.layers[1]).to_string();
    world.all(move |request| request.target.contains(&layer), Fate::Hang);
    let task = world.start(pull(store));
    let known = all(&image);
    world.run_until(|world| {
        world
            .totals(task)
            .last()
            .is_some_and(|it| it.remaining().blobs == 1)
    });
    world.run_still();
    world.cancel(task);
    world.run(task).unwrap_err();
    let left = amount(&[&image.layers[1]]);
    let last = *world.totals(task).last().unwrap();
    let moved = Amount::new(2, known.bytes - left.bytes);
    assert_eq!(told(&last), (known, moved, NONE, NONE, moved.bytes));
    assert_eq!(last.remaining(), left);
}

/// One that finds the image at its tag has nothing to do with any blob.
#[test]
fn what_is_there_as_a_whole_has_no_totals() {
    let image = small();
    let (mut world, store, _) = pushing(one_at_a_time(), open(), &image);
    let task = world.start(push(store));
    world.run(task).unwrap();
    let again = world.start(push(store));
    world.run(again).unwrap();
    check(&world, again, &[]);
}

/// Single blobs have totals, too.
#[test]
fn a_blob_alone_has_totals() {
    let image = large(SIZE);
    let layer = digest(&image.layers[0]);
    let known = amount(&[&image.layers[0]]);
    let begun = (known, NONE, NONE, NONE, 0);
    let mut world = world(one_at_a_time(), with_image(open(), &image));
    let (store, _) = world.store();
    let blob = windlass_core::Descriptor::new("a/b", layer.clone(), SIZE as u64);
    let task = world.start(Task::fetch_blob(reference("reg.example/a/b"), blob, store));
    world.finish(task).unwrap();
    let moved = (known, known, NONE, NONE, known.bytes);
    check(&world, task, &[begun, moved]);

    let to = reference(&format!("reg.example/a/b@{layer}"));
    let task = world.start(Task::put_blob(store, SIZE as u64, to, Vec::new()));
    world.finish(task).unwrap();
    check(&world, task, &[begun, moved]);
    let to = reference(&format!("reg.example/other@{layer}"));
    let from = "a/b".parse().unwrap();
    let task = world.start(Task::mount_blob(from, to, store));
    world.finish(task).unwrap();
    check(&world, task, &[begun, (known, NONE, known, NONE, 0)]);
}

/// Totals that nothing takes do not stay once their task is over.
#[test]
fn totals_go_with_their_task() {
    let mut session = Session::new(Config::default(), 1);
    let blob = windlass_core::Descriptor::new("a/b", digest(b"x"), 1);
    let store = windlass_core::StoreId(0);
    let task = session.start(Task::fetch_blob(reference("reg.example/a/b"), blob, store));
    session.cancel(task);
    while !matches!(session.poll(Time::ZERO), windlass_core::Output::Idle) {}
    assert_eq!(session.take_totals(), None);
}
