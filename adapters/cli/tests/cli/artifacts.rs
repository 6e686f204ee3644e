//! Artifacts: pushed, attached and pulled by the command.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use windlass_testbed::{Auth, Model, Options, Server, image};

use crate::common::{failed, printed, text, windlass};

/// A registry with `app:v1`.
fn registry(referrers_api: bool) -> Server {
    let mut model = Model::new(Options {
        auth: Auth::Open,
        referrers_api,
        ..Options::default()
    });
    model.put_image("app", Some("v1"), &image(&[]));
    Server::start(model).expect("a port")
}

fn json_of(words: &[&str]) -> Value {
    serde_json::from_str(printed(&windlass(words, &[]))).expect("one object")
}

fn written(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, content).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn files_come_back() {
    let registry = registry(true);
    let folder = tempfile::tempdir().expect("a folder");
    let doc = written(folder.path(), "README.md", "read me\n");
    let data = written(folder.path(), "data", "\0\x01");
    let config = written(folder.path(), "config.json", "{\"a\":1}");
    let at = format!("{}/team/docs:v1", registry.host());
    let (doc, config) = (
        format!("{doc}:text/markdown"),
        format!("{config}:application/vnd.x.config+json"),
    );
    let words = [
        "artifact",
        "push",
        "--artifact-type",
        "application/vnd.x",
        "--artifact-config",
        &config,
        "--annotation",
        "b=2",
        "--annotation",
        "a=1",
        &at,
        &doc,
        &data,
    ];
    let pushed = windlass(&words, &[]);
    let digest = printed(&pushed).trim().to_owned();
    // The same files give the same digest.
    assert_eq!(printed(&windlass(&words, &[])).trim(), digest);
    let manifest = json_of(&["manifest", "get", "--json", &at]);
    assert_eq!(manifest["digest"], json!(digest));
    let manifest = &manifest["manifest"];
    assert_eq!(manifest["artifactType"], "application/vnd.x");
    assert_eq!(manifest["annotations"], json!({"a": "1", "b": "2"}));
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.x.config+json"
    );
    let parts = |member: &str| {
        let layers = manifest["layers"].as_array().expect("a list").iter();
        layers
            .map(|layer| layer[member].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        parts("mediaType"),
        ["text/markdown", "application/octet-stream"]
    );
    assert_eq!(
        parts("annotations"),
        ["README.md", "data"].map(|title| json!({"org.opencontainers.image.title": title}))
    );

    let into = folder.path().join("new/folder");
    let name = into.to_str().expect("UTF-8");
    let pulled = windlass(&["artifact", "pull", &at, name], &[]);
    assert_eq!(printed(&pulled), "README.md\ndata\n");
    assert!(text(&pulled.stderr).contains(&format!("pulled {digest} into {name}: 2 files")));
    assert_eq!(
        fs::read(into.join("README.md")).expect("there"),
        b"read me\n"
    );
    assert_eq!(fs::read(into.join("data")).expect("there"), b"\0\x01");
    let json = json_of(&["artifact", "pull", "--json", &at, name]);
    assert_eq!(
        (&json["digest"], &json["untitled"]),
        (&json!(digest), &json!([]))
    );
    assert_eq!(json["files"][0]["name"], "README.md");
    assert_eq!(json["files"][1]["size"], 2);
}

