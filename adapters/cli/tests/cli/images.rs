//! Images: what is printed of them.

use serde_json::{Value, json};
use windlass_testbed::{Auth, Model, OCI_CONFIG, Options, Server, image_for, index};

use crate::common::{failed, layout, printed, text, windlass};

fn json_of(words: &[&str]) -> Value {
    serde_json::from_str(printed(&windlass(words, &[]))).expect("one object")
}

#[test]
fn config() {
    let arm = image_for("linux/arm64", &[b"of arm64".to_vec()]);
    let amd = image_for("linux/amd64", &[b"of amd64".to_vec()]);
    let both = index(&[("linux/arm64", &arm), ("linux/amd64", &amd)]);
    let mut model = Model::new(Options {
        auth: Auth::Open,
        ..Options::default()
    });
    model.put_image("app", None, &arm);
    model.put_image("app", Some("amd64"), &amd);
    model.put_index("app", Some("v1"), &both);
    let registry = Server::start(model).expect("a port");
    let at = |name: &str| format!("{}/{name}", registry.host());

    let (app, platform) = (at("app:v1"), ["--platform", "linux/arm64"]);
    let got = windlass(&["config", &app, platform[0], platform[1]], &[]);
    assert_eq!(printed(&got).as_bytes(), arm.config, "byte for byte");
    let single = windlass(&["config", &at("app:amd64")], &[]);
    assert_eq!(printed(&single).as_bytes(), amd.config);
    let config: Value = serde_json::from_slice(&arm.config).expect("JSON");
    assert_eq!(
        json_of(&["config", &app, platform[0], platform[1], "--json"]),
        json!({
            "reference": app,
            "manifest": arm.digest.as_str(),
            "digest": arm.blob_digests()[0].as_str(),
            "mediaType": OCI_CONFIG,
            "size": arm.config.len(),
            "config": config,
        })
    );
    let other = windlass(&["config", &app, "--platform", "linux/s390x"], &[]);
    let said = failed(&other, 3);
    assert!(said.contains("only linux/arm64, linux/amd64"), "{said}");
    let bad = windlass(&["config", &app, "--platform", "all"], &[]);
    assert!(failed(&bad, 2).contains("not a platform"));
}

/// A tar with one empty file, by this name.
fn tar_of(name: &str) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(b"00000000000");
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend(vec![0; 1024]);
    block
}

/// A registry with `app:amd64`, `app:arm64` and an index of both, `app:v1`.
fn two_platforms() -> Server {
    let mut model = Model::new(Options {
        auth: Auth::Open,
        ..Options::default()
    });
    let amd64 = image_for("linux/amd64", &[b"of amd64".to_vec()]);
    let arm64 = image_for("linux/arm64", &[b"of arm64".to_vec()]);
    model.put_image("app", Some("amd64"), &amd64);
    model.put_image("app", Some("arm64"), &arm64);
    let both = index(&[("linux/amd64", &amd64), ("linux/arm64", &arm64)]);
    model.put_index("app", Some("v1"), &both);
    Server::start(model).expect("a port")
}

fn digest_of(registry: &Server, tag: &str) -> String {
    registry.with_model(|model| model.tag("app", tag).expect("it is there").to_string())
}

#[test]
fn layers_are_appended() {
    let registry = two_platforms();
    let at = |name: &str| format!("{}/{name}", registry.host());
    let folder = tempfile::tempdir().expect("a folder");
    let tar = folder.path().join("files.tar");
    std::fs::write(&tar, tar_of("one")).expect("written");
    let tar = tar.to_str().expect("UTF-8");
    let (app, new) = (at("app:v1"), at("app:new"));
    let words = [
        "append",
        "--platform",
        "linux/arm64",
        "--created",
        "2026-01-02T03:04:05Z",
        &app,
        tar,
        "-t",
        &new,
    ];
    let appended = windlass(&words, &[]);
    let digest = printed(&appended).trim().to_owned();
    assert_eq!(digest, digest_of(&registry, "new"));
    let json = json_of(&[&words[..], &["--json"]].concat());
    assert_eq!(json["digest"], json!(digest), "the same again");
    assert_eq!(json["base"], json!(digest_of(&registry, "arm64")));
    let layer = windlass_testbed::Digest::sha256(&tar_of("one"));
    let expected = json!([{"digest": layer.as_str(), "size": 1536, "diffId": layer.as_str()}]);
    assert_eq!(json["layers"], expected);
    let config = json_of(&["config", &new, "--json"]);
    assert_eq!(config["digest"], json["config"]);
    assert_eq!(config["config"]["architecture"], "arm64");
    let diff_ids = config["config"]["rootfs"]["diff_ids"]
        .as_array()
        .expect("a list");
    assert_eq!((diff_ids.len(), &diff_ids[1]), (2, &json!(layer.as_str())));

    let text = folder.path().join("text");
    std::fs::write(&text, "no tar").expect("written");
    let text = text.to_str().expect("UTF-8");
    let said = windlass(&["append", &app, text, "-t", &new], &[]);
    assert!(failed(&said, 1).contains("it is no tar"));
    let said = windlass(&["append", &app, tar], &[]);
    assert!(failed(&said, 2).contains("--to"));
}

