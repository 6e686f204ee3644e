//! Builds an image from a folder: one layer, a configuration, a manifest.
//!
//! The same folder always gives the same image: sorted files, no times, no owners.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use tar::{Builder, EntryType, Header};
use windlass_core::{Algorithm, Descriptor, Digest, Error, Hashing, StoreError, StoreErrorKind};
use windlass_driver::host_platform;
use windlass_store::{Begun, Store};

use crate::exit::Problem;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[derive(Debug)]
pub(super) struct Image {
    pub(super) root: Digest,
    pub(super) files: usize,
    /// The layer's size in bytes.
    pub(super) layer: u64,
}

/// Builds an image from `folder`, or from built-in files, and tags it in `store`.
pub(super) fn build(
    folder: Option<&Path>,
    store: &dyn Store,
    name: &str,
) -> Result<Image, Problem> {
    let place = folder.map_or_else(|| "the demo's files".into(), Path::to_string_lossy);
    let files = match folder {
        Some(folder) => gather(folder),
        None => Ok(own_files()),
    };
    let read = |error: io::Error| Problem::Demo(format!("{place}: {error}"));
    let files = files.map_err(read)?;
    let (layer, digest) = pack(&files).map_err(read)?;
    store_image(store, name, layer, digest, files.len())
        .map_err(|error| Problem::failed(Error::Store(error)))
}

fn store_image(
    store: &dyn Store,
    name: &str,
    mut layer: File,
    digest: Digest,
    files: usize,
) -> Result<Image, StoreError> {
    let size = store_layer(store, &mut layer, &digest)?;
    let layer = Descriptor::new(LAYER, digest.clone(), size);
    let platform = host_platform();
    let config = json!({
        "architecture": platform.architecture,
        "os": platform.os,
        "variant": platform.variant,
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [digest.as_str()] },
    });
    let config = put(store, CONFIG, config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer],
    });
    let root = put(store, MANIFEST, manifest.to_string().as_bytes())?;
    store.tag(Some(name), &root)?;
    Ok(Image {
        root: root.digest,
        files,
        layer: size,
    })
}

fn put(store: &dyn Store, media_type: &str, bytes: &[u8]) -> Result<Descriptor, StoreError> {
    let digest = Digest::of(Algorithm::Sha256, bytes);
    store.put(&digest, bytes)?;
    Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
}

fn store_layer(store: &dyn Store, layer: &mut File, digest: &Digest) -> Result<u64, StoreError> {
    let broken =
        |error: io::Error| StoreError::new(StoreErrorKind::Io, format!("the new layer: {error}"));
    let size = layer.metadata().map_err(broken)?.len();
    let mut partial = match store.begin(digest, size)? {
        Begun::Ours(partial) => partial,
        Begun::Complete => return Ok(size),
        Begun::Busy { .. } => {
            let detail = "the new layer: another process is writing it";
            return Err(StoreError::new(StoreErrorKind::Io, detail));
        }
    };
    partial.truncate(0)?;
    let mut buffer = vec![0; 64 << 10];
    layer.rewind().map_err(broken)?;
    loop {
        let read = layer.read(&mut buffer).map_err(broken)?;
        if read == 0 {
            break;
        }
        partial.append(&buffer[..read])?;
    }
    partial.commit()?;
    Ok(size)
}

#[derive(Debug)]
struct Item {
    /// Its path in the image.
    name: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Text(&'static str),
    /// This many incompressible bytes.
    Noise(usize),
    File(PathBuf),
}

/// The files of the demo's own image. One is large enough that its blob gets a HEAD before it is
/// sent.
fn own_files() -> Vec<Item> {
    let text = |name: &str, text| Item {
        name: name.into(),
        content: Content::Text(text),
    };
    vec![
        text("etc/hello.conf", "greeting = hello\n"),
        Item {
            name: "usr/share/hello/noise".into(),
            content: Content::Noise(1 << 20),
        },
        text("usr/share/hello/readme", "Made by `windlass demo`.\n"),
    ]
}

/// The regular files below a folder, sorted.
fn gather(folder: &Path) -> io::Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let name = path.strip_prefix(folder).unwrap_or(&path).to_owned();
                items.push(Item {
                    name,
                    content: Content::File(path),
                });
            }
        }
    }
    items.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(items)
}

/// Writes a layer to a temporary file and hashes it.
fn pack(items: &[Item]) -> io::Result<(File, Digest)> {
    let mut builder = Builder::new(Hashed {
        file: tempfile::tempfile()?,
        hashing: Hashing::new(Algorithm::Sha256),
    });
    for item in items {
        match &item.content {
            Content::Text(text) => append(&mut builder, &item.name, text.as_bytes(), text.len())?,
            Content::Noise(len) => {
                let noise = noise(*len);
                append(&mut builder, &item.name, noise.as_slice(), noise.len())?;
            }
            Content::File(path) => {
                let file = File::open(path)?;
                let len = file.metadata()?.len();
                // A file that grows meanwhile must not corrupt the entries after it.
                append(&mut builder, &item.name, file.take(len), len)?;
            }
        }
    }
    let Hashed { file, hashing } = builder.into_inner()?;
    Ok((file, hashing.digest()))
}

fn append(
    builder: &mut Builder<Hashed>,
    name: &Path,
    content: impl Read,
    len: impl TryInto<u64>,
) -> io::Result<()> {
    let len = len
        .try_into()
        .map_err(|_| io::Error::other("file too large"))?;
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(len);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    builder.append_data(&mut header, name, content)
}

/// Incompressible bytes from a linear congruential generator.
fn noise(len: usize) -> Vec<u8> {
    let mut state: u32 = 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(len)
    .collect()
}

struct Hashed {
    file: File,
    hashing: Hashing,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hashing.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(items: &[Item]) -> (Vec<u8>, Digest) {
        let (mut file, digest) = pack(items).expect("a layer");
        let mut bytes = Vec::new();
        file.rewind().expect("a file");
        file.read_to_end(&mut bytes).expect("a file");
        (bytes, digest)
    }

    #[test]
    fn the_same_files_give_the_same_layer() {
        let (bytes, digest) = packed(&own_files());
        assert!(digest.verifies(&bytes));
        assert_eq!(packed(&own_files()), (bytes.clone(), digest));

        let mut archive = tar::Archive::new(bytes.as_slice());
        let names: Vec<_> = archive
            .entries()
            .expect("an archive")
            .map(|entry| {
                let entry = entry.expect("an entry");
                assert_eq!(entry.header().mtime().expect("a time"), 0);
                entry.path().expect("a path").into_owned()
            })
            .collect();
        let expected: Vec<_> = own_files().into_iter().map(|item| item.name).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn folders_are_gathered_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("b")).expect("a folder");
        for name in ["c", "a", "b/x"] {
            fs::write(folder.path().join(name), name).expect("a file");
        }
        let items = gather(folder.path()).expect("a folder");
        let names: Vec<_> = items.iter().map(|item| item.name.clone()).collect();
        assert_eq!(names, ["a", "b/x", "c"].map(PathBuf::from));
        let (bytes, digest) = packed(&items);
        assert!(digest.verifies(&bytes));
    }
}
