//! Single blobs: found, put, mounted, deleted, with their requests.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use windlass_core::{BlobDelivery, Config, ErrorKind, Failure, Reference, Task, TaskReport};
use windlass_testbed::{BlobHeads, Deletes, Model, Options};
use windlass_tests::world::World;
use windlass_tests::world::scenes::{
    alice, bearer, digest, large, open, reference, with_image, world,
};

const BLOB: &[u8] = b"a blob that is put alone";

fn finish(world: &mut World, task: Task) -> (Result<TaskReport, Failure>, usize) {
    let task = world.start(task);
    let result = world.finish(task);
    (result, world.take_log(0).len())
}

fn at(repository: &str, bytes: &[u8]) -> Reference {
    reference(&format!("reg.example/{repository}@{}", digest(bytes)))
}

#[test]
fn a_blob_is_found_however_a_head_is_answered() {
    let image = large(300);
    let layer = &image.layers[0];
    for (blob_heads, requests) in [
        (BlobHeads::Answered, 1),
        (BlobHeads::Refused(http::StatusCode::METHOD_NOT_ALLOWED), 2),
        (BlobHeads::Refused(http::StatusCode::FORBIDDEN), 2),
    ] {
        let options = Options {
            blob_heads,
            ..open()
        };
        let mut world = world(Config::default(), with_image(options, &image));
        let (report, log) = finish(&mut world, Task::find_blob(at("a/b", layer)));
        let found = report.unwrap().blob_found().unwrap();
        assert_eq!((found.size, found.digest), (300, digest(layer)));
        assert_eq!(log, requests, "{blob_heads:?}");
    }
    let mut world = world(Config::default(), with_image(open(), &image));
    let (report, log) = finish(&mut world, Task::find_blob(at("a/b", b"another")));
    let failure = report.unwrap_err();
    assert_eq!((failure.kind(), log), (ErrorKind::NotFound, 2));
    assert!(failure.to_string().contains("BLOB_UNKNOWN"), "{failure}");
    let (report, log) = finish(&mut world, Task::find_blob(reference("reg.example/a/b:v1")));
    let failure = report.unwrap_err();
    assert!(
        failure.to_string().contains("named by its digest"),
        "{failure}"
    );
    assert_eq!(log, 0);
}

#[test]
fn an_empty_blob_is_found() {
    let mut model = Model::new(open());
    model.put_blob("a/b", "");
    model.options_mut().blob_heads = BlobHeads::Refused(http::StatusCode::METHOD_NOT_ALLOWED);
    let mut world = world(Config::default(), model);
    let (report, _) = finish(&mut world, Task::find_blob(at("a/b", b"")));
    assert_eq!(report.unwrap().blob_found().unwrap().size, 0);
}

#[test]
fn a_blob_is_put() {
    for options in [open(), bearer()] {
        let mut world = world(Config::default(), Model::new(options));
        world.credential("reg.example", alice(), &["reg.example"]);
        let (store, memory) = world.store();
        memory.blob(&digest(BLOB), BLOB);
        let size = BLOB.len() as u64;
        let task = || Task::put_blob(store, size, at("a/b", BLOB), vec![]);
        let (report, _) = finish(&mut world, task());
        let put = report.unwrap().blob_put().unwrap();
        assert_eq!((put.how, put.size), (BlobDelivery::Sent(size), size));
        let there = windlass_testbed::Digest::sha256(BLOB);
        assert!(world.models[0].blob_bytes("a/b", &there).is_some());
        // POST and PUT, as small blobs are sent without a HEAD.
        let (_, log) = finish(&mut world, task());
        assert_eq!(log, 2);
    }
}

#[test]
fn a_blob_is_mounted_or_moved() {
    for (mounts, how, requests) in [
        // The size, the mount.
        (true, BlobDelivery::Mounted, 2),
        // The size, the session instead of a mount, the blob, its bytes.
        (false, BlobDelivery::Sent(BLOB.len() as u64), 4),
    ] {
        let mut options = open();
        options.uploads.mounts = mounts;
        let mut model = Model::new(options);
        model.put_blob("from", BLOB);
        let mut world = world(Config::default(), model);
        let (spool, _) = world.store();
        let from = "from".parse().unwrap();
        let (report, log) = finish(&mut world, Task::mount_blob(from, at("to", BLOB), spool));
        assert_eq!(report.unwrap().blob_put().unwrap().how, how);
        assert_eq!(log, requests, "{how:?}");
        let there = windlass_testbed::Digest::sha256(BLOB);
        assert!(world.models[0].blob_bytes("to", &there).is_some());
    }
}

/// PUSHB-51: from where the caller says.
#[test]
fn a_blob_of_a_store_is_mounted_if_it_can_be() {
    let mut model = Model::new(open());
    model.put_blob("from", BLOB);
    let mut world = world(Config::default(), model);
    let (store, memory) = world.store();
    memory.blob(&digest(BLOB), BLOB);
    let from = vec!["from".parse().unwrap()];
    let task = Task::put_blob(store, BLOB.len() as u64, at("to", BLOB), from);
    let (report, log) = finish(&mut world, task);
    assert_eq!(
        report.unwrap().blob_put().unwrap().how,
        BlobDelivery::Mounted
    );
    assert_eq!(log, 1);
}

#[test]
fn a_blob_is_deleted() {
    for (blobs, expected) in [(true, Ok(())), (false, Err(ErrorKind::Refused))] {
        let mut model = Model::new(Options {
            deletes: Deletes {
                blobs,
                ..Deletes::default()
            },
            ..open()
        });
        model.put_blob("a/b", BLOB);
        let mut world = world(Config::default(), model);
        let (report, log) = finish(&mut world, Task::delete_blob(at("a/b", BLOB)));
        let result = report.map(|report| {
            assert_eq!(report.deleted().unwrap().digest, Some(digest(BLOB)));
        });
        assert_eq!(result.map_err(|failure| failure.kind()), expected, "DEL-03");
        assert_eq!(log, 1);
        let (report, _) = finish(&mut world, Task::delete_blob(at("a/b", b"another")));
        let kind = report.unwrap_err().kind();
        assert_eq!(
            kind,
            expected.map_or_else(|kind| kind, |()| ErrorKind::NotFound)
        );
    }
}
