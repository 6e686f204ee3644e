//! `GET /v2/<name>/blobs/<digest>`, whole or from where an earlier attempt stopped (PULLB, RNG).
//!
//! ```text
//!   from 0: plain GET ──┬─ complete, digest matches ──▶ Fetched
//!   from n: closed Range┤─ digest differs, once ──────▶ from 0
//!                       ├─ part of the range ─────────▶ from further on
//!                       └─ range not honoured, once ──▶ from 0, without Range
//! ```
//!
//! It may fetch one part of the blob beside others (RNG-13). Such a part never starts over: what it has
//! got when it fails is its outcome, with the error.
//!
//! If the registry does not have a foreign layer, its `urls` are tried in order and anonymously,
//! each from where the previous one stopped.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use http::{Method, header};

use super::{Answer, Draft, OpOutcome, Operation, Site, Verdict};
use crate::call::{Expect, Flaw, Received, TransferId};
use crate::digest::Digest;
use crate::error::{Error, Measure};
use crate::extents::Extents;
use crate::hashing::Hashing;
use crate::header::{encoding, range_header};
use crate::registry::Origin;
use crate::store::StoreId;
use crate::uri::Url;

/// Fetches a blob into an open partial.
#[derive(Clone, Debug)]
pub(crate) struct BlobGet {
    pub(crate) site: Site,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// The store; `None` if another exchange sends the blob on.
    pub(crate) store: Option<StoreId>,
    pub(crate) transfer: TransferId,
    /// Where it began.
    pub(crate) start: u64,
    /// All bytes of the blob from `start` to this are in the partial.
    pub(crate) position: u64,
    /// Where it ends: at the blob's end, unless it fetches a part.
    pub(crate) end: u64,
    /// Whether other parts are fetched at the same time, or may be.
    pub(crate) shares: bool,
    /// What else was in the partial when it began.
    pub(crate) present: Extents,
    /// The hash over them, or over the first of them.
    pub(crate) hashing: Hashing,
    /// Set when it has started over: a second time is a failure.
    pub(crate) restarted: bool,
    /// Set when the server ignores `Range`: the whole blob is requested, and the bytes that the sink has are discarded.
    pub(crate) is_whole: bool,
    /// The number of responses with less than [`SHORT`] of the requested bytes.
    pub(crate) shorts: u8,
    /// The bytes received in all attempts.
    pub(crate) received: u64,
    /// The blob's `urls` that were not tried yet.
    pub(crate) urls: Vec<String>,
    /// The URL that is tried now, instead of the registry.
    pub(crate) url: Option<Url>,
}

/// A response to a range with fewer bytes than this counts as short.
const SHORT: u64 = 64 * 1024;
/// The number of short responses tolerated.
const SHORTS: u8 = 16;

impl BlobGet {
    /// Fetches a blob for another exchange, which says which bytes it needs.
    pub(crate) fn relayed(
        site: Site,
        digest: Digest,
        size: u64,
        transfer: TransferId,
        urls: Vec<String>,
    ) -> Self {
        Self {
            site,
            hashing: Hashing::for_digest(&digest),
            digest,
            size,
            store: None,
            transfer,
            start: 0,
            position: 0,
            end: size,
            shares: false,
            present: Extents::default(),
            restarted: false,
            is_whole: false,
            shorts: 0,
            received: 0,
            urls,
            url: None,
        }
    }

    pub(super) fn draft(&self) -> Draft {
        let in_registry = || self.site.url(&format!("blobs/{}", self.digest));
        let url = self.url.clone().unwrap_or_else(in_registry);
        let (size, offset, end) = (self.size, self.position, self.end);
        let expect = match self.store {
            Some(store) => Expect::Blob {
                store,
                digest: self.digest.clone(),
                size,
                offset,
                end,
                shares: self.shares,
                hashing: self.hashing.clone(),
            },
            None => Expect::Relay { size, offset, end },
        };
        let mut draft = Draft::new(Method::GET, url, expect);
        draft.transfer = Some((self.transfer, None));
        draft.present = self.present.clone();
        draft.present.add(self.start..self.position);
        if (self.position, self.end) == (0, self.size) || self.is_whole {
            return draft;
        }
        // Closed, because some servers refuse open ranges (clients.md C.17.3).
        let range = range_header(self.position, self.end.max(self.position + 1) - 1);
        draft.with(header::RANGE, &range)
    }

