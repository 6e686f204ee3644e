//! The harness itself, tried with other people's tools: a test that fails must not be the
//! harness's fault.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use windlass_testbed::{Model, Options, Server};
use windlass_tests::certs::Ca;
use windlass_tests::hostile::{Good, Hostile, Reply};
use windlass_tests::images::{self, Layout};
use windlass_tests::peers::{self, Peer};
use windlass_tests::proxy::{Fault, Proxy};
use windlass_tests::registry::{Setup, Version};
use windlass_tests::tokens::{DistributionTokens, Tokens};
use windlass_tests::{needs, registry};

/// One request, the whole answer as it came; the connection is closed by the server or by time.
fn get(host: &str, target: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(host).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// What is seeded into storage is what other clients pull, from both registries, and the log
/// counts their requests.
#[test]
fn a_seeded_image_is_pulled_by_every_peer() {
    needs!("docker-registry", "registry", "skopeo", "crane", "regctl");
    let (layout, image) = Layout::with_image(3, 10_000, 1);
    let (multi, index) = Layout::with_index(&["amd64", "arm64"], 2, 2);
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        registry.seed(&layout, &image, "a/image", "latest");
        registry.seed_index(&multi, &index, "a/index", "latest");
        for peer in Peer::ALL {
            let mark = registry.mark();
            let out = Layout::absent();
            peer.pull(&registry, "a/image:latest", &out);
            out.check();
            assert!(
                image.all().all(|blob| out.has(&blob.digest)),
                "{peer:?} on {version:?}"
            );
            assert_eq!(out.root(), image.manifest.digest);
            let requests = registry.requests_since(mark);
            for blob in image.blobs() {
                assert_eq!(
                    requests
                        .iter()
                        .filter(|r| r.gets_blob(&blob.digest))
                        .count(),
                    1
                );
            }
        }
        peers::crane_validate(&registry, "a/image:latest");
        peers::crane_validate(&registry, "a/index:latest");
        assert_eq!(
            registry.tagged("a/image", "latest"),
            Some(image.manifest.digest.clone())
        );
    }
}

/// Pushes by peers arrive in storage where `holds` and `tagged` look.
#[test]
fn a_pushed_image_is_seen_in_storage() {
    needs!("docker-registry", "registry", "skopeo", "crane", "regctl");
    let (layout, image) = Layout::with_image(2, 10_000, 3);
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        for peer in Peer::ALL {
            let repository = format!("by/{}", peer.program());
            peer.push(&layout, &registry, &format!("{repository}:v1"));
            assert_eq!(
                registry.tagged(&repository, "v1"),
                Some(image.manifest.digest.clone())
            );
            assert!(image.all().all(|blob| registry.holds(&blob.digest)));
        }
        assert_eq!(registry.all_stored().len(), image.all().count());
    }
}

/// Basic, TLS and tokens: skopeo gets in with the right credentials and not with others.
#[test]
fn each_kind_of_authentication_lets_the_right_ones_in() {
    needs!("docker-registry", "registry", "skopeo", "htpasswd");
    let (layout, image) = Layout::with_image(1, 5_000, 4);
    let ca = Ca::new();
    for version in Version::ALL {
        let tokens = Tokens::for_user("alice", "pa55");
        let setups = [
            Setup::new(version).basic("alice", "pa55"),
            Setup::new(version).basic("alice", "pa55").tls(&ca),
            Setup::new(version).tokens(&tokens),
        ];
        for setup in setups {
            let registry = setup.start();
            registry.seed(&layout, &image, "some/image", "latest");
            let inspect = |password: &str| {
                let program = windlass_tests::program("skopeo").unwrap();
                let certs = ca.cert_dir();
                let mut command = std::process::Command::new(program);
                command.args(["inspect", "--raw", "--creds", &format!("alice:{password}")]);
                if registry.secure() {
                    command.arg("--cert-dir").arg(certs);
                } else {
                    command.arg("--tls-verify=false");
                }
                command.arg(format!(
                    "docker://{}",
                    registry.reference("some/image:latest")
                ));
                command.output().unwrap()
            };
            let done = inspect("pa55");
            assert!(done.status.success(), "{version:?}: {done:?}");
            assert_eq!(images::digest(&done.stdout), image.manifest.digest);
            assert!(!inspect("wrong").status.success(), "{version:?}");
        }
        assert!(
            tokens.issued().len() == 1,
            "the wrong password got no token"
        );
    }
}

