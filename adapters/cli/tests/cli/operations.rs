//! Operations on registries: what they print, and how they fail.

use serde_json::{Value, json};
use windlass_testbed::{Auth, Digest, Entry, Model, Options, Server, image};

use crate::common::{failed, printed, text, windlass, windlass_with};

/// A registry with `app:v0` to `app:v4` and `team/other`.
fn registry() -> Server {
    let mut model = Model::new(Options {
        auth: Auth::Open,
        ..Options::default()
    });
    for n in 0..5 {
        model.put_image("app", Some(&format!("v{n}")), &image(&[]));
    }
    model.put_image("team/other", Some("v1"), &image(&[]));
    Server::start(model).expect("a port")
}

fn json_of(words: &[&str]) -> Value {
    let output = windlass(words, &[]);
    serde_json::from_str(printed(&output)).expect("one object")
}

#[test]
fn tags() {
    let registry = registry();
    let app = format!("{}/app", registry.host());
    let all = windlass(&["tags", &app], &[]);
    assert_eq!(printed(&all), "v0\nv1\nv2\nv3\nv4\n");
    assert!(all.stderr.is_empty(), "{}", text(&all.stderr));
    let small = windlass(&["tags", &app, "--page-size", "2"], &[]);
    assert_eq!(printed(&small), printed(&all));
    let part = windlass(&["tags", &app, "--after", "v0", "--limit", "2"], &[]);
    assert_eq!(printed(&part), "v1\nv2\n");
    assert!(text(&part.stderr).contains("go on with --after v2"));
    assert_eq!(
        json_of(&["tags", &app, "--limit", "1", "--json"]),
        json!({"repository": app, "tags": ["v0"], "hasMore": true})
    );
}

#[test]
fn tags_of_nothing() {
    let registry = registry();
    let nothing = format!("{}/nothing", registry.host());
    let said = windlass(&["tags", &nothing], &[]);
    let said = failed(&said, 3);
    assert!(said.contains("NAME_UNKNOWN"), "{said}");
    let tagged = format!("{}/app:v1", registry.host());
    let said = windlass(&["tags", &tagged], &[]);
    assert!(failed(&said, 2).contains("without a tag or digest"));
}

#[test]
fn catalog() {
    let registry = registry();
    let host = registry.host();
    let all = windlass(&["catalog", &host], &[]);
    assert_eq!(printed(&all), "app\nteam/other\n");
    assert_eq!(
        json_of(&["catalog", &host, "--json"]),
        json!({"registry": host, "repositories": ["app", "team/other"], "hasMore": false})
    );
    registry.with_model(|model| model.options_mut().catalog = false);
    let said = windlass(&["catalog", &host], &[]);
    let said = failed(&said, 3);
    assert!(said.contains("hint: many registries do not list"), "{said}");
}

fn digest_of(registry: &Server, tag: &str) -> String {
    let digest = |model: &mut Model| model.tag("app", tag).expect("it is there").to_string();
    registry.with_model(digest)
}

fn has(registry: &Server, tag: &str) -> bool {
    registry.with_model(|model| model.tag("app", tag).is_some())
}

#[test]
fn manifests() {
    let registry = registry();
    let at = |name: &str| format!("{}/{name}", registry.host());
    let (app, digest) = (at("app:v1"), digest_of(&registry, "v1"));
    let got = windlass(&["manifest", "get", &app], &[]);
    let bytes = printed(&got).to_owned();
    let there = registry.with_model(|model| {
        let digest = model.tag("app", "v1").expect("it is there");
        let (_, bytes) = model.manifest_bytes("app", digest).expect("it is there");
        bytes.to_vec()
    });
    assert_eq!(bytes.as_bytes(), there, "byte for byte");
    let head = windlass(&["manifest", "head", &app], &[]);
    assert_eq!(printed(&head), format!("{digest}\n"));
    let json = json_of(&["manifest", "get", &app, "--json"]);
    assert_eq!(
        (&json["digest"], &json["size"]),
        (&json!(digest), &json!(bytes.len()))
    );
    assert_eq!(json["manifest"]["schemaVersion"], 2);

    // What is put is what was read.
    let words = ["manifest", "put", &at("app:new"), "-", "--tag", "newer"];
    let put = windlass_with(&words, &[], &bytes);
    assert_eq!(printed(&put), format!("{digest}\n"));
    assert_eq!(
        (digest_of(&registry, "new"), digest_of(&registry, "newer")),
        (digest.clone(), digest.clone())
    );
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("manifest.json");
    std::fs::write(&path, format!("{bytes}\n")).expect("written");
    let path = path.to_str().expect("UTF-8");
    let json = json_of(&["manifest", "put", &at("app:other"), path, "--json"]);
    assert_eq!(json["tags"], json!(["other"]));
    assert_eq!(
        (&json["digest"], &json["unlisted"]),
        (&json!(digest_of(&registry, "other")), &Value::Null)
    );

    let without = windlass_with(&["manifest", "put", &app, "-"], &[], "{}");
    assert!(failed(&without, 2).contains("give --media-type"));
    let at_digest = at(&format!("app@{digest}"));
    let words = ["manifest", "put", &at_digest, "-", "--media-type", "a/b"];
    let other = windlass_with(&words, &[], "{}");
    let said = failed(&other, 6);
    assert!(said.contains(&digest), "{said}");

    let gone = windlass(&["manifest", "delete", &at_digest], &[]);
    assert_eq!(printed(&gone), format!("{at_digest}\n"));
    assert!(!has(&registry, "new") && !has(&registry, "v1") && has(&registry, "other"));
    let said = windlass(&["manifest", "delete", &app], &[]);
    assert!(failed(&said, 2).contains("a digest is expected here"));
}

