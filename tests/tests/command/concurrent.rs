//! Several processes at once on one layout or one repository.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use windlass_tests::command::Windlass;
use windlass_tests::images::Layout;
use windlass_tests::needs;
use windlass_tests::proxy::Proxy;
use windlass_tests::registry::{Setup, Version};

const MIB: u64 = 1 << 20;

/// Two processes pull one image into one layout at once: both succeed, and each blob is fetched
/// once, because a partial has one owner and the other waits for it (design §6).
#[test]
fn two_pulls_into_one_layout_fetch_each_blob_once() {
    needs!("docker-registry", "registry");
    let (layout, image) = Layout::with_image(4, 2 << 20, 1);
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        registry.seed(&layout, &image, "a", "v1");
        let proxy = Proxy::to(&registry.host());
        // Slow enough that the second begins while the first is in the middle.
        proxy.limit_down(MIB);
        let out = Layout::absent();
        let reference = format!("{}/a:v1", proxy.host());
        let words = ["pull", &reference, &out.oci()];
        let mark = registry.mark();
        let first = Windlass::new(words).spawn();
        windlass_tests::wait_for("the first is in the middle", || proxy.down() > MIB);
        let second = Windlass::new(words).spawn();
        for running in [first, second] {
            assert_eq!(running.wait().digest(), image.manifest.digest);
        }
        out.check_holds_exactly(image.all());
        assert_eq!(out.root(), image.manifest.digest);
        let blobs = image.blobs().count();
        let requests = registry.requests_with(mark, blobs, |it| it.line().contains("/blobs/"));
        for blob in image.blobs() {
            let gets = requests
                .iter()
                .filter(|r| r.gets_blob(&blob.digest))
                .count();
            assert_eq!(gets, 1, "{} was fetched {gets} times", blob.digest);
        }
        assert!(out.partials().is_empty());
    }
}

/// The owner of a partial is killed while another process waits for it: the other takes over where
/// the first was, and nothing is fetched twice.
#[test]
fn a_waiting_pull_takes_over_from_a_killed_one() {
    needs!("docker-registry");
    let (layout, image) = Layout::with_image(1, 16 << 20, 2);
    let registry = Setup::new(Version::Debian).start();
    registry.seed(&layout, &image, "a", "v1");
    let proxy = Proxy::to(&registry.host());
    proxy.limit_down(4 * MIB);
    let out = Layout::absent();
    let reference = format!("{}/a:v1", proxy.host());
    let words = ["pull", &reference, &out.oci()];
    let mut first = Windlass::new(words).jobs(1).spawn();
    windlass_tests::wait_for("2 MiB", || proxy.down() > 2 * MIB);
    let second = Windlass::new(words).jobs(1).spawn();
    // So slow that what went through was read, whatever else this machine does.
    proxy.limit_down(MIB);
    windlass_tests::wait_for("6 MiB", || proxy.down() > 6 * MIB);
    first.kill();
    proxy.limit_down(8 * MIB);
    assert_eq!(second.wait().digest(), image.manifest.digest);
    out.check_holds_exactly(image.all());
    let ranges = proxy.ranges();
    assert_eq!(ranges.len(), 1, "{ranges:?}");
    assert!(
        ranges[0].0 > 5 * MIB,
        "from where the first was: {ranges:?}"
    );
    assert!(
        proxy.down() < image.layers[0].size + 2 * MIB,
        "{} bytes in all",
        proxy.down()
    );
}

/// Different images into one layout at once: `index.json` has them all (LAY, design §6), and what
/// they share is there once.
#[test]
fn pulls_of_different_images_into_one_layout_keep_all_names() {
    needs!("docker-registry");
    let registry = Setup::new(Version::Debian).start();
    let layout = Layout::new();
    let mut images = Vec::new();
    for i in 0..6 {
        let image = layout.add_image(&[20_000, 30_000], 10 + i, "amd64");
        registry.seed(&layout, &image, "a", &format!("v{i}"));
        images.push(image);
    }
    let out = Layout::absent();
    let running: Vec<_> = (0..images.len())
        .map(|i| {
            let reference = registry.reference(&format!("a:v{i}"));
            Windlass::new(["pull", &reference, &out.oci()]).spawn()
        })
        .collect();
    for (running, image) in running.into_iter().zip(&images) {
        assert_eq!(running.wait().digest(), image.manifest.digest);
    }
    for (i, image) in images.iter().enumerate() {
        assert_eq!(out.image(&format!("v{i}")).manifest, image.manifest);
    }
    assert_eq!(out.roots().len(), images.len());
    out.check_holds_exactly(images.iter().flat_map(|image| image.all()));
}

/// Two pushes of one image to one repository at once both succeed (HTTP-20, PUSHB-23).
#[test]
fn two_pushes_to_one_repository_both_arrive() {
    needs!("docker-registry", "registry");
    let (layout, image) = Layout::with_image(5, 300_000, 3);
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        let words = |tag: &str| {
            let reference = registry.reference(&format!("a:{tag}"));
            ["push".to_owned(), layout.oci_named("latest"), reference]
        };
        let running = ["one", "two"].map(|tag| Windlass::new(words(tag)).spawn());
        for running in running {
            assert_eq!(running.wait().digest(), image.manifest.digest);
        }
        for tag in ["one", "two"] {
            assert_eq!(
                registry.tagged("a", tag),
                Some(image.manifest.digest.clone())
            );
        }
        assert!(image.all().all(|blob| registry.holds(&blob.digest)));
    }
}