/// The token server of distribution 2.8 and its registry understand each other.
#[test]
fn the_token_server_of_distribution_lets_its_user_in() {
    needs!("docker-registry", "token-server", "htpasswd", "skopeo");
    let (layout, image) = Layout::with_image(1, 5_000, 5);
    let tokens = DistributionTokens::start("alice", "pa55");
    let registry = Setup::new(Version::Debian).tokens(&tokens).start();
    registry.seed(&layout, &image, "alice/image", "latest");
    let reference = format!("docker://{}", registry.reference("alice/image:latest"));
    let done = peers::run("skopeo", |command| {
        command.args([
            "inspect",
            "--raw",
            "--tls-verify=false",
            "--creds",
            "alice:pa55",
        ]);
        command.arg(reference);
    });
    assert_eq!(images::digest(&done.stdout), image.manifest.digest);
}

/// A token that is about to expire is taken within the leeway and refused after it: what the
/// tests of a token that dies between two requests stand on.
#[test]
fn a_token_past_its_leeway_is_refused_by_both_registries() {
    needs!("docker-registry", "registry", "skopeo");
    let (layout, image) = Layout::with_image(1, 5_000, 6);
    for version in Version::ALL {
        let tokens = Tokens::for_user("alice", "pa55");
        let registry = Setup::new(version).tokens(&tokens).start();
        registry.seed(&layout, &image, "some/image", "latest");
        let inspect = || {
            let program = windlass_tests::program("skopeo").unwrap();
            let mut command = std::process::Command::new(program);
            command.args([
                "inspect",
                "--raw",
                "--tls-verify=false",
                "--creds",
                "alice:pa55",
            ]);
            command.arg(format!(
                "docker://{}",
                registry.reference("some/image:latest")
            ));
            command.output().unwrap().status.success()
        };
        tokens.behave(|b| b.lives = 5 - windlass_tests::tokens::LEEWAY);
        assert!(inspect(), "{version:?}: within the leeway");
        tokens.behave(|b| b.lives = -5 - windlass_tests::tokens::LEEWAY);
        assert!(!inspect(), "{version:?}: past the leeway");
    }
}

/// The proxy counts, cuts where it was told to, and keeps what clients said.
#[test]
fn the_proxy_cuts_at_the_byte_it_was_told() {
    let body = images::noise(1 << 20, 1);
    let served = body.clone();
    let server = Hostile::start(move |_| Reply::new(200).body(served.clone()));
    let proxy = Proxy::to(&server.host());
    assert!(get(&proxy.host(), "/all").ends_with(&body));
    let before = proxy.down();
    proxy.after_down(300_000, Fault::Cut);
    assert_eq!(get(&proxy.host(), "/cut").len(), 300_000);
    assert_eq!(proxy.down() - before, 300_000);
    assert!(
        get(&proxy.host(), "/all-again").ends_with(&body),
        "only once"
    );
    assert!(proxy.heard()[1].starts_with("GET /cut HTTP/1.1\r\n"));
}

/// A stall says nothing and closes nothing.
#[test]
fn the_proxy_stalls_until_the_end() {
    let server = Hostile::start(|_| Reply::new(200).body(images::noise(1 << 20, 1)));
    let proxy = Proxy::to(&server.host());
    proxy.after_down(1000, Fault::Stall);
    let begun = Instant::now();
    assert_eq!(get(&proxy.host(), "/").len(), 1000);
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "the reader gave up, not the proxy"
    );
}

/// Limits slow a connection down, and a round trip takes its time.
#[test]
fn the_proxy_is_as_slow_as_it_was_told() {
    let server = Hostile::start(|_| Reply::new(200).body(images::noise(1 << 20, 1)));
    let proxy = Proxy::to(&server.host());
    proxy.limit_down(2 << 20);
    proxy.round_trip(Duration::from_millis(100));
    let begun = Instant::now();
    assert!(get(&proxy.host(), "/").len() > 1 << 20);
    assert!(
        begun.elapsed() >= Duration::from_millis(550),
        "{:?}",
        begun.elapsed()
    );
}

