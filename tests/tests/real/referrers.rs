//! Copies with referrers between real registries with and without the referrers API, and through layouts, as oras
//! and regctl see them; and copies of what these two attached.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use windlass_core::Digest;
use windlass_testbed::{Model, Options, Server};
use windlass_tests::command::Windlass;
use windlass_tests::family::Family;
use windlass_tests::ggcr::GgcrRegistry;
use windlass_tests::needs;
use windlass_tests::peers;
use windlass_tests::registry::{Setup, Version};

/// A registry with the family at `family:v1`.
fn with_family(family: &Family) -> Server {
    let mut model = Model::new(Options::default());
    family.put(&mut model, "family");
    Server::start(model).unwrap()
}

fn copy(from: &str, to: &str) {
    let out = Windlass::new(["copy", "-r", "--json", from, to]).run();
    let json: Value = serde_json::from_str(out.ended_with(0).stdout.trim()).unwrap();
    assert_eq!(json["carried"]["copied"], 4, "{json}");
}

/// What oras lists about each of the family: `at` has a `@` at its end.
fn by_oras(family: &Family, at: &str, options: &[&str]) -> BTreeMap<Digest, Vec<Digest>> {
    listed(family, |subject| {
        listed_by_oras(&format!("{at}{subject}"), options)
    })
}

fn listed_by_oras(at: &str, options: &[&str]) -> Vec<String> {
    let output = peers::run("oras", |command| {
        command.args(["discover", "--format", "json", "--depth", "1"]);
        command.args(options).arg(at);
    });
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let referrers = json["referrers"].as_array().cloned().unwrap_or_default();
    let digest = |entry: &Value| entry["digest"].as_str().unwrap().to_owned();
    referrers.iter().map(digest).collect()
}

/// The same of regctl, without its slow search.
fn by_regctl(family: &Family, at: &str) -> BTreeMap<Digest, Vec<Digest>> {
    let host = at.split('/').next().unwrap();
    let host = format!("reg={host},tls=disabled");
    listed(family, |subject| {
        let output = peers::run("regctl", |command| {
            let format = "{{range .Descriptors}}{{.Digest}} {{end}}";
            command.args(["--host", &host, "artifact", "list", "--format", format]);
            command.arg(format!("{at}{subject}"));
        });
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().map(str::to_owned).collect()
    })
}

fn listed(family: &Family, list: impl Fn(&Digest) -> Vec<String>) -> BTreeMap<Digest, Vec<Digest>> {
    let subjects = family.subjects().into_iter().map(|subject| {
        let digests = list(&subject).into_iter().map(|it| it.parse().unwrap());
        let mut digests: Vec<Digest> = digests.collect();
        digests.sort();
        (subject, digests)
    });
    subjects.collect()
}

/// Panics unless windlass lists all of it, and reports this source of the lists.
#[track_caller]
fn check_source(family: &Family, host: &str, repository: &str, source: &str) {
    let found = listed(family, |subject| {
        let at = format!("{host}/{repository}@{subject}");
        let out = Windlass::new(["referrers", "--json", "--depth", "1", &at]).run();
        let json: Value = serde_json::from_str(out.ended_with(0).stdout.trim()).unwrap();
        let entries = json["referrers"].as_array().unwrap();
        // Where nothing refers to it there is no tag, and that is told in place of a list.
        if source == "api" || !entries.is_empty() {
            assert_eq!(json["source"], source, "{json}");
        }
        let digest = |entry: &Value| entry["digest"].as_str().unwrap().to_owned();
        entries.iter().map(digest).collect()
    });
    assert_eq!(found, family.expected());
}

#[track_caller]
fn check_registry(family: &Family, host: &str, repository: &str) {
    let at = format!("{host}/{repository}@");
    assert_eq!(by_oras(family, &at, &["--plain-http"]), family.expected());
    assert_eq!(by_regctl(family, &at), family.expected());
}

