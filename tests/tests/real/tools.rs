//! Other tools on our layouts, and we on theirs.

use std::path::Path;

use tempfile::TempDir;
use windlass_core::{Algorithm, Digest};
use windlass_store::{Begun, Layout, Store};
use windlass_tests::{needs, peers};

/// Runs a tool.
fn run(program: &str, args: &[&str]) -> String {
    let output = peers::run(program, |command| {
        command.args(args);
    });
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A layout with an image of umoci's called `v1`, in which we have named it `v2` and left a partial.
fn shared(path: &Path) -> Layout {
    let dir = path.to_str().expect("text");
    run("umoci", &["init", "--layout", dir]);
    run("umoci", &["new", "--image", &format!("{dir}:v1")]);
    let layout = Layout::open(path).expect("umoci's layout");
    let image = layout.find(Some("v1")).expect("umoci's name");
    layout.tag(Some("v2"), &image).expect("tag");
    let wanted = Digest::of(Algorithm::Sha256, b"hello");
    let Begun::Ours(mut partial) = layout.begin(&wanted, 5).expect("begin") else {
        panic!("nobody else wants it");
    };
    partial.append(b"hel").expect("append");
    layout
}

#[test]
fn umoci_lists_and_cleans_and_leaves_partials_alone() {
    needs!("umoci");
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("image");
    let layout = shared(&path);
    let text = path.to_str().expect("text");
    let listed = run("umoci", &["ls", "--layout", text]);
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["v1", "v2"]);
    run("umoci", &["gc", "--layout", text]);
    let wanted = Digest::of(Algorithm::Sha256, b"hello");
    let begun = layout.begin(&wanted, 5).expect("begin");
    assert!(
        matches!(&begun, Begun::Ours(partial) if partial.len() == 3),
        "{begun:?}"
    );
}

#[test]
fn skopeo_reads_our_names_and_we_read_skopeos() {
    needs!("umoci", "skopeo");
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("image");
    let layout = shared(&path);
    let text = path.to_str().expect("text");
    let from = format!("oci:{text}:v2");
    run("skopeo", &["inspect", "--raw", &from]);
    run(
        "skopeo",
        &[
            "copy",
            "--insecure-policy",
            &from,
            &format!("oci:{text}:v3"),
        ],
    );
    let image = layout.find(Some("v2")).expect("ours");
    assert_eq!(
        layout.find(Some("v3")).expect("skopeo's").digest,
        image.digest
    );
}
