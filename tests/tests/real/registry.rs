//! The command against real registries, each way in and each direction: Debian's docker-registry
//! and CNCF distribution v3; open, Basic, TLS, Bearer.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::time::Duration;

use windlass_tests::certs::Ca;
use windlass_tests::command::{AUTH, NOT_FOUND, REFUSED, Windlass};
use windlass_tests::images::{Image, Index, Layout};
use windlass_tests::needs;
use windlass_tests::proxy::Proxy;
use windlass_tests::registry::{Registry, Setup, Version};
use windlass_tests::tokens::{DistributionTokens, LEEWAY, Tokens};

const USER: &str = "alice";
const PASSWORD: &str = "correct horse battery staple";

/// Push, pull and copy of an image with `windlass`, each with the words `entry` adds; what arrives
/// is compared with what was sent, byte for byte by its digests.
fn there_and_back(registry: &Registry, layout: &Layout, image: &Image, entry: Entering<'_>) {
    let word = |name: &str| registry.reference(name);
    let pushed = entry(Windlass::new([
        "push",
        &layout.oci_named("latest"),
        &word("alice/a:v1"),
    ]));
    let pushed = pushed.run();
    assert_eq!(pushed.digest(), image.manifest.digest);
    pushed.tells_nobody(&[PASSWORD]);
    assert_eq!(
        registry.tagged("alice/a", "v1"),
        Some(image.manifest.digest.clone())
    );
    assert!(image.all().all(|blob| registry.holds(&blob.digest)));

    let out = Layout::absent();
    let pulled = entry(Windlass::new(["pull", &word("alice/a:v1"), &out.oci()])).run();
    assert_eq!(pulled.digest(), image.manifest.digest);
    out.check_holds_exactly(image.all());
    assert_eq!(
        out.image("v1").manifest,
        image.manifest,
        "under the tag's name"
    );

    let copied = entry(Windlass::new([
        "copy",
        &word("alice/a:v1"),
        &word("alice/b:v2"),
    ]))
    .run();
    assert_eq!(copied.digest(), image.manifest.digest);
    assert_eq!(
        registry.tagged("alice/b", "v2"),
        Some(image.manifest.digest.clone())
    );

    let digest = entry(Windlass::new(["digest", &word("alice/b:v2")])).run();
    assert_eq!(digest.digest(), image.manifest.digest);
}

type Entering<'a> = &'a dyn Fn(Windlass) -> Windlass;

/// What `there_and_back` asks, of both registries, with and without TLS.
#[test]
fn an_open_registry_plain_and_with_tls() {
    needs!("docker-registry", "registry");
    let (layout, image) = Layout::with_image(3, 100_000, 1);
    let ca = Ca::new();
    for version in Version::ALL {
        let plain = Setup::new(version).start();
        there_and_back(&plain, &layout, &image, &|command| command);
        let secure = Setup::new(version).tls(&ca).start();
        there_and_back(&secure, &layout, &image, &|command| command.tls(&ca.pem));
        let by_env = |command: Windlass| command.args(["--tls"]).env("SSL_CERT_FILE", &ca.pem);
        let secure = Setup::new(version).tls(&ca).start();
        there_and_back(&secure, &layout, &image, &by_env);
    }
}

/// Credentials come from standard input or from docker's config.json (CRED), over both schemes.
#[test]
fn basic_from_standard_input_and_from_dockers_configuration() {
    needs!("docker-registry", "registry", "htpasswd");
    let (layout, image) = Layout::with_image(3, 100_000, 2);
    let ca = Ca::new();
    for version in Version::ALL {
        let registry = Setup::new(version).basic(USER, PASSWORD).start();
        there_and_back(&registry, &layout, &image, &|command| {
            command.user(USER, PASSWORD)
        });
        let registry = Setup::new(version).basic(USER, PASSWORD).tls(&ca).start();
        let host = registry.host();
        let entry = |command: Windlass| command.tls(&ca.pem).auths(&[(&host, USER, PASSWORD)]);
        there_and_back(&registry, &layout, &image, &entry);
    }
}

/// Bearer tokens of the signing service of these tests, on both registries.
#[test]
fn bearer_with_a_signing_service() {
    needs!("docker-registry", "registry");
    let (layout, image) = Layout::with_image(3, 100_000, 3);
    for version in Version::ALL {
        let tokens = Tokens::for_user(USER, PASSWORD);
        let registry = Setup::new(version).tokens(&tokens).start();
        there_and_back(&registry, &layout, &image, &|command| {
            command.user(USER, PASSWORD)
        });
        // AUTH-22: the service got the credentials; the registry got nothing but tokens, or the
        // pushes would not have been accepted.
        assert!(
            tokens.requests().iter().all(|r| r.basic().is_some()),
            "{:?}",
            tokens.requests()
        );
    }
}

