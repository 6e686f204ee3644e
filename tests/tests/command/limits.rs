//! Time limits (design §7): a transfer may take as long as it moves, and one that does not move is
//! noticed. And bounds: memory does not grow with a layer.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::Arc;
use std::time::Duration;

use windlass_tests::command::{Outcome, Running, TEMPORARY, Windlass, tries};
use windlass_tests::hostile::{Good, Hostile, Reply};
use windlass_tests::images::{Layout, digest};
use windlass_tests::needs;
use windlass_tests::proxy::Proxy;
use windlass_tests::registry::{Setup, Version};

const MIB: u64 = 1 << 20;

/// An upload three times as long as the idle limit passes: the trap of a read timeout that counts
/// while the client writes (design §7). The link takes 4 MiB/s; what buffers take at once makes pauses of less than a second.
#[test]
fn an_upload_three_times_as_long_as_the_idle_limit_passes() {
    needs!("docker-registry");
    let (layout, image) = Layout::with_image(1, 56 << 20, 1);
    let registry = Setup::new(Version::Debian).start();
    let proxy = Proxy::to(&registry.host());
    proxy.limit_up(4 * MIB);
    let reference = format!("{}/a:v1", proxy.host());
    let words = ["push", &layout.oci_named("latest"), &reference];
    let done = Windlass::new(words).timeout(4).retries(0).run();
    assert_eq!(done.digest(), image.manifest.digest);
    assert!(
        done.took >= Duration::from_secs(12),
        "the link was slow enough: {done}"
    );
    assert!(proxy.up() < image.layers[0].size + MIB, "it was sent once");
}

/// A download three times as long as the idle limit passes.
#[test]
fn a_download_three_times_as_long_as_the_idle_limit_passes() {
    needs!("docker-registry");
    let (layout, image) = Layout::with_image(1, 28 << 20, 2);
    let registry = Setup::new(Version::Debian).start();
    registry.seed(&layout, &image, "a", "v1");
    let proxy = Proxy::to(&registry.host());
    proxy.limit_down(2 * MIB);
    let out = Layout::absent();
    let reference = format!("{}/a:v1", proxy.host());
    let words = ["pull", &reference, &out.oci()];
    let done = Windlass::new(words).jobs(1).timeout(4).retries(0).run();
    assert_eq!(done.digest(), image.manifest.digest);
    assert!(
        done.took >= Duration::from_secs(12),
        "the link was slow enough: {done}"
    );
    assert!(proxy.ranges().is_empty(), "in one go: {:?}", proxy.ranges());
}

/// Error::Exhausted over an idle connection, exit 5: a body that stops is noticed after the idle
/// limit, tried as often as was said, and what came is kept.
#[test]
fn a_body_that_stops_is_noticed() {
    let (layout, image) = Layout::with_image(1, 40_000, 3);
    let good = Good::serving(&layout, &image);
    let layer = image.layers[0].clone();
    let bytes = layout.read(&layer.digest);
    let asked = layer.digest.clone();
    let server = Hostile::start(move |request| {
        if !request.path().ends_with(&asked) || request.method != "GET" {
            return good.answer(request);
        }
        let (first, size) = (request.range().map_or(0, |range| range.0), layer.size);
        // The first answer brings 10 000 bytes, the others nothing.
        match first {
            0 => Reply::new(200)
                .body(&bytes[..10_000])
                .claiming(size)
                .then_stall(),
            _ => Reply::new(206)
                .header(
                    "Content-Range",
                    format!("bytes {first}-{}/{size}", size - 1),
                )
                .claiming(size - first)
                .then_stall(),
        }
    });
    let out = Layout::absent();
    let words = ["pull", &server.reference("a:latest"), &out.oci()];
    let done = Windlass::new(words).timeout(1).retries(1).jobs(1).run();
    done.failed(TEMPORARY, &image.layers[0].digest);
    assert_eq!(server.count("GET", &image.layers[0].digest), tries(1));
    assert_eq!(out.partials(), [10_000]);
    assert!(
        done.took >= Duration::from_secs(2),
        "the limit was kept twice: {done}"
    );
}

/// Error::Exhausted, exit 5: a peer that stops reading an upload is noticed after the idle limit,
/// and tried as often as was said: nothing was acknowledged, so nothing counts as progress.
#[test]
fn a_peer_that_stops_reading_is_noticed() {
    let (layout, image) = Layout::with_image(1, 64 << 20, 4);
    let good = Arc::new(Good::new());
    let serving = good.clone();
    // The config is small and taken; the layer is not.
    let early = move |request: &windlass_tests::hostile::Request| {
        let length = request
            .header("content-length")
            .and_then(|v| v.parse::<u64>().ok());
        (request.method == "PUT" && length > Some(MIB)).then(Reply::silence)
    };
    let server = Hostile::start_impatient(early, move |request| serving.answer(request));
    let words = [
        "push",
        &layout.oci_named("latest"),
        &server.reference("a:v1"),
    ];
    let done = Windlass::new(words).timeout(1).retries(1).run();
    done.failed(TEMPORARY, &server.host());
    assert!(!good.has(&image.layers[0].digest));
    assert_eq!(good.tagged("v1"), None);
    let large = |r: &&windlass_tests::hostile::Request| {
        let length = r
            .header("content-length")
            .and_then(|v| v.parse::<u64>().ok());
        r.method == "PUT" && length > Some(MIB)
    };
    assert_eq!(server.requests().iter().filter(large).count(), tries(1));
}

/// Bounded memory whatever the layer's size (design §1, 6): a pull, a push, a relay and a stream of 256 MiB. The
/// bounds are a third above what a build without optimizations needs.
#[test]
fn memory_does_not_grow_with_a_layer() {
    needs!("docker-registry");
    const SIZE: usize = 256 << 20;
    let (layout, image) = Layout::with_image(1, SIZE, 5);
    let [registry, other] = [(); 2].map(|()| Setup::new(Version::Debian).start());
    let (from, to) = (registry.reference("a:v1"), other.reference("b:v1"));
    let (source, out, stream) = (
        layout.oci_named("latest"),
        Layout::absent(),
        other.reference("c"),
    );
    let manifest = &image.manifest.digest;
    let bytes = digest(&vec![0; SIZE]);
    for (words, expected, most) in [
        (&["push", &source, &from][..], manifest, 34),
        (&["pull", &from, &out.oci()], manifest, 40),
        (&["copy", &from, &to], manifest, 34),
        (
            &["blob", "put", &stream, "-", "--chunk-size", "1M"],
            &bytes,
            34,
        ),
    ] {
        let run = Windlass::new(words).zeros(SIZE as u64);
        let (peak, done) = peak_of(run.spawn());
        assert_eq!(done.digest(), expected);
        eprintln!("{words:?} peaked at {peak} KiB");
        assert!(peak < most << 10, "{words:?} peaked at {peak} KiB");
    }
    assert!(other.holds(&bytes) && other.holds(&image.layers[0].digest));
}

/// The most memory that a command used, in KiB.
fn peak_of(mut running: Running) -> (u64, Outcome) {
    let mut peak = 0;
    while running.is_running() {
        peak = peak.max(high_water(running.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(peak > 0, "it was not looked at while it ran");
    (peak, running.wait())
}

/// The most memory that a process has used so far, in KiB.
fn high_water(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