    pub(super) fn answer(mut self, answer: Answer) -> Verdict {
        if !answer.status.is_success() {
            let has_range = (self.position, self.end) != (0, self.size) && !self.is_whole;
            if has_range && is_refused_range(answer.status) {
                let failure = self.failure(&answer);
                return self.start_over(failure);
            }
            return Verdict::Failed(self.failure(&answer));
        }
        let encoding = encoding(&answer.headers);
        if let Some(flaw) = &answer.flaw {
            return match flaw {
                Flaw::Range { said } => {
                    let said = said.as_deref().unwrap_or("no valid value");
                    let error = answer.peer(format!("answered a Range with Content-Range: {said}"));
                    self.start_over(error)
                }
                Flaw::Whole => Verdict::Failed(answer.peer("answered a Range with the whole blob")),
                Flaw::TooLong { .. } => {
                    self.mismatch_of_size(Measure::unknown("more bytes"), &encoding)
                }
                Flaw::Length { expected, declared } if *expected < self.size => {
                    let what = format!("answered a Range of {expected} bytes with {declared}");
                    let error = answer.peer(what);
                    self.start_over(error)
                }
                Flaw::Length { expected, declared } => {
                    let declared = declared.saturating_add(self.size.saturating_sub(*expected));
                    self.mismatch_of_size(Measure::of_size(declared), &encoding)
                }
                Flaw::TooLarge { .. } | Flaw::Digest { .. } => {
                    Verdict::Failed(answer.peer("sent too much"))
                }
            };
        }
        let too_small = answer.peer("returned less than 64 KiB per range request 16 times");
        if !matches!(answer.body, Received::Stored { .. }) {
            return Verdict::Failed(answer.peer("sent no body"));
        }
        let before = self.position;
        self.take(answer.body);
        if self.position < self.end {
            if self.position.saturating_sub(before) < SHORT {
                self.shorts += 1;
            }
            if self.shorts > SHORTS {
                return Verdict::Failed(too_small);
            }
            // A server may return fewer bytes than requested (RNG-05): request the rest.
            return Verdict::Next(Operation::BlobGet(self));
        }
        let found = self.hashing.clone().digest();
        // A hash that is behind says nothing yet.
        if found == self.digest || self.hashing.len() < self.size || self.shares {
            return Verdict::Done(self.fetched(None));
        }
        let found = Measure::from(&found).adding(&encoding);
        let error = Error::mismatch(self.what(), &self.digest, found);
        self.start_over(error)
    }

    /// Fetches these bytes next, for another exchange.
    pub(crate) const fn relay(&mut self, part: Range<u64>) {
        (self.start, self.position, self.end) = (part.start, part.start, part.end);
    }

    /// Begins again after the bytes that were relayed were not the blob's, once.
    pub(crate) const fn relay_again(&mut self) -> bool {
        !core::mem::replace(&mut self.restarted, true)
    }

    /// The error after the bytes that were relayed were wrong again.
    pub(crate) fn relayed_wrong(&self, found: Option<&Digest>) -> Error {
        let found = found.map(Measure::from);
        let found = found.unwrap_or_else(|| Measure::unknown("content that changes"));
        Error::mismatch(self.what(), &self.digest, found)
    }

    /// Takes over how far the partial and its hash are.
    pub(crate) fn take(&mut self, body: Received) {
        if let Received::Relayed { from, to, .. } = body {
            self.received = self.received.saturating_add(to - from);
            self.position = self.position.max(to);
        }
        if let Received::Stored {
            hashing,
            from,
            to,
            range_end,
        } = body
        {
            self.received = self.received.saturating_add(to - from);
            if from < self.start || range_end > self.end {
                // The whole blob came instead of a part.
                (self.start, self.end) = (from, range_end);
                self.present = Extents::default();
            }
            (self.position, self.hashing) = (to, hashing);
        }
    }

    /// Counts what a failed attempt has received. A part keeps it.
    pub(crate) fn keep(&mut self, body: Received) {
        if self.shares {
            return self.take(body);
        }
        self.received = self.received.saturating_add(body.of_blob());
    }

