//! Streams that are put: which requests are made, what is read again, and what becomes of each failure.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::io::{self, Cursor, Read};

use http::StatusCode;
use windlass_core::{BlobDelivery, Config, ErrorKind, Failure, TaskReport};
use windlass_testbed::{Answer, Model, Request, UploadRange, image};
use windlass_tests::world::scenes::{
    alice, bearer, check_pushed, digest, is, one_at_a_time, open, push, pushing, reference, world,
};
use windlass_tests::world::{Fate, World};

/// The least that a chunk can be configured to.
const CHUNK: usize = 64 * 1024;

fn chunks() -> Config {
    let mut config = one_at_a_time();
    config.chunk_size = Some(CHUNK as u64);
    config
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 % 251) as u8).collect()
}

fn put(world: &mut World, content: &[u8]) -> Result<TaskReport, Failure> {
    put_to(world, "reg.example/a/b", Cursor::new(content.to_vec()))
}

fn put_to(
    world: &mut World,
    to: &str,
    reader: impl Read + Send + 'static,
) -> Result<TaskReport, Failure> {
    let task = world.put_stream(&reference(to), reader);
    let task = world.start(task);
    let result = world.finish(task);
    world.run_all();
    result
}

/// It is there, and the report says so.
#[track_caller]
fn check_put(world: &World, report: Result<TaskReport, Failure>, content: &[u8]) -> u64 {
    let report = report.unwrap().blob_put().unwrap();
    assert_eq!(
        (report.digest, report.size),
        (digest(content), content.len() as u64)
    );
    let there = windlass_testbed::Digest::sha256(content);
    let there = world.models[0].blob_bytes("a/b", &there);
    assert!(there.is_some_and(|there| **there == *content));
    assert_eq!(world.models[0].open_uploads(), 0);
    let BlobDelivery::Sent(bytes) = report.how else {
        panic!("it was not sent, but {:?}", report.how);
    };
    bytes
}

/// The methods of all requests.
fn methods(world: &mut World) -> Vec<String> {
    let log = world.take_log(0).into_iter();
    log.map(|line| line.split(' ').next().unwrap_or_default().to_owned())
        .collect()
}

fn refused(status: u16, code: &str) -> Fate {
    let status = StatusCode::from_u16(status).unwrap();
    Fate::Say(Answer::error(status, code, "no"))
}

fn is_patch(request: &Request) -> bool {
    is("PATCH", "/uploads/")(request)
}

fn is_status(request: &Request) -> bool {
    is("GET", "/uploads/")(request)
}

#[test]
fn what_fits_into_a_chunk_is_sent_like_any_blob() {
    for (len, expected) in [
        (0, vec!["POST", "PUT"]),
        (1, vec!["POST", "PUT"]),
        (CHUNK - 1, vec!["POST", "PUT"]),
        // From 256 KiB on a HEAD goes first.
        (300 * 1024, vec!["HEAD", "POST", "PUT"]),
    ] {
        let config = if len < CHUNK {
            chunks()
        } else {
            Config::default()
        };
        let mut world = world(config, Model::new(open()));
        let content = bytes(len);
        let report = put(&mut world, &content);
        assert_eq!(check_put(&world, report, &content), len as u64);
        assert_eq!(methods(&mut world), expected, "{len}");
    }
}

/// A POST, a PATCH for each chunk, a PUT, and a HEAD where there were several.
#[test]
fn chunks_cost_one_request_each() {
    for (len, patches) in [
        (CHUNK, 1),
        (CHUNK + 1, 2),
        (3 * CHUNK - 1, 3),
        (3 * CHUNK, 3),
        (8 * CHUNK + 5, 9),
    ] {
        for options in [open(), bearer()] {
            let mut world = world(chunks(), Model::new(options));
            world.credential("reg.example", alice(), &["reg.example"]);
            let content = bytes(len);
            let report = put(&mut world, &content);
            assert_eq!(check_put(&world, report, &content), len as u64);
            let mut methods = methods(&mut world);
            if methods.starts_with(&["POST".into(), "GET".into()]) {
                // The challenge, and the token.
                methods.drain(..2);
            }
            let mut expected = vec!["POST"];
            expected.resize(1 + patches, "PATCH");
            expected.push("PUT");
            expected.extend((patches > 1).then_some("HEAD"));
            assert_eq!(methods, expected, "{len}");
        }
    }
}

