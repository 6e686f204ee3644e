//! Programs of users: packages outside the workspace, in a few lines each (`programs`).
//!
//! They are built and run with `WINDLASS_REAL=1` only, since that takes a minute.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

mod package;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};
use windlass_tests::hostile::{Good, Hostile, Reply, Request};
use windlass_tests::images::{Blob, Layout};
use windlass_tests::registry::{Setup, Version};
use windlass_tests::{needs, peers};

use package::{Package, succeeded};

/// 40 lines that read a layer as `AsyncRead`.
#[test]
fn a_layer_is_read_with_tokio() {
    needs!("cargo");
    let source = include_str!("programs/read_async.rs");
    let package = Package::new("read-async", source)
        .on_ours("windlass-async", "adapters/async")
        .on("sha2", "\"0.11\"")
        .on(
            "tokio",
            "{ version = \"1\", features = [\"io-util\", \"macros\", \"rt\"] }",
        );
    assert!(source.lines().count() <= 40);
    reads_a_layer_whatever_happens(&package.build());
}

/// The same as `std::io::Read`, without an async runtime in the program.
#[test]
fn a_layer_is_read_without_tokio() {
    needs!("cargo");
    let source = include_str!("programs/read_blocking.rs");
    let package = Package::new("read-blocking", source)
        .on_ours("windlass-blocking", "adapters/blocking")
        .on("sha2", "\"0.11\"");
    assert!(source.lines().count() <= 40);
    let tree = package.tree();
    assert!(
        tree.iter().any(|name| name == "windlass-blocking"),
        "{tree:?}"
    );
    for runtime in ["tokio", "async-std", "smol", "hyper", "reqwest"] {
        assert!(!tree.iter().any(|name| name == runtime), "{runtime}");
    }
    reads_a_layer_whatever_happens(&package.build());
}

