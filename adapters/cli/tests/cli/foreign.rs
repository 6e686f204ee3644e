//! Foreign layers on the command line: what is said and printed of those that are left out.

use crate::common::{failed, layout, printed, registry, text, windlass};
use serde_json::{Value, json};
use windlass_testbed::{Auth, Digest, OCI_MANIFEST, Server, descriptor, image};

const LAYER: &[u8] = b"not distributable";
const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// A registry with `windows:v1`, whose base layer is at this URL.
fn scene(url: &str) -> Server {
    let mut image = image(&[b"layer".to_vec()]);
    let mut manifest: Value = serde_json::from_slice(&image.manifest).expect("a manifest");
    let mut foreign = descriptor(FOREIGN, LAYER);
    foreign["urls"] = json!([url]);
    let layers = manifest["layers"].as_array_mut().expect("layers");
    layers.insert(0, foreign);
    image.manifest = manifest.to_string().into_bytes().into();
    image.digest = Digest::sha256(&image.manifest);
    assert!(manifest["mediaType"] == OCI_MANIFEST);
    let registry = registry(Auth::Open);
    registry.with_model(|model| {
        model.put_image("windows", Some("v1"), &image);
        model.put_blob("files", LAYER);
    });
    registry
}

#[test]
fn what_is_left_out_is_told() {
    let server = scene("http://127.0.0.1:9/layer");
    let folder = tempfile::tempdir().expect("a folder");
    let windows = format!("{}/windows:v1", server.host());
    let out = layout(folder.path(), "out");
    let words = ["pull", &windows, &out, "--platform", "all"];
    let output = windlass(&words, &[]);
    let digest = Digest::sha256(LAYER).to_string();
    printed(&output);
    let said = text(&output.stderr);
    let line = said.lines().find(|line| line.starts_with("warning: "));
    let line = line.expect("a warning");
    assert!(line.contains("1 foreign layer was left out"), "{line}");
    assert!(line.contains(&digest), "{line}");
    assert!(line.contains("--include-nondistributable"), "{line}");

    let pushed = format!("{}/pushed:v1", server.host());
    let copied = format!("{}/copied:v1", server.host());
    let named = format!("{out}:v1");
    for words in [
        ["pull", &windows, &out],
        ["push", &named, &pushed],
        ["copy", &windows, &copied],
    ] {
        let output = windlass(
            &[&words[..], &["--platform", "all", "--json"]].concat(),
            &[],
        );
        let report: Value = serde_json::from_str(printed(&output)).expect("one object");
        assert_eq!(report["layersLeftOut"], 1, "{report}");
        let expected = json!([
            {"mediaType": FOREIGN, "digest": digest, "size": LAYER.len()}
        ]);
        assert_eq!(report["leftOut"], expected, "{report}");
    }
}

#[test]
fn what_is_included_comes_from_its_url() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = layout(folder.path(), "out");
    let including = |server: &Server| {
        let windows = format!("{}/windows:v1", server.host());
        let words = ["pull", &windows, &out, "--include-nondistributable"];
        windlass(&words, &[])
    };
    let url = format!("/v2/files/blobs/{}", Digest::sha256(LAYER));
    let files = scene("");
    let server = scene(&format!("http://{}{url}", files.host()));
    let output = including(&server);
    printed(&output);
    assert!(!text(&output.stderr).contains("left out"));
    let blob = Digest::sha256(LAYER);
    let blob = blob.as_str().strip_prefix("sha256:").expect("a sha256");
    let path = folder.path().join("out/blobs/sha256").join(blob);
    assert_eq!(std::fs::read(&path).expect("it was pulled"), LAYER);

    // A registry on loopback may name others there, but nothing in a private network.
    std::fs::remove_file(&path).expect("it was there");
    let output = including(&scene("http://10.255.255.1/layer"));
    let said = failed(&output, 1);
    assert!(said.contains("private address"), "{said}");
}
