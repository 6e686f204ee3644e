//! What is removed, what stays, and what is found damaged.

use super::*;
use crate::layout::Collected;
use std::fs::File;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn descriptor_of(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type, sha256(bytes), bytes.len() as u64)
}

/// Stores an image of these layers and a manifest about `subject`, as a pull does: what is there is found.
fn image(layout: &Layout, layers: &[&[u8]], subject: Option<&Descriptor>) -> Descriptor {
    let config = descriptor_of("application/vnd.oci.image.config.v1+json", b"{}");
    find_or_store(layout, b"{}");
    let layers: Vec<_> = layers
        .iter()
        .map(|bytes| {
            find_or_store(layout, bytes);
            descriptor_of(LAYER, bytes)
        })
        .collect();
    let mut manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
    });
    if let Some(subject) = subject {
        manifest["subject"] = serde_json::to_value(subject).expect("a descriptor");
    }
    put(layout, MANIFEST, &manifest)
}

fn find_or_store(layout: &Layout, bytes: &[u8]) {
    loop {
        let begun = layout.begin(&sha256(bytes), bytes.len() as u64);
        match begun.expect("begin") {
            Begun::Complete => return,
            Begun::Ours(mut partial) => {
                partial.truncate(0).expect("truncate");
                partial.append(bytes).expect("append");
                return partial.commit().expect("commit");
            }
            Begun::Busy { .. } => thread::yield_now(),
        }
    }
}

fn index(layout: &Layout, manifests: &[&Descriptor]) -> Descriptor {
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests,
    });
    put(layout, INDEX, &index)
}

fn put(layout: &Layout, media_type: &str, document: &serde_json::Value) -> Descriptor {
    let bytes = document.to_string().into_bytes();
    let descriptor = descriptor_of(media_type, &bytes);
    layout.put(&descriptor.digest, &bytes).expect("put");
    descriptor
}

fn has(layout: &Layout, bytes: &[u8]) -> bool {
    let digest = sha256(bytes);
    layout
        .contains(&digest, bytes.len() as u64)
        .expect("contains")
}

/// Makes everything in the layout older than any use.
fn age(layout: &Layout, by: Duration) {
    let time = SystemTime::now() - by;
    let folders = [layout.blobs().join("sha256"), layout.partials()];
    for entry in folders
        .iter()
        .flat_map(|dir| fs::read_dir(dir).expect("list"))
    {
        let file = File::open(entry.expect("entry").path()).expect("open");
        file.set_modified(time).expect("set the time");
    }
}

fn gc(layout: &Layout) -> Collected {
    layout.gc().expect("gc")
}

#[test]
fn gc_removes_what_nothing_refers_to() {
    let (_dir, layout) = fresh();
    let base = image(&layout, &[b"base", b"shared"], None);
    let nested = index(&layout, &[&base]);
    let outer = index(&layout, &[&nested]);
    let signature = image(&layout, &[b"signature"], Some(&base));
    layout.tag(Some("v1"), &outer).expect("tag");
    // An entry whose type says nothing is followed all the same.
    let mut entry = signature;
    entry.media_type = "application/octet-stream".into();
    layout.tag(Some("sig"), &entry).expect("tag");
    image(&layout, &[b"gone", b"shared"], None);
    let orphan = sha256(b"a partial");
    let mut partial = ours(&layout, &orphan, 100);
    partial.append(b"a par").expect("append");
    drop(partial);
    age(&layout, Duration::from_secs(10));

    let collected = gc(&layout);
    assert_eq!(
        (collected.blobs, collected.partials),
        (2, 1),
        "{collected:?}"
    );
    assert_eq!((collected.partial_bytes, collected.in_use), (5, 0));
    for (bytes, stays) in [
        (&b"base"[..], true),
        (b"shared", true),
        (b"signature", true),
        (b"{}", true),
        (b"gone", false),
    ] {
        assert_eq!(has(&layout, bytes), stays, "{bytes:?}");
    }
    assert_eq!(gc(&layout), Collected::default(), "a second time nothing");
    let uses = layout.private().join("use");
    assert_eq!(fs::read_dir(uses).expect("list").count(), 0);
}

