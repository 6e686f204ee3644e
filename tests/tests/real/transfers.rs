//! Relays between real registries, and streams into them, over connections that break.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use windlass_core::{Algorithm, Digest};
use windlass_tests::command::Windlass;
use windlass_tests::images::{Image, Layout, noise};
use windlass_tests::needs;
use windlass_tests::peers;
use windlass_tests::proxy::{Fault, Proxy};
use windlass_tests::registry::{Registry, Setup, Version};

const MIB: u64 = 1 << 20;
/// The size of a layer, in bytes.
const LAYER: u64 = 8 * MIB;
/// What heads of requests, the config and the manifest may add.
const OTHER: u64 = 64 * 1024;

/// Where the connection of a source, or of a destination, is cut.
#[derive(Clone, Copy, Debug)]
struct Cuts {
    source: Option<u64>,
    sink: Option<u64>,
}

/// A copy over both connections. Where a temporary folder would be is none, so nothing is written.
fn relay((from, to): (&Registry, &Registry), image: &Image, cuts: Cuts, options: &[&str]) -> u64 {
    let (source, sink) = (Proxy::to(&from.host()), Proxy::to(&to.host()));
    if let Some(at) = cuts.source {
        source.after_down(at, Fault::Cut);
    }
    if let Some(at) = cuts.sink {
        sink.cut_after_up(at);
    }
    let reference = format!("{}/a:v1", source.host());
    let written = format!("{}/b:v1", sink.host());
    let words = [&["copy", &reference, &written], options].concat();
    let done = Windlass::new(&words).env("TMPDIR", "/nonexistent").run();
    assert_eq!(done.digest(), image.manifest.digest, "{cuts:?}");
    assert!(!sink.will_cut_up(), "{cuts:?}: it was not cut");
    sink.passed_up()
}

/// From each of two registries to the other one. Distribution 2.8 gives up an upload of which a part broke off
/// (PUSHB-38), and it begins again; v3 has what arrived, and no byte is sent twice.
#[test]
fn a_relay_goes_on_where_either_end_breaks() {
    needs!("docker-registry", "registry", "crane");
    let (layout, image) = Layout::with_image(1, LAYER as usize, 21);
    for (source, sink) in [
        (Version::Debian, Version::V3),
        (Version::V3, Version::Debian),
    ] {
        let from = Setup::new(source).start();
        from.seed(&layout, &image, "a", "v1");
        let whole = Cuts {
            source: None,
            sink: None,
        };
        for (cuts, options) in [
            (whole, &[][..]),
            (
                Cuts {
                    source: Some(MIB),
                    ..whole
                },
                &[],
            ),
            (
                Cuts {
                    source: Some(7 * MIB),
                    ..whole
                },
                &[],
            ),
            (
                Cuts {
                    sink: Some(MIB),
                    ..whole
                },
                &[],
            ),
            (
                Cuts {
                    sink: Some(7 * MIB),
                    ..whole
                },
                &[],
            ),
            (
                Cuts {
                    source: Some(5 * MIB),
                    sink: Some(3 * MIB),
                },
                &[],
            ),
            (
                Cuts {
                    source: Some(3 * MIB),
                    sink: Some(5 * MIB),
                },
                &[],
            ),
            // In the middle of a chunk, and where one ends.
            (
                Cuts {
                    sink: Some(7 * MIB / 2),
                    ..whole
                },
                &["--chunk-size", "1M"],
            ),
            (
                Cuts {
                    source: Some(4 * MIB),
                    ..whole
                },
                &["--chunk-size", "1M"],
            ),
        ] {
            let to = Setup::new(sink).start();
            let sent = relay((&from, &to), &image, cuts, options);
            let again = match sink {
                Version::Debian => cuts.sink.unwrap_or(0),
                Version::V3 => 0,
            };
            let most = LAYER + again + OTHER;
            assert!(sent <= most, "{cuts:?}: {sent} bytes, {most} would do");
            for blob in image.all() {
                let bytes = Some(layout.read(&blob.digest));
                assert_eq!(to.stored(&blob.digest), bytes, "{cuts:?}");
            }
            let reference = to.reference("b:v1");
            let said = peers::crane(&["digest", "--insecure", &reference]);
            let said = String::from_utf8(said.stdout).unwrap();
            assert_eq!(said.trim(), image.manifest.digest);
        }
    }
}

/// What was read from standard input, in chunks, whatever breaks.
#[test]
fn a_stream_goes_on_where_its_connection_breaks() {
    needs!("docker-registry", "registry", "crane");
    let text: String = noise(LAYER as usize, 22)
        .iter()
        .map(|byte| char::from(b'a' + byte % 26))
        .collect();
    let digest = Digest::of(Algorithm::Sha256, text.as_bytes()).to_string();
    for version in Version::ALL {
        for half in [0, 1, 2, 7, 15] {
            let registry = Setup::new(version).start();
            let proxy = Proxy::to(&registry.host());
            // Distribution 2.8 drops an upload of which a part broke off, and what was sent of a stream before that is
            // not there any more: it is cut in its first chunk.
            let at = match version {
                Version::V3 => half * MIB / 2,
                Version::Debian => half.min(1) * MIB / 2,
            };
            if at > 0 {
                proxy.cut_after_up(at);
            }
            let repository = format!("{}/streamed", proxy.host());
            let words = ["blob", "put", &repository, "-", "--chunk-size", "1M"];
            let done = Windlass::new(words).input(&text).run();
            assert_eq!(done.digest(), digest, "{version:?} {half}");
            assert!(!proxy.will_cut_up(), "{version:?} {half}: it was not cut");
            let sent = proxy.passed_up();
            let most = LAYER + MIB + OTHER;
            assert!(
                sent <= most,
                "{version:?} {half}: {sent} bytes, {most} would do"
            );
            let named = format!("{}@{digest}", registry.reference("streamed"));
            let there = peers::crane(&["blob", "--insecure", &named]).stdout;
            assert!(there == text.as_bytes(), "{version:?} {half}: other bytes");
        }
    }
}
