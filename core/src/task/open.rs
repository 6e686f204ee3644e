//! Opening an image: its manifest and its configuration, and the results.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Manifest, Task, TaskKind, TaskReport};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
#[cfg(doc)]
use crate::error::Error;
use crate::image_config::{ImageConfig, ImageConfigError};
use crate::platform::Platform;
use crate::reference::Reference;

impl Task {
    /// Read the manifest and the configuration of an image, verified: of an index, the image for the platform.
    ///
    /// It fails with [`Error::Policy`] if that is no image, or the configuration is larger than
    /// [`Limits::document`](crate::config::Limits::document), since it is in memory.
    pub const fn open(reference: Reference, platform: Platform) -> Self {
        Self::new(TaskKind::Open(OpenTask {
            reference,
            platform,
        }))
    }
}

impl TaskReport {
    /// An image, if the task was to open one.
    pub fn opened(self) -> Option<OpenedImage> {
        if let Self::Opened(image) = self {
            return Some(image);
        }
        None
    }
}

/// An image to be opened.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct OpenTask {
    pub(crate) reference: Reference,
    /// Of an index, the image for this platform.
    pub(crate) platform: Platform,
}

/// An image whose manifest and configuration were read and verified. Its layers were not.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct OpenedImage {
    /// The image, by its digest: the repository in which its layers are.
    pub reference: Reference,
    /// The manifest of the image; of an index, the one that was chosen.
    pub manifest: Manifest,
    pub(crate) config: Descriptor,
    pub(crate) config_bytes: Arc<[u8]>,
    pub(crate) layers: Vec<Descriptor>,
}

/// A layer of an image.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ImageLayer {
    /// The layer as it is stored, mostly compressed.
    pub blob: Descriptor,
    /// The digest of its tar. `None` if the configuration does not have one digest for each layer.
    pub diff_id: Option<Digest>,
}

impl OpenedImage {
    /// The digest of the manifest.
    pub const fn digest(&self) -> &Digest {
        &self.manifest.descriptor.digest
    }

    /// The descriptor of the configuration.
    pub const fn config_descriptor(&self) -> &Descriptor {
        &self.config
    }

    /// The bytes of the configuration, which have the digest that the manifest names.
    pub fn config_bytes(&self) -> &[u8] {
        &self.config_bytes
    }

    /// The configuration.
    ///
    /// # Errors
    ///
    /// [`ImageConfigError`] if it is none of an image: the manifests of artifacts have others.
    pub fn config(&self) -> Result<ImageConfig, ImageConfigError> {
        ImageConfig::from_json(&self.config_bytes)
    }

    /// The layers, the base first.
    pub fn layers(&self) -> Vec<ImageLayer> {
        let config = self.config().unwrap_or_default();
        let diff_ids = config.rootfs.diff_ids;
        let is_complete = diff_ids.len() == self.layers.len();
        let layers = self.layers.iter().enumerate();
        let layers = layers.map(|(n, blob)| ImageLayer {
            blob: blob.clone(),
            diff_id: diff_ids.get(n).filter(|_| is_complete).cloned(),
        });
        layers.collect()
    }
}

/// One line, as in transcripts.
impl fmt::Display for OpenedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} layers", self.digest(), self.layers.len())
    }
}