/// Bearer tokens of a service that was not written here, the one of distribution 2.8.
#[test]
fn bearer_with_the_token_server_of_distribution() {
    needs!("docker-registry", "token-server", "htpasswd");
    let (layout, image) = Layout::with_image(3, 100_000, 4);
    let tokens = DistributionTokens::start(USER, PASSWORD);
    let registry = Setup::new(Version::Debian).tokens(&tokens).start();
    there_and_back(&registry, &layout, &image, &|command| {
        command.user(USER, PASSWORD)
    });
    let reference = registry.reference("bob/a:v1");
    let denied = Windlass::new(["push", &layout.oci_named("latest"), &reference]);
    denied.user(USER, PASSWORD).run().failed(AUTH, "401");
}

/// TLS through to the token service: registry and service with certificates of the test CA.
#[test]
fn bearer_over_tls() {
    needs!("docker-registry", "registry");
    let (layout, image) = Layout::with_image(2, 50_000, 5);
    let ca = Ca::new();
    for version in Version::ALL {
        let tokens = Tokens::start_tls(&ca);
        tokens.user(USER, PASSWORD);
        tokens.grant(Some(USER), "*", &["pull", "push"]);
        let registry = Setup::new(version).tokens(&tokens).tls(&ca).start();
        let entry = |command: Windlass| command.tls(&ca.pem).user(USER, PASSWORD);
        there_and_back(&registry, &layout, &image, &entry);
    }
}

/// Images of three makes: real files by umoci, a multi-platform index, 100 small layers.
#[test]
fn images_of_every_make_in_each_direction() {
    needs!("docker-registry", "registry", "umoci");
    let (files, with_files) = Layout::by_umoci();
    let (many, of_many) = Layout::with_image(100, 3000, 6);
    let (multi, index) = Layout::with_index(&["amd64", "arm64"], 3, 7);
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        there_and_back(&registry, &files, &with_files, &|command| command);
        there_and_back(&registry, &many, &of_many, &|command| command);
        index_there_and_back(&registry, &multi, &index);
    }
}

fn index_there_and_back(registry: &Registry, layout: &Layout, index: &Index) {
    let everything = || {
        index
            .images
            .iter()
            .flat_map(Image::all)
            .chain([&index.index])
    };
    let to = registry.reference("multi:v1");
    let pushed = Windlass::new(["push", &layout.oci_named("latest"), &to]).run();
    assert_eq!(pushed.digest(), index.index.digest);
    assert!(everything().all(|blob| registry.holds(&blob.digest)));
    let out = Layout::absent();
    let pulled = Windlass::new(["pull", "--platform", "all", &to, &out.oci()]).run();
    assert_eq!(pulled.digest(), index.index.digest);
    out.check_holds_exactly(everything());
    let copy = registry.reference("copied/multi:v1");
    Windlass::new(["copy", "--platform", "all", &to, &copy])
        .run()
        .digest();
    assert_eq!(
        registry.tagged("copied/multi", "v1"),
        Some(index.index.digest.clone())
    );
}

/// Copy between two registries relays; copy to and from layouts is pull and push.
#[test]
fn copies_between_registries_and_layouts() {
    needs!("docker-registry", "registry", "htpasswd");
    let (layout, image) = Layout::with_image(4, 300_000, 8);
    let from = Setup::new(Version::Debian).basic(USER, PASSWORD).start();
    let to = Setup::new(Version::V3).basic("bob", "builder").start();
    from.seed(&layout, &image, "a", "v1");
    let hosts = (from.host(), to.host());
    let auths = [
        (hosts.0.as_str(), USER, PASSWORD),
        (hosts.1.as_str(), "bob", "builder"),
    ];
    let copy = |source: &str, destination: &str| {
        let done = Windlass::new(["copy", source, destination])
            .auths(&auths)
            .run();
        assert_eq!(done.digest(), image.manifest.digest);
    };
    copy(
        &from.reference("a:v1"),
        &format!("docker://{}", to.reference("b:v1")),
    );
    assert_eq!(to.tagged("b", "v1"), Some(image.manifest.digest.clone()));
    let out = Layout::absent();
    copy(&to.reference("b:v1"), &out.oci_named("here"));
    out.check_holds_exactly(image.all());
    copy(&out.oci_named("here"), &from.reference("c:v1"));
    assert_eq!(from.tagged("c", "v1"), Some(image.manifest.digest.clone()));
    let other = Layout::absent();
    copy(&out.oci_named("here"), &other.oci_named("there"));
    assert_eq!(other.image("there").manifest, image.manifest);
}

