//! OCI image layouts: what tests push, and what must come out of a pull.
//!
//! Layers are tar archives with one file of seeded noise, wrapped in gzip without compression, so
//! that they are content to any tool (`crane validate` unpacks them) and no tool recompresses them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// `application/vnd.oci.image.manifest.v1+json`
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// `application/vnd.oci.image.index.v1+json`
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// `application/vnd.oci.image.layer.v1.tar+gzip`
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// `application/vnd.oci.image.config.v1+json`
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// The sha256 digest of some bytes, `sha256:` in front.
pub fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// Noise that is always the same for a seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A tar archive with one file `name` holding `content`.
pub fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut head = [0_u8; 512];
    let mut put =
        |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = head.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

/// Bytes in gzip (RFC 1952), in stored blocks (RFC 1951, 3.2.4).
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = bytes.chunks(0xFFFF).peekable();
    while let Some(block) = blocks.next() {
        let len = block.len() as u16;
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&crc32(bytes).to_le_bytes());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut table = [0_u32; 256];
    for (byte, entry) in table.iter_mut().enumerate() {
        *entry = (0..8).fold(byte as u32, |crc, _| {
            if crc & 1 == 1 {
                0xEDB8_8320 ^ (crc >> 1)
            } else {
                crc >> 1
            }
        });
    }
    !bytes.iter().fold(!0, |crc: u32, byte| {
        table[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8)
    })
}

/// A piece of content in a layout.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Blob {
    /// Its digest.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

impl Blob {
    /// The descriptor that points at it.
    pub fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.size})
    }
}

/// An OCI image layout on disk.
#[derive(Debug)]
pub struct Layout {
    /// Where it is.
    pub path: PathBuf,
    _dir: tempfile::TempDir,
}

/// An image with one platform.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its manifest.
    pub manifest: Blob,
    /// Its config.
    pub config: Blob,
    /// Its layers.
    pub layers: Vec<Blob>,
}

/// An index and its images.
#[derive(Clone, Debug)]
pub struct Index {
    /// The index document.
    pub index: Blob,
    /// Its images, in order.
    pub images: Vec<Image>,
}

impl Image {
    /// Config and layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.layers.iter().chain([&self.config])
    }

    /// Manifest, config and layers.
    pub fn all(&self) -> impl Iterator<Item = &Blob> {
        self.blobs().chain([&self.manifest])
    }
}

