//! The body of a request: its bytes, and the hash over them while they are sent.
//!
//! Responsible for holding back the end of a blob until its digest matched. Must not know what the
//! request is for.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use super::transport::Interrupted;
use crate::digest::{Algorithm, Digest};
use crate::hashing::Hashing;
use crate::store::StoreId;

/// The body of a request.
#[derive(Clone)]
pub enum Payload {
    /// No body. `Content-Length: 0` is among the headers where a server needs it.
    Empty,
    /// A small body in memory.
    Bytes(Arc<[u8]>),
    /// Bytes of a blob; every byte goes through [`Call::outgoing`](super::Call::outgoing).
    Body(Body),
}

// A small body can be a form with an identity token.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Body(body) => body.fmt(f),
        }
    }
}

/// The part of a blob that a request carries.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Body {
    /// Where the bytes come from.
    pub source: Source,
    /// The first byte to send.
    pub offset: u64,
    /// How many bytes to send; equals the request's `Content-Length`.
    pub len: u64,
}

/// The source of a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A blob in a store.
    Stored {
        /// The store.
        store: StoreId,
        /// The blob.
        digest: Digest,
    },
}

/// Hashes a blob while it is sent and holds its end back until the digest matched, so that the peer
/// never commits a damaged blob.
#[derive(Debug)]
pub struct Outgoing {
    digest: Digest,
    algorithm: Algorithm,
    hashing: Option<Hashing>,
    len: u64,
    released: u64,
    sent: Sent,
}

/// Counts the bytes that all meters of one call released.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent(Arc<AtomicU64>);

impl Sent {
    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Outgoing {
    /// How many bytes at the end are held back: the least that a reader must be able to buffer.
    pub const HELD_BACK: u64 = 64 * 1024;

    /// A meter for `len` bytes that must have this digest.
    pub(super) fn new(digest: Digest, algorithm: Algorithm, len: u64, sent: Sent) -> Self {
        Self {
            digest,
            algorithm,
            hashing: Some(Hashing::new(algorithm)),
            len,
            released: 0,
            sent,
        }
    }

    /// Hashes the next bytes of the blob, in order, and returns how many bytes of the whole may now
    /// be sent: all but the last [`HELD_BACK`](Self::HELD_BACK), and those too once every byte was
    /// hashed and the digest matches.
    ///
    /// # Errors
    ///
    /// [`Interrupted::Damaged`] if the digest does not match, or the blob is longer than announced.
    pub fn hash(&mut self, bytes: &[u8]) -> Result<u64, Interrupted> {
        let damaged = Err(Interrupted::Damaged { found: None });
        let Some(hashing) = &mut self.hashing else {
            return damaged;
        };
        if hashing.len() + bytes.len() as u64 > self.len {
            return damaged;
        }
        hashing.update(bytes);
        if hashing.len() < self.len {
            let releasable = self.len.saturating_sub(Self::HELD_BACK);
            let upto = hashing.len().min(releasable);
            return Ok(self.release(upto));
        }
        let found = self.hashing.take().map(Hashing::digest);
        if found.as_ref() == Some(&self.digest) {
            // Later calls can only be for no bytes.
            self.hashing = None;
            Ok(self.release(self.len))
        } else {
            Err(Interrupted::Damaged { found })
        }
    }

    fn release(&mut self, upto: u64) -> u64 {
        self.sent.add(upto - self.released);
        self.released = upto;
        upto
    }

    /// The blob's size.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the blob is empty.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The hash algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
