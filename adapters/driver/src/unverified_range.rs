//! Some bytes of a blob, piece by piece, which nothing can verify.
//!
//! Responsible for the pieces: one request each, so that what is not read is not asked for and nothing is held open.
//! Must not know how a driver waits for them.

use std::ops::Range;

use windlass_core::{BlobRange, Digest, Reference};

use crate::request::RequestSpec;

/// How much one request asks for.
const PIECE: u64 = 1 << 20;

/// The pieces of a range that are still to be read, and the bytes of the last one: what a driver makes a reader of.
#[derive(Debug)]
pub struct RangePieces {
    repository: Reference,
    digest: Digest,
    left: Range<u64>,
    /// What was fetched, and how much of it was taken.
    piece: (Vec<u8>, usize),
}

impl RangePieces {
    pub(crate) const fn new(repository: Reference, digest: Digest, range: Range<u64>) -> Self {
        Self {
            repository,
            digest,
            left: range,
            piece: (Vec::new(), 0),
        }
    }

    /// The request for the next piece, unless bytes are left of the last one or all were read.
    pub fn wanted(&self) -> Option<RequestSpec> {
        if self.piece.1 < self.piece.0.len() || self.left.is_empty() {
            return None;
        }
        let end = self.left.end.min(self.left.start.saturating_add(PIECE));
        let range = self.left.start..end;
        Some(RequestSpec::read_range(
            &self.repository,
            &self.digest,
            range,
        ))
    }

    /// Takes a piece. What is behind the blob's end is not asked for.
    pub fn got(&mut self, piece: BlobRange) {
        self.left.start += piece.bytes.len() as u64;
        if let Some(total) = piece.total {
            self.left.end = self.left.end.min(total);
        }
        if piece.bytes.is_empty() {
            self.left.end = self.left.start;
        }
        self.piece = (piece.bytes, 0);
    }

    /// Moves bytes of the last piece into `buffer`. How many; 0 if there are none.
    pub fn take(&mut self, buffer: &mut [u8]) -> usize {
        let (piece, taken) = &mut self.piece;
        let rest = &piece[*taken..];
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        *taken += len;
        len
    }
}