impl Layout {
    /// An empty layout.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Self {
            path: dir.path().join("layout"),
            _dir: dir,
        };
        std::fs::create_dir_all(layout.path.join("blobs/sha256")).unwrap();
        std::fs::write(
            layout.path.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
        layout.write_index(&json!({"schemaVersion": 2, "manifests": []}));
        layout
    }

    /// A path where no layout is yet, in a folder of its own.
    pub fn absent() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            path: dir.path().join("layout"),
            _dir: dir,
        }
    }

    /// A layout holding one image named `latest` with `layers` layers of `size` bytes each (of
    /// file content; the archive adds about 2 KiB).
    pub fn with_image(layers: usize, size: usize, seed: u64) -> (Self, Image) {
        let layout = Self::new();
        let image = layout.add_image(&vec![size; layers], seed, "amd64");
        layout.name(&image.manifest, "latest");
        (layout, image)
    }

    /// A layout holding a multi-platform index named `latest`, one image per architecture with
    /// `layers` small layers each.
    pub fn with_index(architectures: &[&str], layers: usize, seed: u64) -> (Self, Index) {
        let layout = Self::new();
        let mut images = Vec::new();
        let mut manifests = Vec::new();
        for (i, architecture) in architectures.iter().enumerate() {
            let seed = seed + 1000 * (i as u64 + 1);
            let image = layout.add_image(&vec![2000; layers], seed, architecture);
            let mut descriptor = image.manifest.descriptor();
            descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
            manifests.push(descriptor);
            images.push(image);
        }
        let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        let index = layout.add(document.to_string().as_bytes(), INDEX);
        layout.name(&index, "latest");
        (layout, Index { index, images })
    }

    /// Adds an image with layers of these sizes, without a name.
    pub fn add_image(&self, sizes: &[usize], seed: u64, architecture: &str) -> Image {
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for (i, size) in sizes.iter().enumerate() {
            let content = noise(*size, seed.wrapping_mul(100_003) + i as u64);
            let archive = tar(&format!("file-{seed}-{i}"), &content);
            diff_ids.push(digest(&archive));
            layers.push(self.add(&gzip(&archive), LAYER));
        }
        self.add_manifest(layers, &diff_ids, architecture)
    }

    /// Adds an image that differs from `image` in its last layer only, of this size.
    pub fn add_variant(&self, image: &Image, size: usize, seed: u64) -> Image {
        let config: Value = serde_json::from_slice(&self.read(&image.config.digest)).unwrap();
        let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap().iter();
        let mut diff_ids: Vec<_> = diff_ids.map(|id| id.as_str().unwrap().to_owned()).collect();
        let mut layers = image.layers.clone();
        let archive = tar(&format!("file-{seed}"), &noise(size, seed));
        *diff_ids.last_mut().unwrap() = digest(&archive);
        *layers.last_mut().unwrap() = self.add(&gzip(&archive), LAYER);
        self.add_manifest(layers, &diff_ids, "amd64")
    }

    /// Adds a config and a manifest over these layers.
    fn add_manifest(&self, layers: Vec<Blob>, diff_ids: &[String], architecture: &str) -> Image {
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.add(config.to_string().as_bytes(), CONFIG);
        let document = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        let manifest = self.add(document.to_string().as_bytes(), MANIFEST);
        Image {
            manifest,
            config,
            layers,
        }
    }

    /// An artifact without a config of its own: the config is the empty descriptor `{}`.
    pub fn add_artifact(&self, size: usize, seed: u64) -> Image {
        let layer = self.add(&noise(size, seed), "application/octet-stream");
        let config = self.add(b"{}", "application/vnd.oci.empty.v1+json");
        let document = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(),
            "artifactType": "application/vnd.example.noise", "layers": [layer.descriptor()],
        });
        let manifest = self.add(document.to_string().as_bytes(), MANIFEST);
        Image {
            manifest,
            config,
            layers: vec![layer],
        }
    }

    /// An image with real files, made by umoci, named `latest`.
    pub fn by_umoci() -> (Self, Image) {
        let layout = Self::absent();
        let umoci = crate::program("umoci").expect("the test asked for umoci");
        let run = |words: &[&str]| {
            let done = std::process::Command::new(&umoci)
                .args(words)
                .output()
                .unwrap();
            assert!(done.status.success(), "umoci {words:?}: {done:?}");
        };
        let path = layout.path.to_str().unwrap().to_owned();
        let tagged = format!("{path}:latest");
        let rootfs = layout.path.parent().unwrap().join("files");
        std::fs::create_dir_all(rootfs.join("etc")).unwrap();
        std::fs::create_dir_all(rootfs.join("usr/bin")).unwrap();
        std::fs::write(rootfs.join("etc/hostname"), "windlass\n").unwrap();
        std::fs::write(rootfs.join("usr/bin/noise"), noise(300_000, 7)).unwrap();
        std::os::unix::fs::symlink("noise", rootfs.join("usr/bin/link")).unwrap();
        run(&["init", "--layout", &path]);
        run(&["new", "--image", &tagged]);
        let etc = rootfs.join("etc");
        let usr = rootfs.join("usr");
        for (from, to) in [(&etc, "/etc"), (&usr, "/usr")] {
            run(&[
                "insert",
                "--rootless",
                "--image",
                &tagged,
                from.to_str().unwrap(),
                to,
            ]);
        }
        let image = layout.image("latest");
        (layout, image)
    }

    /// Puts bytes under their digest.
    pub fn add(&self, bytes: &[u8], media_type: &str) -> Blob {
        let digest = digest(bytes);
        std::fs::write(self.blob_path(&digest), bytes).unwrap();
        Blob {
            digest,
            size: bytes.len() as u64,
            media_type: media_type.to_owned(),
        }
    }

    /// Gives a manifest or index a name in `index.json`.
    pub fn name(&self, blob: &Blob, name: &str) {
        let mut descriptor = blob.descriptor();
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        let mut index = self.index();
        index["manifests"].as_array_mut().unwrap().push(descriptor);
        self.write_index(&index);
    }

    /// The layout as a word of the command line.
    pub fn oci(&self) -> String {
        format!("oci:{}", self.path.display())
    }

    /// The layout and a name in it as a word of the command line.
    pub fn oci_named(&self, name: &str) -> String {
        format!("oci:{}:{name}", self.path.display())
    }

    /// `index.json`.
    pub fn index(&self) -> Value {
        let text = std::fs::read(self.path.join("index.json")).expect("index.json");
        serde_json::from_slice(&text).expect("index.json is JSON at any time")
    }

    fn write_index(&self, index: &Value) {
        std::fs::write(self.path.join("index.json"), index.to_string()).unwrap();
    }

    /// The digests that `index.json` lists.
    pub fn roots(&self) -> Vec<String> {
        let index = self.index();
        let manifests = index["manifests"].as_array().expect("manifests").iter();
        manifests
            .map(|entry| entry["digest"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The one digest that `index.json` lists.
    pub fn root(&self) -> String {
        let mut roots = self.roots();
        assert_eq!(roots.len(), 1, "{roots:?}");
        roots.remove(0)
    }

    /// Reads the image with this name.
    pub fn image(&self, name: &str) -> Image {
        let blob = |value: &Value| Blob {
            digest: value["digest"].as_str().unwrap().to_owned(),
            size: value["size"].as_u64().unwrap(),
            media_type: value["mediaType"].as_str().unwrap().to_owned(),
        };
        let index = self.index();
        let entry = index["manifests"].as_array().unwrap().iter().find(|entry| {
            entry["annotations"]["org.opencontainers.image.ref.name"].as_str() == Some(name)
        });
        let manifest = blob(entry.expect("the name is in the layout"));
        let document: Value = serde_json::from_slice(&self.read(&manifest.digest)).unwrap();
        let layers = document["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(blob)
            .collect();
        Image {
            manifest,
            config: blob(&document["config"]),
            layers,
        }
    }

    /// Where content with this digest stands.
    pub fn blob_path(&self, digest: &str) -> PathBuf {
        self.path.join("blobs").join(digest.replacen(':', "/", 1))
    }

    /// The bytes under a digest.
    pub fn read(&self, digest: &str) -> Vec<u8> {
        std::fs::read(self.blob_path(digest)).unwrap_or_else(|error| panic!("{digest}: {error}"))
    }

    /// Whether content with this digest stands under its final name.
    pub fn has(&self, digest: &str) -> bool {
        self.blob_path(digest).exists()
    }

    /// Everything under final names is what its name says; nothing else stands beside it. The
    /// number of blobs.
    pub fn check(&self) -> usize {
        let files = crate::files_below(&self.path.join("blobs"));
        for file in &files {
            let name = file.file_name().unwrap().to_str().unwrap();
            let bytes = std::fs::read(file).unwrap();
            assert_eq!(
                digest(&bytes),
                format!("sha256:{name}"),
                "under a final name: {file:?}"
            );
        }
        files.len()
    }

    /// All of an image is here, byte for byte, with nothing else under a final name. How many blobs it has.
    pub fn check_content<'a>(&self, blobs: impl Iterator<Item = &'a Blob>) -> usize {
        let mut want: Vec<_> = blobs.map(|blob| blob.digest.clone()).collect();
        want.sort();
        want.dedup();
        for digest in &want {
            assert!(self.has(digest), "{digest} is missing");
        }
        assert_eq!(self.check(), want.len(), "more blobs than the image has");
        want.len()
    }

    /// The same; and another library says so, too, where real programs are wanted.
    pub fn check_holds_exactly<'a>(&self, blobs: impl Iterator<Item = &'a Blob>) {
        self.check_content(blobs);
        if crate::missing(&["ocidir-fsck"]).is_none() {
            self.check_fsck();
        }
    }

    /// `ocidir` verifies every blob that is here, and nothing is here that no image has.
    pub fn check_fsck(&self) {
        let files = crate::files_below(&self.path.join("blobs"));
        let is_of_image = |file: &&PathBuf| !is_index(&std::fs::read(file).unwrap());
        let verified = crate::peers::ocidir_fsck(&self.path);
        assert_eq!(verified, files.iter().filter(is_of_image).count());
    }

    /// Lengths of the partials under `.windlass`, the longest first; locks and records are small
    /// or empty and do not count.
    pub fn partials(&self) -> Vec<u64> {
        let files = crate::files_below(&self.path.join(".windlass"));
        let mut lengths: Vec<u64> = files
            .iter()
            .filter_map(|file| std::fs::metadata(file).ok())
            .map(|meta| meta.len())
            .filter(|len| *len >= 4096)
            .collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether this is the document of an index, which `ocidir` does not read.
fn is_index(bytes: &[u8]) -> bool {
    let document = serde_json::from_slice::<Value>(bytes);
    document.is_ok_and(|document| document["manifests"].is_array())
}

/// Copies a layout's files to another place, as they are.
pub fn copy_dir(from: &Path, to: &Path) {
    for file in crate::files_below(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, target).unwrap();
    }
}