#[track_caller]
fn check_layout(family: &Family, path: &Path) {
    let path = path.to_str().unwrap();
    // oras knows only the manifests that are in `index.json` itself.
    let root = family.subjects()[0].clone();
    let listed = listed_by_oras(&format!("{path}@{root}"), &["--oci-layout"]);
    let listed: Vec<Digest> = listed.iter().map(|it| it.parse().unwrap()).collect();
    assert_eq!(listed, family.expected()[&root]);
    let by_regctl = by_regctl(family, &format!("ocidir://{path}@"));
    assert_eq!(by_regctl, family.expected());
}

/// To a registry without the API, to one with it, and back, each time with all referrers.
#[test]
fn between_registries_with_and_without_the_api() {
    needs!(
        "docker-registry",
        "registry",
        "ggcr-registry",
        "oras",
        "regctl"
    );
    let family = Family::default();
    let server = with_family(&family);
    let api = GgcrRegistry::start();
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        let without = registry.reference("family:v1");
        let with = format!("{}/{}:v1", api.host(), version.program());
        copy(&format!("{}/family:v1", server.host()), &without);
        check_registry(&family, &registry.host(), "family");
        check_source(&family, &registry.host(), "family", "tag");
        copy(&without, &with);
        check_registry(&family, &api.host(), version.program());
        check_source(&family, &api.host(), version.program(), "api");
        copy(&with, &registry.reference("back:v1"));
        check_registry(&family, &registry.host(), "back");
        check_source(&family, &registry.host(), "back", "tag");
    }
}

#[test]
fn through_a_layout() {
    needs!("registry", "oras", "regctl");
    let family = Family::default();
    let server = with_family(&family);
    let registry = Setup::new(Version::V3).start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("layout");
    let layout = format!("oci:{}:v1", path.display());
    copy(&format!("{}/family:v1", server.host()), &layout);
    check_layout(&family, &path);
    copy(&layout, &registry.reference("family:v1"));
    check_registry(&family, &registry.host(), "family");
    copy(
        &registry.reference("family:v1"),
        &format!("oci:{}:v1", dir.path().join("2").display()),
    );
    check_layout(&family, &dir.path().join("2"));
}

/// What oras and regctl copied into layouts and attached there is copied on by windlass.
#[test]
fn from_layouts_that_oras_and_regctl_wrote() {
    needs!("registry", "oras", "regctl");
    let family = Family::default();
    let server = with_family(&family);
    let from = format!("{}/family:v1", server.host());
    let registry = Setup::new(Version::V3).start();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (by_oras, by_regctl) = (path("oras"), path("regctl"));
    peers::run("oras", |command| {
        command.args(["copy", "-r", "--from-plain-http", "--to-oci-layout"]);
        command.args([&from, &format!("{by_oras}:v1")]);
    });
    peers::run("regctl", |command| {
        let host = format!("reg={},tls=disabled", server.host());
        command.args(["--host", &host, "image", "copy", "--referrers"]);
        command.args([&from, &format!("ocidir://{by_regctl}:v1")]);
    });
    for (tool, layout) in [("oras", &by_oras), ("regctl", &by_regctl)] {
        let to = registry.reference(&format!("{tool}:v1"));
        let out = Windlass::new(["copy", "-r", "--json", &format!("oci:{layout}:v1"), &to]).run();
        let json: Value = serde_json::from_str(out.ended_with(0).stdout.trim()).unwrap();
        assert_eq!(json["carried"]["failed"], 0, "{tool} {json}");
        let at = format!("{}/{tool}@", registry.host());
        let found = self::by_oras(&family, &at, &["--plain-http"]);
        // oras does not look below the index for what refers to its images.
        let root = family.subjects()[0].clone();
        assert_eq!(found[&root], family.expected()[&root], "{tool}");
        if tool == "regctl" {
            assert_eq!(found, family.expected(), "{tool}");
        }
    }
}
