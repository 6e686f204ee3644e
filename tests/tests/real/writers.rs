//! Two processes that add referrers to one image at the same time, at registries without the referrers API: each
//! change of the list may replace that of the other.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;

use serde_json::Value;
use windlass_testbed::{Model, Options, Server};
use windlass_tests::command::Windlass;
use windlass_tests::images::{Image, Layout, digest};
use windlass_tests::needs;
use windlass_tests::registry::{Setup, Version};

use crate::operations::about;

/// How many each of the two adds.
const EACH: usize = 50;

/// Shorter than the second that it is by default, and longer than a registry on the same machine needs: so the two
/// meet more often.
const SETTLE: &str = "[limits]\nsettle = \"300ms\"\n";

/// RFR-02: where lists have ETags and the registry looks at conditions, nothing is lost.
#[test]
fn nothing_is_lost_where_conditions_hold() {
    let options = Options {
        conditions: true,
        ..Options::default()
    };
    let server = Server::start(Model::new(options)).unwrap();
    let added = add_at_once(&server.host());
    assert_eq!(added.told, [].into());
    assert_eq!(added.listed, added.all);
}

/// RFR-02: where the registry passes over conditions, what is lost is found by reading again later, and written again,
/// or told.
#[test]
fn nothing_is_lost_silently_where_conditions_are_passed_over() {
    needs!("docker-registry", "registry");
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        let added = add_at_once(&registry.host());
        let known: BTreeSet<_> = added.listed.union(&added.told).cloned().collect();
        assert_eq!(known, added.all, "{version:?}");
        let told = added.told.difference(&added.listed).count();
        println!("{version:?}: {told} of {} are told", added.all.len());
    }
}

/// What was added, by digest.
struct Added {
    all: BTreeSet<String>,
    /// What the report of its own command says is not in the list.
    told: BTreeSet<String>,
    /// What is in the list in the end.
    listed: BTreeSet<String>,
}

/// Lets two sequences of commands add referrers beside each other.
fn add_at_once(host: &str) -> Added {
    let (layout, image) = Layout::with_image(1, 500, 1);
    let subject = format!("{host}/a/b:v1");
    let words = ["push", &layout.oci_named("latest"), &subject];
    Windlass::new(words).run().digest();
    let empty = layout.add(b"{}", "application/vnd.oci.empty.v1+json");
    let file = layout.blob_path(&empty.digest);
    let words = [
        "blob",
        "put",
        &format!("{host}/a/b"),
        file.to_str().unwrap(),
    ];
    Windlass::new(words).run().ended_with(0);

    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    std::fs::write(&config, SETTLE).unwrap();
    let told: Vec<_> = thread::scope(|scope| {
        let writers = [0, 1].map(|writer| {
            let (layout, image, config) = (&layout, &image, &config);
            scope.spawn(move || add_some((host, config), layout, image, writer * EACH))
        });
        writers.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let listed = Windlass::new(["referrers", "--json", "--depth", "1", &subject]).run();
    let listed: Value = serde_json::from_str(&listed.ended_with(0).stdout).unwrap();
    let listed = listed["referrers"].as_array().unwrap();
    Added {
        all: (0..2 * EACH).map(|n| digest(&about(&image, n))).collect(),
        told: told.concat().into_iter().collect(),
        listed: listed
            .iter()
            .map(|it| it["digest"].as_str().unwrap().to_owned())
            .collect(),
    }
}

/// Adds referrers one after the other, a process for each, and returns which of them the commands said are not
/// listed.
fn add_some(
    (host, config): (&str, &Path),
    layout: &Layout,
    image: &Image,
    first: usize,
) -> Vec<String> {
    let mut told = Vec::new();
    for n in first..first + EACH {
        let manifest = layout.add(&about(image, n), windlass_tests::images::MANIFEST);
        let file = layout.blob_path(&manifest.digest);
        let at = format!("{host}/a/b@{}", manifest.digest);
        let words = ["manifest", "put", "--json", &at, file.to_str().unwrap()];
        let put = Windlass::new(words).env("WINDLASS_CONFIG", config).run();
        let put: Value = serde_json::from_str(&put.ended_with(0).stdout).unwrap();
        if !put["unlisted"].is_null() {
            told.push(manifest.digest);
        }
    }
    told
}