/// A registry that does not say after several chunks that it has the blob is believed, which is told; not where
/// a manifest follows, which it would refuse without the blob.
#[test]
fn a_blob_that_is_not_confirmed_is_told_once() {
    let unsaid = "but does not say that it has the blob";
    for status in [403, 404, 405] {
        let status = StatusCode::from_u16(status).unwrap();
        let no_heads = || Fate::Say(Answer::new(status));
        let mut stream = world(chunks(), Model::new(open()));
        stream.all(is("HEAD", "/blobs/"), no_heads());
        let content = bytes(3 * CHUNK);
        let report = put(&mut stream, &content);
        check_put(&stream, report, &content);
        assert_eq!(stream.lines_with(unsaid).len(), 1, "{status}");

        let image = image(&[bytes(3 * CHUNK)]);
        let (mut pushed, store, _) = pushing(chunks(), open(), &image);
        pushed.all(is("HEAD", "/blobs/"), no_heads());
        let task = pushed.start(push(store));
        pushed.run(task).unwrap();
        pushed.run_all();
        check_pushed(&pushed, "a/b", &image);
        assert!(!pushed.lines_with(" > PATCH ").is_empty());
        assert_eq!(pushed.lines_with(unsaid).len(), 0, "{status}");
    }
}

/// A connection that is cut in the middle of a chunk, or after it, costs a status request.
#[test]
fn each_chunk_may_break_off() {
    let content = bytes(8 * CHUNK + 5);
    for nth in 1..=9 {
        for (kept, sent) in [
            (true, 0),
            (true, CHUNK / 2),
            (true, CHUNK),
            (false, CHUNK / 2),
        ] {
            let mut options = open();
            options.uploads.keep_partial = kept;
            let mut world = world(chunks(), Model::new(options));
            world.nth(nth, is_patch, Fate::Broken(sent));
            let report = put(&mut world, &content);
            let moved = check_put(&world, report, &content);
            assert!(moved <= (content.len() + CHUNK) as u64, "{moved}");
            let statuses = methods(&mut world).iter().filter(|it| *it == "GET").count();
            assert_eq!(statuses, 1, "chunk {nth}, {sent} bytes sent");
        }
    }
}

/// Also twice, at other places of the same chunk: it is read again from memory.
#[test]
fn a_chunk_may_break_off_again_and_again() {
    let content = bytes(3 * CHUNK);
    for (first, second) in [(CHUNK - 7, 10), (10, CHUNK - 7), (0, 0), (CHUNK, 0)] {
        let mut world = world(chunks(), Model::new(open()));
        let is_second = |request: &Request| {
            let range = request.field(http::header::CONTENT_RANGE);
            is_patch(request) && range.is_some_and(|it| !it.starts_with("0-"))
        };
        world.nth(1, is_second, Fate::Broken(first));
        world.nth(1, is_second, Fate::Broken(second));
        let report = put(&mut world, &content);
        check_put(&world, report, &content);
    }
}

/// clients.md C.2, C.13: what the registry says of its bytes is cross-checked, not believed.
#[test]
fn a_registry_may_be_wrong_about_offsets() {
    let content = bytes(4 * CHUNK + 9);
    for range in [
        UploadRange::Correct,
        UploadRange::ChunkOnly,
        UploadRange::OffByOne,
        UploadRange::Absent,
    ] {
        let mut options = open();
        options.uploads.range = range;
        let mut world = world(chunks(), Model::new(options));
        let report = put(&mut world, &content);
        check_put(&world, report, &content);
    }
}