#[test]
fn gc_removes_nothing_if_a_manifest_cannot_be_read() {
    let (_dir, layout) = fresh();
    let good = image(&layout, &[b"layer"], None);
    let top = index(&layout, &[&good]);
    layout.tag(Some("v1"), &top).expect("tag");
    store(&layout, b"nothing refers to it");
    age(&layout, Duration::from_secs(10));
    for bytes in [&b"{}"[..], &vec![b' '; 5 << 20]] {
        fs::write(layout.blob_path(&good.digest), bytes).expect("damage");
        let error = layout.gc().expect_err("a manifest is damaged");
        assert_eq!(error.kind(), StoreErrorKind::Damaged);
        assert!(error.detail().contains(good.digest.as_str()), "{error}");
        assert!(has(&layout, b"nothing refers to it") && has(&layout, b"layer"));
    }
    // What is not there refers to nothing: a sparse index.
    fs::remove_file(layout.blob_path(&good.digest)).expect("remove");
    assert_eq!(gc(&layout).blobs, 3);
}

/// What a task found or wrote since it began stays, also if nothing refers to it yet.
#[test]
fn gc_keeps_what_a_running_task_relies_on() {
    let (_dir, layout) = fresh();
    store(&layout, b"found");
    store(&layout, b"forgotten");
    age(&layout, Duration::from_secs(10));
    let other = Layout::open(layout.path()).expect("as another process has it");
    let in_use = other.in_use().expect("it can be noted");
    let begun = other.begin(&sha256(b"found"), 5);
    assert!(matches!(begun, Ok(Begun::Complete)), "{begun:?}");
    store(&other, b"written");
    let held = ours(&other, &sha256(b"under way"), 9);

    let collected = gc(&layout);
    assert_eq!((collected.blobs, collected.in_use), (1, 2), "{collected:?}");
    assert!(has(&layout, b"found") && has(&layout, b"written"));
    assert!(!has(&layout, b"forgotten"));
    assert_eq!(collected.partials, 0, "a partial that is held stays");
    drop(held);
    // The task is over and has named nothing.
    drop(in_use);
    assert_eq!(gc(&layout).blobs, 2);
}

/// A `gc` is killed after it has set a blob aside that a task has found just before.
#[test]
fn what_a_killed_gc_had_set_aside_is_put_back() {
    let (_dir, layout) = fresh();
    let killed = |layout: &Layout, bytes: &[u8]| {
        let _lock = layout.lock_index().expect("lock");
        let dir = layout.private().join("collected");
        layout.ensure_private(&dir).expect("a folder");
        layout.set_aside(&sha256(bytes)).expect("set aside")
    };
    let manifest = image(&layout, &[b"found"], None);
    age(&layout, Duration::from_secs(10));
    let other = Layout::open(layout.path()).expect("as another process has it");
    let in_use = other.begin_use().expect("a use");
    assert_eq!(image(&other, &[b"found"], None), manifest);
    let left = [killed(&layout, b"found"), killed(&layout, b"{}")];
    // This one was fetched again meanwhile.
    find_or_store(&other, b"{}");
    other.tag(Some("v1"), &manifest).expect("tag");
    let verified = layout.verify(Some("v1"), &|| false).expect("verify");
    assert_eq!((verified.blobs, verified.missing), (3, vec![]));
    assert!(left.iter().all(|path| !path.exists()));
    drop(in_use);

    // Nothing refers to this one: the next `gc` removes it.
    store(&layout, b"orphan");
    let left = killed(&layout, b"orphan");
    assert_eq!(gc(&layout).blobs, 1);
    assert!(!left.exists() && !has(&layout, b"orphan"));
}

/// A use that a killed process left is none.
#[test]
fn gc_does_not_wait_for_the_dead() {
    let (_dir, layout) = fresh();
    drop(layout.begin_use().expect("a use"));
    let left = layout.private().join("use").join("1-1");
    fs::write(&left, b"").expect("a use of a killed process");
    store(&layout, b"orphan");
    assert_eq!(gc(&layout).blobs, 1);
    assert!(!left.exists());
}

/// Tasks write, find and name images while others collect: what is named is there.
#[test]
fn gc_beside_writers_loses_nothing() {
    let (_dir, layout) = fresh();
    thread::scope(|scope| {
        for writer in 0..2_u8 {
            let layout = Layout::open(layout.path()).expect("open");
            scope.spawn(move || {
                let name = format!("writer-{writer}");
                for round in 0..30_u8 {
                    let _use = layout.begin_use().expect("a use");
                    // Shared with the other writer, and orphaned by each new tag.
                    let manifest = image(&layout, &[&[round % 5]], None);
                    layout.tag(Some(&name), &manifest).expect("tag");
                    let verified = layout.verify(Some(&name), &|| false).expect("verify");
                    assert_eq!((verified.missing, verified.damaged), (vec![], vec![]));
                }
            });
        }
        let removed: u64 = (0..60)
            .map(|_| {
                thread::sleep(Duration::from_millis(2));
                gc(&layout).blobs
            })
            .sum();
        assert!(removed > 0, "there was something to collect");
    });
}

