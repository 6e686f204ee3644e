//! Single manifests: read, put, deleted.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Unlisted;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::platform::Platform;
use crate::reference::{Reference, Tag};
use crate::store::StoreId;

/// A manifest to be read.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ManifestTask {
    pub(crate) reference: Reference,
    /// Of an index, the image for this platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
}

/// A manifest, verified.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Manifest {
    /// Its media type, digest and size.
    pub descriptor: Descriptor,
    /// Its bytes, as the registry has them.
    pub bytes: Arc<[u8]>,
}

impl Manifest {
    /// A manifest that was made and not read: the descriptor must be of these bytes.
    pub fn new(descriptor: Descriptor, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self {
            descriptor,
            bytes: bytes.into(),
        }
    }
}

/// A manifest to be put.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PutTask {
    pub(crate) source: PutSource,
    pub(crate) destination: Reference,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<Tag>,
    /// What must be at the destination's tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replaces: Option<Digest>,
}

/// Where a manifest comes from.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum PutSource {
    /// A store that has it as a blob.
    Store {
        #[serde(rename = "id")]
        store: StoreId,
        digest: Digest,
        #[serde(rename = "mediaType")]
        media_type: String,
    },
    /// The destination's repository, where this refers to it.
    Repository(Reference),
}

/// A manifest that was put.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Put {
    /// Its media type, digest and size.
    pub descriptor: Descriptor,
    /// The tags that refer to it now.
    pub tags: Vec<Tag>,
    /// Set if it could not be added to the referrers list of its subject, at a registry without the referrers
    /// API.
    pub unlisted: Option<Unlisted>,
}

/// Something to be deleted from a repository.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeleteTask {
    pub(crate) reference: Reference,
    #[serde(default)]
    pub(crate) extent: Extent,
    /// It may be done already: it is from a checkpoint.
    #[serde(skip)]
    pub(crate) again: bool,
}

/// What the deletion of a tag may take with it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Extent {
    /// Nothing.
    #[default]
    Tag,
    /// The manifest that it refers to, and all other tags of that.
    Manifest,
}

/// What was deleted.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Deleted {
    /// The manifest, with all its tags. `None` if only a tag was.
    pub digest: Option<Digest>,
    /// Set if it could not be removed from the referrers list of its subject, at a registry without the
    /// referrers API.
    pub unlisted: Option<Unlisted>,
}
