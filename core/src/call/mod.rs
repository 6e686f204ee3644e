//! The data plane: one HTTP exchange as an owned object that any worker can run.
//!
//! ```text
//!  Session ──Job::Http(Call)──▶ worker:  request() ─ outgoing() ─▶ network
//!     ▲                                  sent(outgoing)
//!     │                                  head(response head)
//!     │                                  data(chunk) … while it returns Keep::All
//!     └───────Done◀── finish(end) ───────┘
//! ```
//!
//! Responsible for the bytes of one exchange: where they go, how many are accepted, their hash.
//! Must not know the order of exchanges, tokens or retries: that is the session's work. Bytes are
//! lent and hashed, not kept; only small documents and error bodies are collected.

mod done;
mod exchanged;
mod outgoing;
mod redact;
mod relay;
mod transport;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use http::{HeaderMap, StatusCode, header};

use crate::credential::{CredentialCall, Secret};
use crate::digest::Digest;
use crate::extents::Extents;
use crate::hashing::{Hashing, Marks};
use crate::header::ContentRange;
use crate::registry::Origin;
use crate::store::{StoreCall, StoreId};

pub use self::done::Done;
pub(crate) use self::done::JobResult;
pub(crate) use self::exchanged::{Exchanged, Flaw, Received, content_length};
pub(crate) use self::outgoing::Before;
pub use self::outgoing::{Body, Outgoing, Payload, Source};
pub use self::relay::Relay;
pub(crate) use self::relay::Relayed;
pub use self::transport::{Interrupted, TransportError, TransportErrorKind};
pub use crate::ids::{JobId, TransferId};

/// A unit of work for the driver: `Send + 'static`, run on any thread, consumed by its `finish`.
#[derive(Debug)]
#[must_use = "a job that is dropped leaves its task waiting for ever; report it with Done::lost"]
pub enum Job {
    /// An HTTP exchange.
    Http(Box<Call>),
    /// Two exchanges: the body of one's response is the body of the other's request.
    Relay(Box<Relay>),
    /// An operation on a store.
    Store(StoreCall),
    /// A question for credentials.
    Credentials(CredentialCall),
}

impl Job {
    /// The job's id.
    pub const fn id(&self) -> JobId {
        match self {
            Self::Http(call) => call.id(),
            Self::Relay(relay) => relay.id(),
            Self::Store(call) => call.id(),
            Self::Credentials(call) => call.id(),
        }
    }

    /// The exchanges that it consists of: none, one, or of a relay the source and the sink.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        let (first, second) = match self {
            Self::Http(call) => (Some(&**call), None),
            Self::Relay(relay) => (Some(relay.source()), Some(relay.sink())),
            Self::Store(_) | Self::Credentials(_) => (None, None),
        };
        first.into_iter().chain(second)
    }
}

/// What to do with the body of a response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Receive {
    /// Pass the body to [`Call::data`], which keeps it; it is small.
    Collect,
    /// Pass each chunk to [`Call::data`], then write it to the open partial of this blob.
    Store {
        /// The store.
        store: StoreId,
        /// The blob.
        digest: Digest,
        /// Where the first byte goes.
        offset: u64,
        /// `None`: nothing else of the blob is fetched. The partial must first be truncated or checked to
        /// hold exactly `offset` bytes; 0 means start over. Otherwise the bytes end here at the latest, and all
        /// others of the partial stay, because other calls write them at the same time. It occurs only after
        /// [`StoreAnswer::Extents`](crate::StoreAnswer::Extents).
        end: Option<u64>,
    },
    /// Pass each chunk to [`Call::data`], then pass on those of its bytes that are within `keep`: the other call
    /// of the relay reads them. Positions are counted from the body's first byte. What comes behind them need
    /// not be read.
    Relay {
        /// The bytes of the body that are needed.
        keep: Range<u64>,
    },
    /// The body does not matter: read up to `limit` bytes so that the connection can be reused, or
    /// close the connection.
    Discard {
        /// The most bytes worth reading.
        limit: u64,
    },
}

/// Whether a chunk is accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "bytes after Stop must not be stored or read"]
pub enum Keep {
    /// Yes. Continue.
    All,
    /// No. Stop reading, close the connection, call `finish(Ok(()))`.
    Stop,
}

