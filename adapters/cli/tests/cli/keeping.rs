//! `verify`, `gc` and `pull --verify-existing`: maintenance of a layout.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::common::{failed, layout, printed, registry, text, windlass};
use serde_json::Value;
use windlass_testbed::{Auth, Server};

/// A layout with `app:v1` in it as `v1`, and the file of its layer of 2 MiB.
fn pulled(server: &Server, folder: &Path) -> (String, PathBuf) {
    let place = layout(folder, "images");
    let from = format!("{}/app:v1", server.host());
    printed(&windlass(&["pull", &from, &place], &[]));
    let blobs = fs::read_dir(folder.join("images/blobs/sha256")).expect("blobs");
    let paths = blobs.map(|entry| entry.expect("a blob").path());
    let layer = paths.max_by_key(|path| path.metadata().expect("a file").len());
    (place, layer.expect("a layer"))
}

fn json(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one object")
}

#[test]
fn damage_is_listed_and_repaired() {
    let (server, folder) = (registry(Auth::Open), tempfile::tempdir().expect("a folder"));
    let (place, layer) = pulled(&server, folder.path());
    let named = format!("{place}:v1");
    assert_eq!(printed(&windlass(&["verify", &place], &[])), "");
    let good = json(&windlass(&["--json", "verify", &named], &[]));
    assert_eq!(good["blobs"], 3);
    assert_eq!(
        (&good["damaged"], &good["missing"]),
        (&Value::from([0; 0]), &Value::from([0; 0]))
    );

    fs::write(&layer, vec![8; 2 << 20]).expect("damage");
    let digest = format!("sha256:{}", layer.file_name().expect("a name").display());
    let output = windlass(&["verify", &named], &[]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with(&format!("damaged {digest}: ")));
    let output = windlass(&["--json", "verify", &place], &[]);
    assert_eq!(
        (output.status.code(), &json(&output)["damaged"][0]["digest"]),
        (Some(6), &digest.as_str().into())
    );

    // A pull looks at sizes only, unless it is told otherwise.
    let from = format!("{}/app:v1", server.host());
    printed(&windlass(&["pull", &from, &place], &[]));
    assert_eq!(windlass(&["verify", &place], &[]).status.code(), Some(6));
    let again = json(&windlass(
        &["--json", "pull", "--verify-existing", &from, &place],
        &[],
    ));
    assert_eq!(
        (&again["blobsMoved"], &again["blobsPresent"]),
        (&1.into(), &1.into())
    );
    printed(&windlass(&["verify", &place], &[]));

    fs::remove_file(&layer).expect("remove");
    let output = windlass(&["verify", &place], &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("missing {digest}\n"));
    failed(&windlass(&["verify", &format!("{place}:other")], &[]), 3);
    failed(&windlass(&["verify", "app:v1"], &[]), 2);
}

#[test]
fn what_no_name_leads_to_is_collected() {
    let (server, folder) = (registry(Auth::Open), tempfile::tempdir().expect("a folder"));
    let (place, layer) = pulled(&server, folder.path());
    let orphan = layer.with_file_name("a".repeat(64));
    fs::write(&orphan, b"1234").expect("a blob");
    // A blob that is not older than the start of `gc` may be another task's, and stays. Times of
    // files are as coarse as the kernel's tick.
    let written = fs::File::options().write(true).open(&orphan);
    let earlier = SystemTime::now() - Duration::from_secs(60);
    let set = written.expect("a blob").set_modified(earlier);
    set.expect("set the time");
    let partial = folder.path().join("images/.windlass/partial");
    let partial = partial.join(format!("sha256-{}", "b".repeat(64)));
    fs::write(&partial, b"12345").expect("a partial");
    let collected = json(&windlass(&["--json", "gc", &place], &[]));
    for (member, expected) in [
        ("blobs", 1),
        ("blobBytes", 4),
        ("partials", 1),
        ("partialBytes", 5),
        ("inUse", 0),
    ] {
        assert_eq!(collected[member], expected, "{member}");
    }
    assert!(!orphan.exists() && !partial.exists() && layer.exists());
    printed(&windlass(&["verify", &place], &[]));
    let said = windlass(&["gc", &place], &[]);
    assert_eq!(printed(&said), "");
    assert!(text(&said.stderr).contains("removed 0 blobs"));

    // Nothing is removed where it is not known what is referred to.
    let index = folder.path().join("images/index.json");
    let index: Value = serde_json::from_slice(&fs::read(index).expect("a file")).expect("JSON");
    let root = index["manifests"][0]["digest"].as_str().expect("a digest");
    fs::write(layer.with_file_name(&root["sha256:".len()..]), b"{}").expect("damage");
    let said = windlass(&["gc", &place], &[]);
    assert!(failed(&said, 6).contains(root));
    assert!(layer.exists());
    failed(&windlass(&["gc", &format!("{place}:v1")], &[]), 2);
    failed(&windlass(&["gc", &layout(folder.path(), "none")], &[]), 1);
    assert!(!folder.path().join("none").exists());
}