#[test]
fn tag_and_delete() {
    let registry = registry();
    let at = |name: &str| format!("{}/{name}", registry.host());
    let (app, digest) = (at("app:v1"), digest_of(&registry, "v1"));
    let tagged = windlass(&["tag", &app, "stable", "latest"], &[]);
    assert_eq!(printed(&tagged), format!("{digest}\n"));
    assert!(text(&tagged.stderr).contains("stable, latest in"));
    assert_eq!(digest_of(&registry, "latest"), digest);

    let gone = windlass(&["delete", &app], &[]);
    assert_eq!(printed(&gone), format!("{app}\n"));
    assert!(!has(&registry, "v1") && has(&registry, "stable"));
    let said = windlass(&["delete", &app], &[]);
    assert!(failed(&said, 3).contains("manifest `v1`"));
    let json = json_of(&["delete", &app, "--ignore-missing", "--json"]);
    assert_eq!(
        (&json["deleted"], &json["digest"]),
        (&json!(false), &Value::Null)
    );

    registry.with_model(|model| model.options_mut().deletes.tags = false);
    let stable = at("app:stable");
    let said = windlass(&["delete", &stable], &[]);
    let said = failed(&said, 1);
    assert!(
        said.contains("405") && said.contains("would delete `latest`"),
        "{said}"
    );
    assert!(said.contains("--with-manifest"), "{said}");
    let json = json_of(&["delete", "--with-manifest", &stable, "--json"]);
    assert_eq!(
        (&json["deleted"], &json["digest"]),
        (&json!(true), &json!(digest))
    );
    assert!(!has(&registry, "stable") && !has(&registry, "latest"));
}

#[test]
fn blobs() {
    let registry = registry();
    let at = |name: &str| format!("{}/{name}", registry.host());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    std::fs::write(&path, vec![7; 300_000]).expect("written");
    let path = path.to_str().expect("UTF-8");
    let put = windlass(&["blob", "put", &at("app"), path], &[]);
    let digest = printed(&put).trim().to_owned();
    let named = at(&format!("app@{digest}"));
    let head = windlass(&["blob", "head", &named], &[]);
    assert_eq!(printed(&head), "300000\n");
    let json = json_of(&["blob", "put", &named, path, "--json"]);
    let expected =
        json!({"repository": at("app"), "digest": digest, "size": 300_000, "how": "present"});
    assert_eq!(json, expected);
    let json = json_of(&[
        "blob",
        "put",
        "--mount-from",
        "app",
        &at("other"),
        path,
        "--json",
    ]);
    assert_eq!(json["how"], "mounted");
    let stdin = ["blob", "put", &at("app"), "-"];
    let put = windlass_with(&stdin, &[], "from a pipe");
    let piped = Digest::sha256("from a pipe".as_bytes());
    assert_eq!(printed(&put), format!("{piped}\n"));
    let words = [&stdin[..], &["--mount-from", "other"]].concat();
    let said = windlass_with(&words, &[], "from a pipe");
    let said = failed(&said, 2);
    assert!(said.contains("--mount-from is for files"), "{said}");

    // In chunks, while it is read.
    let text = "7".repeat(200_000);
    let words = [&stdin[..], &["--json", "--chunk-size", "64K"]].concat();
    let json = printed(&windlass_with(&words, &[], &text)).to_owned();
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let streamed = Digest::sha256(text.as_bytes());
    let expected = json!({"repository": at("app"), "digest": streamed.as_str(), "size": 200_000, "how": "sent"});
    assert_eq!(json, expected);
    let is_patch = |entry: &&Entry| entry.method == "PATCH";
    let patches = registry.with_model(|model| model.log().iter().filter(is_patch).count());
    assert_eq!(patches, 4);

    // The size is in the answer to a GET, which a mirror may give, too.
    let entries = || registry.with_model(|model| model.log().len());
    let before = entries();
    let got = folder.path().join("got");
    let got = got.to_str().expect("UTF-8");
    let json = json_of(&["blob", "get", &named, "-o", got, "--json"]);
    let expected = json!({"reference": named, "digest": digest, "size": 300_000, "file": got});
    assert_eq!(json, expected);
    assert_eq!(std::fs::read(got).expect("it is there"), vec![7; 300_000]);
    registry.with_model(|model| {
        let heads = model.log()[before..]
            .iter()
            .filter(|it| it.method == "HEAD");
        assert_eq!(heads.count(), 0);
    });
    let before = entries();
    let short = windlass(&["blob", "get", &at(&format!("app@{piped}"))], &[]);
    assert_eq!(printed(&short), "from a pipe");
    assert_eq!(entries() - before, 1, "one request");
    let said = windlass(&["blob", "get", &named, "--json"], &[]);
    assert!(failed(&said, 2).contains("--output"));

    let gone = windlass(&["blob", "delete", &named], &[]);
    assert_eq!(printed(&gone), format!("{named}\n"));
    let said = windlass(&["blob", "head", &named], &[]);
    assert!(failed(&said, 3).contains("BLOB_UNKNOWN"));
    assert_eq!(
        printed(&windlass(
            &["blob", "delete", &named, "--ignore-missing"],
            &[]
        )),
        ""
    );
    let said = windlass(&["blob", "put", &at("app"), "/nonexistent/file"], &[]);
    assert!(failed(&said, 1).contains("/nonexistent/file"));
}

