//! Operations on real registries, and on the model that stands for them elsewhere: long lists, deletions,
//! referrers. Debian's docker-registry and CNCF distribution v3 have no referrers API; the registry of
//! go-containerregistry and the model have it.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use windlass_blocking::Client;
use windlass_testbed::{Model, Options, Server};
use windlass_tests::command::{NOT_FOUND, REFUSED, Windlass};
use windlass_tests::ggcr::GgcrRegistry;
use windlass_tests::images::{Blob, INDEX, Image, Layout, MANIFEST, digest};
use windlass_tests::needs;
use windlass_tests::registry::{Registry, Setup, Version};

/// A registry, and what it can do.
struct Somewhere {
    name: &'static str,
    host: String,
    lists_referrers: bool,
    /// Whether it knows `n` and `last` of a list of tags.
    pages_tags: bool,
    deletes_tags: bool,
    /// Whether it deletes the tags of a manifest with it.
    drops_tags: bool,
    running: Running,
}

enum Running {
    Real(Registry),
    Ggcr(GgcrRegistry),
    Model(Server),
}

impl Somewhere {
    fn all() -> [Self; 4] {
        [
            Self {
                pages_tags: false,
                deletes_tags: false,
                ..Self::real(Version::Debian)
            },
            Self::real(Version::V3),
            Self::ggcr(),
            Self::model(),
        ]
    }

    fn real(version: Version) -> Self {
        let registry = Setup::new(version).in_memory().start();
        Self {
            name: version.program(),
            host: registry.host(),
            lists_referrers: false,
            pages_tags: true,
            deletes_tags: true,
            drops_tags: true,
            running: Running::Real(registry),
        }
    }

    fn ggcr() -> Self {
        let registry = GgcrRegistry::start();
        Self {
            name: "go-containerregistry",
            host: registry.host(),
            lists_referrers: true,
            pages_tags: true,
            deletes_tags: true,
            drops_tags: false,
            running: Running::Ggcr(registry),
        }
    }

    fn model() -> Self {
        let options = Options {
            referrers_api: true,
            ..Options::default()
        };
        let server = Server::start(Model::new(options)).unwrap();
        Self {
            name: "the model",
            host: server.host(),
            lists_referrers: true,
            pages_tags: true,
            deletes_tags: true,
            drops_tags: true,
            running: Running::Model(server),
        }
    }

    /// Points tags at an image that is here, without requests where that is possible: they are many.
    fn tag(&self, repository: &str, layout: &Layout, image: &Image, names: &[String]) {
        match &self.running {
            Running::Real(registry) => {
                for name in names {
                    registry.seed_tag(repository, name, &image.manifest);
                }
            }
            Running::Model(server) => server.with_model(|model| {
                for name in names {
                    let bytes = layout.read(&image.manifest.digest);
                    model.put_manifest(repository, Some(name), MANIFEST, bytes);
                }
            }),
            Running::Ggcr(registry) => {
                let bytes = layout.read(&image.manifest.digest);
                let names = names.iter().map(|name| (&**name, &*bytes));
                registry.put_manifests(repository, MANIFEST, names);
            }
        }
    }

    /// Puts referrers of an image here, the last one by windlass: into a list of all others, where the registry
    /// lists none itself.
    fn put_referrers(&self, repository: &str, image: &Image, documents: &[Vec<u8>]) {
        let (last, others) = documents.split_last().unwrap();
        let blobs: Vec<Blob> = others.iter().map(|it| blob(MANIFEST, it)).collect();
        match &self.running {
            Running::Real(registry) => {
                for (blob, document) in blobs.iter().zip(others) {
                    registry.seed_document(repository, blob, document);
                }
                let entries: Vec<Value> = blobs.iter().zip(others).map(entry).collect();
                let list = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
                let list = list.to_string().into_bytes();
                let tag = image.manifest.digest.replace(':', "-");
                registry.seed_document(repository, &blob(INDEX, &list), &list);
                registry.seed_tag(repository, &tag, &blob(INDEX, &list));
            }
            Running::Ggcr(registry) => {
                let others = blobs.iter().zip(others);
                let others = others.map(|(blob, bytes)| (&*blob.digest, &**bytes));
                registry.put_manifests(repository, MANIFEST, others);
            }
            Running::Model(server) => server.with_model(|model| {
                for document in documents {
                    model.put_manifest(repository, None, MANIFEST, document.clone());
                }
            }),
        }
        let client = client();
        let at = self.reference(repository).parse().unwrap();
        client.put_blob(&at, b"{}".to_vec()).run().unwrap();
        let at = self.reference(&format!("{repository}@{}", digest(last)));
        let put = client.put_manifest(&at.parse().unwrap(), last.clone(), MANIFEST);
        assert_eq!(put.run().unwrap().unlisted, None);
    }

    fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// Pushes an image of one layer.
    fn image(&self, name: &str, seed: u64) -> (Layout, Image) {
        let (layout, image) = Layout::with_image(1, 500, seed);
        let words = ["push", &layout.oci_named("latest"), &self.reference(name)];
        assert_eq!(Windlass::new(words).run().digest(), image.manifest.digest);
        (layout, image)
    }

    fn run(&self, words: &[&str], name: &str) -> windlass_tests::command::Outcome {
        let reference = self.reference(name);
        let words = words.iter().copied().chain([&*reference]);
        Windlass::new(words).run()
    }
}

/// TAGS-10: 10,000 tags, each once, and parts of them.
#[test]
fn ten_thousand_tags_are_listed() {
    needs!("docker-registry", "registry", "ggcr-registry");
    let names: Vec<String> = (0..10_000).map(|n| format!("v{n:05}")).collect();
    for somewhere in Somewhere::all() {
        let name = somewhere.name;
        let (layout, image) = somewhere.image("many/tags:first", 1);
        somewhere.tag("many/tags", &layout, &image, &names);

        let all = somewhere.run(&["tags"], "many/tags");
        let all: Vec<&str> = all.ended_with(0).stdout.lines().collect();
        let once: BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!((all.len(), once.len()), (10_001, 10_001), "{name}");
        assert!(names.iter().all(|name| once.contains(&**name)), "{name}");

        let part = somewhere.run(&["tags", "--after", "v04999", "--limit", "3"], "many/tags");
        let part: Vec<&str> = part.ended_with(0).stdout.lines().collect();
        if somewhere.pages_tags {
            assert_eq!(part, ["v05000", "v05001", "v05002"], "{name}");
        } else {
            // It begins with its first name; what comes before is left out.
            let after = all.iter().position(|it| *it == "v04999").unwrap() + 1;
            assert_eq!(part, all[after..after + 3], "{name}");
        }
        let small = ["tags", "--page-size", "999", "--json"];
        let small = somewhere.run(&small, "many/tags");
        let small: Value = serde_json::from_str(&small.ended_with(0).stdout).unwrap();
        assert_eq!(small["tags"].as_array().unwrap().len(), 10_001, "{name}");
    }
}

/// DEL-01 to DEL-06: a tag alone, and where that cannot be done the names of the others; then the manifest with
/// all its tags; then a blob.
#[test]
fn tags_manifests_and_blobs_are_deleted() {
    needs!("docker-registry", "registry", "ggcr-registry");
    for somewhere in Somewhere::all() {
        let name = somewhere.name;
        let (_, image) = somewhere.image("some/app:v1", 2);
        let tagged = Windlass::new(["tag", &somewhere.reference("some/app:v1"), "v2", "v3"]);
        tagged.run().ended_with(0);
        let deleted = somewhere.run(&["delete"], "some/app:v1");
        if somewhere.deletes_tags {
            deleted.ended_with(0);
            somewhere
                .run(&["digest"], "some/app:v1")
                .failed(NOT_FOUND, "not found");
        } else {
            deleted.failed(REFUSED, "v2");
            assert!(deleted.stderr.contains("v3"), "{deleted}");
            assert!(deleted.stderr.contains("--with-manifest"), "{deleted}");
            somewhere.run(&["digest"], "some/app:v1").digest();
        }
        assert_eq!(
            somewhere.run(&["digest"], "some/app:v2").digest(),
            image.manifest.digest,
            "{name}: the other tag stays"
        );

        let manifest = format!("some/app@{}", image.manifest.digest);
        somewhere
            .run(&["manifest", "delete"], &manifest)
            .ended_with(0);
        let tags = ["some/app:v2", "some/app:v3"];
        let gone = tags.into_iter().filter(|_| somewhere.drops_tags);
        for gone in gone.chain([&*manifest]) {
            let looked = somewhere.run(&["manifest", "get"], gone);
            looked.failed(NOT_FOUND, "not found");
        }
        somewhere
            .run(&["manifest", "delete"], &manifest)
            .ended_with(NOT_FOUND);
        let again = ["manifest", "delete", "--ignore-missing"];
        somewhere.run(&again, &manifest).ended_with(0);

        let layer = format!("some/app@{}", image.layers[0].digest);
        somewhere.run(&["blob", "head"], &layer).ended_with(0);
        somewhere.run(&["blob", "delete"], &layer).ended_with(0);
        somewhere
            .run(&["blob", "head"], &layer)
            .ended_with(NOT_FOUND);
    }
}

