//! Fetching a blob, or some bytes of one, and the results.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use serde::{Deserialize, Serialize};

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::reference::Reference;
use crate::store::StoreId;

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
