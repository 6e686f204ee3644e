//! Names in `index.json`.

use serde_json::{Value, json};

use super::*;

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD: &str = "io.containerd.image.name";

fn found(layout: &Layout, name: Option<&str>) -> String {
    layout.find(name).expect("found").digest.to_string()
}

fn digest(content: &str) -> String {
    sha256(content.as_bytes()).to_string()
}

#[test]
fn a_name_moves_and_its_old_entry_goes() {
    // LAY-08.
    let (_dir, layout) = fresh();
    layout.tag(Some("v1"), &descriptor("a")).expect("tag");
    layout.tag(Some("v2"), &descriptor("a")).expect("tag");
    layout.tag(Some("v1"), &descriptor("b")).expect("tag");
    assert_eq!(found(&layout, Some("v1")), digest("b"));
    assert_eq!(found(&layout, Some("v2")), digest("a"));
    assert_eq!(
        index(&layout)["manifests"].as_array().expect("list").len(),
        2
    );
}

#[test]
fn an_entry_says_what_it_is() {
    let (_dir, layout) = fresh();
    let mut image = descriptor("a");
    let platform = json!({"os": "linux", "architecture": "arm64", "variant": "v8"});
    image.platform = serde_json::from_value(platform.clone()).ok();
    image
        .annotations
        .insert(REF_NAME.into(), "elsewhere".into());
    layout.tag(Some("docker.io/a/b:1"), &image).expect("tag");
    let expected = json!({
        "mediaType": MANIFEST,
        "digest": digest("a"),
        "size": 1,
        "platform": platform,
        "annotations": {REF_NAME: "docker.io/a/b:1"},
    });
    assert_eq!(index(&layout)["manifests"][0], expected);
}

#[test]
fn without_a_name_an_entry_is_added_once() {
    let (_dir, layout) = fresh();
    layout.tag(None, &descriptor("a")).expect("tag");
    layout.tag(None, &descriptor("a")).expect("tag");
    assert_eq!(found(&layout, None), digest("a"));
    // Naming it afterwards names the same entry.
    layout.tag(Some("v1"), &descriptor("a")).expect("tag");
    layout.tag(None, &descriptor("a")).expect("tag");
    assert_eq!(
        index(&layout)["manifests"].as_array().expect("list").len(),
        1
    );
    assert_eq!(found(&layout, Some("v1")), digest("a"));
}

#[test]
fn what_others_wrote_stays() {
    let (_dir, layout) = fresh();
    let foreign = json!({
        "mediaType": "application/x-other", "digest": "foo:bar", "size": 7, "x-field": [1, {}],
        "annotations": {CONTAINERD: "docker.io/library/x:1", "other": "kept"},
    });
    let kept = json!({
        "mediaType": MANIFEST, "digest": digest("a"), "size": 1, "x-field": true,
        "annotations": {REF_NAME: "v1", "other": "kept"},
    });
    write_index(
        &layout,
        &json!({"schemaVersion": 2, "x-root": "kept", "manifests": [foreign, kept]}),
    );
    layout.tag(Some("v2"), &descriptor("b")).expect("tag");
    layout.tag(Some("v1"), &descriptor("a")).expect("tag");
    let index = index(&layout);
    assert_eq!(index["x-root"], "kept");
    assert_eq!(index["manifests"][0], foreign);
    assert_eq!(index["manifests"][1], kept);
    assert_eq!(index["manifests"][2]["annotations"][REF_NAME], "v2");
}

#[test]
fn nothing_is_written_when_nothing_changes() {
    let (_dir, layout) = fresh();
    layout.tag(Some("v1"), &descriptor("a")).expect("tag");
    let before = fs::metadata(layout.index_path())
        .expect("there")
        .modified()
        .expect("time");
    layout.tag(Some("v1"), &descriptor("a")).expect("tag");
    let after = fs::metadata(layout.index_path())
        .expect("there")
        .modified()
        .expect("time");
    assert_eq!(before, after);
}

