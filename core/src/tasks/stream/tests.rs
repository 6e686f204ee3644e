//! How much of a stream is gathered at once, and what becomes of an upload that is open meanwhile.

use alloc::string::{String, ToString as _};

use super::*;
use crate::config::Config;
use crate::digest::Algorithm;
use crate::error::ErrorKind;
use crate::ids::TaskId;
use crate::op::UploadStep;
use crate::task::Task;
use crate::tasks::testing::{STORE, Scenario, reference, status};

/// As small as it may be.
const CHUNK: u64 = 64 << 10;
const FIRST: &str = "s1 gather 0 to 65536";
const POST: &str = "POST blobs/uploads/";

fn putting(to: &str) -> (Scenario, TaskId) {
    let config = Config {
        chunk_size: Some(CHUNK),
        ..Config::default()
    };
    let mut scenario = Scenario::configured(&[("whole", &digest("whole"))], config);
    let id = scenario.start(Task::put_stream(STORE, reference(to)));
    (scenario, id)
}

fn digest(content: &str) -> Digest {
    Digest::of(Algorithm::Sha256, content.as_bytes())
}

/// The first bytes of the stream, and that there is more.
fn part(size: u64) -> StoreAnswer {
    StoreAnswer::Gathered {
        digest: digest(&size.to_string()),
        size,
        is_whole: false,
    }
}

fn whole(size: u64) -> StoreAnswer {
    StoreAnswer::Gathered {
        digest: digest("whole"),
        size,
        is_whole: true,
    }
}

/// The registry has these first bytes, and its upload is open.
fn sent_so_far(upto: u64) -> OpOutcome {
    let site = crate::op::testing::site_of("reg.example/a");
    let source = (STORE, crate::ids::TransferId(0));
    let gathered = (digest(&upto.to_string()), upto);
    let mut op = BlobPut::of_stream(site, source, gathered, (CHUNK, ChunkSizes::ANY));
    let session = Url::parse("https://reg.example/v2/a/blobs/uploads/1").expect("a URL");
    op.step = UploadStep::Patch { session };
    op.position = upto;
    OpOutcome::SentSoFar(op.into())
}

fn report(scenario: &mut Scenario, id: TaskId) -> (String, u64, BlobDelivery) {
    let put = scenario.report(id).blob_put().expect("it was put");
    (scenario.named(put.digest.as_str()), put.size, put.how)
}

/// What ends within the first chunk is a blob like any other: no chunk is sent.
#[test]
fn what_ends_within_a_chunk_is_sent_as_a_blob() {
    let (mut scenario, id) = putting("reg.example/a");
    scenario.stored(FIRST, whole(5));
    assert_eq!(scenario.asked(), [""; 0]);
    assert_eq!(scenario.wanted().len(), 1);
    scenario.settled(id, &digest("whole"), Delivery::Moved(5));
    let expected = ("sha256:whole".into(), 5, BlobDelivery::Sent(5));
    assert_eq!(report(&mut scenario, id), expected);
}

/// Only a chunk is held at a time.
#[test]
fn a_longer_stream_is_gathered_and_sent_chunk_by_chunk() {
    let (mut scenario, id) = putting("reg.example/a");
    scenario.stored(FIRST, part(CHUNK));
    scenario.done(POST, sent_so_far(CHUNK));
    let next = scenario.asked();
    let (from, upto) = gathered(&next);
    assert!(from <= CHUNK && upto == 2 * CHUNK, "{next:?}");
    scenario.stored(&next[0], whole(CHUNK + 9));
    let patch = scenario.asked();
    let [patch] = &patch[..] else {
        panic!("{patch:?}")
    };
    assert!(patch.contains("blobs/uploads/1"), "{patch}");
    scenario.done(patch, OpOutcome::Sent { bytes: CHUNK + 9 });
    let expected = (
        "sha256:whole".into(),
        CHUNK + 9,
        BlobDelivery::Sent(CHUNK + 9),
    );
    assert_eq!(report(&mut scenario, id), expected);
}

