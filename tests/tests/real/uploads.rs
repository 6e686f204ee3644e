//! Uploads in chunks, and what a broken connection costs them, at real registries.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use windlass_tests::command::Windlass;
use windlass_tests::images::{Image, Layout};
use windlass_tests::needs;
use windlass_tests::proxy::Proxy;
use windlass_tests::registry::{Registry, Setup, Version};

const MIB: u64 = 1 << 20;
/// The size of a layer, in bytes.
const LAYER: u64 = 8 * MIB;
/// What heads of requests, the config and the manifest may add.
const OTHER: u64 = 64 * 1024;

fn push(layout: &Layout, proxy: &Proxy, repository: &str, options: &[&str]) {
    let to = format!("{}/{repository}:v1", proxy.host());
    let from = layout.oci();
    let words = [&["push", &from, &to], options].concat();
    Windlass::new(&words).run().digest();
}

/// Chunks add exactly their number, the end and a HEAD to the requests of a push.
#[test]
fn a_blob_in_chunks() {
    needs!("docker-registry", "registry");
    let (layout, image) = Layout::with_image(1, LAYER as usize, 1);
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        let mark = registry.mark();
        let to = registry.reference("chunks:v1");
        let chunked = Windlass::new(["push", &layout.oci(), &to, "--chunk-size", "1M"]).run();
        chunked.digest();
        let layer = layout.read(&image.layers[0].digest).len() as u64;
        let patches = layer.div_ceil(MIB) as usize;
        // HEADs of tag and manifest; the config's POST and PUT; the layer's HEAD, POST, PATCHes, PUT and
        // HEAD; the manifest.
        let budget = 2 + 2 + (1 + 1 + patches + 1 + 1) + 1;
        assert_eq!(registry.count_since(mark, budget), budget, "{version:?}");
        check_stored(&registry, &layout, &image);
    }
}

/// A connection that is cut at every half of a chunk. Distribution v3 says what it has, and nothing is
/// sent twice. Distribution 2.8 gives up an upload of which a part broke off (PUSHB-38), and it begins
/// again.
#[test]
fn a_cut_costs_nothing_where_uploads_go_on() {
    needs!("docker-registry", "registry");
    let (layout, image) = Layout::with_image(1, LAYER as usize, 2);
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        for half in 1..16 {
            let at = half * MIB / 2;
            let lost = match version {
                Version::Debian => at,
                Version::V3 => 0,
            };
            cut_at(&registry, &layout, at, &["--chunk-size", "1M"], lost);
        }
        check_stored(&registry, &layout, &image);
    }
}

/// The same for a blob that is sent in one request.
#[test]
fn a_put_that_breaks_off_goes_on() {
    needs!("registry");
    let (layout, image) = Layout::with_image(1, LAYER as usize, 3);
    let registry = Setup::new(Version::V3).start();
    for mib in 1..8 {
        cut_at(&registry, &layout, mib * MIB, &[], 0);
    }
    check_stored(&registry, &layout, &image);
}

fn cut_at(registry: &Registry, layout: &Layout, at: u64, options: &[&str], lost: u64) {
    let proxy = Proxy::to(&registry.host());
    proxy.cut_after_up(at);
    push(layout, &proxy, &format!("cut{at}"), options);
    assert!(!proxy.will_cut_up(), "the connection was cut at {at}");
    let sent = proxy.passed_up();
    let most = LAYER + lost + OTHER;
    assert!(
        sent <= most,
        "cut at {at}: {sent} bytes were sent, {most} would do"
    );
}

fn check_stored(registry: &Registry, layout: &Layout, image: &Image) {
    for blob in image.all() {
        let bytes = Some(layout.read(&blob.digest));
        assert_eq!(registry.stored(&blob.digest), bytes);
    }
}
