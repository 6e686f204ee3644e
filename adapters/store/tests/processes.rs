//! A layout shared by processes, some of which are killed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use windlass_core::{Algorithm, Descriptor, Digest};
use windlass_store::{Begun, Layout, Store};

const ROLE: &str = "WINDLASS_TEST_ROLE";
const DIR: &str = "WINDLASS_TEST_DIR";

/// Starts this test binary again in a role.
fn start(role: &str, dir: &Path) -> Child {
    start_with("022", role, dir)
}

fn start_with(umask: &str, role: &str, dir: &Path) -> Child {
    let this = std::env::current_exe().expect("this binary");
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("umask {umask}; exec \"$0\" \"$@\""));
    command.arg(this).args(["--exact", "as_child", "--ignored"]);
    command.env(ROLE, role).env(DIR, dir).stdout(Stdio::null());
    command.spawn().expect("start")
}

fn blob() -> (Digest, Vec<u8>) {
    let blob = vec![7; 1 << 20];
    (Digest::of(Algorithm::Sha256, &blob), blob)
}

fn descriptor(n: usize) -> Descriptor {
    let digest = Digest::of(Algorithm::Sha256, n.to_string().as_bytes());
    Descriptor::new("application/vnd.oci.image.manifest.v1+json", digest, 1)
}

#[test]
#[ignore = "a role that the other tests start"]
fn as_child() {
    let (Ok(role), Ok(dir)) = (std::env::var(ROLE), std::env::var(DIR)) else {
        return;
    };
    let layout = Layout::open_or_create(dir).expect("layout");
    if let Some(name) = role.strip_prefix("tag ") {
        let n = name.parse().expect("number");
        layout
            .tag(Some(&format!("v{n}")), &descriptor(n))
            .expect("tag");
    } else if role == "write" {
        let (digest, blob) = blob();
        layout.put(&descriptor(0).digest, b"0").expect("put");
        let begun = layout.begin(&digest, blob.len() as u64).expect("begin");
        let Begun::Ours(mut partial) = begun else {
            panic!("no other owner");
        };
        partial.append(&blob).expect("append");
        partial.commit().expect("commit");
    } else {
        let (digest, blob) = blob();
        let Begun::Ours(mut partial) = layout.begin(&digest, blob.len() as u64).expect("begin")
        else {
            panic!("no other owner");
        };
        partial.append(&blob[..1000]).expect("append");
        fs::write(layout.path().with_extension("ready"), "").expect("write");
        thread::sleep(Duration::from_secs(60));
    }
}

#[test]
fn a_killed_owner_leaves_its_bytes_and_no_lock() {
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("image");
    let mut child = start("own", &path);
    while !path.with_extension("ready").exists() {
        assert!(
            child.try_wait().expect("wait").is_none(),
            "it waits to be killed"
        );
        thread::sleep(Duration::from_millis(5));
    }
    let layout = Layout::open(&path).expect("layout");
    let (digest, blob) = blob();
    let begun = layout.begin(&digest, blob.len() as u64).expect("begin");
    assert!(matches!(begun, Begun::Busy { len: 1000 }), "{begun:?}");
    child.kill().expect("kill");
    child.wait().expect("wait");
    let begun = layout.begin(&digest, blob.len() as u64).expect("begin");
    let Begun::Ours(mut partial) = begun else {
        panic!("expected the partial, got {begun:?}");
    };
    assert_eq!(partial.len(), 1000);
    partial.append(&blob[1000..]).expect("append");
    partial.commit().expect("commit");
    assert!(
        layout
            .contains(&digest, blob.len() as u64)
            .expect("contains")
    );
}

#[test]
fn processes_that_name_at_the_same_time_lose_nothing() {
    // LAY-12; they also create the layout at the same time.
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("image");
    let children: Vec<Child> = (0..20).map(|n| start(&format!("tag {n}"), &path)).collect();
    for mut child in children {
        assert!(child.wait().expect("wait").success());
    }
    let layout = Layout::open(&path).expect("layout");
    for n in 0..20 {
        let found = layout.find(Some(&format!("v{n}"))).expect("found");
        assert_eq!(found.digest, descriptor(n).digest);
    }
}

#[test]
fn blobs_have_the_mode_that_the_umask_leaves() {
    // LAY-11.
    for (umask, mode) in [("022", 0o644), ("077", 0o600), ("222", 0o444)] {
        let dir = TempDir::new().expect("temporary directory");
        let path = dir.path().join("image");
        // Made beforehand: a layout whose directories cannot be written to is another matter.
        Layout::open_or_create(&path).expect("layout");
        fs::create_dir(path.join("blobs/sha256")).expect("create");
        let mut child = start_with(umask, "write", &path);
        assert!(child.wait().expect("wait").success());
        for digest in [blob().0, descriptor(0).digest] {
            let stored = path.join("blobs/sha256").join(digest.encoded());
            let stored = fs::metadata(stored).expect("there").permissions().mode();
            assert_eq!(stored & 0o777, mode, "umask {umask}");
        }
    }
}
