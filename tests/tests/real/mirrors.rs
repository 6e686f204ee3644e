//! A real registry as mirror of another one, as containerd's hosts.toml says.
#![allow(clippy::unwrap_used, reason = "it panics into a test's output")]

use std::fs;
use std::time::{Duration, Instant};

use windlass_tests::command::Windlass;
use windlass_tests::images::Layout;
use windlass_tests::needs;
use windlass_tests::proxy::Proxy;
use windlass_tests::registry;

const LAYER: u64 = 16 << 20;

/// The mirror is killed in the middle of a blob: the registry itself sends the rest, and nothing twice.
#[test]
fn a_mirror_dies_in_a_blob() {
    needs!("docker-registry");
    let (upstream, mirror) = (registry::open(), registry::open());
    let (layout, image) = Layout::with_image(1, usize::try_from(LAYER).unwrap(), 31);
    for registry in [&upstream, &mirror] {
        registry.seed(&layout, &image, "team/app", "v1");
    }
    let (main, slow) = (Proxy::to(&upstream.host()), Proxy::to(&mirror.host()));
    slow.limit_down(8 << 20);
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join(main.host());
    fs::create_dir(&tree).unwrap();
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        main.host(),
        slow.host()
    );
    fs::write(tree.join("hosts.toml"), text).unwrap();

    let out = Layout::absent();
    let from = format!("{}/team/app:v1", main.host());
    // In one stream: each of several parts would go on by itself.
    let pull = Windlass::new(["pull", &from, &out.oci(), "--parts", "1", "--hosts-dir"]);
    let pull = pull.args([folder.path()]).spawn();
    let begun = Instant::now();
    while slow.down() < LAYER / 4 {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is not asked");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(mirror);
    let pulled = pull.wait();
    assert_eq!(pulled.digest(), image.manifest.digest);
    out.check_holds_exactly(image.all());

    let ranges = main.ranges();
    let [(at, _)] = ranges[..] else {
        panic!("one blob goes on: {ranges:?}");
    };
    assert!((LAYER / 4 - 10_000..LAYER).contains(&at), "{at}");
    // Heads, the manifest and the configuration come beside it.
    let rest = LAYER - at;
    assert!(main.down() < rest + 20_000, "{} of {rest}", main.down());
}
