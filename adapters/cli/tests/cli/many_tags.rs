//! Copies of many tags at once: which, what is printed, and what becomes of the others if one fails.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use windlass_testbed::{Model, OCI_INDEX, Options, Server, image};

use crate::common::{failed, printed, text, windlass};

fn registry() -> Server {
    Server::start(Model::new(Options::default())).expect("a port")
}

/// A registry with `app:v0` to `app:v9`, which share a layer, and `app:latest`, which is `v9`.
fn with_tags() -> Server {
    let server = registry();
    server.with_model(|model| {
        for n in 0..10 {
            let layers = [b"shared".to_vec(), format!("layer {n}").into()];
            model.put_image("app", Some(&format!("v{n}")), &image(&layers));
        }
        let last = [b"shared".to_vec(), b"layer 9".to_vec()];
        model.put_image("app", Some("latest"), &image(&last));
    });
    server
}

fn at(server: &Server, path: &str) -> String {
    format!("{}/{path}", server.host())
}

/// The tags of a repository and their digests.
fn tags(server: &Server, repository: &str) -> BTreeMap<String, String> {
    let names = (0..10)
        .map(|n| format!("v{n}"))
        .chain(["latest".to_owned()]);
    server.with_model(|model| {
        let tag = |name: String| Some((name.clone(), model.tag(repository, &name)?.to_string()));
        names.filter_map(tag).collect()
    })
}

/// The lines `TAG DIGEST`.
fn lines(output: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (tag, digest) = line.split_once(' ').expect("a tag and a digest");
        (tag.to_owned(), digest.to_owned())
    };
    output.lines().map(line).collect()
}

#[test]
fn all_tags_between_registries_and_layouts() {
    let (from, to) = (with_tags(), registry());
    let dir = tempfile::tempdir().expect("temporary directory");
    let layout = format!("oci:{}", dir.path().join("layout").display());
    let all = tags(&from, "app");
    assert_eq!(all.len(), 11);
    for words in [
        ["copy", "--all-tags", &at(&from, "app"), &at(&to, "copied")],
        ["copy", "--all-tags", &at(&from, "app"), &layout],
        ["copy", "--all-tags", &layout, &at(&to, "pushed")],
    ] {
        let output = windlass(&words, &[]);
        assert_eq!(lines(printed(&output)), all, "{words:?}");
    }
    assert_eq!(tags(&to, "copied"), all);
    assert_eq!(tags(&to, "pushed"), all);
}

#[test]
fn some_tags() {
    let (from, to) = (with_tags(), registry());
    let (app, copied) = (at(&from, "app"), at(&to, "copied"));
    let words = [
        "copy", "--tags", "v[1]", "--tags", "v1", "--tags", "*t", &app, &copied,
    ];
    let output = windlass(&words, &[]);
    let names: Vec<String> = lines(printed(&output)).into_keys().collect();
    assert_eq!(names, ["latest", "v1"]);
    assert_eq!(tags(&to, "copied").len(), 2);

    let none = windlass(&["copy", "--tags", "x*", &app, &copied], &[]);
    assert!(failed(&none, 2).contains("no such tags"));
    let tagged = windlass(&["copy", "--all-tags", &at(&from, "app:v1"), &copied], &[]);
    assert!(failed(&tagged, 2).contains("must have no tag"));
    let both = windlass(&["copy", "--all-tags", "--tags", "x", &app, &copied], &[]);
    assert!(failed(&both, 2).contains("cannot be used with"));
}

/// Of eleven one fails: the others are there, and the exit code tells.
#[test]
fn one_that_fails() {
    let (from, to) = (with_tags(), registry());
    from.with_model(|model| {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [{
                "mediaType": OCI_INDEX,
                "digest": format!("sha256:{}", "1".repeat(64)),
                "size": 7,
            }],
        });
        model.put_manifest("app", Some("v3"), OCI_INDEX, index.to_string());
    });
    let (app, copied) = (at(&from, "app"), at(&to, "copied"));
    let output = windlass(&["copy", "--all-tags", "--json", &app, &copied], &[]);
    assert_eq!(output.status.code(), Some(3));
    let told = text(&output.stdout).lines();
    let told: Vec<Value> = told
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(told.len(), 11);
    for line in told {
        let is_bad = line["tag"] == "v3";
        assert_eq!(line["error"].is_string(), is_bad, "{line}");
        assert_eq!(line["failure"]["kind"] == "notFound", is_bad, "{line}");
        assert_eq!(line["digest"].is_string(), !is_bad, "{line}");
    }
    assert_eq!(tags(&to, "copied").len(), 10);
    let said = text(&output.stderr);
    assert!(said.contains("error: v3: "), "{said}");
    assert!(said.contains("1 of 11 tags were not copied"), "{said}");
}

/// Lists of referrers are at tags, too, and are not copied as such: the destination has lists of its own.
#[test]
fn lists_are_no_images() {
    let (from, to) = (with_tags(), registry());
    let list = format!("sha256-{}", "1".repeat(64));
    from.with_model(|model| {
        let empty = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []});
        model.put_manifest("app", Some(&list), OCI_INDEX, empty.to_string());
    });
    let output = windlass(
        &["copy", "--all-tags", &at(&from, "app"), &at(&to, "copied")],
        &[],
    );
    assert_eq!(lines(printed(&output)).len(), 11);
    assert!(text(&output.stderr).contains("1 tags are lists of referrers"));
    to.with_model(|model| assert_eq!(model.tag("copied", &list), None));
}

/// Names of a layout may have a repository, which the tag does not have: nothing is moved if two become one.
#[test]
fn names_that_become_one_tag() {
    let (from, to) = (registry(), registry());
    let dir = tempfile::tempdir().expect("temporary directory");
    let layout = format!("oci:{}", dir.path().join("layout").display());
    for name in ["one", "two"] {
        from.with_model(|model| {
            model.put_image(name, Some("1"), &image(&[name.as_bytes().to_vec()]));
        });
        let named = format!("{layout}:foo/{name}:1");
        let tag = at(&from, &format!("{name}:1"));
        printed(&windlass(&["pull", &tag, &named], &[]));
    }
    let repository = at(&to, "app");
    let said = windlass(&["copy", "--all-tags", &layout, &repository], &[]);
    let said = failed(&said, 2);
    let both = format!("foo/one:1, foo/two:1 for {repository}:1");
    assert!(said.contains(&both), "{said}");
    let is_written =
        |entry: &windlass_testbed::Entry| entry.method != "GET" && entry.method != "HEAD";
    assert!(
        !to.requests().iter().any(is_written),
        "before anything moves"
    );
    let words = ["copy", "--tags", "foo/two:*", &layout, &repository];
    printed(&windlass(&words, &[]));
}

/// Programs that verify images run beside each other.
#[test]
fn verified_at_once() {
    let (from, to) = (with_tags(), registry());
    let dir = tempfile::tempdir().expect("temporary directory");
    // Each waits until two have begun.
    let began = dir.path().join("began");
    std::fs::create_dir(&began).expect("a folder");
    let began = began.display();
    let program = format!(
        "sh -c 'mktemp {began}/XXXXXX; n=0; while [ $(ls {began} | wc -l) -lt 2 ] && [ $n -lt 100 ]; \
         do sleep 0.1; n=$((n+1)); done; [ $n -lt 100 ]' sh"
    );
    let words = [
        "copy",
        "--tags",
        "v0",
        "--tags",
        "v1",
        "--verify-with",
        &program,
        &at(&from, "app"),
        &at(&to, "app"),
    ];
    let output = windlass(&words, &[]);
    assert_eq!(lines(printed(&output)).len(), 2);
}