#[test]
fn an_image_is_mutated() {
    let registry = two_platforms();
    let at = |name: &str| format!("{}/{name}", registry.host());
    let (app, other) = (at("app:amd64"), at("other:v1"));
    let words = [
        "mutate",
        &app,
        "--to",
        &other,
        "--annotation",
        "a=b",
        "--label",
        "l=1",
        "--env",
        "A=x=y",
        "--entrypoint",
        "/app",
        "--entrypoint",
        "-v",
        "--cmd",
        "run",
        "--user",
        "1:1",
        "--workdir",
        "/w",
    ];
    let digest = printed(&windlass(&words, &[])).trim().to_owned();
    let manifest = json_of(&["manifest", "get", "--json", &other]);
    assert_eq!(manifest["digest"], json!(digest));
    assert_eq!(manifest["manifest"]["annotations"], json!({"a": "b"}));
    let config = json_of(&["config", &other, "--json"]);
    assert_eq!(
        config["config"]["config"],
        json!({
            "Env": ["A=x=y"], "Entrypoint": ["/app", "-v"], "Cmd": ["run"], "User": "1:1",
            "WorkingDir": "/w", "Labels": {"l": "1"},
        })
    );
    let words = [
        "mutate",
        &other,
        "-t",
        &other,
        "--remove-label",
        "l",
        "--remove-env",
        "A",
        "--remove-annotation",
        "a",
    ];
    printed(&windlass(&words, &[]));
    let config = json_of(&["config", &other, "--json"]);
    assert_eq!(config["config"]["config"]["Labels"], Value::Null);
    assert_eq!(config["config"]["config"]["Env"], json!([]));
    let said = windlass(&["mutate", &other, "-t", &other], &[]);
    assert!(failed(&said, 2).contains("nothing is to be changed"));
}

#[test]
fn indexes() {
    let registry = two_platforms();
    let at = |name: &str| format!("{}/{name}", registry.host());
    let (amd64, arm64, made) = (at("app:amd64"), at("app:arm64"), at("new/app:v1"));
    let platforms = |json: &Value| {
        let entries = json["entries"].as_array().expect("a list").iter();
        entries
            .map(|entry| entry["platform"].clone())
            .collect::<Vec<_>>()
    };
    let json = json_of(&[
        "index",
        "create",
        &made,
        &amd64,
        "--annotation",
        "n=v",
        "--json",
    ]);
    assert_eq!(platforms(&json), ["linux/amd64"]);
    assert_eq!(json["copied"], json!([digest_of(&registry, "amd64")]));
    let added = windlass(&["index", "add", &made, &arm64], &[]);
    let digest = printed(&added).trim().to_owned();
    let now = printed(&windlass(&["digest", &made], &[]))
        .trim()
        .to_owned();
    assert_eq!(now, digest, "in its place");

    let only = at("new/app:only");
    let words = [
        "index",
        "filter",
        &made,
        "--platform",
        "arm64",
        "--to",
        &only,
        "--json",
    ];
    assert_eq!(platforms(&json_of(&words)), ["linux/arm64"]);
    let words = [
        "index",
        "remove",
        &made,
        &digest_of(&registry, "arm64"),
        "--json",
    ];
    assert_eq!(platforms(&json_of(&words)), ["linux/amd64"]);
    let manifest = json_of(&["manifest", "get", "--json", &made]);
    assert_eq!(manifest["manifest"]["annotations"], json!({"n": "v"}));

    let said = windlass(
        &["index", "filter", &made, "--platform", "linux/s390x"],
        &[],
    );
    let said = failed(&said, 1);
    assert!(
        said.contains("nothing for linux/s390x, only for linux/amd64"),
        "{said}"
    );
    let said = windlass(&["index", "add", &amd64, &arm64], &[]);
    assert!(failed(&said, 1).contains("it is no index"));
}

