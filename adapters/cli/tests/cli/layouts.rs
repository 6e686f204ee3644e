//! Selecting an image of a layout.

use std::fs;
use std::path::Path;

use crate::common::{failed, layout, printed, registry, text, windlass};
use serde_json::{Value, json};
use windlass_testbed::{Auth, Image, Model, OCI_MANIFEST, Options, Server, image_for};

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A layout made by hand, with these entries and the content of these images.
fn write(folder: &Path, images: &[&Image], entries: &[Value]) -> String {
    let blobs = folder.join("in/blobs/sha256");
    fs::create_dir_all(&blobs).expect("a folder");
    for image in images {
        for blob in image.blobs().chain([&image.manifest]) {
            let digest = windlass_testbed::Digest::sha256(blob);
            fs::write(blobs.join(digest.encoded()), blob).expect("a blob");
        }
    }
    let root = folder.join("in");
    fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
    let index = json!({"schemaVersion": 2, "manifests": entries});
    fs::write(root.join("index.json"), index.to_string()).expect("a file");
    layout(folder, "in")
}

fn entry(image: &Image, name: &str, arch: &str) -> Value {
    json!({
        "mediaType": OCI_MANIFEST,
        "digest": image.digest.as_str(),
        "size": image.manifest.len(),
        "platform": {"os": "linux", "architecture": arch},
        "annotations": {REF_NAME: name},
    })
}

fn two() -> (Image, Image) {
    let layer = |text: &str| vec![text.as_bytes().to_vec()];
    (
        image_for("linux/amd64", &layer("amd64")),
        image_for("linux/arm64", &layer("arm64")),
    )
}

fn empty() -> Server {
    Server::start(Model::new(Options::default())).expect("a port")
}

fn tagged(server: &Server, tag: &str) -> Option<String> {
    let text = |digest: &windlass_testbed::Digest| digest.as_str().to_owned();
    server.with_model(|model| model.tag("app", tag).map(text))
}

#[test]
fn a_platform_chooses_among_the_entries_of_a_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let (amd64, arm64) = two();
    let entries = [entry(&amd64, "v1", "amd64"), entry(&arm64, "v1", "arm64")];
    let source = write(folder.path(), &[&amd64, &arm64], &entries);
    for named in [source.clone(), format!("{source}:v1")] {
        for verb in ["push", "copy"] {
            let server = empty();
            let to = format!("{}/app:v1", server.host());
            for (platform, image) in [("linux/arm64", &arm64), ("linux/amd64", &amd64)] {
                let words = [verb, &named, &to, "--platform", platform];
                assert_eq!(
                    printed(&windlass(&words, &[])).trim(),
                    image.digest.as_str()
                );
                assert_eq!(
                    tagged(&server, "v1").as_deref(),
                    Some(image.digest.as_str())
                );
            }
            let words = [verb, &named, &to, "--platform", "linux/s390x"];
            let said = windlass(&words, &[]);
            let said = failed(&said, 3);
            assert!(said.contains("only linux/amd64, linux/arm64"), "{said}");
            let said = windlass(&[verb, &named, &to], &[]);
            let said = failed(&said, 1);
            for part in [
                &format!("linux/amd64 ({})", amd64.digest.as_str()),
                &format!("linux/arm64 ({})", arm64.digest.as_str()),
                "--platform OS/ARCH",
            ] {
                assert!(said.contains(part), "{said}");
            }
        }
    }
    // Into another layout, too.
    let out = layout(folder.path(), "out");
    let words = ["copy", &format!("{source}:v1"), &out, "--platform", "arm64"];
    assert_eq!(
        printed(&windlass(&words, &[])).trim(),
        arm64.digest.as_str()
    );
}

/// Two images for one platform under one name: nothing says which is meant.
#[test]
fn a_platform_does_not_choose_between_equals() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = two();
    let entries = [entry(&one, "v1", "amd64"), entry(&other, "v1", "amd64")];
    let source = write(folder.path(), &[&one, &other], &entries);
    let server = empty();
    let to = format!("{}/app:v1", server.host());
    let words = [
        "push",
        &format!("{source}:v1"),
        &to,
        "--platform",
        "linux/amd64",
    ];
    failed(&windlass(&words, &[]), 1);
    assert!(
        server
            .requests()
            .iter()
            .all(|it| it.method == "HEAD" || it.method == "GET")
    );
}

