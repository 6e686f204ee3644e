//! Bodies on their way out.
//!
//! ```text
//!  0            offset                    len − 64 KiB          len
//!  ├── skipping ──┼───── straight through ──────┼──── tail ──────┤
//!  read, hashed,   read into the caller's        read to its end, hashed,
//!  not sent        buffer, hashed, sent          sent only if the digest matched
//! ```
//!
//! Responsible for never giving out a byte that [`Outgoing`] has not released, and for never
//! reporting an end before the announced length is out: what sends the body may spin on that or
//! cut the request silently. Must not know who reads.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use windlass_core::call::{Body, Interrupted, Outgoing, Source};
use windlass_core::{Digest, StoreError, StoreErrorKind};

use crate::stores::unreadable;

/// How much is read at once where nothing is sent.
const SKIP: usize = 64 * 1024;

/// Reads a blob for sending. An early end or a failure of the store is an `io::Error`; what it
/// really was is in [`failure`](Self::failure) (a clone of the handle can be kept by the driver).
#[derive(Debug)]
pub struct OutgoingReader {
    held: HeldBack<Outgoing>,
}

impl OutgoingReader {
    pub(crate) fn new(source: Box<dyn Read + Send>, body: &Body, outgoing: Outgoing) -> Self {
        let Source::Stored { digest, .. } = &body.source;
        let held = HeldBack::new(
            source,
            Some(digest.clone()),
            body.offset,
            body.len,
            outgoing,
        );
        Self { held }
    }

    /// A handle that tells, after the request failed, whether the body was the reason.
    pub fn failure(&self) -> BodyFailure {
        self.held.failure.clone()
    }
}

impl Read for OutgoingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.held.read(buffer)
    }
}

/// Why a body could not be sent to its end.
#[derive(Clone, Debug, Default)]
pub struct BodyFailure {
    reason: Arc<Mutex<Option<Interrupted>>>,
}

impl BodyFailure {
    /// The reason, if the body was the reason.
    pub fn take(&self) -> Option<Interrupted> {
        self.lock().take()
    }

    fn set(&self, reason: Interrupted) {
        *self.lock() = Some(reason);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Interrupted>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What hashes and releases: [`Outgoing`], or its stand-in in tests.
trait Meter {
    /// How many bytes the blob has in all.
    fn total(&self) -> u64;

    /// Hashes the next bytes; says how many of the whole may be sent.
    fn hash(&mut self, bytes: &[u8]) -> Result<u64, Interrupted>;
}

impl Meter for Outgoing {
    fn total(&self) -> u64 {
        self.len()
    }

    fn hash(&mut self, bytes: &[u8]) -> Result<u64, Interrupted> {
        Self::hash(self, bytes)
    }
}

struct HeldBack<M> {
    source: Box<dyn Read + Send>,
    digest: Option<Digest>,
    meter: M,
    /// Bytes of the blob that were read and hashed.
    hashed: u64,
    /// The next byte of the blob to be sent, and the first that is not to be.
    next: u64,
    end: u64,
    /// The end of the blob, once it is verified.
    tail: Option<Vec<u8>>,
    failed: bool,
    failure: BodyFailure,
}

impl<M: Meter> HeldBack<M> {
    fn new(
        source: Box<dyn Read + Send>,
        digest: Option<Digest>,
        offset: u64,
        len: u64,
        meter: M,
    ) -> Self {
        Self {
            source,
            digest,
            meter,
            hashed: 0,
            next: offset,
            end: offset.saturating_add(len),
            tail: None,
            failed: false,
            failure: BodyFailure::default(),
        }
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize, Interrupted> {
        let total = self.meter.total();
        let direct = total.saturating_sub(Outgoing::HELD_BACK);
        if self.end > total {
            // More is announced than the blob has: it could never be sent to its end.
            return Err(damaged());
        }
        self.skip(self.next.min(direct))?;
        let straight = self.end.min(direct);
        if self.next < straight {
            let room = clamp(buffer, straight - self.next);
            let read = self.read_source(&mut buffer[..room])?;
            if read == 0 {
                return Err(damaged());
            }
            // What is not released at once would be lost here; the meter's contract rules it out.
            if self.hash(&buffer[..read])? < self.hashed {
                return Err(damaged());
            }
            self.next += read as u64;
            return Ok(read);
        }
        // A body that stops before the tail (a chunk of an upload) has no end to hold back.
        if self.next == self.end && self.end < total {
            return Ok(0);
        }
        self.verify_tail(total)?;
        let tail = self.tail.as_deref().unwrap_or_default();
        let start = self.next - (total - tail.len() as u64);
        // Within the tail, which is held in memory.
        let rest = &tail[usize::try_from(start).unwrap_or(tail.len())..];
        let room = clamp(buffer, self.end - self.next).min(rest.len());
        buffer[..room].copy_from_slice(&rest[..room]);
        self.next += room as u64;
        Ok(room)
    }

    /// Reads and hashes without sending, up to this byte of the blob.
    fn skip(&mut self, upto: u64) -> Result<(), Interrupted> {
        if self.hashed >= upto {
            return Ok(());
        }
        let mut scratch = vec![0; SKIP];
        while self.hashed < upto {
            let room = clamp(&scratch, upto - self.hashed);
            let read = self.read_source(&mut scratch[..room])?;
            if read == 0 {
                return Err(damaged());
            }
            self.hash(&scratch[..read])?;
        }
        Ok(())
    }

    /// Reads the rest of the blob, once; it is kept only if the whole is what its digest says.
    fn verify_tail(&mut self, total: u64) -> Result<(), Interrupted> {
        if self.tail.is_some() {
            return Ok(());
        }
        // One byte more than there should be tells that the blob is too long.
        let left = total - self.hashed;
        let mut tail = vec![0; usize::try_from(left + 1).map_err(|_| damaged())?];
        let mut filled = 0;
        while filled < tail.len() {
            match self.read_source(&mut tail[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        if filled as u64 != left {
            return Err(damaged());
        }
        tail.truncate(filled);
        if self.hash(&tail)? < total {
            return Err(damaged());
        }
        self.tail = Some(tail);
        Ok(())
    }

    fn hash(&mut self, bytes: &[u8]) -> Result<u64, Interrupted> {
        self.hashed += bytes.len() as u64;
        self.meter.hash(bytes)
    }

    fn read_source(&mut self, buffer: &mut [u8]) -> Result<usize, Interrupted> {
        loop {
            match self.source.read(buffer) {
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Interrupted::Store(self.unreadable(&error))),
            }
        }
    }

    fn unreadable(&self, error: &io::Error) -> StoreError {
        match &self.digest {
            Some(digest) => unreadable(digest, error),
            None => StoreError::new(StoreErrorKind::Io, format!("read the body: {error}")),
        }
    }
}

impl<M: Meter> Read for HeldBack<M> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if !self.failed {
            match self.try_read(buffer) {
                Ok(read) => return Ok(read),
                Err(reason) => {
                    self.failed = true;
                    self.failure.set(reason);
                }
            }
        }
        // Again and again: an end must never be mistaken for a good one.
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the stored blob could not be read, or is not what its digest says",
        ))
    }
}

impl<M> fmt::Debug for HeldBack<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldBack")
            .field("digest", &self.digest)
            .field("next", &self.next)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// The number of bytes that `buffer` takes, at most `left`.
fn clamp(buffer: &[u8], left: u64) -> usize {
    buffer
        .len()
        .min(usize::try_from(left).unwrap_or(usize::MAX))
}

fn damaged() -> Interrupted {
    Interrupted::Damaged { found: None }
}

#[cfg(test)]
mod tests;