#[test]
fn several_platforms() {
    let registry = two_platforms();
    let folder = tempfile::tempdir().expect("a folder");
    let (app, to) = (
        format!("{}/app:v1", registry.host()),
        layout(folder.path(), "images"),
    );
    let words = [
        "pull",
        "--platform",
        "linux/arm64,linux/arm64/v8",
        &app,
        &to,
    ];
    let pulled = windlass(&words, &[]);
    assert_eq!(printed(&pulled).trim(), digest_of(&registry, "v1"));
    let said = text(&pulled.stderr);
    assert!(
        said.contains("the index is sparse: 1 of its entries"),
        "{said}"
    );
    let json = json_of(&[&words[..], &["--json"]].concat());
    assert_eq!(
        (&json["entriesAbsent"], &json["blobsPresent"]),
        (&json!(1), &json!(2))
    );
    // It is kept, and what is missing is known.
    printed(&windlass(&["gc", &to], &[]));
    let verified = windlass(&["verify", &to], &[]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(text(&verified.stdout).contains(&digest_of(&registry, "amd64")));
    let whole = windlass(&["pull", "--platform", "all", &app, &to], &[]);
    printed(&whole);
    printed(&windlass(&["verify", &to], &[]));
}

/// One image does not replace an index unasked.
#[test]
fn an_image_of_an_index_is_changed_in_it() {
    let registry = two_platforms();
    let at = |name: &str| format!("{}/{name}", registry.host());
    let app = at("app:v1");
    let before = [digest_of(&registry, "amd64"), digest_of(&registry, "arm64")];
    let words = ["mutate", &app, "-t", &app, "--user", "1:1"];
    let said = windlass(&words, &[]);
    let said = failed(&said, 1);
    assert!(said.contains("say for which platform"), "{said}");
    let index = digest_of(&registry, "v1");
    let manifest = || json_of(&["manifest", "get", "--json", &app])["manifest"].clone();
    assert_eq!(manifest()["manifests"][1]["digest"], before[1]);

    let words = [&words[..], &["--platform", "linux/arm64", "--json"]].concat();
    let json = json_of(&words);
    assert_eq!(json["index"], digest_of(&registry, "v1"));
    assert_ne!(json["index"], index);
    let now = manifest();
    let entries = now["manifests"].as_array().expect("a list");
    let digests: Vec<_> = entries.iter().map(|entry| &entry["digest"]).collect();
    assert_eq!(digests, [&json!(before[0]), &json["digest"]]);
    assert_eq!(entries[1]["platform"]["architecture"], "arm64");
    let config = json_of(&["config", &app, "--platform", "arm64", "--json"]);
    assert_eq!(config["config"]["config"]["User"], "1:1");
    // At another tag there is nothing to be lost.
    let other = windlass(&["mutate", &app, "-t", &at("app:one"), "--user", "2"], &[]);
    printed(&other);
}

#[test]
fn an_image_that_was_built_again_replaces_the_one_before() {
    let registry = two_platforms();
    let at = |name: &str| format!("{}/{name}", registry.host());
    let (app, new) = (at("app:v1"), at("app:new"));
    let words = ["mutate", &at("app:arm64"), "-t", &new, "--user", "1:1"];
    let rebuilt = printed(&windlass(&words, &[])).trim().to_owned();
    let [amd64, arm64] = ["amd64", "arm64"].map(|tag| digest_of(&registry, tag));
    let digests = |json: &Value| {
        let entries = json["entries"].as_array().expect("a list").iter();
        entries.map(|entry| entry["digest"].clone()).collect()
    };
    let beside = at("app:both");
    let words = [
        "index", "add", &app, &new, "--beside", "--to", &beside, "--json",
    ];
    let output = windlass(&words, &[]);
    let json: Value = serde_json::from_str(printed(&output)).expect("one object");
    let found: Vec<Value> = digests(&json);
    assert_eq!(found, [&amd64, &arm64, &rebuilt].map(|it| json!(it)));
    assert_eq!(json["replaced"], json!([]));
    let said = text(&output.stderr);
    assert!(said.contains("clients take the first"), "{said}");

    let json = json_of(&["index", "add", &app, &new, "--json"]);
    let found: Vec<Value> = digests(&json);
    assert_eq!(found, [&amd64, &rebuilt].map(|it| json!(it)));
    assert_eq!(json["replaced"], json!([arm64]));
}

#[test]
fn annotations_of_indexes() {
    let registry = two_platforms();
    let app = format!("{}/app:v1", registry.host());
    let arm64 = digest_of(&registry, "arm64");
    let annotations =
        || json_of(&["manifest", "get", "--json", &app])["manifest"]["annotations"].clone();
    let add = format!("{}/app:amd64", registry.host());
    let table = [
        (
            vec!["add", &app, &add, "--annotation", "a=1"],
            json!({"a": "1"}),
        ),
        (
            vec!["remove", &app, &arm64, "--annotation", "b=2"],
            json!({"a": "1", "b": "2"}),
        ),
        (
            vec![
                "filter",
                &app,
                "--platform",
                "amd64",
                "--remove-annotation",
                "a",
            ],
            json!({"b": "2"}),
        ),
    ];
    for (words, expected) in table {
        printed(&windlass(&[&["index"], &words[..]].concat(), &[]));
        assert_eq!(annotations(), expected, "{words:?}");
    }
}

#[test]
fn times_of_creation() {
    let registry = two_platforms();
    let app = format!("{}/app:amd64", registry.host());
    for time in ["nonsense", "2026-01-02", "2026-02-30T00:00:00Z"] {
        let said = windlass(&["mutate", &app, "-t", &app, "--created", time], &[]);
        assert!(failed(&said, 2).contains("it is no time"), "{time}");
    }
}