/// One HTTP exchange.
#[must_use = "a call that is dropped leaves its task waiting for ever; report it with Done::lost"]
pub struct Call {
    id: JobId,
    transfer: Option<TransferId>,
    origin: Origin,
    request: http::Request<Payload>,
    /// The credentials of the proxy's URL, which the driver adds.
    proxy_login: Option<Secret>,
    /// The hash over the bytes of a blob before the part being sent, and after that part.
    before: Option<Before>,
    hashed: Option<Hashing>,
    marks: Marks,
    sent: outgoing::Sent,
    /// A blob that must be in a store before the request is sent.
    stored: Option<(StoreId, Digest)>,
    expect: Expect,
    present: Extents,
    is_part: bool,
    /// The most bytes of a document; the end of a relayed body.
    limit: u64,
    /// The size of the relayed blob, the first byte that is needed of it, and where the last request for the rest
    /// of it began.
    relayed_size: u64,
    needed_from: u64,
    rest_from: Option<u64>,
    /// The response to such a request, if it said "later".
    later: Option<(StatusCode, HeaderMap)>,
    status: Option<StatusCode>,
    headers: HeaderMap,
    body: Received,
    flaw: Option<Flaw>,
    /// The digest that the collected body is to have.
    verifies: Option<Digest>,
}

// The target can be an upload location, which is a secret.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({} {})", self.id, self.request.method())
    }
}

/// What a successful response carries.
#[derive(Debug)]
pub(crate) enum Expect {
    /// Nothing of interest.
    Head,
    /// A document of at most this many bytes.
    Document { limit: u64 },
    /// Bytes of a blob, at most this many. They are verified if they are all of it, and its digest is given.
    Part { limit: u64, digest: Option<Digest> },
    /// A token, in a document of at most this many bytes.
    Token { limit: u64 },
    /// The bytes of a blob from `offset` to `end`. The hash is over no more than those before
    /// `offset`.
    Blob {
        store: StoreId,
        digest: Digest,
        size: u64,
        offset: u64,
        end: u64,
        /// Whether other parts of the blob are fetched at the same time, or may be.
        shares: bool,
        hashing: Hashing,
    },
    /// The bytes of a blob from `offset` to `end`, for the other call of a relay.
    Relay { size: u64, offset: u64, end: u64 },
}

/// How much of an unneeded body is read to keep a connection: about one round trip's worth.
const DISCARD: u64 = 64 * 1024;

impl Call {
    pub(crate) fn new(
        id: JobId,
        origin: Origin,
        request: http::Request<Payload>,
        expect: Expect,
        error_limit: u64,
    ) -> Self {
        let is_part = matches!(expect, Expect::Blob { shares: true, .. });
        let relayed_size = Self::relayed_size(&expect);
        Self {
            id,
            transfer: None,
            origin,
            request,
            proxy_login: None,
            before: None,
            hashed: None,
            marks: Marks::default(),
            sent: outgoing::Sent::default(),
            stored: None,
            expect,
            present: Extents::default(),
            is_part,
            limit: error_limit,
            relayed_size,
            needed_from: 0,
            rest_from: None,
            later: None,
            status: None,
            headers: HeaderMap::new(),
            body: Received::Nothing,
            flaw: None,
            verifies: None,
        }
    }

    /// Names the proxy of the request. The credentials in its URL, which the driver adds, are
    /// redacted in the response like the request's own.
    pub fn through_proxy(&mut self, url: &str) {
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
        let login = authority.rsplit_once('@').map(|(login, _)| login);
        self.proxy_login = login.map(Secret::new);
    }

    pub(crate) fn for_transfer(mut self, transfer: TransferId, before: Option<Before>) -> Self {
        self.transfer = Some(transfer);
        self.before = before;
        self
    }

    pub(crate) fn beside(mut self, present: Extents) -> Self {
        self.present = present;
        self
    }

    pub(crate) fn for_stored(mut self, store: StoreId, digest: Digest) -> Self {
        self.stored = Some((store, digest));
        self
    }

    /// A blob that the request needs: it opens an upload for it. If the store lacks it, the driver
    /// does not send the request and ends the call with [`Interrupted::Store`]. Only this request
    /// depends on it.
    pub const fn stored(&self) -> Option<&(StoreId, Digest)> {
        self.stored.as_ref()
    }

    /// The parts of its blob that were in the store when a download began.
    pub const fn present(&self) -> &Extents {
        &self.present
    }

    /// Whether other calls fetch other parts of the same blob at the same time.
    pub const fn is_part(&self) -> bool {
        self.is_part
    }

    /// The position of this call's first byte in its blob.
    pub fn starts_at(&self) -> u64 {
        match (&self.expect, self.request.body()) {
            (Expect::Blob { offset, .. } | Expect::Relay { offset, .. }, _) => *offset,
            (_, Payload::Body(body)) => body.offset,
            (_, Payload::Empty | Payload::Bytes(_)) => 0,
        }
    }

