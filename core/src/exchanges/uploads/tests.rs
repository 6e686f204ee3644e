use std::format;

use super::*;
use crate::digest::Algorithm;
use crate::hashing::Hashing;
use crate::ids::TransferId;
use crate::op::{Head, UploadSession, UploadSource, UploadStep};
use crate::store::StoreId;
use crate::uri::Url;

const URL: &str = "https://reg.example/v2/a/b/blobs/uploads/u1?_state=secret";
const SIZE: u64 = 4 << 20;
const KEEP_FROM: u64 = 1 << 20;

fn site(registry: &str, origin: &str, repository: &str) -> Site {
    let parse = |text: &str| text.parse().expect("an origin");
    let registry = registry.parse().expect("a registry");
    Site::new(
        registry,
        parse(origin),
        repository.parse().expect("a repository"),
    )
}

fn ours() -> Site {
    site("reg.example", "https://reg.example", "a/b")
}

fn digest() -> Digest {
    Digest::of(Algorithm::Sha256, b"hello")
}

/// An upload that has this session open and has sent something.
fn op(size: u64, url: &str) -> BlobPut {
    let session = Url::parse(url).expect("a URL");
    let mut op = BlobPut {
        site: ours(),
        digest: digest(),
        size,
        position: 0,
        hashing: Hashing::new(Algorithm::Sha256),
        transfer: TransferId(1),
        mounts: Vec::new(),
        step: UploadStep::Put { session },
        source: Some(UploadSource::Store(StoreId(0))),
        head: Head::Done,
        patches: false,
        posts: false,
        chunk: u64::MAX,
        chunks: crate::config::ChunkSizes::ANY,
        session: UploadSession::default(),
        restarts: 0,
        rewinds: Some(2),
        in_one_request: false,
        sent: 0,
        given_up: None,
        stream: None,
        is_named: true,
    };
    op.has_sent(1, None);
    op
}

fn saved(url: &str) -> Option<SavedUpload> {
    SavedUpload::of(&op(SIZE, url), KEEP_FROM)
}

fn minutes(minutes: u64) -> Time {
    Time::from_micros(minutes * 60_000_000)
}

#[test]
fn which_uploads_are_kept() {
    for (size, url, expected) in [
        (SIZE, URL, true),
        (KEEP_FROM, URL, true),
        (KEEP_FROM - 1, URL, false),
        // GitHub's registry.
        (SIZE, "https://reg.example/v2/a/b/blobs/upload/1-2-3", true),
        (
            SIZE,
            "https://storage.example/v2/a/b/blobs/uploads/u1",
            false,
        ),
        (SIZE, "https://reg.example/uploads/u1", false),
        (
            SIZE,
            "https://reg.example/mirror/v2/a/b/blobs/uploads/u1",
            false,
        ),
    ] {
        let op = op(size, url);
        let mut uploads = Uploads::new(Some(KEEP_FROM));
        uploads.note(&op, minutes(0));
        assert_eq!(
            uploads.saved(minutes(0)).count(),
            usize::from(expected),
            "{url}"
        );
        assert_eq!(uploads.leave(&op), expected, "{url}");
        // If none are kept, there is nothing to tell.
        let mut uploads = Uploads::new(None);
        uploads.note(&op, minutes(0));
        assert_eq!(uploads.saved(minutes(0)).count(), 0);
        assert!(!uploads.leave(&op) && uploads.take_change(minutes(0)).is_none());
    }
    let mut unsent = op(SIZE, URL);
    unsent.session = UploadSession::default();
    let mut uploads = Uploads::new(Some(KEEP_FROM));
    uploads.note(&unsent, minutes(0));
    assert!(!uploads.leave(&unsent), "nothing of it is there");
}

