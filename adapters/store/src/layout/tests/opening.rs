//! What is a layout, and what becomes one.

use super::*;

#[test]
fn a_new_layout_is_one_that_others_read() {
    // LAY-01, LAY-02, LAY-03.
    let (_dir, layout) = fresh();
    let marker = fs::read_to_string(layout.path().join("oci-layout")).expect("oci-layout");
    assert_eq!(marker, r#"{"imageLayoutVersion":"1.0.0"}"#);
    assert_eq!(index(&layout)["schemaVersion"], 2);
    assert_eq!(index(&layout)["manifests"], serde_json::json!([]));
    assert!(layout.path().join("blobs").is_dir());
    let private = fs::metadata(layout.private()).expect(".windlass");
    assert_eq!(private.permissions().mode() & 0o777, 0o700);
    Layout::open(layout.path()).expect("opens again");
    Layout::open_or_create(layout.path()).expect("opens again");
}

#[test]
fn only_layouts_are_opened() {
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("x");
    let refused = |why: &str| {
        let error = Layout::open(&path).expect_err(why);
        assert_eq!(error.kind(), StoreErrorKind::NotALayout, "{error}");
        assert!(error.detail().contains(why), "{error}");
    };
    refused("there is no such directory");
    assert!(!path.exists());
    fs::create_dir(&path).expect("create");
    refused("it has no `oci-layout` file");
    fs::write(path.join("oci-layout"), "{").expect("write");
    refused("not JSON");
    fs::write(path.join("oci-layout"), "{}").expect("write");
    refused("names no version");
    let other = r#"{"imageLayoutVersion":"2.0.0"}"#;
    fs::write(path.join("oci-layout"), other).expect("write");
    refused("its version is \"2.0.0\"");
    let known = r#"{"imageLayoutVersion":"1.0.0","extra":[1]}"#;
    fs::write(path.join("oci-layout"), known).expect("write");
    refused("it has no `index.json`");
    fs::write(path.join("index.json"), r#"{"schemaVersion":2}"#).expect("write");
    fs::write(path.join("manifest.json"), "LAY-05: a stray file").expect("write");
    let layout = Layout::open(&path).expect("a layout");
    assert!(!layout.private().exists(), "opening writes nothing");
}

#[test]
fn a_directory_with_something_else_is_left_alone() {
    let dir = TempDir::new().expect("temporary directory");
    fs::write(dir.path().join("thesis.tex"), "…").expect("write");
    let error = Layout::open_or_create(dir.path()).expect_err("not ours");
    assert_eq!(error.kind(), StoreErrorKind::NotALayout);
    assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);

    let file = dir.path().join("thesis.tex");
    let error = Layout::open_or_create(&file).expect_err("a file");
    assert_eq!(error.kind(), StoreErrorKind::NotALayout);
    let error = Layout::open_or_create(file.join("below")).expect_err("below a file");
    assert_eq!(error.kind(), StoreErrorKind::Io);
    assert!(error.detail().contains("Not a directory"), "{error}");
    let error = Layout::open(file.join("below")).expect_err("below a file");
    assert!(error.detail().contains("thesis.tex/below"), "{error}");
}

#[test]
fn an_interrupted_creation_is_completed() {
    // LAY-10: killed after `.windlass`, after `oci-layout`, after `blobs`.
    let dir = TempDir::new().expect("temporary directory");
    fs::create_dir(dir.path().join(".windlass")).expect("create");
    let layout = Layout::open_or_create(dir.path()).expect("layout");
    fs::remove_file(layout.index_path()).expect("remove");
    Layout::open_or_create(dir.path()).expect("layout");
    assert!(layout.index_path().exists());
}

#[test]
fn what_nobody_touches_is_swept_unless_it_is_locked() {
    let (_dir, layout) = fresh();
    let old = sha256(b"old");
    let young = sha256(b"young");
    let held = sha256(b"held");
    for digest in [&old, &young] {
        ours(&layout, digest, 9).append(b"x").expect("append");
    }
    let mut locked = ours(&layout, &held, 9);
    locked.append(b"x").expect("append");
    let scratch = layout.partials().join("new.1-1");
    fs::write(&scratch, "x").expect("write");
    make_old(
        &layout.partials().join(format!("sha256-{}", old.encoded())),
        15,
    );
    make_old(
        &layout
            .partials()
            .join(format!("sha256-{}", young.encoded())),
        13,
    );
    make_old(
        &layout.partials().join(format!("sha256-{}", held.encoded())),
        15,
    );
    make_old(&scratch, 2);

    let again = Layout::open(layout.path()).expect("layout");
    assert_eq!(partials(&again).len(), 4, "opening alone sweeps nothing");
    again.put(&sha256(b"doc"), b"doc").expect("put");
    let mut left = partials(&again);
    left.sort();
    let mut expected = [&young, &held].map(|digest| format!("sha256-{}", digest.encoded()));
    expected.sort();
    assert_eq!(left, expected);
}

#[test]
fn a_spool_is_gone_after_its_time() {
    let spool = Layout::temporary().expect("spool");
    let path = spool.path().to_path_buf();
    spool.put(&sha256(b"doc"), b"doc").expect("put");
    assert!(spool.contains(&sha256(b"doc"), 3).expect("contains"));
    drop(spool);
    assert!(!path.exists());
}
