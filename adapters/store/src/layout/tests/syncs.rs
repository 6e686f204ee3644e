//! A sync that failed is final: nothing is named after it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use windlass_core::StoreError;

use super::*;
use crate::layout::sys::tests::with_failing_syncs;

/// Runs `what`, which must fail as the syncs of paths that end like `end` do.
fn failing<T>(end: &str, what: impl FnOnce() -> Result<T, StoreError>) {
    let end = end.to_owned();
    is_failed_sync(with_failing_syncs(move |path| path.ends_with(&end), what));
}

fn is_failed_sync<T>(result: Result<T, StoreError>) {
    let error = result.err().expect("the sync failed");
    assert_eq!(error.kind(), StoreErrorKind::Io, "{error}");
    assert!(error.detail().starts_with("sync "), "{error}");
}

#[test]
fn a_partial_that_could_not_be_synced_is_gone() {
    let (_dir, layout) = fresh();
    let digest = sha256(b"hello");
    let mut partial = ours(&layout, &digest, 5);
    partial.append(b"hello").expect("append");
    failing(digest.encoded(), || partial.commit());
    assert!(partials(&layout).is_empty(), "{:?}", partials(&layout));
    assert!(!layout.contains(&digest, 5).expect("contains"));
    assert_eq!(ours(&layout, &digest, 5).len(), 0, "it is fetched again");
}

#[test]
fn a_document_that_could_not_be_synced_is_gone() {
    let (_dir, layout) = fresh();
    let digest = sha256(b"doc");
    let staged = |path: &str| path.contains("/partial/new.");
    is_failed_sync(with_failing_syncs(staged, || layout.put(&digest, b"doc")));
    assert!(!layout.contains(&digest, 3).expect("contains"));
    let before = index(&layout);
    is_failed_sync(with_failing_syncs(staged, || {
        layout.tag(Some("v1"), &descriptor("a"))
    }));
    assert_eq!(index(&layout), before);
    assert!(partials(&layout).is_empty(), "{:?}", partials(&layout));
}

#[test]
fn names_that_could_not_be_synced_are_gone_and_no_image_is_named_any_more() {
    for dir in ["blobs", "blobs/sha256"] {
        let (_dir, layout) = fresh();
        let kept = store(&layout, b"kept");
        layout.tag(Some("v1"), &descriptor("kept")).expect("tag");
        let lost = store(&layout, b"lost");
        let document = sha256(b"doc");
        layout.put(&document, b"doc").expect("put");
        failing(dir, || layout.tag(Some("v2"), &descriptor("lost")));
        assert_eq!(load(&layout, &kept).as_deref(), Some(&b"kept"[..]));
        assert_eq!(load(&layout, &lost), None);
        assert_eq!(load(&layout, &document), None);
        let error = layout.tag(Some("v2"), &descriptor("lost"));
        let error = error.expect_err("the sync is not repeated");
        assert!(error.detail().starts_with("an earlier sync"), "{error}");
        // As another process, which fetches again what is not there.
        let again = Layout::open(layout.path()).expect("layout");
        again.find(Some("v2")).expect_err("never named");
        store(&again, b"lost");
        again.tag(Some("v2"), &descriptor("lost")).expect("tag");
    }
}

#[test]
fn a_name_of_an_image_that_could_not_be_synced_is_taken_back() {
    let (_dir, layout) = fresh();
    layout.tag(Some("v1"), &descriptor("a")).expect("tag");
    failing("image", || layout.tag(Some("v1"), &descriptor("b")));
    let found = layout.find(Some("v1")).expect("there");
    assert_eq!(found.digest, sha256(b"a"));
    layout.tag(Some("v1"), &descriptor("b")).expect("tag");
}

#[test]
fn a_folder_that_could_not_be_synced_is_made_again() {
    let (_dir, layout) = fresh();
    let digest = sha256(b"hello");
    failing("blobs", || layout.begin(&digest, 5));
    assert!(!layout.blobs().join("sha256").exists());
    store(&layout, b"hello");
}

#[test]
fn a_layout_whose_marker_could_not_be_synced_is_none() {
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("image");
    fs::create_dir_all(path.join(".windlass/partial")).expect("create");
    failing("image", || Layout::open_or_create(&path));
    assert!(!path.join("oci-layout").exists());
    Layout::open_or_create(&path).expect("layout");
}

#[test]
fn a_spool_is_not_synced() {
    with_failing_syncs(
        |_| true,
        || {
            let spool = Layout::temporary().expect("spool");
            spool.put(&sha256(b"doc"), b"doc").expect("put");
            spool.tag(None, &descriptor("doc")).expect("tag");
        },
    );
}

#[test]
fn each_sync_comes_before_the_name_that_needs_it() {
    let (_dir, layout) = fresh();
    let digest = sha256(b"hello");
    let log = Rc::new(RefCell::new(Vec::new()));
    let look = {
        let (log, layout, digest) = (Rc::clone(&log), layout.clone(), digest.clone());
        move |path: &str| {
            let blob = layout.blob_path(&digest).exists();
            let image = layout.find(Some("v1")).is_ok();
            let below = Path::new(path).strip_prefix(layout.path()).expect("below");
            let mut what = below.to_string_lossy().into_owned();
            // The names of files that wait for theirs are never the same.
            what.truncate(what.find("/partial/").unwrap_or(what.len()));
            log.borrow_mut().push((what, blob, image));
            false
        }
    };
    with_failing_syncs(look, || {
        assert_eq!(store(&layout, b"hello"), digest);
        layout.tag(Some("v1"), &descriptor("hello")).expect("tag");
    });
    let log = log.borrow();
    let log = log
        .iter()
        .map(|(what, blob, image)| (&**what, *blob, *image));
    let log: Vec<_> = log.collect();
    let expected = [
        // The folder of blobs was made, then the blob.
        ("blobs", false, false),
        (".windlass", false, false),
        // The names of blobs, then the new index, then its name.
        ("blobs/sha256", true, false),
        ("blobs", true, false),
        (".windlass", true, false),
        ("", true, true),
    ];
    assert_eq!(log, expected);
}

/// What a killed `gc` had set aside is not durable again before that is synced.
#[test]
fn a_blob_that_is_put_back_is_synced_before_an_image_is_named() {
    let (_dir, layout) = fresh();
    let blob = Descriptor::new("text/plain", store(&layout, b"blob"), 4);
    let aside = layout.private().join("collected");
    layout.ensure_private(&aside).expect("a folder");
    layout.set_aside(&blob.digest).expect("set aside");
    let first = Cell::new(true);
    // The first sync is for what was named before.
    let second = move |path: &str| path.ends_with("/sha256") && !first.replace(false);
    is_failed_sync(with_failing_syncs(second, || layout.tag(Some("v1"), &blob)));
    let error = layout.find(Some("v1")).expect_err("no such name");
    assert_eq!(error.kind(), StoreErrorKind::NoSuchName);
}
