//! Small images and indexes to fill a registry with.
//!
//! Responsible for: well-formed OCI documents around given bytes.
//! Must not know: registries, repositories, HTTP.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::Digest;

/// The media type of an OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of an OCI image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The media type of an uncompressed OCI layer.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image: its manifest and the blobs the manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The configuration blob.
    pub config: Bytes,
    /// The layer blobs, lowest first.
    pub layers: Vec<Bytes>,
    /// The manifest's exact bytes.
    pub manifest: Bytes,
    /// The manifest's sha256 digest.
    pub digest: Digest,
}

impl Image {
    /// Every blob the manifest names: the configuration, then the layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Bytes> {
        core::iter::once(&self.config).chain(&self.layers)
    }

    /// The digests of [`Image::blobs`], in the same order.
    pub fn blob_digests(&self) -> Vec<Digest> {
        self.blobs().map(|blob| Digest::sha256(blob)).collect()
    }
}

/// An index: a document that names manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The index's exact bytes.
    pub manifest: Bytes,
    /// The index's sha256 digest.
    pub digest: Digest,
}

/// A `linux/amd64` image with these layers, taken as they are.
pub fn image(layers: &[Vec<u8>]) -> Image {
    image_for("linux/amd64", layers)
}

/// An image for `platform`, written `os/architecture` or `os/architecture/variant`.
pub fn image_for(platform: &str, layers: &[Vec<u8>]) -> Image {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|l| Digest::sha256(l).to_string())
        .collect();
    let mut config = platform_object(platform);
    config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
    let config = Bytes::from(config.to_string());
    let layers: Vec<Bytes> = layers.iter().cloned().map(Bytes::from).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, &config),
        "layers": layers.iter().map(|l| descriptor(OCI_LAYER, l)).collect::<Vec<_>>(),
    });
    let manifest = Bytes::from(manifest.to_string());
    let digest = Digest::sha256(&manifest);
    Image {
        config,
        layers,
        manifest,
        digest,
    }
}

/// An index over images, each with its platform as in [`image_for`].
pub fn index(images: &[(&str, &Image)]) -> Index {
    let manifests: Vec<Value> = images
        .iter()
        .map(|(platform, image)| {
            let mut descriptor = descriptor(OCI_MANIFEST, &image.manifest);
            descriptor["platform"] = platform_object(platform);
            descriptor
        })
        .collect();
    let manifest =
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).to_string();
    let manifest = Bytes::from(manifest);
    let digest = Digest::sha256(&manifest);
    Index { manifest, digest }
}

/// The descriptor of `bytes`: media type, digest and size.
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({
        "mediaType": media_type,
        "digest": Digest::sha256(bytes).as_str(),
        "size": bytes.len(),
    })
}

fn platform_object(platform: &str) -> Value {
    let mut parts = platform.splitn(3, '/');
    let mut object = json!({
        "os": parts.next().unwrap_or("linux"),
        "architecture": parts.next().unwrap_or("amd64"),
    });
    if let Some(variant) = parts.next() {
        object["variant"] = variant.into();
    }
    object
}