/// `cosign save` writes entries without names: the image, and what belongs to it.
#[test]
fn what_cosign_saved_is_found_by_its_tags() {
    let (_dir, layout) = fresh();
    let entry = |content: &str, kind: &str| {
        json!({
            "mediaType": MANIFEST, "digest": digest(content), "size": content.len(),
            "annotations": {"kind": format!("dev.cosignproject.cosign/{kind}")},
        })
    };
    let tag = |content: &str, suffix: &str| {
        let digest = digest(content).replace(':', "-");
        format!("{digest}{suffix}")
    };
    for kind in ["image", "imageIndex"] {
        let entries = [entry("app", kind), entry("s", "sigs"), entry("a", "atts")];
        write_index(&layout, &json!({"schemaVersion": 2, "manifests": entries}));
        assert_eq!(found(&layout, None), digest("app"));
        assert_eq!(found(&layout, Some(&tag("app", ".sig"))), digest("s"));
        assert_eq!(found(&layout, Some(&tag("app", ".att"))), digest("a"));
        for other in [tag("app", ".sbom"), tag("app", ""), tag("other", ".sig")] {
            let error = layout.find(Some(&other)).expect_err("there is none");
            assert_eq!(error.kind(), StoreErrorKind::NoSuchName, "{other}");
        }
    }
    // An entry with the tag as its name goes first.
    layout
        .tag(Some(&tag("app", ".sig")), &descriptor("named"))
        .expect("tag");
    assert_eq!(found(&layout, Some(&tag("app", ".sig"))), digest("named"));
    // Without the image nothing belongs to it, and what there is can be meant.
    write_index(
        &layout,
        &json!({"schemaVersion": 2, "manifests": [entry("s", "sigs")]}),
    );
    layout
        .find(Some(&tag("app", ".sig")))
        .expect_err("there is no image");
    assert_eq!(found(&layout, None), digest("s"));
}

#[test]
fn names_are_found_in_order() {
    // LAY-06 to LAY-09.
    let (_dir, layout) = fresh();
    let entry = |content: &str, name: Option<&str>, full: Option<&str>| {
        json!({
            "mediaType": MANIFEST, "digest": digest(content), "size": content.len(),
            "annotations": {REF_NAME: name, CONTAINERD: full},
        })
    };
    let entry = |content: &str, name: Option<&str>, full: Option<&str>| {
        let mut entry = entry(content, name, full);
        let annotations = entry["annotations"].as_object_mut().expect("object");
        annotations.retain(|_, value| !value.is_null());
        entry
    };
    write_index(
        &layout,
        &json!({"schemaVersion": 2, "manifests": [
            entry("full", Some("host:5000/a/b:1.0"), None),
            entry("exact", Some("1.0"), Some("docker.io/library/x:1.0")),
            entry("tagged", Some("docker.io/a/b:2.0@sha256:00"), None),
            entry("one", Some("twice"), None),
            entry("two", Some("twice"), None),
            entry("same", Some("thrice"), None),
            entry("same", Some("thrice"), None),
            entry("bare", None, None),
        ]}),
    );
    assert_eq!(found(&layout, Some("1.0")), digest("exact"));
    assert_eq!(found(&layout, Some("host:5000/a/b:1.0")), digest("full"));
    assert_eq!(
        found(&layout, Some("docker.io/library/x:1.0")),
        digest("exact")
    );
    assert_eq!(found(&layout, Some("2.0")), digest("tagged"));
    assert_eq!(found(&layout, Some("thrice")), digest("same"));
    assert_eq!(found(&layout, Some(&digest("bare"))), digest("bare"));

    let error = layout.find(Some("twice")).expect_err("two");
    assert_eq!(error.kind(), StoreErrorKind::Ambiguous);
    assert!(error.detail().contains(&digest("one")), "{error}");
    assert!(error.detail().contains(&digest("two")), "{error}");
    let error = layout.find(None).expect_err("many");
    assert_eq!(error.kind(), StoreErrorKind::Ambiguous);
    assert!(error.detail().contains("\"1.0\""), "{error}");
    for missing in ["5000/a/b", "3", ""] {
        let error = layout.find(Some(missing)).expect_err("missing");
        assert_eq!(error.kind(), StoreErrorKind::NoSuchName);
        assert!(error.detail().contains("\"host:5000/a/b:1.0\""), "{error}");
    }
}

