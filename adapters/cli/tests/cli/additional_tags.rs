//! `--additional-tag`: which tags are there afterwards, by which requests, and what is told of them.

use serde_json::{Value, json};
use windlass_testbed::{Model, Options, Server, image};

use crate::common::{failed, layout, printed, text, windlass};

/// A registry with `app:v1`.
fn registry(tag_parameter: bool) -> Server {
    let options = Options {
        tag_parameter,
        ..Options::default()
    };
    let mut model = Model::new(options);
    model.put_image("app", Some("v1"), &image(&[b"layer".to_vec()]));
    Server::start(model).expect("a port")
}

fn at(server: &Server, path: &str) -> String {
    format!("{}/{path}", server.host())
}

fn tag(server: &Server, repository: &str, tag: &str) -> Option<String> {
    server.with_model(|model| model.tag(repository, tag).map(ToString::to_string))
}

/// The requests about manifests after the first `before` ones, without the digest.
fn about_manifests(server: &Server, before: usize) -> Vec<String> {
    let digest = tag(server, "app", "v1").expect("it is there");
    let requests = server.requests().split_off(before);
    let lines = requests.iter().map(|request| request.line());
    lines
        .filter(|line| line.contains("/manifests/"))
        .map(|line| line.replace(&digest, "DIGEST"))
        .collect()
}

/// One request has all further tags where the registry takes that, otherwise each has its own. Those that are named
/// twice are put once, and a push of what is there puts them, too.
#[test]
fn of_a_push() {
    let heads = [
        "HEAD /v2/team/app/manifests/1.2.3 404",
        "HEAD /v2/team/app/manifests/DIGEST 404",
        "PUT /v2/team/app/manifests/1.2.3 201",
    ];
    let at_once = ["PUT /v2/team/app/manifests/DIGEST?tag=1.2&tag=1&tag=latest 201"];
    let single = [
        "PUT /v2/team/app/manifests/1.2 201",
        "PUT /v2/team/app/manifests/1 201",
        "PUT /v2/team/app/manifests/latest 201",
    ];
    // A registry that ignores the parameter answers 201 without naming the tags.
    let ignored = [&at_once[..], &single].concat();
    for (tag_parameter, expected) in [(true, &at_once[..]), (false, &ignored)] {
        let registry = registry(tag_parameter);
        let folder = tempfile::tempdir().expect("a folder");
        let (app, out) = (at(&registry, "app:v1"), layout(folder.path(), "out"));
        printed(&windlass(&["pull", "--platform", "all", &app, &out], &[]));
        let digest = tag(&registry, "app", "v1").expect("it is there");
        let to = at(&registry, "team/app:1.2.3");
        let words = [
            "push",
            "--additional-tag",
            "1.2,1",
            "--additional-tag",
            "latest",
            "--additional-tag",
            "1.2.3,1",
            &out,
            &to,
        ];
        let before = registry.requests().len();
        let output = windlass(&words, &[]);
        assert_eq!(printed(&output), format!("{digest}\n"));
        let told = format!(
            "tags in {}: 1.2.3, 1.2, 1, latest\n",
            at(&registry, "team/app")
        );
        assert!(text(&output.stderr).ends_with(&told), "{output:?}");
        for name in ["1.2.3", "1.2", "1", "latest"] {
            assert_eq!(
                tag(&registry, "team/app", name),
                Some(digest.clone()),
                "{name}"
            );
        }
        let requests = about_manifests(&registry, before);
        assert_eq!(requests, [&heads[..], expected].concat(), "{tag_parameter}");

        let before = registry.requests().len();
        let output = windlass(&[&words[..], &["--json"]].concat(), &[]);
        let report: Value = serde_json::from_str(printed(&output)).expect("one object");
        assert_eq!(report["tags"], json!(["1.2.3", "1.2", "1", "latest"]));
        let head = ["HEAD /v2/team/app/manifests/1.2.3 200"];
        let requests = about_manifests(&registry, before);
        assert_eq!(requests, [&head[..], expected].concat(), "{tag_parameter}");
    }
}

#[test]
fn of_a_copy() {
    let (from, to) = (registry(true), registry(true));
    let (app, copied) = (at(&from, "app:v1"), at(&to, "team/app"));
    let words = ["copy", "--additional-tag", "v1", &app, &copied, "--json"];
    let output = windlass(&words, &[]);
    let report: Value = serde_json::from_str(printed(&output)).expect("one object");
    assert_eq!(report["tags"], json!(["latest", "v1"]));
    let requests = about_manifests(&to, 0);
    assert_eq!(
        requests,
        [
            "HEAD /v2/team/app/manifests/latest 404",
            "HEAD /v2/team/app/manifests/DIGEST 404",
            "PUT /v2/team/app/manifests/latest 201",
            "PUT /v2/team/app/manifests/v1 201",
        ]
    );
    // The digest says what is to be copied; it has a tag beside it.
    let digest = report["digest"].as_str().expect("a digest");
    let pinned = format!("{}@{digest}", at(&to, "other:v1"));
    printed(&windlass(
        &["copy", "--additional-tag", "v2", &app, &pinned],
        &[],
    ));
    for name in ["v1", "v2"] {
        assert_eq!(tag(&to, "other", name).as_deref(), Some(digest), "{name}");
    }

    // What has no further tags tells its own, and an entry of a layout has none.
    let folder = tempfile::tempdir().expect("a folder");
    let out = layout(folder.path(), "out");
    for (to, tags) in [(at(&to, "plain:x"), json!(["x"])), (out, json!([]))] {
        let output = windlass(&["copy", &app, &to, "--json"], &[]);
        let report: Value = serde_json::from_str(printed(&output)).expect("one object");
        assert_eq!(report["tags"], tags);
        assert!(!text(&output.stderr).contains("tags in"), "{output:?}");
    }
}