/// 1,000 ranges of 4 KiB of a blob of 1 GiB, which is nowhere in memory: one token, asked for after one
/// refusal.
#[test]
fn a_thousand_ranges_of_a_large_blob_cost_one_token() {
    needs!("cargo");
    let package = Package::new("read-ranges", include_str!("programs/read_ranges.rs"))
        .on_ours("windlass-async", "adapters/async")
        .on("sha2", "\"0.11\"")
        .on(
            "tokio",
            "{ version = \"1\", features = [\"macros\", \"rt\"] }",
        );
    let program = package.build();
    let server = Hostile::start(|request| {
        if request.path() == "/token" {
            return Reply::new(200).body(r#"{"token":"t0k","expires_in":300}"#);
        }
        if request.header("authorization") != Some("Bearer t0k") {
            let challenge = "Bearer realm=\"/token\",service=\"s\"";
            return Reply::new(401).header("WWW-Authenticate", challenge);
        }
        let (first, last) = request.range().unwrap();
        let piece = synthetic(first, last.unwrap());
        let range = format!("bytes {first}-{}/{}", last.unwrap(), 1 << 30);
        Reply::new(206).header("Content-Range", range).body(piece)
    });
    // No byte of it is ever verified, so any digest will do.
    let blob = server.reference(&format!("a/b@sha256:{}", "5".repeat(64)));
    let printed = succeeded(Command::new(program).arg(blob));

    let mut expected = Sha256::new();
    for n in 0..1000_u64 {
        let first = n * (1 << 20) + n;
        expected.update(synthetic(first, first + 4095));
    }
    let expected: String = expected.finalize().iter().map(hex).collect();
    assert_eq!(text(&printed), format!("sha256:{expected}"));
    assert_eq!(server.count("GET", "/token"), 1);
    assert_eq!(server.requests().len(), 1002);
}

/// An artifact of three parts in memory, about an image, is what other clients get: oras as files, and the crate
/// `oci-client`.
#[test]
fn an_artifact_is_pulled_by_others() {
    needs!("cargo", "registry", "oras");
    let pushing = Package::new("push-artifact", include_str!("programs/push_artifact.rs"))
        .on_ours("windlass-blocking", "adapters/blocking");
    let pulling = Package::new("pull-artifact", include_str!("programs/pull_artifact.rs"))
        .on(
            "oci-client",
            "{ version = \"0.18\", default-features = false, features = [\"rustls-tls-no-provider\"] }",
        )
        .on(
            "rustls",
            "{ version = \"0.23\", default-features = false, features = [\"ring\", \"std\"] }",
        )
        .on("tokio", "{ version = \"1\", features = [\"macros\", \"rt\"] }");
    let (pushing, pulling) = (pushing.build(), pulling.build());
    let registry = Setup::new(Version::V3).start();
    let (layout, image) = Layout::with_image(1, 1000, 2);
    registry.seed(&layout, &image, "a/b", "v1");
    let subject = registry.reference("a/b:v1");
    let artifact = registry.reference("a/b:parts");
    let pushed = succeeded(Command::new(pushing).args([&subject, &artifact]));
    let digest = text(&pushed);

    let parts = ["one", "two", "three"].map(|name| format!("the content of {name}"));
    let pulled = text(&succeeded(Command::new(pulling).arg(&artifact)));
    let mut lines = pulled.lines();
    assert_eq!(lines.next(), Some(&*digest));
    // It returns them in the order in which they came.
    let pulled: BTreeSet<&str> = lines.collect();
    assert_eq!(pulled, parts.iter().map(|part| &**part).collect());

    let folder = tempfile::tempdir().unwrap();
    peers::run("oras", |command| {
        let words = ["pull", "--plain-http", &artifact];
        command.args(words).current_dir(folder.path());
    });
    for (name, part) in ["one", "two", "three"].iter().zip(&parts) {
        let file = folder.path().join(format!("{name}.txt"));
        assert_eq!(&std::fs::read_to_string(file).unwrap(), part);
    }
    let found = peers::run("oras", |command| {
        command.args(["discover", "--plain-http", "--format", "json", &subject]);
    });
    assert!(text(&found).contains(&digest), "{}", text(&found));
}

/// A program names what an observer is told, what errors are made of and what is parsed, and depends on
/// `windlass-blocking` alone.
#[test]
fn one_crate_has_all_names() {
    needs!("cargo");
    let package = Package::new("watch", include_str!("programs/watch.rs"))
        .on_ours("windlass-blocking", "adapters/blocking");
    let program = package.build();
    let (layout, image) = Layout::with_image(1, 1000, 2);
    let good = Good::serving(&layout, &image);
    let server = Hostile::start(move |request| good.answer(request));
    let watched = |name: &str| {
        let reference = server.reference(name);
        text(&succeeded(Command::new(&program).arg(reference)))
    };
    let pulled = watched("a/b:latest");
    assert!(pulled.starts_with("2 blobs of "), "{pulled}");
    let missing = watched("a/b:absent");
    let (told, recorded) = missing.split_once('\n').unwrap();
    assert_eq!(told, "not found: MANIFEST_UNKNOWN");
    let host = server.reference("");
    let host = host.trim_end_matches('/');
    let expected = format!("{host} GET http://{host}/v2/a/b/manifests/absent 404");
    assert_eq!(recorded, expected);
}

/// The digest that a program computes is the layer's, although the connection breaks three times; and if the
/// last byte is another one the program ends with an error instead.
fn reads_a_layer_whatever_happens(program: &Path) {
    let (layout, image) = Layout::with_image(1, 5_000_000, 1);
    let good = Good::serving(&layout, &image);
    let layer = image.layers[0].clone();
    let bytes = layout.read(&layer.digest);

    let (blob, content) = (layer.clone(), bytes.clone());
    let breaking = serving(good, blob, move |n, request| {
        let reply = piece(request, &content);
        let first = request.range().map_or(0, |(first, _)| first);
        let rest = content.len() as u64 - first;
        if n < 3 {
            let cut = &content[usize::try_from(first).unwrap()..][..1_000_000];
            return reply.body(cut).claiming(rest);
        }
        reply
    });
    let printed = succeeded(Command::new(program).arg(breaking.reference("a/b:latest")));
    assert_eq!(text(&printed), layer.digest);
    assert_eq!(breaking.count("GET", &layer.digest), 4);

    let mut wrong = bytes;
    *wrong.last_mut().unwrap() ^= 1;
    let good = Good::serving(&layout, &image);
    let lying = serving(good, layer, move |_, request| piece(request, &wrong));
    let reference = lying.reference("a/b:latest");
    let done = Command::new(program).arg(reference).output().unwrap();
    assert!(!done.status.success());
    assert_eq!(
        text(&done),
        "",
        "no digest of content that is not the layer"
    );
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        said.contains("Mismatch") || said.contains("does not match"),
        "{said}"
    );
}

/// A registry with an image, of which the nth GET of one blob is answered so.
fn serving(
    good: Good,
    blob: Blob,
    answer: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
) -> Hostile {
    let count = AtomicUsize::new(0);
    Hostile::start(move |request| {
        if request.method == "GET" && request.path().ends_with(&blob.digest) {
            return answer(count.fetch_add(1, Ordering::SeqCst), request);
        }
        good.answer(request)
    })
}

/// The blob, or the range of it that is asked for.
fn piece(request: &Request, bytes: &[u8]) -> Reply {
    let Some((first, last)) = request.range() else {
        return Reply::new(200).body(bytes);
    };
    let end = bytes.len() as u64 - 1;
    let last = last.unwrap_or(end).min(end);
    let range = format!("bytes {first}-{last}/{}", bytes.len());
    let part = &bytes[usize::try_from(first).unwrap()..=usize::try_from(last).unwrap()];
    Reply::new(206).header("Content-Range", range).body(part)
}

/// Some bytes of a blob that is made as it is read.
fn synthetic(first: u64, last: u64) -> Vec<u8> {
    let byte = |at: u64| at.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[0];
    (first..=last).map(byte).collect()
}

fn hex(byte: &u8) -> String {
    format!("{byte:02x}")
}

fn text(done: &Output) -> String {
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}
