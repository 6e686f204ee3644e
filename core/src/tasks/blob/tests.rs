//! What is needed to know of a blob before it can be moved, and what is asked of which repository.

use alloc::vec::Vec;

use super::*;
use crate::digest::Algorithm;
use crate::error::ErrorKind;
use crate::ids::TaskId;
use crate::reference::Target;
use crate::task::{BlobDelivery, Task};
use crate::tasks::testing::{STORE, Scenario, reference, status};
use crate::totals::Amount;

const SPOOL: StoreId = StoreId(2);

fn digest() -> Digest {
    Digest::of(Algorithm::Sha256, b"blob")
}

fn named() -> Reference {
    reference(&format!("reg.example/a@{}", digest()))
}

fn started(task: Task) -> (Scenario, TaskId) {
    let mut scenario = Scenario::new(&[("blob", &digest())]);
    let id = scenario.start(task);
    (scenario, id)
}

fn mounting() -> Task {
    let from = "b/c".parse().expect("a repository");
    Task::mount_blob(from, named(), SPOOL)
}

#[test]
fn a_blob_is_found() {
    let (mut scenario, id) = started(Task::find_blob(named()));
    scenario.done("HEAD blobs/sha256:blob", OpOutcome::Stat { size: 4 });
    let found = scenario.report(id).blob_found().expect("it was found");
    assert_eq!((found.digest, found.size), (digest(), 4));
}

/// A mount needs no size, but what comes in its place does: the repository that it is mounted from is asked first.
#[test]
fn a_mount_begins_at_the_other_repository() {
    let (mut scenario, id) = started(mounting());
    let head = "HEAD https://reg.example/v2/b/c/blobs/sha256:blob";
    assert_eq!(scenario.wanted(), [""; 0]);
    scenario.done(head, OpOutcome::Stat { size: 4 });
    let expected = ["POST blobs/uploads/?mount=sha256:blob&from=b/c"];
    assert_eq!(scenario.wanted(), expected);
    scenario.settled(id, &digest(), Delivery::Mounted);
    let put = scenario.report(id).blob_put().expect("it was put");
    assert_eq!((put.size, put.how), (4, BlobDelivery::Mounted));
}

/// What is not there cannot be mounted, and nothing is asked of the destination.
#[test]
fn a_mount_of_what_is_not_there_fails() {
    let (mut scenario, id) = started(mounting());
    let head = "HEAD https://reg.example/v2/b/c/blobs/sha256:blob";
    scenario.failed(head, status(404));
    assert_eq!(scenario.wanted(), [""; 0]);
    assert_eq!(scenario.error(id).kind(), ErrorKind::NotFound);
}

/// The caller knows the size of what is in a store.
#[test]
fn a_blob_of_a_store_is_put_without_a_question() {
    for (delivery, how) in [
        (Delivery::Moved(7), BlobDelivery::Sent(7)),
        (Delivery::Present, BlobDelivery::Present),
    ] {
        let (mut scenario, id) = started(Task::put_blob(STORE, 4, named(), Vec::new()));
        assert_eq!(scenario.asked(), [""; 0]);
        assert_eq!(scenario.totals(id).known, Amount::new(1, 4));
        assert_eq!(scenario.wanted().len(), 1);
        scenario.settled(id, &digest(), delivery);
        let put = scenario.report(id).blob_put().expect("it was put");
        assert_eq!((put.size, put.how), (4, how));
    }
    let (mut scenario, id) = started(Task::put_blob(STORE, 4, named(), Vec::new()));
    scenario.lost(id, &digest(), status(403));
    assert_eq!(scenario.error(id).kind(), ErrorKind::Auth);
}

/// DEL-03.
#[test]
fn a_blob_is_deleted() {
    let (mut scenario, id) = started(Task::delete_blob(named()));
    scenario.done("DELETE blobs/sha256:blob", OpOutcome::Deleted);
    let deleted = scenario.report(id).deleted().expect("it was deleted");
    assert_eq!(deleted.digest, Some(digest()));

    let (mut scenario, id) = started(Task::delete_blob(named()));
    scenario.failed("DELETE blobs/sha256:blob", status(404));
    assert_eq!(scenario.error(id).kind(), ErrorKind::NotFound);
}

/// A blob is named by its digest, and only by one that can be verified (REF-05): nothing is asked for by another name.
#[test]
fn a_blob_without_a_digest_that_can_be_verified_is_refused() {
    let tagged = reference("reg.example/a:v1");
    let unknown = "x:0123".parse().expect("a digest");
    let unknown = tagged.with_target(Target::Digest(unknown));
    for named in [tagged, unknown] {
        for task in [
            Task::find_blob(named.clone()),
            Task::put_blob(STORE, 4, named.clone(), Vec::new()),
            Task::mount_blob("b/c".parse().expect("a repository"), named.clone(), SPOOL),
            Task::delete_blob(named.clone()),
        ] {
            let (mut scenario, id) = started(task);
            assert_eq!(scenario.asked(), [""; 0]);
            assert_eq!(scenario.wanted(), [""; 0]);
            let error = scenario.error(id);
            assert!(matches!(error, Error::Policy { .. }), "{error:?}");
        }
    }
}