/// A registry that has lost bytes which cannot be read again ends the task, and what is left of the upload is
/// deleted.
#[test]
fn what_was_dropped_cannot_be_sent_again() {
    let content = bytes(4 * CHUNK);
    let lost = "has lost the upload of a stream after 131072 bytes, which cannot be read again";
    let status = |end: &str| {
        let answer = Answer::new(StatusCode::NO_CONTENT);
        Fate::Say(answer.header("range", format!("0-{end}")))
    };
    for (answer, requests) in [
        (status("65535"), 1),
        (refused(404, "BLOB_UPLOAD_UNKNOWN"), 0),
        (refused(405, "UNSUPPORTED"), 1),
    ] {
        let mut world = world(chunks(), Model::new(open()));
        world.nth(3, is_patch, Fate::Broken(7));
        world.all(is_status, answer.clone());
        let failure = put(&mut world, &content).unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Refused);
        assert!(failure.to_string().contains(lost), "{failure}");
        let log = methods(&mut world);
        let deletes = log.iter().filter(|it| *it == "DELETE").count();
        assert_eq!(deletes, requests, "{answer:?} {log:?}");
    }
    // A refusal of a later chunk, likewise.
    let mut world = world(chunks(), Model::new(open()));
    world.nth(3, is_patch, refused(404, "BLOB_UPLOAD_UNKNOWN"));
    let failure = put(&mut world, &content).unwrap_err();
    assert!(failure.to_string().contains(lost), "{failure}");
}

/// As long as the first chunk is there, the upload may begin again.
#[test]
fn the_first_chunk_can_begin_again() {
    let content = bytes(2 * CHUNK + 1);
    let mut world = world(chunks(), Model::new(open()));
    world.nth(1, is_patch, Fate::Broken(7));
    world.nth(1, is_status, refused(404, "BLOB_UPLOAD_UNKNOWN"));
    world.nth(2, is_patch, refused(404, "BLOB_UPLOAD_UNKNOWN"));
    let report = put(&mut world, &content);
    // Those that the registry did not know any more.
    world.models[0].forget_uploads();
    let sent = check_put(&world, report, &content);
    assert!(sent >= (content.len() + 2 * CHUNK) as u64, "{sent}");
}

/// Reads more than the 16 MiB that are the default size of a chunk.
const LARGE: u64 = (17 << 20) + 3;

fn large(byte: u8) -> io::Take<io::Repeat> {
    io::repeat(byte).take(LARGE)
}

/// A registry without chunks gets all of it in one request, and is not asked to take chunks again.
#[test]
fn chunks_may_be_refused() {
    // After a 404 there is no session to delete.
    for (status, code, deletes) in [(405, "UNSUPPORTED", true), (404, "", false)] {
        let mut world = world(one_at_a_time(), Model::new(open()));
        world.all(is_patch, refused(status, code));
        let first = ["POST", "PATCH", "HEAD", "POST", "PUT", "DELETE"];
        let first = if deletes { &first[..] } else { &first[..5] };
        let known = &["HEAD", "POST", "PUT"][..];
        for (byte, to, expected) in [(1, "a/b", first), (2, "c/d", known)] {
            let report = put_to(&mut world, &format!("reg.example/{to}"), large(byte));
            let put = report.unwrap().blob_put().unwrap();
            assert_eq!(put.size, LARGE);
            assert_eq!(methods(&mut world), expected, "{status}");
        }
    }
}

/// An absurd least size of chunks is not held in memory.
#[test]
fn a_registry_may_ask_for_larger_chunks() {
    let content = bytes(6 * CHUNK);
    for (least, patches) in [(2 * CHUNK as u64, 3), (5 * CHUNK as u64, 2), (1 << 40, 0)] {
        let mut options = open();
        options.uploads.chunk_min_length = Some(least);
        let mut world = world(chunks(), Model::new(options));
        let report = put(&mut world, &content);
        check_put(&world, report, &content);
        let log = methods(&mut world);
        let patch = log.iter().filter(|it| *it == "PATCH").count();
        assert_eq!(patch, patches, "{least} {log:?}");
    }
}

