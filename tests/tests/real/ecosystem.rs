//! What other tools keep in registries is whole after windlass has copied it: charts of helm, and signatures of
//! cosign.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::path::Path;

use windlass_tests::command::Windlass;
use windlass_tests::images::Layout;
use windlass_tests::registry::{Registry, Setup, Version};
use windlass_tests::{needs, peers};

/// A chart is copied from one registry to another, through a layout, and pulled by helm.
#[test]
fn helm_pulls_a_chart_that_was_copied() {
    needs!("docker-registry", "registry", "helm");
    let from = Setup::new(Version::Debian).start();
    let to = Setup::new(Version::V3).start();
    let folder = tempfile::tempdir().unwrap();
    let helm = |words: &[&str]| {
        peers::run("helm", |command| {
            command.args(words).current_dir(folder.path());
        })
    };
    helm(&["create", "demo"]);
    helm(&["package", "demo"]);
    let charts = format!("oci://{}", from.reference("charts"));
    helm(&["push", "demo-0.1.0.tgz", &charts, "--plain-http"]);

    let layout = Layout::absent();
    let original = from.reference("charts/demo:0.1.0");
    let digest = Windlass::new(["pull", &original, &layout.oci()]).run();
    let copy = to.reference("copied/demo:0.1.0");
    let pushed = Windlass::new(["push", &layout.oci_named("0.1.0"), &copy]).run();
    assert_eq!(pushed.digest(), digest.digest());
    let direct = to.reference("direct/demo:0.1.0");
    let copied = Windlass::new(["copy", &original, &direct]).run();
    assert_eq!(copied.digest(), digest.digest());

    let chart = std::fs::read(folder.path().join("demo-0.1.0.tgz")).unwrap();
    for repository in ["copied/demo", "direct/demo"] {
        let name = format!("oci://{}", to.reference(repository));
        let out = repository.split('/').next().unwrap();
        std::fs::create_dir(folder.path().join(out)).unwrap();
        helm(&[
            "pull",
            &name,
            "--version",
            "0.1.0",
            "--plain-http",
            "-d",
            out,
        ]);
        let pulled = folder.path().join(out).join("demo-0.1.0.tgz");
        assert!(std::fs::read(pulled).unwrap() == chart, "{repository}");
    }
}

/// An image with a signature that is a referrer: cosign verifies a copy that took it along, and no other.
#[test]
fn cosign_verifies_an_image_that_was_copied() {
    needs!("docker-registry", "registry", "cosign");
    let from = Setup::new(Version::Debian).start();
    let to = Setup::new(Version::V3).start();
    let (layout, image) = Layout::with_image(2, 1000, 1);
    from.seed(&layout, &image, "a/app", "v1");
    let at = |registry: &Registry, digest: &str| registry.reference(&format!("a/app@{digest}"));
    let folder = tempfile::tempdir().unwrap();
    cosign(folder.path(), &["generate-key-pair"]);
    let original = at(&from, &image.manifest.digest);
    let sign = [
        "sign",
        "--key",
        "cosign.key",
        "--yes",
        "--allow-insecure-registry",
    ];
    let without_log = [
        "--use-signing-config=false",
        "--tlog-upload=false",
        &original,
    ];
    cosign(folder.path(), &[&sign[..], &without_log].concat());

    let (source, copy) = (from.reference("a/app:v1"), to.reference("a/app:v1"));
    Windlass::new(["copy", &source, &copy]).run().digest();
    let copied = at(&to, &image.manifest.digest);
    let verify = ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog"];
    let verify = [&verify[..], &["--allow-insecure-registry", &copied]].concat();
    assert!(
        !cosign_succeeds(folder.path(), &verify),
        "it has no signature yet"
    );

    Windlass::new(["copy", "-r", &source, &copy]).run().digest();
    assert!(cosign_succeeds(folder.path(), &verify));
}

/// A layout that `cosign save` wrote is pushed with the signature in it, which cosign verifies there.
#[test]
fn cosign_verifies_what_it_saved_and_windlass_pushed() {
    needs!("docker-registry", "registry", "cosign");
    let from = Setup::new(Version::Debian).start();
    let to = Setup::new(Version::V3).start();
    let (layout, image) = Layout::with_image(2, 1000, 1);
    from.seed(&layout, &image, "a/app", "v1");
    let digest = &image.manifest.digest;
    let original = from.reference(&format!("a/app@{digest}"));
    let folder = tempfile::tempdir().unwrap();
    cosign(folder.path(), &["generate-key-pair"]);
    // Signatures at tags, as in images that were signed before version 3.
    let at_a_tag = "--new-bundle-format=false";
    let sign = ["sign", "--key", "cosign.key", "--yes", at_a_tag];
    let without_log = ["--use-signing-config=false", "--tlog-upload=false"];
    let insecure = "--allow-insecure-registry";
    let sign = [&sign[..], &without_log, &[insecure, &original]].concat();
    cosign(folder.path(), &sign);
    let http = "--allow-http-registry";
    cosign(
        folder.path(),
        &["save", "--dir", "saved", insecure, http, &original],
    );

    let saved = format!("oci:{}", folder.path().join("saved").display());
    let copy = to.reference("b/app:v1");
    let pushed = Windlass::new(["push", "--digest-tags", &saved, &copy]).run();
    assert_eq!(pushed.digest(), *digest);
    let copied = to.reference(&format!("b/app@{digest}"));
    let verify = ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog"];
    let verify = [&verify[..], &[at_a_tag, insecure, &copied]].concat();
    assert!(cosign_succeeds(folder.path(), &verify));
}

#[track_caller]
fn cosign(folder: &Path, words: &[&str]) {
    peers::run("cosign", |command| {
        command
            .args(words)
            .current_dir(folder)
            .env("COSIGN_PASSWORD", "");
    });
}

fn cosign_succeeds(folder: &Path, words: &[&str]) -> bool {
    let program = windlass_tests::program("cosign").unwrap();
    let done = std::process::Command::new(program)
        .args(words)
        .current_dir(folder)
        .env("HOME", folder)
        .env("COSIGN_PASSWORD", "")
        .output();
    done.unwrap().status.success()
}
