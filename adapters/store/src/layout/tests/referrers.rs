//! What refers to a manifest, as windlass, regctl and oras keep it.

use serde_json::json;
use windlass_core::referrers;

use super::*;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A manifest about `subject`, in the layout, and its descriptor.
fn artifact(layout: &Layout, subject: &Descriptor, n: usize) -> Descriptor {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": format!("a/{n}"),
        "config": {"mediaType": "a/empty", "digest": sha256(b"{}").as_str(), "size": 2},
        "layers": [],
        "subject": subject,
    });
    let bytes = manifest.to_string();
    let digest = sha256(bytes.as_bytes());
    layout.put(&digest, bytes.as_bytes()).expect("put");
    let mut entry = Descriptor::new(MANIFEST, digest, bytes.len() as u64);
    entry.artifact_type = Some(format!("a/{n}"));
    entry
}

fn image(layout: &Layout) -> Descriptor {
    let image = descriptor("an image");
    layout.tag(Some("v1"), &image).expect("tag");
    image
}

#[test]
fn what_was_added_is_listed_once() {
    let (_dir, layout) = fresh();
    let image = image(&layout);
    let entries = [0, 1, 2].map(|n| artifact(&layout, &image, n));
    assert_eq!(layout.referrers(&image.digest), Ok(vec![]));
    layout
        .add_referrers(&image.digest, &entries[..1])
        .expect("add");
    layout.add_referrers(&image.digest, &entries).expect("add");
    assert_eq!(layout.referrers(&image.digest), Ok(entries.to_vec()));
    assert_eq!(layout.referrers(&entries[0].digest), Ok(vec![]));
    // Without a name the image is meant and not the list.
    assert_eq!(layout.find(None).expect("found").digest, image.digest);

    // Nothing is written if nothing changes.
    let before = fs::read(layout.index_path()).expect("read");
    layout
        .add_referrers(&image.digest, &entries[1..])
        .expect("add");
    assert_eq!(fs::read(layout.index_path()).expect("read"), before);
}

/// regctl v0.11.7 keeps an index under the name of the referrers tag; its entries may have members of its own.
#[test]
fn the_list_of_regctl() {
    let (_dir, layout) = fresh();
    let image = image(&layout);
    let (theirs, ours) = (artifact(&layout, &image, 0), artifact(&layout, &image, 1));
    let mut entry = serde_json::to_value(&theirs).expect("JSON");
    entry["x-unknown"] = json!([1.50, null]);
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).to_string();
    let digest = sha256(list.as_bytes());
    layout.put(&digest, list.as_bytes()).expect("put");
    let tag = referrers::tag(&image.digest);
    let descriptor = Descriptor::new(INDEX, digest, list.len() as u64);
    layout.tag(Some(tag.as_str()), &descriptor).expect("tag");
    assert_eq!(layout.referrers(&image.digest), Ok(vec![theirs.clone()]));

    layout
        .add_referrers(&image.digest, std::slice::from_ref(&ours))
        .expect("add");
    assert_eq!(layout.referrers(&image.digest), Ok(vec![theirs, ours]));
    let list = layout.find(Some(tag.as_str())).expect("found").digest;
    let list: serde_json::Value =
        serde_json::from_slice(&load(&layout, &list).expect("it is there")).expect("JSON");
    assert_eq!(list["manifests"][0], entry, "RFR-04");
}

/// oras 1.3.6 makes an entry without a name of each.
#[test]
fn the_entries_of_oras() {
    let (_dir, layout) = fresh();
    let image = image(&layout);
    let entries = [0, 1].map(|n| artifact(&layout, &image, n));
    let gone = artifact(&layout, &image, 2);
    for entry in entries.iter().chain([&gone]) {
        let plain = Descriptor::new(MANIFEST, entry.digest.clone(), entry.size);
        layout.tag(None, &plain).expect("tag");
    }
    // A layout may lack what it refers to (LAY-04).
    layout.remove(&gone.digest).expect("remove");
    layout.remove(&image.digest).expect("remove");
    assert_eq!(layout.referrers(&image.digest), Ok(entries.to_vec()));
    // In both ways: each is listed once, and what is added later is found.
    layout
        .add_referrers(&image.digest, &entries[1..])
        .expect("add");
    let found = layout.referrers(&image.digest).expect("read");
    assert_eq!(found.len(), 2);
    let nested = artifact(&layout, &entries[0], 3);
    layout.tag(None, &nested).expect("tag");
    assert_eq!(layout.referrers(&entries[0].digest), Ok(vec![nested]));
}

/// What cannot be read concerns what it is, and not the referrers of other images.
#[test]
fn entries_that_cannot_be_read() {
    let (_dir, layout) = fresh();
    let image = image(&layout);
    let theirs = artifact(&layout, &image, 0);
    layout.tag(None, &theirs).expect("tag");
    let damaged = sha256(b"a manifest");
    layout.put(&damaged, b"{").expect("put");
    let entry = Descriptor::new(MANIFEST, damaged, 1);
    layout.tag(Some("damaged"), &entry).expect("tag");
    let mut index: serde_json::Value =
        serde_json::from_slice(&fs::read(layout.index_path()).expect("read")).expect("JSON");
    let entries = index["manifests"].as_array_mut().expect("a list");
    entries.push(json!({"mediaType": MANIFEST, "digest": "none", "size": 1}));
    fs::write(layout.index_path(), index.to_string()).expect("written");
    assert_eq!(layout.referrers(&image.digest), Ok(vec![theirs]));
}

#[test]
fn a_list_that_is_none() {
    let (_dir, layout) = fresh();
    let image = image(&layout);
    let other = artifact(&layout, &image, 0);
    let tag = referrers::tag(&image.digest);
    layout.tag(Some(tag.as_str()), &other).expect("tag");
    let before = fs::read(layout.index_path()).expect("read");
    for error in [
        layout.referrers(&image.digest).map(drop),
        layout.add_referrers(&image.digest, &[other]),
    ] {
        let error = error.expect_err("it is an image");
        assert_eq!(error.kind(), StoreErrorKind::Damaged);
        assert!(error.detail().contains("not an OCI index"), "{error}");
    }
    assert_eq!(fs::read(layout.index_path()).expect("read"), before);

    // One whose bytes are wrong.
    let list = sha256(b"a list");
    layout.put(&list, b"another").expect("put");
    let descriptor = Descriptor::new(INDEX, list, 7);
    layout.tag(Some(tag.as_str()), &descriptor).expect("tag");
    let error = layout.referrers(&image.digest).expect_err("it is damaged");
    assert_eq!(error.kind(), StoreErrorKind::Damaged);
}

#[test]
fn writers_at_the_same_time_lose_no_referrers() {
    let (_dir, layout) = fresh();
    let image = image(&layout);
    let mut entries: Vec<_> = (0..16).map(|n| artifact(&layout, &image, n)).collect();
    thread::scope(|scope| {
        for entry in &entries {
            // As another process would: nothing is shared but the directory.
            let layout = Layout::open(layout.path()).expect("open");
            let subject = &image.digest;
            scope.spawn(move || layout.add_referrers(subject, std::slice::from_ref(entry)));
        }
    });
    let mut found = layout.referrers(&image.digest).expect("read");
    found.sort_by_key(|entry| entry.digest.clone());
    entries.sort_by_key(|entry| entry.digest.clone());
    assert_eq!(found, entries);
    let names = index(&layout)["manifests"]
        .as_array()
        .expect("a list")
        .len();
    assert_eq!(names, 2, "{REF_NAME}: the image and one list");
}