#[test]
fn a_blob_is_fetched() {
    let registry = registry();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let digest = registry.with_model(|model| model.put_blob("app", bytes.clone()).to_string());
    let named = format!("{}/app@{digest}", registry.host());
    let got = windlass(&["blob", "get", &named], &[]);
    assert_eq!((got.status.code(), got.stdout == bytes), (Some(0), true));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let name = path.to_str().expect("UTF-8");
    assert_eq!(
        printed(&windlass(&["blob", "get", &named, "-o", name], &[])),
        ""
    );
    assert!(std::fs::read(&path).expect("it is there") == bytes);
    let left = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 1, "nothing but the file");

    let range = |range: &str| windlass(&["blob", "get", &named, "--range", range], &[]).stdout;
    assert_eq!(range("5-9"), bytes[5..10]);
    assert!(
        range("1-2500000") == bytes[1..2_500_001],
        "in several requests"
    );
    assert_eq!(range("2999998-9999999"), bytes[2_999_998..]);
    let said = windlass(&["blob", "get", &named, "--range", "9-5"], &[]);
    assert!(failed(&said, 2).contains("not a range of bytes"));
}

/// What does not match its digest is neither printed nor written.
#[test]
fn a_blob_that_is_damaged() {
    let registry = registry();
    let digest = Digest::sha256(b"what it should be");
    registry.with_model(|model| model.put_damaged_blob("app", &digest, "what it is really"));
    let named = format!("{}/app@{digest}", registry.host());
    failed(&windlass(&["blob", "get", &named], &[]), 6);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let name = path.to_str().expect("UTF-8");
    failed(&windlass(&["blob", "get", &named, "-o", name], &[]), 6);
    assert!(!path.exists());
}

#[test]
fn referrers() {
    for referrers_api in [true, false] {
        let registry = registry();
        registry.with_model(|model| model.options_mut().referrers_api = referrers_api);
        let at = |name: &str| format!("{}/{name}", registry.host());
        let app = at("app:v1");
        let none = windlass(&["referrers", &app], &[]);
        assert_eq!(printed(&none), "");
        let says = text(&none.stderr).contains("no referrers API");
        assert_eq!(says, !referrers_api, "not supported is not none");

        let about = |subject: &str, kind: &str| {
            let mut manifest = json_of(&["manifest", "get", subject, "--json"]);
            let subject = json!({
                "mediaType": manifest["mediaType"], "digest": manifest["digest"], "size": manifest["size"],
            });
            let manifest = &mut manifest["manifest"];
            manifest["subject"] = subject;
            manifest["artifactType"] = json!(kind);
            let put = windlass_with(
                &["manifest", "put", &at("app:new"), "-"],
                &[],
                &manifest.to_string(),
            );
            printed(&put).trim().to_owned()
        };
        let sbom = about(&app, "a/sbom");
        let signature = about(&at(&format!("app@{sbom}")), "a/signature");
        let tree = windlass(&["referrers", &app], &[]);
        assert_eq!(
            printed(&tree),
            format!("{sbom} a/sbom\n  {signature} a/signature\n")
        );
        let flat = windlass(&["referrers", &app, "--depth", "1"], &[]);
        assert_eq!(printed(&flat), format!("{sbom} a/sbom\n"));
        let other = windlass(&["referrers", &app, "--artifact-type", "a/other"], &[]);
        assert_eq!(printed(&other), "");
        let json = json_of(&["referrers", &app, "--json"]);
        let source = if referrers_api { "api" } else { "tag" };
        assert_eq!(
            (&json["source"], &json["subject"]),
            (&json!(source), &json!(digest_of(&registry, "v1")))
        );
        assert_eq!(
            json["referrers"][0]["referrers"][0]["digest"],
            json!(signature)
        );
    }
}
