//! Artifacts: what windlass pushes and attaches is pulled and listed by oras and regctl, and the reverse; at registries
//! with the referrers API and without.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::fs;
use std::path::Path;

use serde_json::Value;
use windlass_testbed::{Auth, Model, Options, Server};
use windlass_tests::command::Windlass;
use windlass_tests::ggcr::GgcrRegistry;
use windlass_tests::registry::{Registry, Setup, Version};
use windlass_tests::{needs, peers};

const TYPE: &str = "application/vnd.example.docs";
const SBOM: &str = "application/spdx+json";

/// A registry that lists no referrers itself, or one that does: that of go-containerregistry, or the model.
enum Place {
    Distribution(Registry),
    Ggcr(GgcrRegistry),
    Model(Server),
}

impl Place {
    fn all() -> Vec<Self> {
        let model = Model::new(Options {
            auth: Auth::Open,
            ..Options::default()
        });
        let model = Self::Model(Server::start(model).unwrap());
        let versions = Version::ALL
            .into_iter()
            .map(|version| Setup::new(version).start());
        let others = [Self::Ggcr(GgcrRegistry::start()), model];
        versions.map(Self::Distribution).chain(others).collect()
    }

    fn at(&self, name: &str) -> String {
        match self {
            Self::Distribution(registry) => registry.reference(name),
            Self::Ggcr(registry) => format!("{}/{name}", registry.host()),
            Self::Model(server) => format!("{}/{name}", server.host()),
        }
    }

    /// Runs regctl; what it printed.
    fn regctl(&self, words: &[&str]) -> String {
        let host = match self {
            Self::Distribution(registry) => {
                let output = peers::regctl(registry, words);
                return String::from_utf8(output.stdout).unwrap();
            }
            Self::Ggcr(registry) => registry.host(),
            Self::Model(server) => server.host(),
        };
        let host = format!("reg={host},tls=disabled");
        let output = peers::run("regctl", |command| {
            command.args(["--host", &host]).args(words);
        });
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Runs oras in a folder; what it printed.
fn oras(folder: &Path, words: &[&str]) -> String {
    let output = peers::run("oras", |command| {
        command.current_dir(folder).args(words);
    });
    String::from_utf8(output.stdout).unwrap()
}

fn windlass(words: &[&str]) -> String {
    let outcome = Windlass::new(words).run();
    assert_eq!(outcome.code(), 0, "{words:?}: {outcome:?}");
    outcome.stdout
}

/// A folder with two files, one of them in a folder.
fn files() -> (tempfile::TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let data: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("README.md"), "read me\n").unwrap();
    fs::write(folder.path().join("sub/data"), &data).unwrap();
    (folder, data)
}

#[track_caller]
fn check(folder: &Path, names: [&str; 2], data: &[u8]) {
    assert_eq!(fs::read(folder.join(names[0])).unwrap(), b"read me\n");
    assert!(fs::read(folder.join(names[1])).unwrap() == data);
    assert_eq!(windlass_tests::files_below(folder).len(), 2);
}

#[test]
fn oras_pulls_what_windlass_pushed() {
    needs!("docker-registry", "registry", "ggcr-registry", "oras");
    let (folder, data) = files();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for place in Place::all() {
        let at = place.at("docs:v1");
        let (readme, data_file) = (path("README.md") + ":text/markdown", path("sub/data"));
        windlass(&[
            "artifact",
            "push",
            "--artifact-type",
            TYPE,
            &at,
            &readme,
            &data_file,
        ]);
        let into = tempfile::tempdir().unwrap();
        oras(into.path(), &["pull", "--plain-http", &at]);
        check(into.path(), ["README.md", "data"], &data);
    }
}

#[test]
fn windlass_pulls_what_oras_pushed() {
    needs!("docker-registry", "registry", "ggcr-registry", "oras");
    let (folder, data) = files();
    for place in Place::all() {
        let at = place.at("docs:v1");
        let words = ["push", "--plain-http", "--artifact-type", TYPE, &at];
        let words = [&words[..], &["README.md:text/markdown", "sub/data"]].concat();
        oras(folder.path(), &words);
        let into = tempfile::tempdir().unwrap();
        let name = into.path().to_str().unwrap();
        let printed = windlass(&["artifact", "pull", &at, name]);
        assert_eq!(printed, "README.md\nsub/data\n");
        check(into.path(), ["README.md", "sub/data"], &data);
    }
}

/// Artifacts of all three about one image, seen by all three.
#[test]
fn what_is_attached_is_listed_by_all() {
    needs!(
        "docker-registry",
        "registry",
        "ggcr-registry",
        "oras",
        "regctl"
    );
    for place in Place::all() {
        let (folder, _) = files();
        let at = place.at("app:v1");
        windlass(&[
            "artifact",
            "push",
            &at,
            folder.path().join("README.md").to_str().unwrap(),
        ]);
        let ours = folder.path().join("ours.json");
        fs::write(&ours, "{\"by\":\"windlass\"}").unwrap();
        fs::write(folder.path().join("theirs.json"), "{\"by\":\"oras\"}").unwrap();
        let file = format!("{}:{SBOM}", ours.to_str().unwrap());
        let attached = windlass(&["attach", "--artifact-type", SBOM, &at, &file]);
        let attached = attached.trim();
        let theirs = format!("theirs.json:{SBOM}");
        oras(
            folder.path(),
            &[
                "attach",
                "--plain-http",
                "--artifact-type",
                SBOM,
                &at,
                &theirs,
            ],
        );
        let file = ours.to_str().unwrap();
        place.regctl(&[
            "artifact",
            "put",
            "--artifact-type",
            SBOM,
            "--subject",
            &at,
            "--file",
            file,
        ]);

        // go-containerregistry lists wrong types, unless the manifests are asked.
        let wanted = match &place {
            Place::Ggcr(_) => &["--artifact-type", SBOM][..],
            Place::Distribution(_) | Place::Model(_) => &[],
        };
        let words = [&["referrers", "--depth", "1", &at], wanted].concat();
        let listed = windlass(&words);
        let mut digests: Vec<&str> = listed
            .lines()
            .filter_map(|line| line.strip_suffix(SBOM))
            .map(str::trim)
            .collect();
        digests.sort_unstable();
        assert_eq!(digests.len(), 3, "{listed}");
        assert!(digests.contains(&attached), "{listed}");

        let discovered = oras(
            folder.path(),
            &["discover", "--plain-http", "--format", "json", &at],
        );
        let discovered: Value = serde_json::from_str(&discovered).unwrap();
        let found = discovered["referrers"].as_array().unwrap();
        let mut found: Vec<&str> = found
            .iter()
            .filter_map(|it| it["digest"].as_str())
            .collect();
        found.sort_unstable();
        assert_eq!(found, digests, "oras");
        let listed = place.regctl(&["artifact", "list", "--format", "{{json .}}", &at]);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let found = listed["descriptors"].as_array().unwrap();
        let mut found: Vec<&str> = found
            .iter()
            .filter_map(|it| it["digest"].as_str())
            .collect();
        found.sort_unstable();
        assert_eq!(found, digests, "regctl");

        // And what we attached comes out again.
        let by_digest = place.at(&format!("app@{attached}"));
        let into = tempfile::tempdir().unwrap();
        oras(into.path(), &["pull", "--plain-http", &by_digest]);
        assert_eq!(
            fs::read(into.path().join("ours.json")).unwrap(),
            fs::read(&ours).unwrap()
        );
    }
}
