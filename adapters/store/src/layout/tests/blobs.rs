//! Blobs: owned, resumed, committed, refused.

use super::*;

#[test]
fn a_blob_goes_in_and_comes_out() {
    let (_dir, layout) = fresh();
    let digest = store(&layout, b"hello");
    assert_eq!(load(&layout, &digest).as_deref(), Some(&b"hello"[..]));
    let mut rest = String::new();
    let source = Store::open(&layout, &digest, 3).expect("open");
    source
        .expect("there")
        .read_to_string(&mut rest)
        .expect("read");
    assert_eq!(rest, "lo");
    assert!(matches!(
        layout.begin(&digest, 5).expect("begin"),
        Begun::Complete
    ));
    assert!(partials(&layout).is_empty());
    // LAY-11: what the umask leaves of 0644.
    let probe = layout.path().join("probe");
    fs::write(&probe, "").expect("write");
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode();
    assert_eq!(mode(&layout.blob_path(&digest)), mode(&probe) & !0o111);
    layout.remove(&digest).expect("remove");
    layout.remove(&digest).expect("nothing to remove is fine");
    assert_eq!(load(&layout, &digest), None);
}

#[test]
fn the_empty_blob_is_one_too() {
    let (_dir, layout) = fresh();
    let digest = store(&layout, b"");
    assert!(layout.contains(&digest, 0).expect("contains"));
    assert!(partials(&layout).is_empty());
}

#[test]
fn a_dropped_partial_goes_on_where_it_was() {
    let (_dir, layout) = fresh();
    let digest = sha256(b"hello");
    let mut partial = ours(&layout, &digest, 5);
    partial.append(b"hel").expect("append");
    drop(partial);
    let again = Layout::open(layout.path()).expect("another process");
    let mut partial = ours(&again, &digest, 5);
    assert_eq!(partial.len(), 3);
    let mut prefix = Vec::new();
    partial
        .read(0)
        .expect("read")
        .read_to_end(&mut prefix)
        .expect("read");
    assert_eq!(prefix, b"hel");
    partial.append(b"XX").expect("append");
    partial.truncate(3).expect("cut");
    partial.append(b"lo").expect("append");
    partial.commit().expect("commit");
    assert_eq!(load(&layout, &digest).as_deref(), Some(&b"hello"[..]));
}

#[test]
fn an_owned_partial_is_busy_for_others() {
    let (_dir, layout) = fresh();
    let digest = sha256(b"hello");
    let mut partial = ours(&layout, &digest, 5);
    partial.append(b"he").expect("append");
    let begun = layout.begin(&digest, 5).expect("begin");
    assert!(matches!(begun, Begun::Busy { len: 2 }), "{begun:?}");

    // A private one is committed; the first owner's commit then changes nothing.
    let Begun::Ours(mut private) = layout.begin_private(&digest, 5).expect("begin") else {
        panic!("a private partial is always ours");
    };
    private.append(b"hello").expect("append");
    private.commit().expect("commit");
    partial.append(b"llo").expect("append");
    partial.commit().expect("commit");
    assert_eq!(load(&layout, &digest).as_deref(), Some(&b"hello"[..]));
    assert!(partials(&layout).is_empty());
}

#[test]
fn a_private_partial_leaves_nothing_behind() {
    let (_dir, layout) = fresh();
    let digest = sha256(b"hello");
    let Begun::Ours(mut private) = layout.begin_private(&digest, 5).expect("begin") else {
        panic!("a private partial is always ours");
    };
    private.append(b"hel").expect("append");
    assert_eq!(partials(&layout).len(), 1);
    drop(private);
    assert!(partials(&layout).is_empty());
}

#[test]
fn of_eight_that_begin_one_owns() {
    let (_dir, layout) = fresh();
    let digest = sha256(b"hello");
    let barrier = Barrier::new(8);
    let begun: Vec<Begun> = thread::scope(|scope| {
        let begin = || {
            // As from another process: nothing is shared but the directory.
            let layout = Layout::open(layout.path()).expect("layout");
            barrier.wait();
            layout.begin(&digest, 5).expect("begin")
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("join"))
            .collect()
    });
    let owners = begun.iter().filter(|b| matches!(b, Begun::Ours(_)));
    assert_eq!(owners.count(), 1, "{begun:?}");
}