    /// The hash and meter for this request's body, if it carries a part of a blob. Every byte read from
    /// the source goes through it, and only the bytes it releases may be sent. Each call returns a new
    /// one, for a body that is sent from its first byte. [`sent`](Self::sent) takes it back.
    pub fn outgoing(&self) -> Option<Outgoing> {
        let Payload::Body(body) = self.request.body() else {
            return None;
        };
        let digest = body.source.digest();
        let part = body.offset..body.offset.saturating_add(body.len);
        let Before { hashing, earlier } = self.before.clone()?;
        let outgoing = Outgoing::new(digest.clone(), body.size, part, hashing)?;
        let mut outgoing = outgoing.after(earlier);
        outgoing.sent = self.sent.clone();
        Some(outgoing)
    }

    /// Takes back the meter of a body that was sent. The request for the next part goes on with its
    /// hash; without it the part's bytes are read and hashed once more.
    pub fn sent(&mut self, outgoing: Outgoing) {
        let (hashed, marks) = outgoing.into_hashing_and_marks();
        (self.hashed, self.marks) = (Some(hashed), marks);
    }

    /// Takes the response's head and says what to do with its body.
    pub fn head(&mut self, head: http::Response<()>) -> Receive {
        let (parts, ()) = head.into_parts();
        self.status = Some(parts.status);
        let mut headers = crate::header::read(&parts.headers);
        self.redact_headers(&mut headers);
        self.headers = headers;
        let receive = match core::mem::replace(&mut self.expect, Expect::Head) {
            Expect::Blob {
                store,
                digest,
                size,
                offset,
                end,
                shares,
                hashing,
            } if parts.status.is_success() => {
                let part = Part {
                    range: offset..end,
                    size,
                    shares,
                };
                self.blob_head((store, digest), &part, hashing)
            }
            Expect::Relay { size, offset, end } if parts.status.is_success() => {
                self.relay_head(&Part {
                    range: offset..end,
                    size,
                    shares: false,
                })
            }
            Expect::Part { limit, digest } if parts.status.is_success() => {
                self.verifies = digest;
                self.document_head(limit)
            }
            Expect::Document { limit } | Expect::Token { limit } if parts.status.is_success() => {
                self.document_head(limit)
            }
            Expect::Head if parts.status.is_success() => Receive::Discard { limit: DISCARD },
            // A document's limit is for documents; an error body is cut at its own.
            Expect::Blob { .. }
            | Expect::Relay { .. }
            | Expect::Document { .. }
            | Expect::Part { .. }
            | Expect::Token { .. }
            | Expect::Head => {
                if parts.status.is_redirection() || *self.request.method() == http::Method::HEAD {
                    Receive::Discard { limit: DISCARD }
                } else {
                    Receive::Collect
                }
            }
        };
        if matches!(receive, Receive::Collect) {
            self.body = Received::Collected {
                bytes: Vec::new(),
                cut: false,
            };
        }
        receive
    }

    /// Takes a chunk of the body before it is stored, and hashes or collects it.
    pub fn data(&mut self, chunk: &[u8]) -> Keep {
        match &mut self.body {
            Received::Nothing => Keep::All,
            Received::Collected { bytes, cut } => {
                let room = self.limit.saturating_sub(bytes.len() as u64);
                let take = chunk.len().min(usize::try_from(room).unwrap_or(usize::MAX));
                bytes.extend_from_slice(&chunk[..take]);
                if take == chunk.len() {
                    return Keep::All;
                }
                *cut = true;
                if self.status.is_some_and(|status| status.is_success()) {
                    self.flaw = Some(Flaw::TooLarge { limit: self.limit });
                }
                Keep::Stop
            }
            Received::Stored {
                hashing,
                to,
                range_end,
                ..
            } => {
                if *to + chunk.len() as u64 > *range_end {
                    self.flaw = Some(Flaw::TooLong {
                        expected: *range_end,
                    });
                    return Keep::Stop;
                }
                hashing.follow(*to, chunk);
                *to += chunk.len() as u64;
                Keep::All
            }
            Received::Relayed { to, .. } => {
                if *to + chunk.len() as u64 > self.limit {
                    let expected = self.limit;
                    self.flaw = Some(Flaw::TooLong { expected });
                    return Keep::Stop;
                }
                *to += chunk.len() as u64;
                Keep::All
            }
        }
    }

    /// Ends the call: `Ok` if the body was read to its end (or to `Keep::Stop`).
    pub fn finish(mut self, mut end: Result<(), Interrupted>) -> Done {
        if end.is_ok() {
            self.verify();
        }
        if let Some((status, headers)) = self.later.take() {
            (self.status, self.headers, end) = (Some(status), headers, Ok(()));
        }
        let mut exchanged = Exchanged {
            status: self.status,
            headers: core::mem::take(&mut self.headers),
            body: core::mem::take(&mut self.body),
            sent: self.sent.bytes(),
            hashed: self.hashed.take(),
            marks: core::mem::take(&mut self.marks),
            flaw: self.flaw.take(),
            interrupted: end.err(),
        };
        self.redact_body(&mut exchanged);
        Done::new(self.id, JobResult::Http(Box::new(exchanged)))
    }

