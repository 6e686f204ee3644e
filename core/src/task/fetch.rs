//! Fetching a blob, or some bytes of one, and the results.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Task, TaskKind, TaskReport};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
#[cfg(doc)]
use crate::error::Error;
use crate::reference::Reference;
use crate::store::StoreId;

impl Task {
    /// Fetch one blob of a repository into a store, verified. What the store has of it already is not fetched.
    ///
    /// Only the registry and the repository of `source` count. It fails with [`Error::Mismatch`] if the blob
    /// is not what its descriptor says.
    pub const fn fetch_blob(source: Reference, blob: Descriptor, store: StoreId) -> Self {
        Self::new(TaskKind::Fetch(FetchTask {
            source,
            blob,
            store,
        }))
    }

    /// Read some bytes of a blob. They are **not verified**: a digest is over a whole blob.
    ///
    /// Only the registry and the repository of `source` count. The report may have fewer bytes than `range`, as
    /// the registry may return fewer; it has none if `range` is empty. It fails with [`Error::Policy`] if
    /// `range` is longer than [`Limits::document`](crate::config::Limits::document), since the bytes are in
    /// memory, and with [`Error::Registry`] (416) if it begins behind the end of the blob.
    pub const fn read_range(source: Reference, digest: Digest, range: Range<u64>) -> Self {
        Self::new(TaskKind::ReadRange(RangeTask {
            source,
            digest,
            range,
        }))
    }
}

impl TaskReport {
    /// How a blob was fetched, if the task was to do that.
    pub fn fetched(self) -> Option<Fetched> {
        if let Self::Fetched(fetched) = self {
            return Some(fetched);
        }
        None
    }

    /// The bytes of a blob, if the task was to read some.
    pub fn range(self) -> Option<BlobRange> {
        if let Self::Range(range) = self {
            return Some(range);
        }
        None
    }
}

/// A blob that is fetched into a store.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct FetchTask {
    pub(crate) source: Reference,
    pub(crate) blob: Descriptor,
    pub(crate) store: StoreId,
}

/// Bytes of a blob that are read.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RangeTask {
    pub(crate) source: Reference,
    pub(crate) digest: Digest,
    pub(crate) range: Range<u64>,
}

/// A blob that was fetched.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Fetched {
    /// The blob.
    pub blob: Descriptor,
    /// The bytes received, repeated ones included; 0 if the store had the blob.
    pub bytes: u64,
}

impl fmt::Display for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} bytes moved", self.blob.digest, self.bytes)
    }
}

/// Some bytes of a blob. They are not verified.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct BlobRange {
    /// The bytes, from the first that was requested; perhaps fewer than requested.
    pub bytes: Vec<u8>,
    /// The size of the blob, if the registry said it.
    pub total: Option<u64>,
}

// The bytes may be anything, and many.
impl fmt::Debug for BlobRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobRange")
            .field("bytes", &self.bytes.len())
            .field("total", &self.total)
            .finish()
    }
}

/// One line, as in transcripts.
impl fmt::Display for BlobRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}
