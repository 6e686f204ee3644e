use alloc::format;

use super::*;
use crate::digest::Algorithm;
use crate::manifest::Declared;
use crate::manifest::media_type::{DOCKER_LIST, OCI_MANIFEST};

fn digest(name: &str) -> Digest {
    Digest::of(Algorithm::Sha256, name.as_bytes())
}

fn entry(name: &str, platform: &str) -> Descriptor {
    let mut entry = Descriptor::new(OCI_MANIFEST, digest(name), 7);
    entry.platform = Some(Box::new(platform.parse().expect(platform)));
    entry
}

fn document(bytes: Vec<u8>) -> Document {
    Document::parse(bytes, Declared::ContentType(None)).expect("a document")
}

fn platforms(index: &IndexEdit) -> Vec<String> {
    let entries = index.entries().filter_map(|entry| entry.platform.as_ref());
    entries.map(|it| it.to_string()).collect()
}

#[test]
fn an_index_is_made() {
    let (amd64, arm64) = (entry("a", "linux/amd64"), entry("b", "linux/arm64/v8"));
    let mut index = IndexEdit::new();
    index.add(&amd64);
    index.add(&arm64);
    index.annotate("by", Some("windlass")).expect("annotated");
    let (a, b) = (digest("a"), digest("b"));
    let expected = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{a}","size":7,"platform":{{"os":"linux","architecture":"amd64"}}}},{{"mediaType":"{OCI_MANIFEST}","digest":"{b}","size":7,"platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}}],"annotations":{{"by":"windlass"}}}}"#
    );
    assert_eq!(core::str::from_utf8(&index.encode()), Ok(&*expected));
    let read = document(index.encode());
    let Content::Index(content) = read.content() else {
        panic!("it is an index");
    };
    assert_eq!(content.manifests, [amd64, arm64]);
}

/// RFR-04, PULLM-14: what is not known stays.
#[test]
fn the_rest_stays_as_it_is() {
    let (a, b) = (digest("a"), digest("b"));
    let entry_a = format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{a}","size":7, "x":[1.0]}}"#);
    let entry_b = format!(r#"{{"digest":"{b}","mediaType":"{OCI_MANIFEST}","size":7}}"#);
    let of = |entries: &str| {
        format!(
            r#"{{"mediaType":"{DOCKER_LIST}","manifests":[{entries}],"schemaVersion":2,"z":{{"k": 1}}}}"#
        )
    };
    let list = document(of(&format!("{entry_a},{entry_b}")).into_bytes());
    let mut index = IndexEdit::of(&list).expect("an index");
    assert_eq!(index.encode(), list.bytes()[..]);
    index.remove(&b).expect("it is there");
    assert_eq!(index.encode(), of(&entry_a).into_bytes());
    assert_eq!(index.media_type(), DOCKER_LIST);
    assert_eq!(
        index.remove(&b),
        Err(EditError::NoEntry { digest: b.clone() })
    );

    // The same digest is there once, in its place.
    let mut index = IndexEdit::of(&list).expect("an index");
    index.add(&entry("a", "linux/amd64"));
    let digests: Vec<Digest> = index.entries().map(|it| it.digest.clone()).collect();
    assert_eq!(digests, [a, b]);
    assert_eq!(platforms(&index), ["linux/amd64"]);

    let mut index = IndexEdit::new();
    index.annotate("a", Some("b")).expect("annotated");
    index.annotate("a", None).expect("removed");
    assert_eq!(index.encode(), IndexEdit::default().encode());
}

#[test]
fn platforms_are_kept() {
    let attestation = |of: &str, name: &str| {
        let mut attestation = entry(name, "unknown/unknown");
        let about = digest(of).as_str().to_owned();
        attestation.annotations.insert(ABOUT.to_owned(), about);
        attestation
    };
    let entries = [
        entry("amd", "linux/amd64"),
        entry("arm", "linux/arm64/v8"),
        entry("armv6", "linux/arm/v6"),
        entry("win1", "windows(10.0.17763.1)/amd64"),
        entry("win2", "windows(10.0.20348.2)/amd64"),
        attestation("amd", "of amd"),
        attestation("arm", "of arm"),
    ];
    let full = || {
        let mut index = IndexEdit::new();
        entries.iter().for_each(|entry| index.add(entry));
        index
    };
    let table: [(&[&str], &[&str]); 5] = [
        (&["linux/amd64"], &["linux/amd64", "unknown/unknown"]),
        (&["linux/aarch64"], &["linux/arm64/v8", "unknown/unknown"]),
        (
            &["linux/arm/v6", "linux/amd64/v1"],
            &["linux/amd64", "linux/arm/v6", "unknown/unknown"],
        ),
        (
            &["windows/amd64"],
            &["windows(10.0.17763.1)/amd64", "windows(10.0.20348.2)/amd64"],
        ),
        (
            &["windows(10.0.20348.2)/amd64"],
            &["windows(10.0.20348.2)/amd64"],
        ),
    ];
    for (wanted, expected) in table {
        let mut index = full();
        let wanted: Vec<Platform> = wanted.iter().map(|it| it.parse().expect(it)).collect();
        index.keep(&wanted).expect("they are there");
        assert_eq!(platforms(&index), expected, "IDX-13 {wanted:?}");
    }
    // IDX-17: what runs there by another architecture is not kept in its place.
    let mut index = full();
    let error = index
        .keep(&[Platform::new("linux", "arm")])
        .expect_err("only v6");
    assert_eq!(
        error.to_string(),
        "the index has nothing for linux/arm, only for linux/amd64, linux/arm64/v8, linux/arm/v6, windows(10.0.17763.1)/amd64, windows(10.0.20348.2)/amd64, unknown/unknown"
    );
    let error = IndexEdit::new().keep(&[Platform::new("linux", "arm")]);
    assert!(
        error
            .expect_err("nothing")
            .to_string()
            .ends_with("only for no platform")
    );

    let mut index = full();
    index.remove(&digest("arm")).expect("it is there");
    assert_eq!(
        index.entries().count(),
        entries.len() - 2,
        "with its attestation"
    );
}

#[test]
fn what_is_no_index() {
    let (a, b) = (digest("a"), digest("b"));
    let image = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"a/b","digest":"{a}","size":1}},"layers":[{{"mediaType":"a/b","digest":"{b}","size":1}}]}}"#
    );
    let error = IndexEdit::of(&document(image.into_bytes())).expect_err("an image");
    assert_eq!(
        error,
        EditError::NotAnIndex {
            found: OCI_MANIFEST.into()
        }
    );
}