/// RFR-01 to RFR-10: 1,000 referrers are listed, with the API and at the tag; those of one type; and what is
/// deleted leaves the list.
#[test]
fn a_thousand_referrers_are_listed() {
    needs!("docker-registry", "registry", "ggcr-registry");
    for somewhere in Somewhere::all() {
        let name = somewhere.name;
        let (_, image) = somewhere.image("some/app:v1", 3);
        let documents: Vec<Vec<u8>> = (0..1000).map(|n| about(&image, n)).collect();
        somewhere.put_referrers("some/app", &image, &documents);

        let put: BTreeSet<String> = documents.iter().map(|bytes| digest(bytes)).collect();
        assert_eq!(listed(&somewhere, &[]), put, "{name}");
        // go-containerregistry lists the type of the configuration instead: the manifests decide.
        let even = listed(
            &somewhere,
            &["--artifact-type", "application/vnd.example.even"],
        );
        assert_eq!(even.len(), 500, "{name}");

        let first = format!("some/app@{}", digest(&documents[0]));
        somewhere.run(&["manifest", "delete"], &first).ended_with(0);
        let left = listed(&somewhere, &[]);
        assert_eq!(left.len(), 999, "{name}");
        assert!(!left.contains(&digest(&documents[0])), "{name}");
    }
}

/// What the command lists, without what refers to that.
fn listed(somewhere: &Somewhere, more: &[&str]) -> BTreeSet<String> {
    let words = [&["referrers", "--json", "--depth", "1"], more].concat();
    let done = somewhere.run(&words, "some/app:v1");
    let done: Value = serde_json::from_str(&done.ended_with(0).stdout).unwrap();
    let source = if somewhere.lists_referrers {
        "api"
    } else {
        "tag"
    };
    assert_eq!(done["source"], source, "{}", somewhere.name);
    let entries = done["referrers"].as_array().unwrap();
    let digests = entries
        .iter()
        .map(|it| it["digest"].as_str().unwrap().to_owned());
    let once: BTreeSet<String> = digests.collect();
    assert_eq!(once.len(), entries.len(), "{}: each once", somewhere.name);
    once
}

fn blob(media_type: &str, bytes: &[u8]) -> Blob {
    Blob {
        media_type: media_type.to_owned(),
        digest: digest(bytes),
        size: bytes.len() as u64,
    }
}

/// The entry of a referrers list for a manifest.
fn entry((blob, document): (&Blob, &Vec<u8>)) -> Value {
    let document: Value = serde_json::from_slice(document).unwrap();
    let mut entry = blob.descriptor();
    entry["artifactType"] = document["artifactType"].clone();
    entry["annotations"] = document["annotations"].clone();
    entry
}

fn client() -> Client {
    Client::builder().build().unwrap()
}

/// The manifest of an artifact about an image, of one of two types.
pub(crate) fn about(image: &Image, n: usize) -> Vec<u8> {
    let kind = if n.is_multiple_of(2) { "even" } else { "odd" };
    let empty = json!({
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": digest(b"{}"),
        "size": 2,
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": format!("application/vnd.example.{kind}"),
        "config": empty,
        "layers": [empty],
        "subject": image.manifest.descriptor(),
        "annotations": { "n": n.to_string() },
    });
    manifest.to_string().into_bytes()
}