#[test]
fn verify_tells_damage_from_absence() {
    let (_dir, layout) = fresh();
    let first = image(&layout, &[b"one", b"two", b"three"], None);
    let second = image(&layout, &[b"four"], None);
    layout.tag(Some("first"), &first).expect("tag");
    layout.tag(Some("second"), &second).expect("tag");
    store(&layout, b"orphan");
    let all = layout.verify(None, &|| false).expect("verify");
    assert_eq!((all.blobs, all.damaged.len(), all.missing.len()), (8, 0, 0));

    fs::write(layout.blob_path(&sha256(b"one")), b"eno").expect("damage");
    fs::write(layout.blob_path(&sha256(b"two")), b"longer").expect("damage");
    fs::remove_file(layout.blob_path(&sha256(b"three"))).expect("remove");
    fs::write(layout.blob_path(&sha256(b"orphan")), b"naphro").expect("damage");
    let damaged = |name| {
        let verified = layout.verify(name, &|| false).expect("verify");
        let damaged: Vec<_> = verified.damaged.iter().map(|(it, _)| it.clone()).collect();
        (damaged.len(), verified.missing.len(), verified.blobs)
    };
    assert_eq!(damaged(Some("first")), (2, 1, 4));
    assert_eq!(damaged(Some("second")), (0, 0, 3));
    assert_eq!(damaged(None), (3, 1, 7));
    fs::write(layout.blob_path(&second.digest), b"{}").expect("damage");
    assert_eq!(damaged(Some("second")), (1, 0, 0), "a manifest");
    let error = layout
        .verify(Some("third"), &|| false)
        .expect_err("no such name");
    assert_eq!(error.kind(), StoreErrorKind::NoSuchName);
    let stopped = layout.verify(Some("first"), &|| true).expect("verify");
    assert!(stopped.stopped && stopped.damaged.is_empty());
}

#[test]
fn foreign_layers_need_not_be_there() {
    let (_dir, layout) = fresh();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor_of("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [{
            "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "digest": sha256(b"elsewhere").as_str(), "size": 9,
        }],
    });
    store(&layout, b"{}");
    let manifest = put(&layout, MANIFEST, &manifest);
    layout.tag(Some("v1"), &manifest).expect("tag");
    let verified = layout.verify(None, &|| false).expect("verify");
    assert_eq!((verified.blobs, verified.missing), (2, vec![]));
}

#[test]
fn existing_blobs_are_hashed_if_asked_for() {
    let (_dir, layout) = fresh();
    let (good, bad) = (store(&layout, b"good"), store(&layout, b"bad!"));
    fs::write(layout.blob_path(&bad), b"evil").expect("damage");
    assert!(matches!(layout.begin(&bad, 4), Ok(Begun::Complete)));
    let strict = layout.clone().verifying_existing();
    assert!(matches!(strict.begin(&good, 4), Ok(Begun::Complete)));
    let mut partial = ours(&strict, &bad, 4);
    partial.append(b"bad!").expect("append");
    partial.commit().expect("commit");
    assert_eq!(load(&layout, &bad).as_deref(), Some(&b"bad!"[..]));
    let begun = strict.begin_private(&bad, 4);
    assert!(matches!(begun, Ok(Begun::Complete)));
}

/// The oldest abandoned partials go first. Those that a process holds, and young ones, stay.
#[test]
fn abandoned_partials_have_a_bound_in_bytes() {
    let (_dir, layout) = fresh();
    let part = vec![7; 64 * 1024];
    let begin = |name: &[u8]| {
        let mut partial = ours(&layout, &sha256(name), 1 << 20);
        partial.append(&part).expect("append");
        partial
    };
    let hours = |name: &[u8], hours: u64| {
        let digest = sha256(name);
        let path = layout
            .partials()
            .join(format!("sha256-{}", digest.encoded()));
        let file = File::open(&path).expect("open");
        let time = SystemTime::now() - Duration::from_secs(hours * 60 * 60);
        file.set_modified(time).expect("set the time");
        path
    };
    let held = begin(b"held");
    for name in [&b"old"[..], b"older", b"young", b"recent"] {
        drop(begin(name));
    }
    let paths = [
        (hours(b"held", 50), true),
        (hours(b"older", 40), false),
        (hours(b"old", 30), false),
        (hours(b"recent", 2), true),
        (hours(b"young", 0), true),
    ];
    layout.sweep_to(4 * 64 * 1024);
    assert!(paths.iter().all(|(path, _)| path.exists()), "they fit");
    layout.sweep_to(2 * 64 * 1024);
    for (path, stays) in &paths {
        assert_eq!(path.exists(), *stays, "{}", path.display());
    }
    drop(held);
}
