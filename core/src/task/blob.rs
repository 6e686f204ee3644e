//! Single blobs: found, put, mounted, deleted.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::reference::{Reference, Repository};
use crate::store::StoreId;
use crate::task::MountFrom;
use crate::totals::Delivery;

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