/// A reference by digest is pulled as it is.
#[test]
fn a_pull_by_digest() {
    needs!("docker-registry");
    let (layout, image) = Layout::with_image(2, 2000, 9);
    let registry = Setup::new(Version::Debian).start();
    registry.seed(&layout, &image, "a", "v1");
    let out = Layout::absent();
    let reference = registry.reference(&format!("a@{}", image.manifest.digest));
    let done = Windlass::new(["pull", &reference, &out.oci_named("pinned")]).run();
    assert_eq!(done.digest(), image.manifest.digest);
    assert_eq!(out.image("pinned").manifest, image.manifest);
}

/// AUTH-47: wrong credentials are an authentication error (exit 4), asked once and not again.
#[test]
fn wrong_credentials_are_tried_once() {
    needs!("docker-registry", "registry", "htpasswd");
    let (layout, image) = Layout::with_image(1, 2000, 10);
    for version in Version::ALL {
        let basic = Setup::new(version).basic(USER, PASSWORD).start();
        basic.seed(&layout, &image, "a", "latest");
        let out = Layout::absent();
        let words = ["pull", &basic.reference("a:latest"), &out.oci()];
        let mark = basic.mark();
        let done = Windlass::new(words).user(USER, "wrong").run();
        done.failed(AUTH, "401").tells_nobody(&["wrong"]);
        assert_eq!(basic.count_since(mark, 2), 2, "without, with, and no more");

        let tokens = Tokens::for_user(USER, PASSWORD);
        let bearer = Setup::new(version).tokens(&tokens).start();
        bearer.seed(&layout, &image, "a", "latest");
        let words = ["pull", &bearer.reference("a:latest"), &out.oci()];
        let mark = bearer.mark();
        Windlass::new(words)
            .user(USER, "wrong")
            .run()
            .failed(AUTH, "401");
        assert_eq!(
            (bearer.count_since(mark, 1), tokens.requests().len()),
            (1, 1)
        );
    }
}

/// AUTH-46: a token that grants nothing is not an error of the service; the registry's refusal of
/// a fresh token is (exit 4), after one token request.
#[test]
fn a_token_with_empty_access_is_denied_by_the_registry() {
    needs!("docker-registry", "registry");
    let (layout, image) = Layout::with_image(1, 2000, 11);
    for version in Version::ALL {
        let tokens = Tokens::for_user(USER, PASSWORD);
        tokens.behave(|b| b.empty = true);
        let registry = Setup::new(version).tokens(&tokens).start();
        registry.seed(&layout, &image, "a", "latest");
        let out = Layout::absent();
        let mark = registry.mark();
        let words = ["pull", &registry.reference("a:latest"), &out.oci()];
        let done = Windlass::new(words).user(USER, PASSWORD).run();
        done.failed(AUTH, "401");
        assert_eq!(
            (registry.count_since(mark, 2), tokens.requests().len()),
            (2, 1)
        );
    }
}

/// Anonymous pull through a token service that grants it (AUTH-22), and a push that it refuses.
#[test]
fn anybody_may_pull_where_the_service_says_so() {
    needs!("docker-registry", "registry");
    let (layout, image) = Layout::with_image(2, 2000, 12);
    for version in Version::ALL {
        let tokens = Tokens::start();
        tokens.grant(None, "public", &["pull"]);
        let registry = Setup::new(version).tokens(&tokens).start();
        registry.seed(&layout, &image, "public", "latest");
        let out = Layout::absent();
        Windlass::new(["pull", &registry.reference("public:latest"), &out.oci()])
            .run()
            .digest();
        out.check_holds_exactly(image.all());
        let to = registry.reference("public:mine");
        Windlass::new(["push", &layout.oci_named("latest"), &to])
            .run()
            .failed(AUTH, "401");
        assert_eq!(registry.tagged("public", "mine"), None);
    }
}

/// Design §4, auth broker: a union of scopes that is refused is split, once. The copy then goes
/// without mounting and still arrives.
#[test]
fn a_refused_union_of_scopes_is_split() {
    needs!("docker-registry", "registry");
    let (layout, image) = Layout::with_image(2, 2000, 13);
    for version in Version::ALL {
        for at_realm in [true, false] {
            let tokens = Tokens::for_user(USER, PASSWORD);
            tokens.behave(|b| {
                b.refuse_unions = at_realm.then_some(403);
                b.empty_unions = !at_realm;
            });
            let registry = Setup::new(version).tokens(&tokens).start();
            registry.seed(&layout, &image, "from", "latest");
            let words = [
                "copy",
                &registry.reference("from:latest"),
                &registry.reference("to:v1"),
            ];
            Windlass::new(words).user(USER, PASSWORD).run().digest();
            assert_eq!(
                registry.tagged("to", "v1"),
                Some(image.manifest.digest.clone())
            );
            let unions = tokens.requests();
            let unions = unions
                .iter()
                .filter(|r| windlass_tests::tokens::scopes(r).len() > 1);
            assert_eq!(unions.count(), 1, "the union was asked for once");
        }
    }
}