#[test]
fn one_content_under_several_names_is_no_question() {
    let folder = tempfile::tempdir().expect("a folder");
    let (image, _) = two();
    let entries = [
        entry(&image, "v1", "amd64"),
        entry(&image, "v1", "amd64"),
        entry(&image, "v2", "amd64"),
    ];
    let source = write(folder.path(), &[&image], &entries);
    for named in [
        source.clone(),
        format!("{source}:v1"),
        format!("{source}:v2"),
    ] {
        let server = empty();
        let to = format!("{}/app:v1", server.host());
        printed(&windlass(&["push", &named, &to], &[]));
        assert_eq!(
            tagged(&server, "v1").as_deref(),
            Some(image.digest.as_str())
        );
    }
}

#[test]
fn by_digest() {
    let folder = tempfile::tempdir().expect("a folder");
    let (amd64, arm64) = two();
    // The other one is in no entry, as the images of an index are not.
    let source = write(
        folder.path(),
        &[&amd64, &arm64],
        &[entry(&amd64, "v1", "amd64")],
    );
    for image in [&amd64, &arm64] {
        for verb in ["push", "copy"] {
            let server = empty();
            let to = format!("{}/app:v1", server.host());
            let named = format!("{source}@{}", image.digest.as_str());
            assert_eq!(
                printed(&windlass(&[verb, &named, &to], &[])).trim(),
                image.digest.as_str()
            );
            assert_eq!(
                tagged(&server, "v1").as_deref(),
                Some(image.digest.as_str())
            );
        }
    }
    let absent = windlass_testbed::Digest::sha256(b"absent");
    let named = format!("{source}@{}", absent.as_str());
    let server = empty();
    let to = format!("{}/app:v1", server.host());
    failed(&windlass(&["push", &named, &to], &[]), 3);
    failed(
        &windlass(&["push", &format!("{source}@sha256:abc"), &to], &[]),
        2,
    );
    assert!(server.requests().is_empty());
}

/// A digest does not name what comes in, and never becomes a folder.
#[test]
fn nothing_comes_in_by_digest() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = registry(Auth::Open);
    let from = format!("{}/app:v1", server.host());
    let digest = windlass_testbed::Digest::sha256(b"x");
    for verb in ["pull", "copy"] {
        let to = format!("{}@{}", layout(folder.path(), "out"), digest.as_str());
        let said = windlass(&[verb, &from, &to], &[]);
        let said = failed(&said, 2);
        assert!(said.contains("[:NAME]"), "{said}");
    }
    let left = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!((left, server.requests().len()), (0, 0));
}

/// A layer that the layout lacks is mounted from where the image comes from, relayed, or passes through a folder.
#[test]
fn a_missing_layer_comes_from_the_source() {
    let source = registry(Auth::Open);
    let folder = tempfile::tempdir().expect("a folder");
    let layout = format!("oci:{}", folder.path().join("images").display());
    let app = format!("{}/app", source.host());
    printed(&windlass(
        &["pull", &format!("{app}:v1"), &format!("{layout}:v1")],
        &[],
    ));
    let layer = windlass_testbed::Digest::sha256(&vec![7; 2 << 20]);
    let file = layer.as_str().replace(':', "/");
    fs::remove_file(folder.path().join("images/blobs").join(file)).expect("it was there");
    let other = Server::start(Model::new(Options::default())).expect("a port");
    let from = format!("{layout}:v1");
    let to = |server: &Server, name: &str| format!("{}/{name}:v1", server.host());
    let said = windlass(&["push", &from, &to(&other, "app")], &[]);
    assert!(failed(&said, 1).contains(layer.as_str()), "{said:?}");

    let push = |server: &Server, name: &str| {
        let to = to(server, name);
        let output = windlass(&["push", "--missing-from", &app, &from, &to], &[]);
        printed(&output);
        let there = server.with_model(|model| model.blob_bytes(name, &layer).map(|it| it.len()));
        assert_eq!(there, Some(2 << 20), "{name}");
        text(&output.stderr).to_owned()
    };
    push(&other, "app");
    assert!(push(&source, "mounted").contains("1 mounted"));
    source.with_model(|model| model.options_mut().uploads.mounts = false);
    assert!(push(&source, "sent").contains("0 mounted"));
}