/// Each destination that is a registry gets them, and an entry of a layout has none.
#[test]
fn of_a_copy_to_several_destinations() {
    let (from, to) = (registry(true), registry(false));
    let folder = tempfile::tempdir().expect("a folder");
    let app = at(&from, "app:v1");
    let (near, far) = (at(&from, "team/app:1.2"), at(&to, "team/app:1.2"));
    let out = layout(folder.path(), "out");
    let words = ["copy", "--additional-tag", "1,latest", "--json"];
    let output = windlass(&[&words[..], &[&app, &near, &out, &far]].concat(), &[]);
    let reports: Vec<Value> = printed(&output)
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object per destination"))
        .collect();
    let tags: Vec<&Value> = reports.iter().map(|report| &report["tags"]).collect();
    let all = json!(["1.2", "1", "latest"]);
    assert_eq!(tags, [&all, &json!([]), &all]);
    let digest = tag(&from, "app", "v1").expect("it is there");
    for server in [&from, &to] {
        for name in ["1.2", "1", "latest"] {
            assert_eq!(
                tag(server, "team/app", name),
                Some(digest.clone()),
                "{name}"
            );
        }
    }
}

#[test]
fn of_artifacts_and_manifests() {
    let registry = registry(true);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "content").expect("written");
    let file = file.to_str().expect("UTF-8");
    let docs = at(&registry, "docs:1.2");
    let words = [
        "artifact",
        "push",
        "--additional-tag",
        "1,latest",
        &docs,
        file,
        "--json",
    ];
    let report: Value = serde_json::from_str(printed(&windlass(&words, &[]))).expect("one object");
    assert_eq!(report["tags"], json!(["1.2", "1", "latest"]));
    let manifest = folder.path().join("manifest.json");
    let got = windlass(&["manifest", "get", &docs], &[]);
    std::fs::write(&manifest, printed(&got)).expect("written");
    let manifest = manifest.to_str().expect("UTF-8");
    let words = [
        "manifest",
        "put",
        "--additional-tag",
        "a,b",
        &docs,
        manifest,
    ];
    printed(&windlass(&words, &[]));
    let digest = tag(&registry, "docs", "1.2");
    for name in ["1", "latest", "a", "b"] {
        assert_eq!(tag(&registry, "docs", name), digest, "{name}");
    }
}

/// A tag that may not be moved ends the command. It says which tags refer to the image nevertheless.
#[test]
fn one_that_is_refused() {
    let (from, to) = (registry(false), registry(false));
    to.with_model(|model| {
        model.put_image("team/app", Some("frozen"), &image(&[b"another".to_vec()]));
        model.options_mut().immutable_tags = true;
    });
    let (app, copied) = (at(&from, "app:v1"), at(&to, "team/app:v1"));
    let words = [
        "copy",
        "--additional-tag",
        "first,frozen,last",
        &app,
        &copied,
    ];
    let output = windlass(&words, &[]);
    let said = failed(&output, 1);
    assert!(said.contains("(tag frozen; in place: v1, first)"), "{said}");
    assert!(said.contains("the tag is immutable"), "{said}");
    let digest = tag(&from, "app", "v1");
    assert_eq!(tag(&to, "team/app", "v1"), digest);
    assert_eq!(tag(&to, "team/app", "first"), digest);
    assert_ne!(tag(&to, "team/app", "frozen"), digest);
    assert_eq!(tag(&to, "team/app", "last"), None);
}

/// What has no single tag at a registry cannot have further ones. Nothing is asked then.
#[test]
fn where_there_can_be_none() {
    let registry = registry(true);
    let (app, other) = (at(&registry, "app:v1"), at(&registry, "other:v1"));
    let digest = format!("sha256:{}", "1".repeat(64));
    let by_digest = format!("{}@{digest}", at(&registry, "other"));
    let (app_repo, other_repo) = (at(&registry, "app"), at(&registry, "other"));
    let folder = tempfile::tempdir().expect("a folder");
    let out = layout(folder.path(), "out");
    let needs_tag = format!("needs a destination with a tag: write {other_repo}:TAG");
    let table: [(&[&str], &str); 10] = [
        (&["copy", &app, &out], "needs a destination in a registry"),
        (&["copy", &app, &by_digest], &needs_tag),
        (&["push", &out, &by_digest], &needs_tag),
        (&["artifact", "push", &by_digest], &needs_tag),
        (
            &["copy", &app, &out, &out],
            "needs a destination in a registry",
        ),
        (&["copy", &app, &other, &by_digest], &needs_tag),
        (
            &["copy", "--all-tags", &app_repo, &other_repo],
            "cannot be used with --all-tags",
        ),
        (
            &["copy", "--tags", "v*", &app_repo, &other_repo],
            "cannot be used with --all-tags",
        ),
        (&["pull", &app, &out], "unexpected argument"),
        (
            &["copy", "--additional-tag", "v*", &app, &other],
            "invalid value 'v*'",
        ),
    ];
    for (words, why) in table {
        let output = windlass(&[words, &["--additional-tag", "more"]].concat(), &[]);
        let said = failed(&output, 2);
        assert!(said.contains("--additional-tag"), "{words:?}: {said}");
        assert!(said.contains(why), "{words:?}: {said}");
    }
    assert!(registry.requests().is_empty());
    assert!(!folder.path().join("out").exists());
}
