//! Images and indexes that windlass changes: crane makes the same of the same, and finds ours whole.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use serde_json::Value;
use windlass_tests::command::Windlass;
use windlass_tests::images::{Layout, gzip, tar};
use windlass_tests::registry::{Registry, Setup, Version};
use windlass_tests::{needs, peers};

/// What crane prints of a reference.
fn by_crane(registry: &Registry, what: &str, name: &str) -> Value {
    let said = peers::crane(&[what, "--insecure", &registry.reference(name)]);
    serde_json::from_slice(&said.stdout).unwrap()
}

/// What regctl reads as a manifest.
fn by_regctl(registry: &Registry, name: &str) -> Value {
    let at = registry.reference(name);
    let said = peers::regctl(registry, &["manifest", "get", "--format", "raw-body", &at]);
    serde_json::from_slice(&said.stdout).unwrap()
}

#[test]
fn crane_appends_and_mutates_in_the_same_way() {
    needs!("docker-registry", "registry", "crane", "regctl");
    let (layout, base) = Layout::with_image(2, 1000, 1);
    let folder = tempfile::tempdir().unwrap();
    // Compressed: `crane validate` knows no other layers.
    let file = folder.path().join("added.tar.gz");
    std::fs::write(&file, gzip(&tar("added", b"what is added"))).unwrap();
    let file = file.to_str().unwrap();
    let mutation = [
        "--label",
        "a=b",
        "--env",
        "A=x",
        "--entrypoint",
        "/app",
        "--user",
        "1:1",
        "--workdir",
        "/w",
    ];
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        registry.seed(&layout, &base, "a/app", "v1");
        let at = |tag: &str| registry.reference(&format!("a/app:{tag}"));
        let (v1, ours, mutated) = (at("v1"), at("ours"), at("ours-mutated"));
        Windlass::new(["append", &v1, file, "-t", &ours])
            .run()
            .digest();
        let words = ["mutate", &ours, "-t", &mutated];
        Windlass::new(words.into_iter().chain(mutation))
            .run()
            .digest();
        let (theirs, mutated) = (at("theirs"), at("theirs-mutated"));
        peers::crane(&["append", "--insecure", "-b", &v1, "-f", file, "-t", &theirs]);
        let words = ["mutate", "--insecure", &theirs, "-t", &mutated];
        peers::crane(&[&words[..], &mutation].concat());
        for tag in ["", "-mutated"] {
            let [ours, theirs] = ["ours", "theirs"].map(|name| format!("a/app:{name}{tag}"));
            peers::crane_validate(&registry, &ours);
            let [config, expected] = [&ours, &theirs].map(|it| by_crane(&registry, "config", it));
            let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
            assert_eq!(diff_ids.len(), 3, "{ours}");
            assert_eq!(config["rootfs"], expected["rootfs"], "{ours}");
            assert_eq!(config["config"], expected["config"], "{ours}");
            let [manifest, expected] = [&ours, &theirs].map(|it| by_regctl(&registry, it));
            let digests = |manifest: &Value| -> Vec<Value> {
                let layers = manifest["layers"].as_array().unwrap().iter();
                layers.map(|layer| layer["digest"].clone()).collect()
            };
            assert_eq!(digests(&manifest), digests(&expected), "{ours}");
        }
    }
}

#[test]
fn crane_adds_to_an_index_in_the_same_way() {
    needs!("docker-registry", "registry", "crane", "regctl");
    let (layout, index) = Layout::with_index(&["amd64", "arm64"], 2, 2);
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        registry.seed_index(&layout, &index, "multi", "v1");
        let images = index.images.iter();
        let images: Vec<String> = images
            .map(|image| registry.reference(&format!("multi@{}", image.manifest.digest)))
            .collect();
        let [ours, theirs] =
            ["ours", "theirs"].map(|tag| registry.reference(&format!("multi:{tag}")));
        Windlass::new(["index", "create", &ours, &images[0]])
            .run()
            .digest();
        Windlass::new(["index", "add", &ours, &images[1]])
            .run()
            .digest();
        let words = ["index", "append", "--insecure", "-t", &theirs];
        peers::crane(&[&words[..], &["-m", &images[0], "-m", &images[1]]].concat());
        peers::crane_validate(&registry, "multi:ours");
        let [made, expected] = ["multi:ours", "multi:theirs"].map(|name| {
            let entries = by_regctl(&registry, name)["manifests"]
                .as_array()
                .unwrap()
                .clone();
            let entries = entries.into_iter();
            let entries = entries.map(|it| (it["digest"].clone(), it["platform"].clone()));
            entries.collect::<Vec<_>>()
        });
        assert_eq!(made.len(), 2);
        assert_eq!(made, expected);
    }
}