#[test]
fn ownership_survives_commits_and_drops_by_others() {
    // All threads want the same blobs, and owners sometimes give up. Committed blobs are always
    // complete.
    let (_dir, layout) = fresh();
    let blobs: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; 1000]).collect();
    thread::scope(|scope| {
        for worker in 0..4 {
            let (layout, blobs) = (layout.clone(), &blobs);
            scope.spawn(move || {
                for (n, blob) in blobs.iter().enumerate() {
                    fetch(&layout, blob, (n + worker) % 3 == 0);
                }
            });
        }
    });
    for blob in &blobs {
        assert_eq!(load(&layout, &sha256(blob)).as_ref(), Some(blob));
    }
    assert!(partials(&layout).is_empty(), "{:?}", partials(&layout));
}

fn fetch(layout: &Layout, blob: &[u8], mut gives_up: bool) {
    let digest = sha256(blob);
    loop {
        match layout.begin(&digest, blob.len() as u64).expect("begin") {
            Begun::Complete => return,
            Begun::Busy { .. } => thread::yield_now(),
            Begun::Ours(mut partial) => {
                let from = usize::try_from(partial.len()).expect("small");
                for chunk in blob[from..].chunks(100) {
                    partial.append(chunk).expect("append");
                    if gives_up {
                        break;
                    }
                }
                if partial.len() == blob.len() as u64 {
                    return partial.commit().expect("commit");
                }
                gives_up = false;
            }
        }
    }
}

#[test]
fn a_blob_of_the_wrong_size_counts_as_absent_and_is_replaced() {
    let (_dir, layout) = fresh();
    let digest = store(&layout, b"hello");
    fs::write(layout.blob_path(&digest), "hell").expect("damage");
    assert!(!layout.contains(&digest, 5).expect("contains"));
    let mut partial = ours(&layout, &digest, 5);
    partial.append(b"hello").expect("append");
    partial.commit().expect("commit");
    assert_eq!(load(&layout, &digest).as_deref(), Some(&b"hello"[..]));
}

#[test]
fn a_partial_that_is_too_long_starts_over() {
    let (_dir, layout) = fresh();
    let digest = sha256(b"hello");
    ours(&layout, &digest, 9)
        .append(b"hello!!")
        .expect("append");
    assert_eq!(ours(&layout, &digest, 5).len(), 0);
}

#[test]
fn a_short_partial_is_not_committed_and_not_lost() {
    let (_dir, layout) = fresh();
    let digest = sha256(b"hello");
    let mut partial = ours(&layout, &digest, 5);
    partial.append(b"hel").expect("append");
    let error = partial.commit().expect_err("too short");
    assert_eq!(error.kind(), StoreErrorKind::Damaged);
    assert_eq!(ours(&layout, &digest, 5).len(), 3);
}

#[test]
fn bytes_that_were_swapped_behind_our_back_get_no_name() {
    let (_dir, layout) = fresh();
    let digest = sha256(b"hello");
    let mut partial = ours(&layout, &digest, 5);
    partial.append(b"hello").expect("append");
    let path = layout
        .partials()
        .join(format!("sha256-{}", digest.encoded()));
    fs::remove_file(&path).expect("remove");
    fs::write(&path, "HELLO").expect("write");
    partial.commit().expect_err("another file");
    assert!(!layout.contains(&digest, 5).expect("contains"));
}

#[test]
fn a_damaged_document_is_replaced() {
    let (_dir, layout) = fresh();
    let digest = sha256(b"{\"a\":1}");
    layout.put(&digest, b"{\"a\":1}").expect("put");
    fs::write(layout.blob_path(&digest), b"{\"a\":2}").expect("damage");
    layout.put(&digest, b"{\"a\":1}").expect("put");
    assert_eq!(load(&layout, &digest).as_deref(), Some(&b"{\"a\":1}"[..]));
    assert!(partials(&layout).is_empty());
}

#[test]
fn what_cannot_be_verified_is_not_written() {
    // LAY-13.
    let (_dir, layout) = fresh();
    let digest: Digest = "foo:bar".parse().expect("digest");
    for kind in [
        layout.begin(&digest, 1).expect_err("unknown").kind(),
        layout
            .begin_private(&digest, 1)
            .expect_err("unknown")
            .kind(),
        layout.put(&digest, b"x").expect_err("unknown").kind(),
    ] {
        assert_eq!(kind, StoreErrorKind::Denied);
    }
    assert!(!layout.blobs().join("foo").exists());
    assert!(partials(&layout).is_empty());
    assert!(!layout.contains(&digest, 1).expect("contains"));
}

#[test]
fn a_private_directory_that_vanished_is_made_again() {
    let (_dir, layout) = fresh();
    fs::remove_dir_all(layout.private()).expect("remove");
    store(&layout, b"hello");
    fs::remove_dir_all(layout.private()).expect("remove");
    layout.tag(Some("v1"), &descriptor("a")).expect("tag");
}
