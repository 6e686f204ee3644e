//! The bytes of a relay between its two calls.
//!
//! ```text
//!  response ─▶ RelaySource: counted, cut to what is needed ─▶ Release: hashed, the end held back ─▶ request
//! ```
//!
//! Responsible for passing on the bytes that the sink needs and no others, and for holding back the end of
//! the blob until its digest matched. Must not know connections, nor how a driver joins both sides.

use std::ops::Range;
use std::time::{Duration, Instant};

use http::{Request, Response};
use windlass_core::call::{
    Call, Done, Interrupted, Keep, Outgoing, Payload, Relay, TransportError, TransportErrorKind,
};

use crate::incoming::too_slow;
use crate::stall::{MinRate, StallDetector};

/// How long a source may take to end its body after the sink has taken all of it, so that its connection can be kept.
pub const SOURCE_ENDS: Duration = Duration::from_millis(200);

/// The calls of a relay, source and sink, and what hashes the bytes between them.
///
/// # Errors
///
/// The end of the relay if nothing can hash its blob.
pub fn relay_sides(relay: Relay) -> Result<(Box<Call>, Box<Call>, Outgoing), Box<Done>> {
    let (source, sink) = relay.split();
    match sink.outgoing() {
        Some(outgoing) => Ok((source, sink, outgoing)),
        None => {
            let why = "the digest algorithm of the blob is unknown";
            let why = TransportError::new(TransportErrorKind::Other, why);
            let source = source.finish(Err(Interrupted::OtherCall));
            let sink = sink.finish(Err(Interrupted::NotSent(why)));
            Err(Done::relayed(source, sink).into())
        }
    }
}

/// Why a sink's request cannot be sent a second time.
pub fn cannot_resend() -> Interrupted {
    let why = "what was relayed cannot be read again";
    Interrupted::Transport(TransportError::new(TransportErrorKind::Reset, why))
}

/// The source of a relay, after the head of its response.
#[derive(Debug)]
pub struct RelaySource {
    call: Box<Call>,
    /// What of the body is needed, and how much of the body came.
    keep: Range<u64>,
    came: u64,
    stall: StallDetector,
    stalled: bool,
}

impl RelaySource {
    /// Takes over a call after `Call::head`, which returned `Receive::Relay` with `keep`.
    pub fn new(call: Box<Call>, keep: Range<u64>) -> Self {
        Self {
            call,
            keep,
            came: 0,
            stall: StallDetector::new(MinRate::DEFAULT),
            stalled: false,
        }
    }

    /// Takes the next chunk of the body. Returns which of its bytes are to be passed on; `None` if no more is
    /// to be read.
    pub fn chunk(&mut self, chunk: &[u8]) -> Option<Range<usize>> {
        if self.call.data(chunk) == Keep::Stop {
            return None;
        }
        if self.stall.moved(chunk.len()) {
            self.stalled = true;
            return None;
        }
        let begins = self.came;
        self.came += chunk.len() as u64;
        let within = |at: u64| {
            let at = at.saturating_sub(begins);
            usize::try_from(at).map_or(chunk.len(), |at| at.min(chunk.len()))
        };
        Some(within(self.keep.start)..within(self.keep.end))
    }

    /// The sink took this long to take a chunk: no stall of the source's.
    pub fn waited_since(&mut self, begun: Instant) {
        self.stall.paused(begun.elapsed());
    }

    /// Whether all came that is needed.
    pub fn is_complete(&self) -> bool {
        self.call.expects_bytes() == Some(0)
    }

    /// Whether more of the body came than is needed: the connection is to be closed.
    pub const fn is_beyond(&self) -> bool {
        self.came > self.keep.end
    }

    /// The call.
    pub const fn call(&self) -> &Call {
        &self.call
    }

    /// The request for what did not come, if it is worth one; see [`Call::rest`].
    pub fn rest(&mut self) -> Option<Request<Payload>> {
        if self.stalled {
            return None;
        }
        self.call.rest()
    }

    /// Whether the response to that request goes on where the body broke off.
    pub fn brings_rest(&mut self, head: &Response<()>) -> bool {
        let goes_on = self.call.brings_rest(head);
        if goes_on {
            (self.keep, self.came) = (0..u64::MAX, 0);
        }
        goes_on
    }