#[test]
fn attached_and_listed() {
    for referrers_api in [true, false] {
        let registry = registry(referrers_api);
        let folder = tempfile::tempdir().expect("a folder");
        let sbom = written(folder.path(), "sbom.json", "{}\n") + ":application/spdx+json";
        let at = format!("{}/app:v1", registry.host());
        let kind = ["--artifact-type", "application/spdx+json"];
        let words = [
            "attach",
            kind[0],
            kind[1],
            "--annotation",
            "by=me",
            &at,
            &sbom,
        ];
        let attached = windlass(&words, &[]);
        let digest = printed(&attached).trim().to_owned();
        let subject = printed(&windlass(&["digest", &at], &[])).trim().to_owned();
        assert!(text(&attached.stderr).contains(&format!("attached {digest} to {subject}")));
        let json = json_of(&[&words[..], &["--json"]].concat());
        assert_eq!(
            (&json["digest"], &json["subject"]),
            (&json!(digest), &json!(subject))
        );
        assert_eq!(
            (&json["tags"], &json["unlisted"]),
            (&json!([]), &Value::Null)
        );
        let listed = windlass(&["referrers", &at], &[]);
        assert_eq!(
            printed(&listed),
            format!("{digest} application/spdx+json\n")
        );

        // Something without a file, about the SBOM.
        let about = format!("{}/app@{digest}", registry.host());
        let note = ["attach", "--artifact-type", "a/note", &about];
        let note = printed(&windlass(&note, &[])).trim().to_owned();
        let tree = windlass(&["referrers", &at], &[]);
        let expected = format!("{digest} application/spdx+json\n  {note} a/note\n");
        assert_eq!(printed(&tree), expected);
        let tags = printed(&windlass(
            &["tags", &format!("{}/app", registry.host())],
            &[],
        ))
        .lines()
        .count();
        assert_eq!(
            tags,
            if referrers_api { 1 } else { 3 },
            "it has no tag of its own"
        );
    }
}

#[test]
fn what_is_refused() {
    let registry = registry(true);
    let at = format!("{}/app:v1", registry.host());
    let folder = tempfile::tempdir().expect("a folder");
    let file = written(folder.path(), "file", "x");
    let docs = format!("{}/docs:v1", registry.host());
    printed(&windlass(&["artifact", "push", &docs, &file], &[]));
    let table: [(&[&str], i32, &str); 7] = [
        (&["attach", &at, &file], 2, "--artifact-type"),
        (
            &["attach", "--artifact-type", "sbom", &at, &file],
            1,
            "no media type: `sbom`",
        ),
        (
            &["artifact", "push", &at, &file, &file],
            1,
            "two files `file`",
        ),
        (
            &["artifact", "push", &at, "/nonexistent/file"],
            1,
            "/nonexistent/file",
        ),
        (
            &["artifact", "push", "--artifact-config", &file, &at],
            2,
            "write FILE:MEDIATYPE",
        ),
        (
            &["artifact", "push", "--annotation", "x", &at],
            2,
            "expected NAME=VALUE",
        ),
        (&["artifact", "pull", &docs, &file], 1, "cannot create"),
    ];
    for (words, code, expected) in table {
        let said = windlass(words, &[]);
        let said = failed(&said, code);
        assert!(said.contains(expected), "{words:?}: {said}");
    }
}

/// Another tool's artifact may have any names.
#[test]
fn names_that_lead_elsewhere() {
    let registry = registry(true);
    let at = format!("{}/app:v1", registry.host());
    let mut manifest = json_of(&["manifest", "get", "--json", &at])["manifest"].take();
    let folder = tempfile::tempdir().expect("a folder");
    let blob = written(folder.path(), "blob", "content");
    let put = windlass(&["blob", "put", &at, &blob], &[]);
    let digest = printed(&put).trim();
    let into = folder.path().join("into");
    let name = into.to_str().expect("UTF-8");
    for title in ["../blob", "/etc/windlass", "a/../../blob"] {
        manifest["layers"] = json!([{
            "mediaType": "a/b", "digest": digest, "size": 7,
            "annotations": {"org.opencontainers.image.title": title},
        }]);
        let path = written(folder.path(), "manifest.json", &manifest.to_string());
        printed(&windlass(&["manifest", "put", &at, &path], &[]));
        let said = windlass(&["artifact", "pull", &at, name], &[]);
        let said = failed(&said, 1);
        assert!(said.contains(&format!("refused: `{title}`")), "{said}");
        assert!(!into.exists());
    }
}