/// AUTH-72, design §4: a token that the registry refuses between POST and PUT is replaced and the
/// PUT replayed. It announces an hour and is signed with an `exp` that the registry's leeway ends
/// in about 10 s; the link holds the PUT back until it surely has.
#[test]
fn a_token_that_dies_between_post_and_put_is_replaced() {
    needs!("docker-registry", "registry");
    let (layout, image) = Layout::with_image(1, 200_000, 14);
    for version in Version::ALL {
        let tokens = Tokens::for_user(USER, PASSWORD);
        let registry = Setup::new(version).tokens(&tokens).start();
        let proxy = Proxy::to(&registry.host());
        tokens.behave_once(|b| {
            b.expires_in = Some(3600);
            b.lives = 10 - LEEWAY;
        });
        // The PUT comes after the token, whenever that was.
        proxy.hold("PUT /", Duration::from_secs(13));
        let mark = registry.mark();
        let to = format!("{}/a:v1", proxy.host());
        let command = Windlass::new(["push", &layout.oci_named("latest"), &to]).jobs(1);
        let done = command.user(USER, PASSWORD).run();
        assert_eq!(done.digest(), image.manifest.digest);
        assert_eq!(
            tokens.requests().len(),
            2,
            "the dying one and its successor"
        );
        let requests = registry.requests_since(mark);
        let refused = requests
            .iter()
            .filter(|r| r.method == "PUT" && r.status == 401)
            .count();
        assert!(refused >= 1, "the PUT met the dead token: {requests:?}");
        assert!(image.all().all(|blob| registry.holds(&blob.digest)));
    }
}

/// What is not there is exit 3 with the registry's own words, and costs one request.
#[test]
fn what_is_not_there_is_not_found() {
    needs!("docker-registry", "registry");
    let (layout, image) = Layout::with_image(1, 2000, 15);
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        registry.seed(&layout, &image, "a", "latest");
        let out = Layout::absent();
        for (name, says) in [("a:nope", "not found"), ("nope:latest", "not found")] {
            let mark = registry.mark();
            let done = Windlass::new(["pull", &registry.reference(name), &out.oci()]).run();
            done.failed(NOT_FOUND, says);
            assert_eq!(registry.count_since(mark, 1), 1);
            let done = Windlass::new(["digest", &registry.reference(name)]).run();
            done.failed(NOT_FOUND, says);
        }
        let to = registry.reference("b:v1");
        let done = Windlass::new(["push", &layout.oci_named("nope"), &to]).run();
        done.failed(NOT_FOUND, "nope");
    }
}

/// HTTP-02: a certificate of an unknown authority is refused (exit 1), and plain http is not tried.
#[test]
fn an_unknown_authority_is_refused() {
    needs!("docker-registry");
    let (layout, image) = Layout::with_image(1, 2000, 16);
    let (ca, other) = (Ca::new(), Ca::new());
    let registry = Setup::new(Version::Debian).tls(&ca).start();
    registry.seed(&layout, &image, "a", "latest");
    let out = Layout::absent();
    let mark = registry.mark();
    let words = ["pull", &registry.reference("a:latest"), &out.oci()];
    let done = Windlass::new(words).tls(&other.pem).run();
    done.failed(REFUSED, "certificate");
    Windlass::new(words)
        .args(["--tls"])
        .run()
        .failed(REFUSED, "certificate");
    assert_eq!(registry.count_since(mark, 0), 0);
}

/// What the registry holds damaged is not kept (SEC-02): exit 6.
#[test]
fn damage_in_the_registrys_storage_is_noticed() {
    needs!("docker-registry", "registry");
    let (layout, image) = Layout::with_image(2, 50_000, 17);
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        registry.seed(&layout, &image, "a", "latest");
        let digest = &image.layers[1].digest;
        let mut bytes = layout.read(digest);
        *bytes.last_mut().unwrap() ^= 1;
        registry.damage(digest, &bytes);
        let out = Layout::absent();
        let mark = registry.mark();
        let done = Windlass::new(["pull", &registry.reference("a:latest"), &out.oci()]).run();
        done.failed(6, digest);
        assert!(!out.has(digest));
        let tries = registry.requests_since(mark);
        assert_eq!(
            tries.iter().filter(|r| r.gets_blob(digest)).count(),
            2,
            "once more, from 0"
        );
    }
}