    /// Compares what was collected with the digest that it is to have. Here, as tapes do not have the bytes.
    fn verify(&mut self) {
        let (Some(digest), Received::Collected { bytes, cut: false }) =
            (&self.verifies, &self.body)
        else {
            return;
        };
        let found = digest
            .algorithm()
            .map(|algorithm| Digest::of(algorithm, bytes));
        if let (None, Some(found)) = (&self.flaw, found.filter(|found| found != digest)) {
            self.flaw = Some(Flaw::Digest { found });
        }
    }

    /// What a successful response carries, until one arrives.
    pub(crate) const fn expect(&self) -> &Expect {
        &self.expect
    }

    /// The job's id.
    pub const fn id(&self) -> JobId {
        self.id
    }

    /// The transfer of this call, if it moves a blob.
    pub const fn transfer(&self) -> Option<TransferId> {
        self.transfer
    }

    /// The request's origin, for choosing a proxy or a connection pool.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The request. Send it unchanged: target and headers byte for byte; follow no redirect, decode
    /// nothing, add nothing but `Host`, `Connection` and `Content-Length`.
    pub const fn request(&self) -> &http::Request<Payload> {
        &self.request
    }

    /// The bytes of a blob that the response should still bring, if it is for a blob.
    pub fn expects_bytes(&self) -> Option<u64> {
        match (&self.expect, &self.body) {
            (Expect::Blob { end, offset, .. } | Expect::Relay { end, offset, .. }, _) => {
                Some(end.saturating_sub(*offset))
            }
            (_, Received::Stored { to, range_end, .. }) => Some(range_end - to),
            (_, Received::Relayed { to, end, .. }) => Some(end.saturating_sub(*to)),
            (_, Received::Nothing | Received::Collected { .. }) => None,
        }
    }

    fn blob_head(
        &mut self,
        (store, digest): (StoreId, Digest),
        part: &Part,
        hashing: Hashing,
    ) -> Receive {
        let is_range = self.status == Some(StatusCode::PARTIAL_CONTENT);
        let (from, range_end) = if is_range {
            match self.range(part) {
                Ok(end) => (part.range.start, end),
                Err(flaw) => return self.refuse(flaw),
            }
        } else if part.shares {
            return self.refuse(Flaw::Whole);
        } else {
            // 200 to a range is the whole blob (RNG-06): start over, never append.
            (0, part.size)
        };
        // What is fetched again is hashed again.
        let hashing = if hashing.len() > from {
            hashing.restarted()
        } else {
            hashing
        };
        if let Some(declared) = content_length(&self.headers)
            && declared != range_end - from
        {
            return self.refuse(Flaw::Length {
                expected: range_end - from,
                declared,
            });
        }
        self.body = Received::Stored {
            hashing,
            from,
            to: from,
            range_end,
        };
        let leaves_others = is_range && (part.shares || part.range.end < part.size);
        Receive::Store {
            store,
            digest,
            offset: from,
            end: leaves_others.then_some(range_end),
        }
    }

    fn document_head(&mut self, limit: u64) -> Receive {
        self.limit = limit;
        if content_length(&self.headers).is_some_and(|declared| declared > limit) {
            return self.refuse(Flaw::TooLarge { limit });
        }
        Receive::Collect
    }

    fn refuse(&mut self, flaw: Flaw) -> Receive {
        self.flaw = Some(flaw);
        Receive::Discard { limit: 0 }
    }

    /// The end of the returned range, checked against the request (RNG-03 to RNG-05).
    fn range(&self, part: &Part) -> Result<u64, Flaw> {
        let mut values = self.headers.get_all(header::CONTENT_RANGE).iter();
        let said = values.next().and_then(|value| value.to_str().ok());
        let wrong = || Flaw::Range {
            said: said.map(Into::into),
        };
        let multipart = self
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"multipart/"));
        let range = said.and_then(ContentRange::parse).ok_or_else(wrong)?;
        let Part {
            range: asked, size, ..
        } = part;
        let was_asked = *asked != (0..*size);
        let alone = values.next().is_none() && !multipart && was_asked;
        let fits = range.first == asked.start && range.last < asked.end;
        if alone && fits && range.total.is_none_or(|total| total == *size) {
            Ok(range.last + 1)
        } else {
            Err(wrong())
        }
    }
}

/// The part of a blob that a request asks for.
struct Part {
    range: Range<u64>,
    size: u64,
    shares: bool,
}

#[cfg(test)]
mod tests;