/// Clients take the first entry that suits them, so a new build replaces the one before.
#[test]
fn entries_for_the_same_platform() {
    let attestation = |name: &str, of: &str| {
        let mut entry = entry(name, "unknown/unknown");
        entry
            .annotations
            .insert(ABOUT.into(), digest(of).as_str().into());
        entry
    };
    let names = |index: &IndexEdit| -> Vec<&str> {
        let all = ["a", "a1", "a2", "b", "w", "w1", "x", "y", "new", "art"];
        let name = |entry: &Descriptor| {
            let mut all = all.iter();
            *all.find(|it| digest(it) == entry.digest).expect("a name")
        };
        index.entries().map(name).collect()
    };
    let versioned = |name: &str, version: &str| {
        let mut entry = entry(name, "windows/amd64");
        let platform = entry.platform.as_mut().expect("it has one");
        platform.os_version = Some(version.into());
        entry
    };
    let mut artifact = entry("art", "linux/amd64");
    artifact.artifact_type = Some("a/b".into());
    let base = [
        attestation("x", "a"),
        entry("a", "linux/amd64"),
        entry("b", "linux/arm64"),
        attestation("y", "b"),
        versioned("w", "10.0.1"),
        entry("a1", "linux/x86_64"),
    ];
    let table: [(&[Descriptor], &[&str], &[&str]); 7] = [
        (
            &[entry("new", "linux/amd64")],
            &["a", "a1"],
            &["new", "b", "y", "w"],
        ),
        // One that was there already is the only one then, in the first place.
        (
            &[entry("a1", "linux/amd64")],
            &["a"],
            &["a1", "b", "y", "w"],
        ),
        (
            &[entry("new", "linux/arm64"), entry("a2", "linux/arm64/v8")],
            &["b"],
            &["x", "a", "new", "w", "a1", "a2"],
        ),
        (
            &[versioned("w1", "10.0.2")],
            &[],
            &["x", "a", "b", "y", "w", "a1", "w1"],
        ),
        (&[artifact], &[], &["x", "a", "b", "y", "w", "a1", "art"]),
        (
            &[entry("new", "linux/s390x")],
            &[],
            &["x", "a", "b", "y", "w", "a1", "new"],
        ),
        (&[], &[], &["x", "a", "b", "y", "w", "a1"]),
    ];
    for (added, replaced, expected) in table {
        let mut index = IndexEdit::new();
        base.iter().for_each(|entry| index.add(entry));
        let found = index.supersede(added);
        let replaced: Vec<Digest> = replaced.iter().map(|it| digest(it)).collect();
        assert_eq!((found, names(&index)), (replaced, expected.to_vec()));
    }

    let mut index = IndexEdit::new();
    base.iter().for_each(|entry| index.add(entry));
    let new = entry("new", "linux/amd64");
    index.replace(&digest("a"), &new).expect("it is there");
    assert_eq!(names(&index), ["new", "b", "y", "w", "a1"]);
    let gone = digest("a");
    let error = index.replace(&gone, &new);
    assert_eq!(error, Err(EditError::NoEntry { digest: gone }));
}
