//! Single blobs: found, put, mounted, deleted.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::CopyTask;
use super::{MountFrom, Task, TaskKind, TaskReport};
use crate::digest::Digest;
use crate::reference::{Reference, Repository};
use crate::store::StoreId;
use crate::totals::Delivery;

impl Task {
    /// Find out whether the repository has the blob that the reference's digest names, and its size.
    pub const fn find_blob(reference: Reference) -> Self {
        Self::blob(reference, BlobAction::Stat)
    }

    /// Put a blob of `size` bytes from a store into the reference's repository, under the reference's digest, unless
    /// the registry mounts it from one of `mount_from`: see [`CopyTask::mount_from`].
    pub const fn put_blob(
        store: StoreId,
        size: u64,
        reference: Reference,
        mount_from: Vec<MountFrom>,
    ) -> Self {
        let action = BlobAction::Put {
            store,
            size,
            mount_from,
        };
        Self::blob(reference, action)
    }

    /// Put a stream from a store into the reference's repository, without knowing its digest and size before its
    /// end. If the reference has a digest, it must be that of the stream.
    ///
    /// The store is asked to [`Gather`](crate::StoreOp::Gather) a chunk at a time, of
    /// [`Config::chunk_size`](crate::Config::chunk_size). What ends within the first one is sent like every blob. For
    /// a registry that takes no chunks, all of the stream is gathered first. A stream cannot be read again, so a task
    /// from a checkpoint fails.
    pub const fn put_stream(store: StoreId, repository: Reference) -> Self {
        Self::new(TaskKind::Stream(StreamTask { repository, store }))
    }

    /// Mount the blob that the reference's digest names from the repository `from` of the same registry. If the
    /// registry does not mount it, it is moved by way of the spool.
    pub const fn mount_blob(from: Repository, reference: Reference, spool: StoreId) -> Self {
        Self::blob(reference, BlobAction::Mount { from, spool })
    }

    /// Delete the blob that the reference's digest names from its repository.
    pub const fn delete_blob(reference: Reference) -> Self {
        Self::blob(reference, BlobAction::Delete)
    }

    const fn blob(reference: Reference, action: BlobAction) -> Self {
        Self::new(TaskKind::Blob(BlobTask {
            reference,
            action,
            again: false,
        }))
    }
}

impl TaskReport {
    /// A blob, if the task was to find one.
    pub fn blob_found(self) -> Option<BlobFound> {
        if let Self::BlobFound(found) = self {
            return Some(found);
        }
        None
    }

    /// What became of a blob, if the task was to put or mount one.
    pub fn blob_put(self) -> Option<BlobPut> {
        if let Self::BlobPut(put) = self {
            return Some(put);
        }
        None
    }
}

/// Something to be done with the blob that the reference's digest names, in its repository.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BlobTask {
    pub(crate) reference: Reference,
    pub(crate) action: BlobAction,
    /// It may be done already: it is from a checkpoint.
    #[serde(skip)]
    pub(crate) again: bool,
}

/// What is done.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum BlobAction {
    Stat,
    /// It comes from a store, or from another repository of the registry, if that mounts it.
    Put {
        #[serde(rename = "id")]
        store: StoreId,
        size: u64,
        #[serde(default, rename = "mountFrom", skip_serializing_if = "Vec::is_empty")]
        mount_from: Vec<MountFrom>,
    },
    /// It comes from another repository of the registry.
    Mount {
        from: Repository,
        spool: StoreId,
    },
    Delete,
}

/// A stream that is put into the reference's repository. If the reference has a digest, it must be that of the
/// stream.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StreamTask {
    pub(crate) repository: Reference,
    #[serde(rename = "id")]
    pub(crate) store: StoreId,
}

/// A blob that exists in a repository.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BlobFound {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes, as the registry says.
    pub size: u64,
}

/// A blob that was put into a repository.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BlobPut {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// How it came there.
    pub how: BlobDelivery,
}

/// How a blob came into a repository.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BlobDelivery {
    /// It was sent; this many bytes, over all attempts.
    Sent(u64),
    /// The registry mounted it from another repository.
    Mounted,
    /// It existed.
    Present,
}

impl From<Delivery> for BlobDelivery {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::Moved(bytes) => Self::Sent(bytes),
            Delivery::Mounted => Self::Mounted,
            Delivery::Present => Self::Present,
        }
    }
}

/// One line, as in transcripts.
impl fmt::Display for BlobFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} bytes", self.digest, self.size)
    }
}

/// One line, as in transcripts.
impl fmt::Display for BlobPut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = &self.digest;
        match self.how {
            BlobDelivery::Sent(bytes) => write!(f, "{digest}: {bytes} bytes sent"),
            BlobDelivery::Mounted => write!(f, "{digest}: mounted"),
            BlobDelivery::Present => write!(f, "{digest}: already there"),
        }
    }
}
