//! Single manifests: read, put, deleted.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Task, TaskKind, TaskReport, Unlisted};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
#[cfg(doc)]
use crate::error::Error;
use crate::platform::Platform;
use crate::reference::{Reference, Tag};
use crate::store::StoreId;

impl Task {
    /// Resolve a reference to a digest.
    pub const fn resolve(reference: Reference) -> Self {
        Self::new(TaskKind::Resolve(reference))
    }

    /// Read a manifest: what a reference stands for; of an index with a `platform`, the image that suits it best.
    pub const fn manifest(reference: Reference, platform: Option<Platform>) -> Self {
        Self::new(TaskKind::Manifest(ManifestTask {
            reference,
            platform,
        }))
    }

    /// Put a manifest that a store has as a blob, with this media type, at a reference: by its tag (`latest` if it
    /// has neither tag nor digest), or by its digest. Further `tags` refer to it, too: in one request where the
    /// registry takes that, else one by one.
    ///
    /// The bytes are sent as they are. What the manifest refers to must be in the repository, except its subject; if
    /// the registry lists no referrers itself, the manifest is added to the list of its subject.
    pub fn put_manifest(
        (store, digest): (StoreId, Digest),
        media_type: String,
        destination: Reference,
        tags: Vec<Tag>,
    ) -> Self {
        Self::new(TaskKind::Put(PutTask {
            source: PutSource::Store {
                store,
                digest,
                media_type,
            },
            destination,
            tags,
            replaces: None,
        }))
    }

    /// Let further tags refer to what a reference stands for, in its repository.
    pub fn tag(reference: Reference, tags: Vec<Tag>) -> Self {
        Self::new(TaskKind::Put(PutTask {
            source: PutSource::Repository(reference.clone()),
            destination: reference,
            tags,
            replaces: None,
        }))
    }

    /// Put a manifest only in the place of this one, which was read at the destination's tag. It fails with
    /// [`Error::Outdated`] if another one is there: then it was not put, or was replaced by another client at once. A
    /// condition (`If-Match`) rules out the latter, but most registries ignore it, so the tag is looked at before and
    /// after. For other tasks than [`put_manifest`](Self::put_manifest), and without a tag, this has no meaning.
    #[must_use]
    pub fn replacing(mut self, digest: Digest) -> Self {
        if let TaskKind::Put(put) = &mut self.kind {
            put.replaces = Some(digest);
        }
        self
    }

    /// Delete a tag and nothing else; or, if the reference has a digest, the manifest with all its tags.
    ///
    /// If the registry cannot delete a tag alone, the task fails, and the error's hint names the tags that
    /// [`delete_manifest`](Self::delete_manifest) would delete with it. A deleted manifest is removed from the
    /// referrers list of its subject, if there is such a list.
    pub const fn delete(reference: Reference) -> Self {
        let extent = Extent::Tag;
        Self::new(TaskKind::Delete(DeleteTask {
            reference,
            extent,
            again: false,
        }))
    }

    /// Delete the manifest that a reference stands for, with all its tags.
    pub const fn delete_manifest(reference: Reference) -> Self {
        let extent = Extent::Manifest;
        Self::new(TaskKind::Delete(DeleteTask {
            reference,
            extent,
            again: false,
        }))
    }
}

impl TaskReport {
    /// What a reference stands for, if the task was to find that out.
    pub fn resolved(self) -> Option<Descriptor> {
        if let Self::Resolved(root) = self {
            return Some(root);
        }
        None
    }

    /// A manifest, if the task was to read one.
    pub fn manifest(self) -> Option<Manifest> {
        if let Self::Manifest(manifest) = self {
            return Some(manifest);
        }
        None
    }

    /// What became of a manifest, if the task was to put or tag one.
    pub fn put(self) -> Option<Put> {
        if let Self::Put(put) = self {
            return Some(put);
        }
        None
    }

    /// What was deleted, if the task was to delete something.
    pub fn deleted(self) -> Option<Deleted> {
        if let Self::Deleted(deleted) = self {
            return Some(deleted);
        }
        None
    }
}

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

/// One line, as in transcripts.
impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.descriptor.digest.fmt(f)
    }
}

/// One line, as in transcripts.
impl fmt::Display for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} tags", self.descriptor.digest, self.tags.len())?;
        f.write_str(match self.unlisted {
            Some(_) => ", unlisted",
            None => "",
        })
    }
}

/// One line, as in transcripts.
impl fmt::Display for Deleted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deleted")?;
        if let Some(digest) = &self.digest {
            write!(f, " {digest}")?;
        }
        f.write_str(match self.unlisted {
            Some(_) => ", still listed",
            None => "",
        })
    }
}
