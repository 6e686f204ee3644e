//! Other tools agree with windlass: they pull what it pushes, it pulls what they push, and both use the
//! same layouts.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use windlass_tests::command::Windlass;
use windlass_tests::images::{self, Image, Layout};
use windlass_tests::needs;
use windlass_tests::peers::{self, Peer};
use windlass_tests::proxy::{Fault, Proxy};
use windlass_tests::registry::{Setup, Version};

/// The images that go round: real files, and many layers.
fn images() -> [(Layout, Image); 2] {
    [Layout::by_umoci(), Layout::with_image(20, 5000, 1)]
}

/// Pushed by windlass: skopeo, crane and regctl pull it with the same digests, and `crane
/// validate` unpacks it.
#[test]
fn peers_pull_what_windlass_pushed() {
    needs!(
        "docker-registry",
        "registry",
        "umoci",
        "skopeo",
        "crane",
        "regctl"
    );
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        for (i, (layout, image)) in images().iter().enumerate() {
            let name = format!("pushed/{i}:v1");
            let words = [
                "push",
                &layout.oci_named("latest"),
                &registry.reference(&name),
            ];
            assert_eq!(Windlass::new(words).run().digest(), image.manifest.digest);
            for peer in Peer::ALL {
                let out = Layout::absent();
                peer.pull(&registry, &name, &out);
                assert_eq!(out.root(), image.manifest.digest, "{peer:?}");
                assert!(image.all().all(|blob| out.has(&blob.digest)), "{peer:?}");
                out.check();
            }
            peers::crane_validate(&registry, &name);
        }
    }
}

/// The same for a multi-platform index.
#[test]
fn peers_pull_the_index_that_windlass_pushed() {
    needs!("docker-registry", "registry", "skopeo", "crane", "regctl");
    let (layout, index) = Layout::with_index(&["amd64", "arm64"], 3, 2);
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        let to = registry.reference("multi:v1");
        Windlass::new(["push", &layout.oci_named("latest"), &to])
            .run()
            .digest();
        for peer in Peer::ALL {
            let out = Layout::absent();
            peer.pull(&registry, "multi:v1", &out);
            assert_eq!(out.root(), index.index.digest, "{peer:?}");
            assert!(
                index
                    .images
                    .iter()
                    .flat_map(Image::all)
                    .all(|blob| out.has(&blob.digest))
            );
        }
        peers::crane_validate(&registry, "multi:v1");
    }
}

/// Pushed by each of them: windlass pulls it with the same digests.
#[test]
fn windlass_pulls_what_peers_pushed() {
    needs!(
        "docker-registry",
        "registry",
        "umoci",
        "skopeo",
        "crane",
        "regctl"
    );
    let (multi, index) = Layout::with_index(&["amd64", "arm64"], 3, 3);
    for version in Version::ALL {
        let registry = Setup::new(version).start();
        for peer in Peer::ALL {
            for (i, (layout, image)) in images().iter().enumerate() {
                let name = format!("{}/{i}:v1", peer.program());
                peer.push(layout, &registry, &name);
                let out = Layout::absent();
                let words = ["pull", &registry.reference(&name), &out.oci()];
                assert_eq!(Windlass::new(words).run().digest(), image.manifest.digest);
                out.check_holds_exactly(image.all());
            }
            let name = format!("{}/multi:v1", peer.program());
            peer.push(&multi, &registry, &name);
            let out = Layout::absent();
            let words = [
                "pull",
                "--platform",
                "all",
                &registry.reference(&name),
                &out.oci(),
            ];
            assert_eq!(Windlass::new(words).run().digest(), index.index.digest);
        }
    }
}

/// `skopeo inspect oci:` and `umoci gc` take windlass's layouts for layouts.
#[test]
fn skopeo_and_umoci_read_windlass_layouts() {
    needs!("docker-registry", "skopeo", "umoci");
    let (layout, image) = Layout::with_image(3, 5000, 4);
    let registry = Setup::new(Version::Debian).start();
    registry.seed(&layout, &image, "a", "v1");
    let out = Layout::absent();
    Windlass::new(["pull", &registry.reference("a:v1"), &out.oci()])
        .run()
        .digest();
    let seen = peers::skopeo_inspect(&out, "v1");
    assert_eq!(images::digest(&seen), image.manifest.digest);
    peers::umoci_gc(&out.path);
    out.check_holds_exactly(image.all());
}

/// … also while partials exist (design §6: they are where other tools do not stumble over them),
/// and a collection by others does not cost what was already fetched.
#[test]
fn skopeo_and_umoci_read_layouts_with_partials_in_them() {
    needs!("docker-registry", "skopeo", "umoci");
    let (layout, small) = Layout::with_image(2, 5000, 5);
    let big = layout.add_image(&[8 << 20], 6, "amd64");
    let registry = Setup::new(Version::Debian).start();
    registry.seed(&layout, &small, "a", "small");
    registry.seed(&layout, &big, "a", "big");
    let out = Layout::absent();
    Windlass::new(["pull", &registry.reference("a:small"), &out.oci()])
        .run()
        .digest();
    let proxy = Proxy::to(&registry.host());
    proxy.after_down(4 << 20, Fault::Stall);
    let reference = format!("{}/a:big", proxy.host());
    let words = ["pull", &reference, &out.oci()];
    let mut pull = Windlass::new(words).jobs(1).spawn();
    windlass_tests::wait_for("a partial of 3 MiB", || {
        out.partials().first().is_some_and(|len| *len > 3 << 20)
    });
    let look = || {
        assert_eq!(
            images::digest(&peers::skopeo_inspect(&out, "small")),
            small.manifest.digest
        );
        peers::umoci_gc(&out.path);
        out.check();
    };
    // While it is being written, and after its writer is gone.
    look();
    assert!(pull.is_running());
    pull.kill();
    look();
    let partial = out.partials()[0];
    assert!(
        partial > 3 << 20,
        "others' collections leave partials alone"
    );
    let before = proxy.ranges().len();
    proxy.after_down(u64::MAX / 2, Fault::Cut);
    assert_eq!(
        Windlass::new(words).jobs(1).run().digest(),
        big.manifest.digest
    );
    assert_eq!(proxy.ranges()[before].0, partial);
    out.check();
}
