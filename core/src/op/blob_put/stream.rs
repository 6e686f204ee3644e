//! The upload of a stream while it is read: its digest and size are known at its end.
//!
//! Until then the upload is one of what was gathered so far, by the digest and size of that: it is sent in
//! PATCHes, hashed and compared as every blob, but not closed. The end of what was gathered is not the end of
//! the upload but an outcome, after which it [goes on](BlobPut::go_on) with more.
//!
//! Responsible for what can be sent again: no byte before those that are kept. Must not know how a stream is
//! read.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::{BlobPut, Head, Session, UploadSource, UploadStep};
use crate::call::TransferId;
use crate::config::ChunkSizes;
use crate::digest::Digest;
use crate::error::Error;
use crate::hashing::Hashing;
use crate::op::{Answer, OpOutcome, Operation, Site, Verdict};
use crate::store::StoreId;
use crate::uri::Url;

/// What is special about an upload of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// The hash over the bytes that cannot be read again: the registry has acknowledged them.
    dropped: Hashing,
    has_ended: bool,
}

impl BlobPut {
    /// An upload of a stream of which the first bytes were gathered, and which has not ended.
    pub(crate) fn of_stream(
        site: Site,
        (store, transfer): (StoreId, TransferId),
        (digest, size): (Digest, u64),
        (chunk, chunks): (u64, ChunkSizes),
    ) -> Self {
        let hashing = Hashing::for_digest(&digest);
        Self {
            site,
            digest,
            size,
            position: 0,
            sent: 0,
            transfer,
            mounts: Vec::new(),
            step: UploadStep::Start { mount: None },
            source: Some(UploadSource::Store(store)),
            // What was gathered is not the blob: it cannot be there.
            head: Head::Never,
            patches: false,
            posts: false,
            chunk,
            chunks,
            session: Session::default(),
            restarts: 0,
            rewinds: None,
            in_one_request: false,
            given_up: None,
            stream: Some(Stream {
                dropped: hashing.clone(),
                has_ended: false,
            }),
            is_named: false,
            hashing,
        }
    }

    /// Goes on with the bytes that were gathered meanwhile: from [`needed_from`](Self::needed_from) on, up to
    /// `size`.
    pub(crate) fn go_on(&mut self, (digest, size): (Digest, u64), has_ended: bool) {
        (self.digest, self.size) = (digest, size);
        self.hashing = self.before().hashing;
        self.stream = Some(Stream {
            dropped: self.hashing.clone(),
            has_ended,
        });
        if has_ended {
            // From here on it is an upload like any other.
            self.head = Head::Done;
        }
        if let Some(session) = self.open_session().cloned() {
            self.step = self.next_part(session);
        }
    }

    /// The first byte that may have to be read again.
    pub(crate) fn needed_from(&self) -> u64 {
        // Not those before it whose response was lost, if the registry has them: they would be kept as well.
        self.before().hashing.len()
    }

    /// Whether more of the blob may follow.
    pub(crate) fn is_growing(&self) -> bool {
        self.stream.as_ref().is_some_and(|it| !it.has_ended)
    }

    /// What is uploaded, for messages: what was gathered of a stream has a digest, but nothing is named by it.
    pub(crate) fn subject(&self) -> String {
        if self.is_growing() {
            return "a stream".to_string();
        }
        format!("blob {}", self.digest)
    }

    /// Sends what the session lacks, as far as it is there.
    pub(super) fn send_rest(mut self, session: Url) -> Verdict {
        if self.lacks_dropped() {
            return Verdict::Failed(self.cannot_send_again());
        }
        self.step = self.next_part(session);
        let left = self.size.saturating_sub(self.position);
        if self.is_growing() && left < self.least_chunk().max(1) {
            return Verdict::Done(OpOutcome::SentSoFar(Box::new(self)));
        }
        Verdict::Next(Operation::BlobPut(self))
    }

    /// Whether the registry lacks bytes that cannot be read any more.
    pub(super) fn lacks_dropped(&self) -> bool {
        let dropped = self.stream.as_ref().map_or(0, |it| it.dropped.len());
        self.position < dropped
    }

    /// Whether all of the blob can be read again.
    pub(super) fn can_begin_again(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_none_or(|stream| stream.dropped.is_empty())
    }

    pub(super) fn cannot_send_again(&self) -> Error {
        let dropped = self.stream.as_ref().map_or(0, |it| it.dropped.len());
        Error::Policy {
            what: format!(
                "`{}/{}` has lost the upload of a stream after {dropped} bytes, which cannot be read again; \
                 put it from a file",
                self.site.registry, self.site.repository
            ),
        }
    }

    /// The hash with which reading begins again.
    pub(super) fn rewound(&self) -> Hashing {
        match &self.stream {
            Some(stream) => stream.dropped.clone(),
            None => self.hashing.restarted(),
        }
    }

    /// Whether the bytes that are read again may be others than those that were sent. A stream is read again from
    /// memory.
    pub(super) const fn may_change(&self) -> bool {
        self.stream.is_none()
    }

    /// Whether the registry refuses to take a blob in parts, so that a stream has to be read to its end first.
    pub(super) fn takes_no_parts(&self, answer: &Answer) -> bool {
        let is_first = self.is_growing() && self.is_patching() && self.position == 0;
        if !is_first || answer.denied.is_some() {
            return false;
        }
        let errors = answer.errors();
        match answer.status.as_u16() {
            405 | 411 | 501 => true,
            400 | 404 | 415 | 422 => {
                let has_no_code = errors.entries.iter().all(|entry| entry.code.is_empty());
                has_no_code || errors.has("UNSUPPORTED")
            }
            413 | 416 => self.too_large(answer).is_none(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