    /// Ends the call.
    pub fn finish(self, end: Result<(), Interrupted>) -> Done {
        let end = if self.stalled {
            end.and_then(|()| Err(too_slow()))
        } else {
            end
        };
        self.call.finish(end)
    }
}

/// Hashes the bytes of a blob that come from elsewhere, and releases those that may be sent.
#[derive(Debug)]
pub struct Release {
    outgoing: Outgoing,
    /// Bytes that are not released yet; the first of them is at `next` of the blob.
    held: Vec<u8>,
    next: u64,
}

impl Release {
    /// The first byte that comes is at [`Outgoing::position`].
    pub fn new(outgoing: Outgoing) -> Self {
        Self {
            next: outgoing.part().start,
            outgoing,
            held: Vec::new(),
        }
    }

    /// Takes the next bytes. Returns those that may be sent now.
    ///
    /// # Errors
    ///
    /// [`Interrupted::Damaged`] if they are not the blob's. Nothing more may be sent.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Interrupted> {
        let begins = self.outgoing.position();
        let upto = self.outgoing.hash(bytes)?;
        let skipped = self.next.saturating_sub(begins);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        // Only the first bytes can be before the part, and then none are held.
        let fresh = if self.held.is_empty() {
            bytes.get(skipped..).unwrap_or_default()
        } else {
            bytes
        };
        let free = usize::try_from(upto - self.next).unwrap_or(usize::MAX);
        self.next = upto;
        if self.held.is_empty() && free >= fresh.len() {
            return Ok(fresh.to_vec());
        }
        self.held.extend_from_slice(fresh);
        let kept = self.held.split_off(free.min(self.held.len()));
        Ok(std::mem::replace(&mut self.held, kept))
    }

    /// The meter, for [`Call::sent`].
    pub fn into_outgoing(self) -> Outgoing {
        self.outgoing
    }
}

#[cfg(test)]
mod tests {
    use windlass_core::{Algorithm, Digest, Hashing};

    use super::*;

    const HELD: usize = 64 * 1024;

    fn blob(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 7 % 251) as u8).collect()
    }

    fn release(blob: &[u8], hashed: usize, part: Range<usize>) -> Release {
        let mut hashing = Hashing::new(Algorithm::Sha256);
        hashing.update(&blob[..hashed]);
        let digest = Digest::of(Algorithm::Sha256, blob);
        let part = part.start as u64..part.end as u64;
        let outgoing = Outgoing::new(digest, blob.len() as u64, part, hashing);
        Release::new(outgoing.expect("it is within the blob"))
    }

    #[test]
    fn what_is_released_is_the_part_whatever_the_chunks() {
        let len = 3 * HELD + 100;
        let blob = blob(len);
        for (hashed, part) in [
            (0, 0..len),
            (0, 5000..len),
            (5000, 5000..len),
            (0, 0..5000),
            (4000, 5000..HELD),
            (0, len - 10..len),
            (0, len..len),
        ] {
            for chunk in [1000, 4096, HELD, len] {
                let mut release = release(&blob, hashed, part.clone());
                let upto = if part.end < len { part.end } else { len };
                let mut sent = Vec::new();
                for chunk in blob[hashed..upto].chunks(chunk) {
                    sent.extend(release.push(chunk).expect("it is the blob"));
                }
                assert!(sent == blob[part.clone()], "{hashed} {part:?} {chunk}");
            }
        }
    }

    #[test]
    fn the_end_is_held_back_until_the_digest_matched() {
        let len = 2 * HELD;
        let right = blob(len);
        for damaged in [0, HELD, len - 1] {
            let mut wrong = right.clone();
            wrong[damaged] ^= 1;
            let mut release = release(&right, 0, 0..len);
            let mut sent = 0;
            let mut result = Ok(());
            for chunk in wrong.chunks(1000) {
                match release.push(chunk) {
                    Ok(released) => sent += released.len(),
                    Err(why) => result = Err(why),
                }
            }
            let found = Some(Digest::of(Algorithm::Sha256, &wrong));
            assert_eq!(result, Err(Interrupted::Damaged { found }));
            assert_eq!(sent, len - HELD);
        }
    }

    #[test]
    fn more_than_the_blob_is_an_error() {
        let blob = blob(10);
        let mut release = release(&blob, 0, 0..10);
        let more = [&blob[..], b"x"].concat();
        let result = release.push(&more);
        assert_eq!(result, Err(Interrupted::Damaged { found: None }));
    }
}
