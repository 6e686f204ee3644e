//! Round trips are counted where they arrive: in the access log of a real registry (design §5).
//! Every budget is asserted with `==`; a request too few is as wrong as one too many.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use windlass_tests::command::Windlass;
use windlass_tests::images::Layout;
use windlass_tests::needs;
use windlass_tests::proxy::Proxy;
use windlass_tests::registry::{Logged, Registry, Setup, Version};
use windlass_tests::tokens::Tokens;

/// Layers of the images here; small ones, so that push posts without asking first.
const L: usize = 5;

/// How a registry is entered and what that costs in its own log (design §5, last paragraph).
enum Entry {
    Open,
    Basic,
    Bearer(Tokens),
}

impl Entry {
    fn all() -> [Self; 3] {
        [
            Self::Open,
            Self::Basic,
            Self::Bearer(Tokens::for_user("alice", "pa55")),
        ]
    }

    fn start(&self, version: Version) -> Registry {
        match self {
            Self::Open => Setup::new(version).start(),
            Self::Basic => Setup::new(version).basic("alice", "pa55").start(),
            Self::Bearer(tokens) => Setup::new(version).tokens(tokens).start(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Basic => "Basic",
            Self::Bearer(_) => "Bearer",
        }
    }

    /// Requests answered 401 that a call adds to the registry's log.
    fn challenge(&self) -> usize {
        match self {
            Self::Open => 0,
            Self::Basic | Self::Bearer(_) => 1,
        }
    }

    /// Requests at the token service so far.
    fn token_requests(&self) -> usize {
        match self {
            Self::Open | Self::Basic => 0,
            Self::Bearer(tokens) => tokens.requests().len(),
        }
    }

    /// Requests at the token service that a call with one scope set adds.
    fn per_scope_set(&self) -> usize {
        usize::from(matches!(self, Self::Bearer(_)))
    }
}

/// Runs a command; asserts that it succeeds, that the registry's log grew by `budget` and what
/// authentication adds, and that the token service was asked once if it is one.
#[track_caller]
fn costs(what: &str, entry: &Entry, registry: &Registry, words: &[&str], budget: usize) {
    let mark = registry.mark();
    let tokens = entry.token_requests();
    let command = match entry {
        // With credentials that an open registry never asked for, the first 404 of a session costs one
        // request more: see `credentials_for_an_open_registry_cost_1_once`.
        Entry::Open => Windlass::new(words).run(),
        Entry::Basic | Entry::Bearer(_) => Windlass::new(words)
            .auths(&[(&registry.host(), "alice", "pa55")])
            .run(),
    };
    command.digest();
    let what = format!("{what}, {} registry", entry.name());
    let expected = budget + entry.challenge();
    assert_eq!(
        registry.count_since(mark, expected),
        expected,
        "{what}: {command}"
    );
    assert_eq!(
        entry.token_requests() - tokens,
        entry.per_scope_set(),
        "{what}: token requests"
    );
    let refused = registry
        .requests_since(mark)
        .iter()
        .filter(|r| r.status == 401)
        .count();
    assert_eq!(refused, entry.challenge(), "{what}: 401s");
}

/// Design §5: pull L+2, pull again 1. AUTH-71: one challenge however many blobs run beside each other.
#[test]
fn a_pull_costs_l_plus_2_and_a_second_one_1() {
    needs!("docker-registry", "registry", "htpasswd");
    let (layout, image) = Layout::with_image(L, 2000, 1);
    for version in Version::ALL {
        for entry in Entry::all() {
            let registry = entry.start(version);
            registry.seed(&layout, &image, "some/image", "latest");
            let out = Layout::absent();
            let reference = registry.reference("some/image:latest");
            let words = ["pull", &reference, &out.oci()];
            costs("pull", &entry, &registry, &words, L + 2);
            out.check_holds_exactly(image.all());
            costs("pull again", &entry, &registry, &words, 1);
        }
    }
}

/// Design §5: an index level costs 1 more; all platforms 1 + one per child + distinct blobs.
#[test]
fn an_index_costs_one_more_and_all_of_it_its_documents_and_blobs() {
    needs!("docker-registry", "registry", "htpasswd");
    let (layout, index) = Layout::with_index(&["amd64", "arm64", "s390x"], L, 2);
    for version in Version::ALL {
        for entry in Entry::all() {
            let registry = entry.start(version);
            registry.seed_index(&layout, &index, "some/index", "latest");
            let reference = registry.reference("some/index:latest");
            let out = Layout::absent();
            let words = ["pull", "--platform", "linux/arm64", &reference, &out.oci()];
            costs("pull one platform", &entry, &registry, &words, L + 3);
            assert!(index.images[1].blobs().all(|blob| out.has(&blob.digest)));
            assert!(
                !index.images[0]
                    .layers
                    .iter()
                    .any(|layer| out.has(&layer.digest))
            );
            let out = Layout::absent();
            let words = ["pull", "--platform", "all", &reference, &out.oci()];
            costs(
                "pull all platforms",
                &entry,
                &registry,
                &words,
                1 + 3 + 3 * (L + 1),
            );
            let everything = index.images.iter().flat_map(|image| image.all());
            out.check_holds_exactly(everything.chain([&index.index]));
            assert_eq!(out.root(), index.index.digest);
            costs("pull all again", &entry, &registry, &words, 1);
        }
    }
}

/// Design §5: push new small layers by tag 2(L+1)+3, push again 1. PUSHB-01: the manifest last.
#[test]
fn a_push_costs_two_per_blob_and_three_and_a_second_one_1() {
    needs!("docker-registry", "registry", "htpasswd");
    let (layout, image) = Layout::with_image(L, 2000, 3);
    for version in Version::ALL {
        for entry in Entry::all() {
            let registry = entry.start(version);
            let reference = registry.reference("some/image:v1");
            let words = ["push", &layout.oci_named("latest"), &reference];
            let mark = registry.mark();
            costs("push", &entry, &registry, &words, 2 * (L + 1) + 3);
            assert_eq!(
                registry.tagged("some/image", "v1"),
                Some(image.manifest.digest.clone())
            );
            let requests = registry.requests_since(mark);
            assert_eq!(
                requests.last().unwrap().line(),
                "PUT /v2/some/image/manifests/v1"
            );
            assert_eq!(
                registry.open_sessions("some/image"),
                0,
                "no upload is left open"
            );
            costs("push again", &entry, &registry, &words, 1);
        }
    }
}

/// Design §5: each child manifest of an index adds 2 on push. The index goes after them.
#[test]
fn each_child_of_an_index_adds_two_to_a_push() {
    needs!("docker-registry", "registry", "htpasswd");
    let (layout, index) = Layout::with_index(&["amd64", "arm64", "s390x"], 2, 4);
    for version in Version::ALL {
        for entry in Entry::all() {
            let registry = entry.start(version);
            let reference = registry.reference("some/index:v1");
            let words = ["push", &layout.oci_named("latest"), &reference];
            let blobs = 3 * (2 + 1);
            costs(
                "push of an index",
                &entry,
                &registry,
                &words,
                2 * blobs + 2 * 3 + 3,
            );
            assert_eq!(
                registry.tagged("some/index", "v1"),
                Some(index.index.digest.clone())
            );
            costs("push of an index again", &entry, &registry, &words, 1);
        }
    }
}

/// Design §5: a new tag for what is there costs 3.
#[test]
fn a_retag_costs_3() {
    needs!("docker-registry", "registry", "htpasswd");
    let (layout, image) = Layout::with_image(L, 2000, 5);
    for version in Version::ALL {
        for entry in Entry::all() {
            let registry = entry.start(version);
            registry.seed(&layout, &image, "some/image", "v1");
            let reference = registry.reference("some/image:v2");
            let words = ["push", &layout.oci_named("latest"), &reference];
            costs("retag", &entry, &registry, &words, 3);
            assert_eq!(
                registry.tagged("some/image", "v2"),
                Some(image.manifest.digest.clone())
            );
        }
    }
}

/// Design §5: copy in one registry L+5, again 2; blobs are mounted and not moved (PUSHB-51). With
/// Bearer the union of both repositories' scopes is asked for once (AUTH-65).
#[test]
fn a_copy_in_one_registry_costs_l_plus_5_and_a_second_one_2() {
    needs!("docker-registry", "registry", "htpasswd");
    let (layout, image) = Layout::with_image(L, 2000, 6);
    for version in Version::ALL {
        for entry in Entry::all() {
            let registry = entry.start(version);
            registry.seed(&layout, &image, "some/image", "latest");
            let (from, to) = ("some/image:latest", "other/image:v1");
            let words = ["copy", &registry.reference(from), &registry.reference(to)];
            let mark = registry.mark();
            costs("copy", &entry, &registry, &words, L + 5);
            assert_eq!(
                registry.tagged("other/image", "v1"),
                Some(image.manifest.digest.clone())
            );
            let requests = registry.requests_since(mark);
            let mounts = requests
                .iter()
                .filter(|r| r.target.contains("mount=") && r.status == 201);
            assert_eq!(mounts.count(), L + 1, "every blob was mounted");
            assert!(
                !requests
                    .iter()
                    .any(|r| r.method == "GET" && r.line().contains("/blobs/"))
            );
            costs("copy again", &entry, &registry, &words, 2);
        }
    }
}

/// A new tag in the same repository costs 3, and nothing there is disturbed: a mount of what is there
/// has distribution answer 500 to others, and 400 to the manifest.
#[test]
fn a_copy_in_one_repository_costs_3_and_disturbs_nobody() {
    needs!("docker-registry", "registry", "htpasswd");
    let (layout, image) = Layout::with_image(L, 2000, 16);
    for version in Version::ALL {
        for entry in Entry::all() {
            let registry = entry.start(version);
            registry.seed(&layout, &image, "some/image", "latest");
            for n in 0..4 {
                let (from, to) = ("some/image:latest", format!("some/image:v{n}"));
                let words = ["copy", &registry.reference(from), &registry.reference(&to)];
                let mark = registry.mark();
                costs("retag", &entry, &registry, &words, 3);
                let requests = registry.requests_since(mark);
                assert!(
                    requests.iter().all(|r| !r.target.contains("/blobs/")),
                    "{requests:?}"
                );
                let tagged = registry.tagged("some/image", &format!("v{n}"));
                assert_eq!(tagged, Some(image.manifest.digest.clone()));
            }
        }
    }
}

/// Design §5: the empty blob `{}` costs nothing (PULLB-10).
#[test]
fn the_empty_blob_is_not_asked_for() {
    needs!("docker-registry");
    let layout = Layout::new();
    let artifact = layout.add_artifact(3000, 7);
    let registry = Setup::new(Version::Debian).start();
    registry.seed(&layout, &artifact, "some/artifact", "latest");
    let out = Layout::absent();
    let words = [
        "pull",
        &registry.reference("some/artifact:latest"),
        &out.oci(),
    ];
    costs("pull of an artifact", &Entry::Open, &registry, &words, 2);
    out.check_holds_exactly(artifact.all());
}

/// Design §5: `digest` is one HEAD (PULLM-21).
#[test]
fn a_digest_costs_one_head() {
    needs!("docker-registry", "registry", "htpasswd");
    let (layout, image) = Layout::with_image(1, 2000, 8);
    for version in Version::ALL {
        for entry in Entry::all() {
            let registry = entry.start(version);
            registry.seed(&layout, &image, "some/image", "latest");
            let mark = registry.mark();
            let words = ["digest", &registry.reference("some/image:latest")];
            costs("digest", &entry, &registry, &words, 1);
            let requests = registry.requests_since(mark);
            assert!(
                requests.iter().all(|r: &Logged| r.method == "HEAD"),
                "{requests:?}"
            );
        }
    }
}

/// Nothing is uploaded twice: one of 10 layers of 1 MiB changed, and at most that layer and 64 KiB
/// of everything else go over the wire; blobs that may be there are asked for by HEAD.
#[test]
fn a_push_after_a_change_sends_the_changed_layer_only() {
    needs!("docker-registry", "registry");
    let (layout, image) = Layout::with_image(10, 1 << 20, 9);
    let variant = layout.add_variant(&image, 1 << 20, 4711);
    layout.name(&variant.manifest, "changed");
    let changed = variant.layers.last().unwrap().size;
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        registry.seed(&layout, &image, "some/image", "latest");
        let proxy = Proxy::to(&registry.host());
        let to = format!("{}/some/image:changed", proxy.host());
        Windlass::new(["push", &layout.oci_named("changed"), &to])
            .run()
            .digest();
        let sent = proxy.up();
        assert!(sent >= changed, "the layer was sent: {sent}");
        assert!(
            sent <= changed + (64 << 10),
            "{sent} bytes for a layer of {changed}"
        );
        assert_eq!(
            registry.tagged("some/image", "changed"),
            Some(variant.manifest.digest.clone())
        );
    }
}

/// Nothing is downloaded twice: pulling the changed image into a layout that has the old one
/// fetches the changed layer, the config and the manifest.
#[test]
fn a_pull_after_a_change_fetches_the_changed_layer_only() {
    needs!("docker-registry");
    let (layout, image) = Layout::with_image(10, 100_000, 10);
    let variant = layout.add_variant(&image, 100_000, 4712);
    let registry = Setup::new(Version::Debian).start();
    registry.seed(&layout, &image, "some/image", "old");
    registry.seed(&layout, &variant, "some/image", "new");
    let out = Layout::absent();
    let pull = |tag: &str| {
        let reference = registry.reference(&format!("some/image:{tag}"));
        Windlass::new(["pull", &reference, &out.oci()])
            .run()
            .digest()
            .to_owned()
    };
    pull("old");
    let mark = registry.mark();
    assert_eq!(pull("new"), variant.manifest.digest);
    assert_eq!(registry.count_since(mark, 3), 3);
}