/// The bounds of what a store is asked to gather.
fn gathered(asked: &[String]) -> (u64, u64) {
    let [asked] = asked else { panic!("{asked:?}") };
    let bounds = asked.strip_prefix("s1 gather ").expect("it gathers");
    let (from, upto) = bounds.split_once(" to ").expect("it has an end");
    let number = |text: &str| text.parse().expect("a number");
    (number(from), number(upto))
}

/// A registry that takes no parts gets the stream as a blob, whose digest is known when all of it was gathered.
#[test]
fn where_no_parts_are_taken_all_is_gathered_first() {
    let (mut scenario, id) = putting("reg.example/a");
    scenario.stored(FIRST, part(CHUNK));
    scenario.done(POST, OpOutcome::TakesNoParts { unused: None });
    scenario.stored("s1 gather 0 to the end", whole(3 * CHUNK));
    assert_eq!(scenario.wanted().len(), 1);
    scenario.settled(id, &digest("whole"), Delivery::Present);
    let expected = ("sha256:whole".into(), 3 * CHUNK, BlobDelivery::Present);
    assert_eq!(report(&mut scenario, id), expected);
}

/// A store that gives less than it was asked for would be asked again and again.
#[test]
fn a_store_that_gathers_too_little_fails_the_task() {
    for answer in [part(CHUNK - 1), part(0)] {
        let (mut scenario, id) = putting("reg.example/a");
        scenario.stored(FIRST, answer);
        assert_io(&scenario.error(id));
    }
    // The end of a stream is not before what was gathered of it.
    for answer in [part(CHUNK), whole(CHUNK - 1)] {
        let (mut scenario, id) = putting("reg.example/a");
        scenario.stored(FIRST, part(CHUNK));
        scenario.done(POST, sent_so_far(CHUNK));
        let next = scenario.asked();
        scenario.stored(&next[0], answer);
        assert_io(&scenario.error(id));
        // PUSHB-43: the upload that is open is deleted.
        assert!(scenario.cleans_up(id));
    }
}

fn assert_io(error: &Error) {
    let is_io = matches!(error, Error::Store(error) if error.kind() == StoreErrorKind::Io);
    assert!(is_io, "{error:?}");
}

/// A stream whose digest is known must have it; that shows at its end.
#[test]
fn a_stream_must_be_what_the_reference_names() {
    for (named, is_right) in [(digest("whole"), true), (digest("other"), false)] {
        let (mut scenario, id) = putting(&format!("reg.example/a@{named}"));
        scenario.stored(FIRST, whole(5));
        assert_eq!(scenario.wanted().len(), usize::from(is_right));
        if !is_right {
            let error = scenario.error(id);
            assert!(matches!(error, Error::Mismatch(_)), "{error:?}");
        }
    }
}

#[test]
fn a_failure_of_either_side_fails_the_task() {
    let (mut scenario, id) = putting("reg.example/a");
    scenario.store_failed(FIRST, StoreErrorKind::Io);
    assert_io(&scenario.error(id));
    assert!(!scenario.cleans_up(id));

    let (mut scenario, id) = putting("reg.example/a");
    scenario.stored(FIRST, part(CHUNK));
    scenario.failed(POST, status(403));
    assert_eq!(scenario.error(id).kind(), ErrorKind::Auth);

    let (mut scenario, id) = putting("reg.example/a");
    scenario.stored(FIRST, whole(5));
    scenario.lost(id, &digest("whole"), status(403));
    assert_eq!(scenario.error(id).kind(), ErrorKind::Auth);

    // What answers another question is a defect of the store's driver.
    let (mut scenario, id) = putting("reg.example/a");
    scenario.stored(FIRST, StoreAnswer::Absent);
    assert_eq!(scenario.error(id).kind(), ErrorKind::Internal);
}