#[test]
fn an_empty_layout_has_no_entry() {
    let (_dir, layout) = fresh();
    let error = layout.find(None).expect_err("nothing");
    assert_eq!(error.kind(), StoreErrorKind::NoSuchName);
    write_index(&layout, &json!({"schemaVersion": 2, "manifests": null}));
    layout.tag(Some("v1"), &descriptor("a")).expect("tag");
    assert_eq!(found(&layout, None), digest("a"));
}

#[test]
fn a_broken_index_is_reported_and_left_alone() {
    let (_dir, layout) = fresh();
    for broken in [
        "",
        "[]",
        "{\"schemaVersion\":1}",
        "{\"schemaVersion\":2,\"manifests\":{}}",
        "{\"schemaVersion\":\"3\",\"manifests\":[]}",
        "{\"schemaVersion\":2,\"manifests\":[],\"manifests\":[]}",
        "{\"schemaVersion\":2,\"manifests\":[{]}",
    ] {
        fs::write(layout.index_path(), broken).expect("write");
        let error = layout
            .tag(Some("v1"), &descriptor("a"))
            .expect_err("broken");
        assert_eq!(error.kind(), StoreErrorKind::NotALayout, "{error}");
        assert_eq!(
            fs::read_to_string(layout.index_path()).expect("read"),
            broken
        );
    }
    let entry = json!({"digest": "sha256:00", "annotations": {REF_NAME: "v1\n"}});
    write_index(&layout, &json!({"schemaVersion": 2, "manifests": [entry]}));
    let error = layout.find(None).expect_err("invalid");
    assert_eq!(error.kind(), StoreErrorKind::NotALayout);
    let error = layout.find(Some("v2")).expect_err("missing");
    assert!(error.detail().contains(r#""v1\n""#), "{error}");
}

#[test]
fn what_is_not_known_keeps_its_text() {
    let (_dir, layout) = fresh();
    // Numbers, escapes and types that would not survive being read and written.
    let foreign = r#"{"x": 1e999, "y":"\ud83d", "z" : [ 0.10, null ]}"#;
    let kept = format!(
        r#"{{ "digest":"{}", "x":1e999, "annotations":{{"y":"\ud83d","n":null}} }}"#,
        digest("a")
    );
    let before = format!(
        r#"{{"x-root": 1e999, "manifests": [{foreign}, 5, [], {kept}], "schemaVersion": 2}}"#
    );
    fs::write(layout.index_path(), before).expect("write");
    layout.tag(Some("v1"), &descriptor("a")).expect("tag");
    layout.tag(Some("v2"), &descriptor("b")).expect("tag");
    let after = fs::read_to_string(layout.index_path()).expect("read");
    let a = format!(
        r#"{{"mediaType":"{MANIFEST}","digest":"{}","size":1,"annotations":{{"{REF_NAME}":"v1","y":"\ud83d","n":null}},"x":1e999}}"#,
        digest("a")
    );
    let b = format!(
        r#"{{"mediaType":"{MANIFEST}","digest":"{}","size":1,"annotations":{{"{REF_NAME}":"v2"}}}}"#,
        digest("b")
    );
    assert_eq!(
        after,
        format!(r#"{{"x-root":1e999,"schemaVersion":2,"manifests":[{foreign},5,[],{a},{b}]}}"#)
    );
}

#[test]
fn a_version_that_is_not_said_is_ours() {
    let (_dir, layout) = fresh();
    for version in ["", "\"schemaVersion\":null,", "\"schemaVersion\":\"2\","] {
        fs::write(
            layout.index_path(),
            format!("{{{version}\"manifests\":[]}}"),
        )
        .expect("write");
        layout.tag(Some("v1"), &descriptor("a")).expect("tag");
        assert_eq!(found(&layout, Some("v1")), digest("a"));
    }
}

/// Members of an entry that are only carried along have no type; those that are used have one, and
/// an entry without them is malformed, not damaged.
#[test]
fn an_entry_is_read_for_what_is_used_of_it() {
    let (_dir, layout) = fresh();
    let written = |more: &str| {
        let entry = format!(
            r#"{{"mediaType":"{MANIFEST}","digest":"{}","size":1{more}}}"#,
            digest("a")
        );
        let index = format!(r#"{{"manifests":[{entry}]}}"#);
        fs::write(layout.path().join("index.json"), index).expect("write");
        layout.find(None)
    };
    for more in [
        r#","annotations":null"#,
        r#","annotations":{"a":null,"b":7,"c":"cut \ud83d"}"#,
        r#","urls":null,"data":5,"artifactType":[],"new":"\ude00""#,
        r#","platform":null"#,
        r#","platform":"linux/amd64""#,
    ] {
        let found = written(more).expect(more);
        assert_eq!(found.digest.to_string(), digest("a"), "{more}");
    }
    for (wrong, why) in [
        (r#"{"mediaType":"a/b","digest":"D"}"#, "size"),
        (r#"{"mediaType":"a/b","digest":"D","size":"1"}"#, "invalid"),
        (r#"{"mediaType":"a/b","digest":"D","size":-1}"#, "invalid"),
        (r#"{"mediaType":"a/b","size":1}"#, "digest"),
        (r#"{"digest":"D","size":1}"#, "mediaType"),
    ] {
        let index = format!(r#"{{"manifests":[{wrong}]}}"#).replace('D', &digest("a"));
        fs::write(layout.path().join("index.json"), index).expect("write");
        let error = layout.find(None).expect_err(wrong);
        assert_eq!(error.kind(), StoreErrorKind::NotALayout, "{wrong}");
        assert!(error.to_string().contains(why), "{wrong}: {error}");
    }
}

#[test]
fn the_same_content_under_several_names_is_no_question() {
    let (_dir, layout) = fresh();
    layout.tag(Some("v1"), &descriptor("a")).expect("tag");
    layout.tag(Some("v2"), &descriptor("a")).expect("tag");
    assert_eq!(found(&layout, None), digest("a"));
    layout.tag(Some("v3"), &descriptor("b")).expect("tag");
    let error = layout.find(None).expect_err("two contents");
    assert_eq!(error.kind(), StoreErrorKind::Ambiguous);
    // Two that do not say what they are may be anything.
    write_index(&layout, &json!({"manifests": [{}, {}]}));
    let error = layout.find(None).expect_err("two");
    assert_eq!(error.kind(), StoreErrorKind::Ambiguous);
}

#[test]
fn an_index_of_too_many_entries_is_refused_and_left_alone() {
    let (_dir, layout) = fresh();
    let with = |entries: usize, last: &str| {
        let text = format!("{{\"manifests\":[{}{last}]}}", "{\"a\":0},".repeat(entries));
        fs::write(layout.index_path(), text).expect("write");
    };
    let too_many = |result: Result<(), windlass_core::StoreError>| {
        let error = result.expect_err("too many");
        assert_eq!(error.kind(), StoreErrorKind::TooLarge, "{error}");
        assert!(
            error.detail().contains("more than 100000 entries"),
            "{error}"
        );
    };
    let named = json!({"digest": digest("a"), "annotations": {REF_NAME: "v1"}}).to_string();
    with(99_999, &named);
    layout
        .tag(Some("v1"), &descriptor("a"))
        .expect("it changes an entry");
    assert_eq!(found(&layout, Some("v1")), digest("a"));
    let before = fs::metadata(layout.index_path()).expect("there").len();
    too_many(layout.tag(Some("v2"), &descriptor("a")));
    let after = fs::metadata(layout.index_path()).expect("there").len();
    assert_eq!(before, after);
    with(100_000, &named);
    too_many(layout.find(Some("v1")).map(|_| ()));
    too_many(layout.tag(Some("v1"), &descriptor("a")));
    let members = format!("{{{}\"manifests\":[]}}", "\"a\":0,".repeat(20_000));
    fs::write(layout.index_path(), members).expect("write");
    let error = layout.find(None).expect_err("too many members");
    assert_eq!(error.kind(), StoreErrorKind::NotALayout, "{error}");
}

#[test]
fn an_index_of_too_many_bytes_is_not_read() {
    let (_dir, layout) = fresh();
    let file = fs::File::create(layout.index_path()).expect("create");
    file.set_len(10 << 30).expect("a sparse file");
    for error in [
        layout.find(None).map(|_| ()).expect_err("too large"),
        layout.tag(None, &descriptor("a")).expect_err("too large"),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::TooLarge, "{error}");
    }
}

#[test]
fn names_that_nobody_could_type_are_refused() {
    let (_dir, layout) = fresh();
    for name in ["", "a b", "a\n", "\u{1b}[31m"] {
        let error = layout
            .tag(Some(name), &descriptor("a"))
            .expect_err("refused");
        assert_eq!(error.kind(), StoreErrorKind::Denied);
    }
    for name in ["_x", "[::1]:5000/a:b", "a..b"] {
        layout.tag(Some(name), &descriptor("a")).expect("a name");
    }
}

#[test]
fn a_lock_that_is_not_given_back_may_be_later() {
    let (_dir, layout) = fresh();
    let path = layout.private().join("index.lock");
    let held = fs::File::open(&path).expect("it was made with the layout");
    assert!(sys::try_lock(&held, &path).expect("lock"));
    let error = layout.tag(Some("v1"), &descriptor("a")).expect_err("held");
    assert_eq!(error.kind(), StoreErrorKind::Locked, "{error}");
    drop(held);
    layout.tag(Some("v1"), &descriptor("a")).expect("tag");
}

#[test]
fn of_twenty_writers_none_is_lost() {
    // LAY-12.
    let (_dir, layout) = fresh();
    let barrier = Arc::new(Barrier::new(20));
    let tag = |n: usize| {
        let (path, barrier) = (layout.path().to_path_buf(), Arc::clone(&barrier));
        thread::spawn(move || {
            // As from another process: nothing is shared but the directory.
            let layout = Layout::open(path).expect("layout");
            barrier.wait();
            let content = format!("content {n}");
            layout
                .tag(Some(&format!("v{n}")), &descriptor(&content))
                .expect("tag");
        })
    };
    let threads: Vec<_> = (0..20).map(tag).collect();
    for thread in threads {
        thread.join().expect("join");
    }
    for n in 0..20 {
        let content = format!("content {n}");
        assert_eq!(found(&layout, Some(&format!("v{n}"))), digest(&content));
    }
    assert!(partials(&layout).is_empty());
}

#[test]
fn many_may_create_the_same_layout() {
    let dir = TempDir::new().expect("temporary directory");
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for n in 0..8 {
            let (path, barrier) = (dir.path().join("image"), &barrier);
            scope.spawn(move || {
                barrier.wait();
                let layout = Layout::open_or_create(path).expect("layout");
                layout
                    .tag(Some(&format!("v{n}")), &descriptor("a"))
                    .expect("tag");
            });
        }
    });
    let layout = Layout::open(dir.path().join("image")).expect("layout");
    assert_eq!(
        index(&layout)["manifests"].as_array().expect("list").len(),
        8
    );
}

/// One name, and an image for each of several platforms: a question that a platform answers.
#[test]
fn one_name_for_several_platforms() {
    let (_dir, layout) = fresh();
    let entry = |content: &str, name: Option<&str>, arch: Option<&str>| {
        let mut entry = json!({"mediaType": MANIFEST, "digest": digest(content), "size": 1});
        if let Some(name) = name {
            entry["annotations"] = json!({REF_NAME: name});
        }
        if let Some(arch) = arch {
            entry["platform"] = json!({"os": "linux", "architecture": arch});
        }
        entry
    };
    let (amd64, arm64) = (Some("amd64"), Some("arm64"));
    let v1 = Some("v1");
    // (entries, name, how many are found, or how it is refused)
    type Row = (
        Vec<Value>,
        Option<&'static str>,
        Result<usize, StoreErrorKind>,
    );
    let two = |name| vec![entry("a", name, amd64), entry("b", name, arm64)];
    let table: Vec<Row> = vec![
        (two(v1), v1, Ok(2)),
        (two(v1), None, Ok(2)),
        (two(None), None, Ok(2)),
        (
            vec![entry("a", v1, amd64), entry("a", v1, arm64)],
            v1,
            Ok(1),
        ),
        (
            vec![entry("a", v1, None), entry("a", Some("v2"), None)],
            None,
            Ok(1),
        ),
        (
            vec![entry("a", v1, amd64), entry("b", Some("v2"), arm64)],
            None,
            Err(StoreErrorKind::Ambiguous),
        ),
        (
            vec![entry("a", v1, amd64), entry("b", None, arm64)],
            None,
            Err(StoreErrorKind::Ambiguous),
        ),
        (
            vec![entry("a", v1, amd64), entry("b", v1, None)],
            v1,
            Err(StoreErrorKind::Ambiguous),
        ),
        (two(None), v1, Err(StoreErrorKind::NoSuchName)),
    ];
    for (entries, name, expected) in table {
        write_index(&layout, &json!({"schemaVersion": 2, "manifests": entries}));
        let found = layout.find_all(name);
        let found = found.map(|it| it.len()).map_err(|error| error.kind());
        assert_eq!(found, expected, "{entries:?} {name:?}");
        // Who wants one is not given any of several.
        let one = layout.find(name).map(|_| 1).map_err(|error| error.kind());
        let expected = match expected {
            Ok(2) => Err(StoreErrorKind::Ambiguous),
            other => other,
        };
        assert_eq!(one, expected, "{entries:?} {name:?}");
    }
}

/// A digest stands for its content, never for an entry that is called like it.
#[test]
fn a_digest_is_not_the_name_of_something_else() {
    let (_dir, layout) = fresh();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest("{}"), "size": 2},
    });
    let manifest = manifest.to_string();
    let there = sha256(manifest.as_bytes());
    layout.put(&there, manifest.as_bytes()).expect("put");
    layout.put(&sha256(b"{}"), b"{}").expect("put");
    let liar = json!({
        "mediaType": MANIFEST, "digest": digest("other"), "size": 5,
        "annotations": {REF_NAME: there.to_string(), CONTAINERD: digest("absent")},
    });
    write_index(&layout, &json!({"schemaVersion": 2, "manifests": [liar]}));
    // No entry has it, as those of an index have none.
    let found = layout.find(Some(&there.to_string())).expect("a manifest");
    assert_eq!((found.digest, found.size), (there, manifest.len() as u64));
    assert_eq!(found.media_type, MANIFEST);
    // Neither a configuration nor what is not there.
    for content in ["{}", "absent"] {
        let error = layout.find(Some(&digest(content))).expect_err(content);
        assert_eq!(error.kind(), StoreErrorKind::NoSuchName, "{content}");
    }
    let named = layout.find(Some(&digest("other"))).expect("an entry");
    assert_eq!(named.digest.to_string(), digest("other"));
    fs::write(layout.blob_path(&sha256(b"{}")), manifest).expect("write");
    let error = layout.find(Some(&digest("{}"))).expect_err("damaged");
    assert_eq!(error.kind(), StoreErrorKind::Damaged);
}
