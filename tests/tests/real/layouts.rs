//! Layouts of every kind that windlass writes, as another library reads them.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::fs;
use std::path::Path;

use windlass_testbed::{Model, Options, Server, image_for};
use windlass_tests::command::Windlass;
use windlass_tests::family::Family;
use windlass_tests::images::{Layout, tar};
use windlass_tests::needs;

fn done(words: &[&str]) {
    Windlass::new(words).run().ended_with(0);
}

/// Puts into a repository what is made of the images of a family.
fn make_changes(host: &str, folder: &Path) {
    let at = |name: &str| format!("{host}/{name}");
    let (layer, file) = (folder.join("layer.tar"), folder.join("file.txt"));
    fs::write(&layer, tar("new", b"new")).unwrap();
    fs::write(&file, b"content").unwrap();
    let [layer, file] = [&layer, &file].map(|path| path.to_str().unwrap());
    let (from, platform) = (at("family:v1"), ["--platform", "linux/amd64"]);
    done(&[
        "append",
        "-t",
        &at("made:appended"),
        platform[0],
        platform[1],
        &from,
        layer,
    ]);
    let label = ["--label", "n=v", "--annotation", "n=v"];
    let mutate = [
        "mutate",
        "-t",
        &at("made:mutated"),
        platform[0],
        platform[1],
    ];
    done(&[&mutate[..], &label, &[&from]].concat());
    done(&[
        "index",
        "create",
        &at("made:index"),
        &at("made:appended"),
        &at("family:s390x"),
    ]);
    done(&["index", "add", &at("made:index"), &from, "--beside"]);
    done(&[
        "index",
        "filter",
        "-t",
        &at("made:filtered"),
        platform[0],
        platform[1],
        &at("made:index"),
    ]);
    done(&["artifact", "push", &at("made:artifact"), file]);
    done(&[
        "attach",
        "--artifact-type",
        "a/new",
        &at("made:filtered"),
        file,
    ]);
}

/// Pulls; indexes with referrers, all tags, some platforms; artifacts, and what is changed; and what is left of a layout
/// when something was removed.
#[test]
fn another_library_finds_no_fault_in_any_layout() {
    needs!("ocidir-fsck");
    let family = Family::default();
    for referrers_api in [true, false] {
        let mut model = Model::new(Options {
            referrers_api,
            ..Options::default()
        });
        family.put(&mut model, "family");
        model.put_image("family", Some("amd64"), &family.images[0]);
        let s390x = image_for("linux/s390x", &[b"for s390x".to_vec()]);
        model.put_image("family", Some("s390x"), &s390x);
        let server = Server::start(model).unwrap();
        let folder = tempfile::tempdir().unwrap();
        make_changes(&server.host(), folder.path());
        let at = |name: &str| format!("{}/{name}", server.host());

        let one = Layout::absent();
        done(&["pull", &at("family:amd64"), &one.oci()]);
        one.check_fsck();
        let sparse = Layout::absent();
        done(&[
            "pull",
            "--platform",
            "linux/amd64,linux/arm64",
            &at("made:index"),
            &sparse.oci(),
        ]);
        sparse.check_fsck();
        assert!(!sparse.has(&s390x.digest.to_string()), "it is sparse");
        let through = Layout::absent();
        done(&["copy", &one.oci(), &through.oci_named("again")]);
        through.check_fsck();

        let all = Layout::absent();
        done(&["copy", "-r", &at("family:v1"), &all.oci_named("family")]);
        all.check_fsck();
        for tag in ["appended", "mutated", "index", "filtered", "artifact"] {
            done(&[
                "copy",
                "-r",
                &at(&format!("made:{tag}")),
                &all.oci_named(tag),
            ]);
            all.check_fsck();
        }
        let tags = Layout::absent();
        done(&["copy", "--all-tags", &at("made"), &tags.oci()]);
        tags.check_fsck();
        // A name that moves leaves what it stood for, until that is removed.
        done(&["copy", &at("made:mutated"), &tags.oci_named("index")]);
        done(&["gc", &tags.oci()]);
        tags.check_fsck();
        assert!(!tags.roots().is_empty());
    }
}