/// The hostile server lies as told and remembers every byte of a head.
#[test]
fn the_hostile_server_lies_and_remembers() {
    let server = Hostile::start(|request| match request.target.as_str() {
        "/long" => Reply::new(200).body("four").claiming(9),
        "/endless" => Reply::new(200)
            .body("12345678")
            .repeated(1000)
            .without_length(),
        "/raw" => Reply::raw("HTTP/9 nonsense"),
        "/silence" => Reply::silence(),
        _ => Reply::error(418, "TEAPOT", "short and stout"),
    });
    let text = |target: &str| String::from_utf8(get(&server.host(), target)).unwrap();
    assert!(text("/long").ends_with("Content-Length: 9\r\n\r\nfour"));
    assert!(text("/endless").len() > 8000);
    assert_eq!(text("/raw"), "HTTP/9 nonsense");
    assert_eq!(text("/silence"), "");
    assert!(text("/x?y=z").contains("TEAPOT"));
    assert_eq!(server.requests()[4].target, "/x?y=z");
    server.never_heard(&["secret"]);
    get(&server.host(), "/x\r\nX-Leak: c2VjcmV0");
    let oracle = std::panic::AssertUnwindSafe(|| server.never_heard(&["secret"]));
    let caught = std::panic::catch_unwind(oracle);
    assert!(caught.is_err(), "a secret in base64 is found");
}

/// The well-behaved registry of the hostile tests behaves: another client pulls from it and
/// pushes to it.
#[test]
fn the_good_registry_is_good_enough_for_a_peer() {
    needs!("skopeo", "regctl");
    let (layout, image) = Layout::with_image(2, 5_000, 8);
    let good = std::sync::Arc::new(Good::serving(&layout, &image));
    let serving = good.clone();
    let server = Hostile::start(move |request| serving.answer(request));
    let out = Layout::absent();
    let from = format!("docker://{}", server.reference("x:latest"));
    peers::run("skopeo", |command| {
        command.args([
            "copy",
            "-q",
            "--src-tls-verify=false",
            &from,
            &out.oci_named("latest"),
        ]);
    });
    assert_eq!(out.root(), image.manifest.digest);
    let (other, pushed) = Layout::with_image(2, 5_000, 9);
    let from = format!("ocidir://{}:latest", other.path.display());
    let to = server.reference("y:pushed");
    peers::run("regctl", |command| {
        let host = format!("reg={},tls=disabled", server.host());
        command.args(["--host", &host, "image", "copy", &from, &to]);
    });
    assert_eq!(good.tagged("pushed"), Some(pushed.manifest.digest));
}

/// An image made by umoci has real files and is readable here.
#[test]
fn umoci_makes_an_image_with_files() {
    needs!("umoci", "skopeo");
    let (layout, image) = Layout::by_umoci();
    assert_eq!(image.layers.len(), 2);
    assert!(image.layers.iter().any(|layer| layer.size > 100_000));
    assert_eq!(
        images::digest(&peers::skopeo_inspect(&layout, "latest")),
        image.manifest.digest
    );
}

/// Two registries at once do not meet.
#[test]
fn registries_do_not_share_storage() {
    needs!("docker-registry");
    let (layout, image) = Layout::with_image(1, 1000, 10);
    let (one, other) = (registry::open(), registry::open());
    one.seed(&layout, &image, "x", "latest");
    assert!(one.holds(&image.config.digest) && !other.holds(&image.config.digest));
    assert_ne!(one.host(), other.host());
}

/// The registry model that the simulation trusts passes the official conformance suite of the
/// distribution spec, with tag parameters and upload cancellation. Manifests whose children are
/// missing (`OCI_DATA_SPARSE`) are refused by the model, as by CNCF distribution.
#[test]
fn the_testbed_passes_the_conformance_suite() {
    needs!("conformance");
    let server = Server::start(Model::new(Options::default())).unwrap();
    let results = tempfile::tempdir().unwrap();
    peers::run("conformance", |command| {
        command
            .current_dir(results.path())
            .env("OCI_REGISTRY", server.addr().to_string())
            .env("OCI_TLS", "disabled")
            .env("OCI_VERSION", "1.1")
            .env("OCI_RESULTS_DIR", results.path())
            .env("OCI_API_BLOBS_UPLOAD_CANCEL", "true")
            .env("OCI_API_MANIFESTS_TAG_PARAM", "true");
    });
    let report = std::fs::read_to_string(results.path().join("junit.xml")).unwrap();
    let suites = report.lines().find(|line| line.contains("<testsuites"));
    let suites = suites.expect("a JUnit report has its sums in <testsuites>");
    let count = |name: &str| {
        let value = suites.split(&format!(" {name}=\"")).nth(1)?;
        value.split('"').next()?.parse::<u32>().ok()
    };
    assert!(count("tests") >= Some(900), "{suites}");
    // The suite leaves out sums that are 0; its exit code says the same and was checked above.
    assert_eq!(
        (count("failures"), count("errors")),
        (None, None),
        "{suites}"
    );
}
