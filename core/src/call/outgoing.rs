//! The body of a request: its bytes, and the hash over them while they are sent.
//!
//! Responsible for holding back the end of a blob until its digest matched, and for a hash that goes on
//! from one part of a blob to the next. Must not know what the request is for.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use super::transport::Interrupted;
use crate::digest::Digest;
use crate::hashing::{Hashing, Marks};
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
    /// How many bytes the blob has. The part that ends there is the last one.
    pub size: u64,
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
    /// The response to the other call of a [`Relay`](super::Relay).
    Relayed {
        /// The blob.
        digest: Digest,
    },
}

impl Source {
    /// The blob.
    pub const fn digest(&self) -> &Digest {
        match self {
            Self::Stored { digest, .. } | Self::Relayed { digest } => digest,
        }
    }
}

/// Hashes a blob while a part of it is sent. The end of the last part is held back until the digest
/// matched, so that the peer never commits a damaged blob. Of earlier parts nothing is held back.
#[derive(Debug)]
pub struct Outgoing {
    digest: Digest,
    size: u64,
    part: Range<u64>,
    /// How many bytes of the blob were read.
    position: u64,
    hashing: Hashing,
    /// What earlier requests read, the longest first. The bytes that are read now must be the same.
    earlier: Vec<Hashing>,
    marks: Marks,
    released: u64,
    pub(super) sent: Sent,
}

/// The hashes with which a part of a blob begins to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    /// Over the bytes before the part, or over fewer.
    pub(crate) hashing: Hashing,
    /// Over the bytes that earlier requests read and that the peer has some of, if these requests broke off or the
    /// peer went back; each is over more bytes than `hashing`. If the source reads otherwise now, the peer has other
    /// bytes than those that are hashed.
    pub(crate) earlier: Vec<Hashing>,
}

impl From<Hashing> for Before {
    fn from(hashing: Hashing) -> Self {
        Self {
            hashing,
            earlier: Vec::new(),
        }
    }
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

    /// A meter for a part of a blob of `size` bytes. `hashing` is over the bytes before the part. If it
    /// is behind, those that it lacks are read and hashed, but not sent. If it is ahead, because some of
    /// the part was sent before, it starts over: no byte is sent that was not verified as it was read.
    ///
    /// `None` if the part is not within the blob, or the digest is of another algorithm than the hash.
    pub fn new(digest: Digest, size: u64, part: Range<u64>, hashing: Hashing) -> Option<Self> {
        let is_within = part.start <= part.end && part.end <= size && hashing.len() <= size;
        let is_ahead = hashing.len() > part.start;
        let hashing = if is_ahead {
            hashing.restarted()
        } else {
            hashing
        };
        (is_within && digest.algorithm() == Some(hashing.algorithm())).then(|| Self {
            digest,
            size,
            position: hashing.len(),
            released: part.start,
            part,
            hashing,
            earlier: Vec::new(),
            marks: Marks::default(),
            sent: Sent::default(),
        })
    }

    pub(super) fn after(mut self, mut earlier: Vec<Hashing>) -> Self {
        earlier.sort_by_key(|earlier| Reverse(earlier.len()));
        self.earlier = earlier;
        self
    }

    /// Takes the next bytes of the blob, which begin at [`position`](Self::position), and returns up to
    /// which byte of the blob the part may now be sent: up to [`held_from`](Self::held_from), and to the
    /// part's end once every byte of the blob was taken and the digest matches.
    ///
    /// # Errors
    ///
    /// [`Interrupted::Damaged`] if the digest does not match, the blob is longer than announced, or its
    /// bytes are not those that an earlier request read.
    pub fn hash(&mut self, bytes: &[u8]) -> Result<u64, Interrupted> {
        let position = self.position + bytes.len() as u64;
        if position > self.size {
            return Err(Interrupted::Damaged { found: None });
        }
        let bytes = self.same_as_earlier(bytes)?;
        self.hashing.follow(self.position, bytes);
        self.position = position;
        self.marks.note(&self.hashing);
        if position < self.size {
            return Ok(self.release(position.min(self.held_from())));
        }
        let found = self.hashing.clone().digest();
        if found == self.digest {
            Ok(self.release(self.part.end))
        } else {
            Err(Interrupted::Damaged { found: Some(found) })
        }
    }

    /// Compares with what earlier requests read, when as many bytes are read. Returns those that are still to be
    /// hashed.
    fn same_as_earlier<'b>(&mut self, mut bytes: &'b [u8]) -> Result<&'b [u8], Interrupted> {
        while let Some(earlier) = self.earlier.last() {
            let missing = earlier.len().saturating_sub(self.position);
            let missing = usize::try_from(missing).unwrap_or(usize::MAX);
            let Some((before, after)) = bytes.split_at_checked(missing) else {
                break;
            };
            self.hashing.follow(self.position, before);
            self.position += before.len() as u64;
            if self.hashing.clone().digest() != earlier.clone().digest() {
                return Err(Interrupted::Damaged { found: None });
            }
            self.earlier.pop();
            bytes = after;
        }
        Ok(bytes)
    }

    fn release(&mut self, upto: u64) -> u64 {
        let upto = upto.max(self.released);
        self.sent.add(upto - self.released);
        self.released = upto;
        upto
    }

    /// The blob's size.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of the blob that are sent.
    pub fn part(&self) -> Range<u64> {
        self.part.clone()
    }

    /// The next byte of the blob that is to be read. At first it is at or before the part's first byte.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The first byte of the part that is held back until all bytes were taken; its end if it is not the
    /// last part.
    pub fn held_from(&self) -> u64 {
        if self.part.end < self.size {
            return self.part.end;
        }
        let held = self.size.saturating_sub(Self::HELD_BACK);
        held.max(self.part.start)
    }

    /// The hash over the bytes taken so far.
    pub fn into_hashing(self) -> Hashing {
        self.hashing
    }

    pub(super) fn into_hashing_and_marks(self) -> (Hashing, Marks) {
        (self.hashing, self.marks)
    }
}