/// An upload is taken up for the same blob, repository and server only, and once.
#[test]
fn an_upload_of_something_else_is_not_taken() {
    let other = Digest::of(Algorithm::Sha256, b"other");
    let api = {
        let mut contact = (*ours()).clone();
        contact.api = "/elsewhere/v2".parse().expect("a path");
        Site::at(contact)
    };
    for (site, digest, size, expected) in [
        (ours(), digest(), SIZE, true),
        (ours(), other, SIZE, false),
        (ours(), digest(), SIZE + 1, false),
        (api, digest(), SIZE, false),
        (
            site("reg.example", "https://reg.example", "a/c"),
            digest(),
            SIZE,
            false,
        ),
        (
            site("reg.example", "http://reg.example", "a/b"),
            digest(),
            SIZE,
            false,
        ),
        (
            site("other.example", "https://reg.example", "a/b"),
            digest(),
            SIZE,
            false,
        ),
    ] {
        let mut uploads = Uploads::new(Some(KEEP_FROM));
        uploads.offer(saved(URL).expect("it is kept"), minutes(0));
        let taken = uploads.take(&site, &digest, size);
        assert_eq!(taken.is_some(), expected, "{site:?} {size}");
        assert_eq!(uploads.take(&site, &digest, size), None);
    }
    for (age, expected) in [
        (Duration::ZERO, true),
        (SavedUpload::LIFE - Duration::from_secs(1), true),
        (SavedUpload::LIFE, false),
    ] {
        let mut uploads = Uploads::new(Some(KEEP_FROM));
        let upload = saved(URL).expect("it is kept").older_by(age);
        uploads.offer(upload, minutes(0));
        let taken = uploads.take(&ours(), &digest(), SIZE);
        assert_eq!(taken.is_some(), expected, "{age:?}");
    }
}

#[test]
fn each_change_is_told_once() {
    let mut uploads = Uploads::new(Some(KEEP_FROM));
    let told = |uploads: &mut Uploads| {
        let told = core::iter::from_fn(|| uploads.take_change(minutes(9)));
        let told = told.map(|change| match change {
            UploadChange::Open(upload) => format!(
                "{} {}",
                upload.url.query().unwrap_or("-"),
                upload.age.as_secs()
            ),
            UploadChange::Over(key) => format!("over {key}"),
            UploadChange::Taken(upload) => format!("taken {}", upload.age.as_secs()),
        });
        told.collect::<Vec<_>>().join(", ")
    };
    let newer = "https://reg.example/v2/a/b/blobs/uploads/u1?_state=2";
    let another = "https://reg.example/v2/a/b/blobs/uploads/u2?_state=3";
    uploads.note(&op(SIZE, URL), minutes(0));
    uploads.note(&op(SIZE, URL), minutes(1));
    assert_eq!(told(&mut uploads), "_state=secret 540");
    uploads.note(&op(SIZE, newer), minutes(2));
    assert_eq!(told(&mut uploads), "_state=2 540");
    let age = |uploads: &Uploads| {
        uploads
            .saved(minutes(5))
            .map(|it| it.age.as_secs())
            .sum::<u64>()
    };
    assert_eq!(age(&uploads), 300, "since it was opened");
    uploads.note(&op(SIZE, another), minutes(4));
    assert_eq!(
        (told(&mut uploads).as_str(), age(&uploads)),
        ("_state=3 300", 60)
    );
    // It is left, and a later task goes on with it.
    assert!(uploads.leave(&op(SIZE, another)));
    uploads.ended(&op(SIZE, another));
    assert_eq!((told(&mut uploads).as_str(), age(&uploads)), ("", 60));
    assert!(uploads.take(&ours(), &digest(), SIZE).is_some());
    assert_eq!(told(&mut uploads), "taken 0");
    uploads.ended(&op(SIZE, another));
    let over = format!("over https://reg.example a/b {}", digest());
    assert_eq!(told(&mut uploads), over);
    assert_eq!(told(&mut uploads), "");
}

/// What is another process's by now is not kept, and the driver is not told that it is over.
#[test]
fn an_upload_that_is_left_to_another_process_is_forgotten() {
    let mut uploads = Uploads::new(Some(KEEP_FROM));
    uploads.offer(saved(URL).expect("it is kept"), minutes(0));
    let taken = uploads.take(&ours(), &digest(), SIZE).expect("it is there");
    let change = uploads.take_change(minutes(0));
    assert_eq!(change, Some(UploadChange::Taken(taken.clone())));
    uploads.forget(taken.key());
    uploads.ended(&op(SIZE, URL));
    assert_eq!(uploads.take_change(minutes(0)), None);
    assert_eq!(uploads.saved(minutes(0)).count(), 0);
}
