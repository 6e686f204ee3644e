//! Bodies on their way out.
//!
//! ```text
//!  hash's end      offset                   held from      end of the part
//!  ├── skipping ──┼───── straight through ──────┼──── tail ──────┤
//!  read, hashed,   read into the caller's        read to its end, hashed,
//!  not sent        buffer, hashed, sent          sent only if the digest matched
//! ```
//!
//! Only the last part of a blob has a tail.
//!
//! Responsible for never giving out a byte that [`Outgoing`] has not released, and for never
//! reporting an end before the announced length is out: what sends the body may spin on that or
//! cut the request silently. Must not know who reads.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windlass_core::Digest;
use windlass_core::call::{Interrupted, Outgoing};

use crate::stores::unreadable;

/// How much is read at once where nothing is sent.
const SKIP: usize = 64 * 1024;

/// Reads a part of a blob for sending. An early end or a failure of the store is an `io::Error`; what
/// it really was is in the [`outcome`](Self::outcome).
pub struct OutgoingReader {
    source: Box<dyn Read + Send>,
    digest: Digest,
    /// Until the part was read to its end.
    outgoing: Option<Outgoing>,
    /// The next byte of the blob to be sent.
    next: u64,
    /// The end of the blob, once it is verified.
    tail: Option<Vec<u8>>,
    failed: bool,
    outcome: BodyOutcome,
}

/// What came of a body: why it could not be sent to its end, and its meter.
#[derive(Clone, Debug, Default)]
pub struct BodyOutcome {
    shared: Arc<Mutex<Outcome>>,
}

#[derive(Debug, Default)]
struct Outcome {
    failure: Option<Interrupted>,
    outgoing: Option<Outgoing>,
}

impl BodyOutcome {
    /// Why the request failed, if the body was the reason. Said once.
    pub fn failure(&self) -> Option<Interrupted> {
        self.lock().failure.take()
    }

    /// The meter, for [`Call::sent`](windlass_core::Call::sent), once the body was read to its end or its
    /// reader was dropped. Given once.
    pub fn outgoing(&self) -> Option<Outgoing> {
        self.lock().outgoing.take()
    }

    fn lock(&self) -> MutexGuard<'_, Outcome> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OutgoingReader {
    /// A reader of the part that `outgoing` is for. `source` begins at [`Outgoing::position`].
    pub(crate) fn new(source: Box<dyn Read + Send>, digest: &Digest, outgoing: Outgoing) -> Self {
        Self {
            source,
            digest: digest.clone(),
            next: outgoing.part().start,
            outgoing: Some(outgoing),
            tail: None,
            failed: false,
            outcome: BodyOutcome::default(),
        }
    }

    /// What comes of the body. Can be kept when the reader is gone.
    pub fn outcome(&self) -> BodyOutcome {
        self.outcome.clone()
    }

    /// Reads and hashes what the hash lacks of the bytes before the part. To be called before the request is sent:
    /// some servers wait a minute for the next byte of a body, and of a large blob there may be more to read.
    ///
    /// # Errors
    ///
    /// [`Interrupted::Aborted`] once `is_stopped` says so, which is asked now and then; or why the blob cannot be
    /// sent.
    pub fn catch_up(&mut self, is_stopped: impl Fn() -> bool) -> Result<(), Interrupted> {
        let Some(mut outgoing) = self.outgoing.take() else {
            return Ok(());
        };
        let upto = self.next.min(outgoing.held_from());
        let end = self.skip(&mut outgoing, upto, is_stopped);
        self.outgoing = Some(outgoing);
        end
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize, Interrupted> {
        let Some(mut outgoing) = self.outgoing.take() else {
            return Ok(0);
        };
        let read = self.read_part(&mut outgoing, buffer);
        if read.is_ok() && self.next == outgoing.part().end {
            self.outcome.lock().outgoing = Some(outgoing);
        } else {
            self.outgoing = Some(outgoing);
        }
        read
    }

    fn read_part(
        &mut self,
        outgoing: &mut Outgoing,
        buffer: &mut [u8],
    ) -> Result<usize, Interrupted> {
        let (end, held_from) = (outgoing.part().end, outgoing.held_from());
        self.skip(outgoing, self.next.min(held_from), || false)?;
        if self.next < held_from {
            let room = clamp(buffer, held_from - self.next);
            let read = self.read_source(&mut buffer[..room])?;
            if read == 0 {
                return Err(damaged());
            }
            self.next += read as u64;
            // What is not released at once would be lost here; the meter's contract rules it out.
            if outgoing.hash(&buffer[..read])? < self.next {
                return Err(damaged());
            }
            return Ok(read);
        }
        // A part before the last one has no end to hold back.
        if end < outgoing.size() {
            return Ok(0);
        }
        self.verify_tail(outgoing)?;
        let tail = self.tail.as_deref().unwrap_or_default();
        let start = self.next - (end - tail.len() as u64);
        // Within the tail, which is held in memory.
        let rest = &tail[usize::try_from(start).unwrap_or(tail.len())..];
        let room = buffer.len().min(rest.len());
        buffer[..room].copy_from_slice(&rest[..room]);
        self.next += room as u64;
        Ok(room)
    }

    /// Reads and hashes without sending, up to this byte of the blob.
    fn skip(
        &mut self,
        outgoing: &mut Outgoing,
        upto: u64,
        is_stopped: impl Fn() -> bool,
    ) -> Result<(), Interrupted> {
        if outgoing.position() >= upto {
            return Ok(());
        }
        let mut scratch = vec![0; SKIP];
        while outgoing.position() < upto {
            if is_stopped() {
                return Err(Interrupted::Aborted);
            }
            let room = clamp(&scratch, upto - outgoing.position());
            let read = self.read_source(&mut scratch[..room])?;
            if read == 0 {
                return Err(damaged());
            }
            outgoing.hash(&scratch[..read])?;
        }
        Ok(())
    }

    /// Reads the rest of the blob, once; it is kept only if the whole is what its digest says.
    fn verify_tail(&mut self, outgoing: &mut Outgoing) -> Result<(), Interrupted> {
        if self.tail.is_some() {
            return Ok(());
        }
        // One byte more than there should be tells that the blob is too long.
        let left = outgoing.size() - outgoing.position();
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
        if outgoing.hash(&tail)? < outgoing.size() {
            return Err(damaged());
        }
        self.tail = Some(tail);
        Ok(())
    }

    fn read_source(&mut self, buffer: &mut [u8]) -> Result<usize, Interrupted> {
        loop {
            match self.source.read(buffer) {
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Interrupted::Store(unreadable(&self.digest, &error))),
            }
        }
    }
}

impl Read for OutgoingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if !self.failed {
            match self.try_read(buffer) {
                Ok(read) => return Ok(read),
                Err(reason) => {
                    self.failed = true;
                    self.outcome.lock().failure = Some(reason);
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

impl Drop for OutgoingReader {
    fn drop(&mut self) {
        if let Some(outgoing) = self.outgoing.take() {
            self.outcome.lock().outgoing = Some(outgoing);
        }
    }
}

impl fmt::Debug for OutgoingReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingReader")
            .field("digest", &self.digest)
            .field("outgoing", &self.outgoing)
            .field("next", &self.next)
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