    /// What was fetched, if not all, then because of an error.
    pub(crate) fn fetched(self, missed: Option<Error>) -> OpOutcome {
        OpOutcome::Fetched {
            bytes: self.received,
            range: self.start..self.position,
            hashing: self.hashing,
            missed,
        }
    }

    /// Goes on at another endpoint, from where the previous one stopped.
    pub(super) fn move_to(&mut self, site: Site, is_last: bool) {
        // Bytes of more than one endpoint: which of them are wrong is not known, so it may start over. So it may
        // without a Range if that is refused.
        self.restarted = !is_last && self.position == 0 && self.end == self.size;
        (self.shorts, self.is_whole, self.site) = (0, false, site);
    }

    /// Switches to the blob's next URL after `error` at the previous one. `None` if there is no
    /// further one; an error if the next URL must not be used.
    pub(crate) fn elsewhere(&mut self, error: &Error) -> Option<Result<(), Error>> {
        let others_may_have_it = !matches!(error, Error::Store(_));
        if self.urls.is_empty() || !others_may_have_it {
            return None;
        }
        if error.is_mismatch() {
            self.restart();
        }
        let text = self.urls.remove(0);
        let url = match Url::parse(&text) {
            Ok(url) => url,
            Err(why) => {
                let what = format!("{}: one of its `urls` is invalid: {why}", self.what());
                return Some(Err(Error::Policy { what }));
            }
        };
        if let Err(error) = self.vet(url.origin()) {
            return Some(Err(error));
        }
        (self.restarted, self.is_whole, self.url) = (false, false, Some(url));
        self.shorts = 0;
        Some(Ok(()))
    }

    /// Checks whether a foreign layer may be fetched from there (SEC-08): a URL in a manifest is
    /// not trusted.
    ///
    /// # Errors
    ///
    /// [`Error::Policy`] for a private address, unless the registry is in the same kind of network.
    pub(crate) fn vet(&self, to: &Origin) -> Result<(), Error> {
        if !to.is_private() || to.is_beside(self.site.upstream()) {
            return Ok(());
        }
        let what = format!(
            "{}: refused to fetch it from the private address {to}, because {} is not in such a network",
            self.what(),
            self.site.upstream()
        );
        Err(Error::Policy { what })
    }

    /// The error if the blob cannot be fetched.
    fn failure(&self, answer: &Answer) -> Error {
        let what = self.what();
        match (&self.url, answer.status.as_u16()) {
            (None, _) | (Some(_), 404 | 410) => answer.failure(&what),
            (Some(_), _) => answer.refusal(),
        }
    }

    fn start_over(mut self, otherwise: Error) -> Verdict {
        if self.store.is_none() && !self.is_whole {
            // What was refused is the range: nothing of the blob was wrong.
            self.is_whole = true;
            return Verdict::Next(Operation::BlobGet(self));
        }
        if self.restarted || self.shares || self.is_whole {
            return Verdict::Failed(otherwise);
        }
        self.restarted = true;
        self.restart();
        Verdict::Next(Operation::BlobGet(self))
    }

    /// Goes back to the blob's first byte.
    pub(crate) fn restart(&mut self) {
        if self.shares {
            // Others need the bytes that are there, and the digest is not checked here.
            return;
        }
        (self.start, self.end, self.present) = (0, self.size, Extents::default());
        (self.position, self.hashing) = (0, self.hashing.restarted());
    }

    fn mismatch_of_size(self, found: Measure, encoding: &str) -> Verdict {
        let expected = Measure::of_size(self.size);
        let found = found.adding(encoding);
        Verdict::Failed(Error::mismatch(self.what(), expected, found))
    }

    fn what(&self) -> String {
        if let Some(url) = &self.url {
            return format!("blob {} at {url}", self.digest);
        }
        format!(
            "blob {} of `{}/{}`",
            self.digest, self.site.registry, self.site.repository
        )
    }
}

/// Whether a status may mean that ranges are not served (clients.md C.17: 400 and 501).
const fn is_refused_range(status: http::StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 416 | 501)
}

#[cfg(test)]
mod tests;