/// Artifact Registry takes no chunks, which is known.
#[test]
fn a_registry_that_is_known_to_take_no_chunks_gets_none() {
    let mut world = World::new(one_at_a_time());
    world.registry(&["europe-docker.pkg.dev"], Model::new(open()));
    let report = put_to(&mut world, "europe-docker.pkg.dev/a/b", large(7));
    assert_eq!(report.unwrap().blob_put().unwrap().size, LARGE);
    assert_eq!(methods(&mut world), ["HEAD", "POST", "PUT"]);
}

struct Fails {
    left: usize,
}

impl Read for Fails {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(self.left);
        if len == 0 {
            return Err(io::Error::other("planned"));
        }
        buffer[..len].fill(7);
        self.left -= len;
        Ok(len)
    }
}

/// The error is the reader's, and nothing stays behind.
#[test]
fn a_reader_may_fail() {
    for (left, expected) in [
        (0, vec![]),
        (CHUNK - 1, vec![]),
        (CHUNK, vec!["POST", "PATCH", "DELETE"]),
        (2 * CHUNK + 5, vec!["POST", "PATCH", "PATCH", "DELETE"]),
    ] {
        let mut world = world(chunks(), Model::new(open()));
        let failure = put_to(&mut world, "reg.example/a/b", Fails { left }).unwrap_err();
        assert_eq!(failure.to_string(), "cannot read the stream: planned");
        assert_eq!(methods(&mut world), expected, "{left}");
        assert_eq!(world.models[0].open_uploads(), 0);
    }
}

#[test]
fn a_cancelled_stream_leaves_nothing() {
    for gathers in 1..=3 {
        let mut world = world(chunks(), Model::new(open()));
        let task = world.put_stream(&reference("reg.example/a/b"), io::repeat(7));
        let task = world.start(task);
        world.run_until(|world| world.lines_with(": gather").len() == gathers);
        world.cancel(task);
        let failure = world.finish(task).unwrap_err();
        world.run_all();
        assert_eq!(failure.kind(), ErrorKind::Cancelled);
        assert_eq!(world.models[0].open_uploads(), 0, "{gathers}");
    }
}

/// If the caller names a digest, nothing else gets a name.
#[test]
fn another_digest_than_the_named_one_is_not_put() {
    for len in [10, 2 * CHUNK + 1] {
        let content = bytes(len);
        let to = |bytes: &[u8]| format!("reg.example/a/b@{}", digest(bytes));
        let mut world = world(chunks(), Model::new(open()));
        let failure = put_to(&mut world, &to(b"another"), Cursor::new(content.clone()));
        assert_eq!(failure.unwrap_err().kind(), ErrorKind::Mismatch);
        let there = windlass_testbed::Digest::sha256(&content);
        assert!(world.models[0].blob_bytes("a/b", &there).is_none());
        assert_eq!(world.models[0].open_uploads(), 0);
        let report = put_to(&mut world, &to(&content), Cursor::new(content.clone()));
        check_put(&world, report, &content);
    }
}

/// A task from a checkpoint has no stream any more.
#[test]
fn a_stream_does_not_outlive_its_process() {
    let mut world = world(chunks(), Model::new(open()));
    let task = world.put_stream(&reference("reg.example/a/b"), io::repeat(7));
    world.start(task);
    world.run_until(|world| world.lines_with(": gather").len() == 2);
    let [task] = world.restart()[..] else {
        panic!("one task");
    };
    let failure = world.finish(task).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Refused, "{failure}");
}

/// A registry that keeps only the last chunk and says that all is well (clients.md C.8).
#[test]
fn a_chunk_that_was_not_kept_is_an_error() {
    let content = bytes(3 * CHUNK);
    let mut world = world(chunks(), Model::new(open()));
    let answer = Answer::new(StatusCode::OK).header("content-length", CHUNK.to_string());
    world.all(is("HEAD", "/blobs/"), Fate::Say(answer));
    let failure = put(&mut world, &content).unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Mismatch);
    assert!(
        failure.to_string().contains("after an upload in parts"),
        "{failure}"
    );
}
