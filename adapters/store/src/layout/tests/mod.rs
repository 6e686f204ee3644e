//! What the layout promises, on a real directory.

mod blobs;
mod extents;
mod keeping;
mod links;
mod names;
mod opening;
mod ours;
mod referrers;
mod syncs;

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use windlass_core::{Algorithm, Descriptor, Digest, StoreErrorKind};

use super::{Layout, sys};
use crate::store::{Begun, Partial, Store};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn fresh() -> (TempDir, Layout) {
    let dir = TempDir::new().expect("temporary directory");
    let layout = Layout::open_or_create(dir.path().join("image")).expect("layout");
    (dir, layout)
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn descriptor(content: &str) -> Descriptor {
    Descriptor::new(MANIFEST, sha256(content.as_bytes()), content.len() as u64)
}

fn ours(layout: &Layout, digest: &Digest, size: u64) -> Box<dyn Partial> {
    let begun = layout.begin(digest, size).expect("begin");
    let Begun::Ours(partial) = begun else {
        panic!("expected the partial, got {begun:?}");
    };
    partial
}

fn store(layout: &Layout, bytes: &[u8]) -> Digest {
    let digest = sha256(bytes);
    let mut partial = ours(layout, &digest, bytes.len() as u64);
    partial.append(bytes).expect("append");
    partial.commit().expect("commit");
    digest
}

fn load(layout: &Layout, digest: &Digest) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut source = Store::open(layout, digest, 0).expect("open")?;
    source.read_to_end(&mut bytes).expect("read");
    Some(bytes)
}

fn partials(layout: &Layout) -> Vec<String> {
    let Ok(entries) = fs::read_dir(layout.partials()) else {
        return Vec::new();
    };
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("text");
    entries.map(|entry| name(entry.expect("entry"))).collect()
}

fn index(layout: &Layout) -> serde_json::Value {
    let bytes = fs::read(layout.index_path()).expect("index.json");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn write_index(layout: &Layout, value: &serde_json::Value) {
    fs::write(layout.index_path(), value.to_string()).expect("write index.json");
}

fn make_old(path: &Path, days: u64) {
    let file = fs::File::options().write(true).open(path).expect("open");
    let time = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
    file.set_modified(time).expect("set the time");
}
