//! A relay: two exchanges in one job, the source's response being the body of the sink's request.
//!
//! Responsible for what the two calls are to each other: which bytes of the source's body the sink needs,
//! and the request for the rest when the source's connection broke. Must not know what either call is for,
//! nor how a driver joins them.
//!
//! ```text
//!  source ── response ──▶ data() ──▶ a bounded pipe ──▶ Outgoing ──▶ request ── sink
//! ```
//!
//! Each byte is hashed once, by the sink's [`Outgoing`](super::Outgoing), which begins where the source does
//! and holds back the end of the blob until its digest matched: the sink's registry never commits what the
//! source did not deliver whole and unchanged.

use core::fmt;
use core::ops::Range;

use alloc::boxed::Box;

use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::{
    Call, Done, Exchanged, Expect, Flaw, JobId, JobResult, Part, Payload, Receive, Received,
    content_length,
};
use crate::header::range_header;

/// A source that breaks off again is asked for the rest only if this much came since it was last asked. What
/// brings less is left to the session, which waits before it tries again.
const WORTH_ASKING: u64 = 64 * 1024;

/// Two exchanges that run at once.
#[must_use = "a relay that is dropped leaves its task waiting for ever; report it with Done::lost"]
pub struct Relay {
    source: Box<Call>,
    sink: Box<Call>,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Relay({:?}, {:?})", self.source, self.sink)
    }
}

/// How both exchanges of a relay ended.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Relayed {
    pub(crate) source: Exchanged,
    pub(crate) sink: Exchanged,
}

impl Relay {
    pub(crate) fn new(source: Call, sink: Call) -> Self {
        let (source, sink) = (source.into(), sink.into());
        Self { source, sink }
    }

    /// The job's id, which both calls have.
    pub const fn id(&self) -> JobId {
        self.sink.id
    }

    /// The call whose response is passed on.
    pub const fn source(&self) -> &Call {
        &self.source
    }

    /// The call whose request has it as its body.
    pub const fn sink(&self) -> &Call {
        &self.sink
    }

    /// Takes the relay apart: the source, and the sink. Begin with the source. If its [`Call::head`] returns
    /// [`Receive::Relay`], send the sink's request with those bytes; otherwise end the sink with
    /// [`Interrupted::OtherCall`](super::Interrupted::OtherCall) and do not send it. The call that is ended
    /// because the other one did ends in the same way. [`Done::relayed`] joins the ends.
    pub fn split(self) -> (Box<Call>, Box<Call>) {
        (self.source, self.sink)
    }
}

impl Done {
    /// The end of a relay, from the ends of its calls.
    pub fn relayed(source: Self, sink: Self) -> Self {
        let id = sink.id();
        let outcome = match (source.into_outcome(), sink.into_outcome()) {
            (JobResult::Http(source), JobResult::Http(sink)) => {
                let (source, sink) = (*source, *sink);
                JobResult::Relay(Relayed { source, sink }.into())
            }
            // One of its workers died.
            _ => JobResult::Lost,
        };
        Self::new(id, outcome)
    }
}

impl Call {
    pub(super) fn relay_head(&mut self, part: &Part) -> Receive {
        let Range { start, end } = part.range;
        let is_range = self.status == Some(StatusCode::PARTIAL_CONTENT);
        // 200 to a range is the whole blob (RNG-06): what the sink does not need is not passed on.
        let (from, limit) = match is_range.then(|| self.range(part)) {
            None => (0, part.size),
            Some(Ok(limit)) => (start, limit),
            Some(Err(flaw)) => return self.refuse(flaw),
        };
        if let Some(declared) = content_length(&self.headers)
            && declared != limit - from
        {
            let expected = limit - from;
            return self.refuse(Flaw::Length { expected, declared });
        }
        self.limit = limit;
        self.needed_from = start;
        self.body = Received::Relayed {
            from,
            to: from,
            end,
            responses: 1,
        };
        Receive::Relay {
            keep: start - from..end - from,
        }
    }

    /// The request for the bytes of a relayed body that did not come before its connection broke. `None` if
    /// there are none, or too few came since the last such request, or nothing came of a whole blob: then the
    /// call is to be ended. It goes where the first one went, which is the only server that need be able to serve
    /// it.
    pub fn rest(&mut self) -> Option<http::Request<Payload>> {
        let Received::Relayed { to, end, .. } = self.body else {
            return None;
        };
        // What comes before the bytes that are needed is not asked for again (RNG-06).
        let next = to.max(self.needed_from);
        if next == 0 && end == self.relayed_size {
            // That is no range.
            return None;
        }
        let has_progressed = self
            .rest_from
            .is_none_or(|before| next - before >= WORTH_ASKING);
        if self.flaw.is_some() || next >= end || !has_progressed {
            return None;
        }
        let range = HeaderValue::from_str(&range_header(next, end - 1)).ok()?;
        self.rest_from = Some(next);
        let mut request = self.request.clone();
        request.headers_mut().insert(header::RANGE, range);
        Some(request)
    }

    /// Whether a response to the request of [`rest`](Self::rest) brings those bytes; then they are passed on
    /// like the others, all that come. If it does not, end the call. If the server says "later" (429 or 503), the
    /// call ends with that response, since it is for every request to the server.
    pub fn brings_rest(&mut self, head: &http::Response<()>) -> bool {
        let Received::Relayed { to, end, .. } = self.body else {
            return false;
        };
        let mut headers = crate::header::read(head.headers());
        if matches!(head.status().as_u16(), 429 | 503) {
            self.redact_headers(&mut headers);
            self.later = Some((head.status(), headers));
            return false;
        }
        let before = core::mem::replace(&mut self.headers, headers);
        let from = to.max(self.needed_from);
        let part = Part {
            range: from..end,
            // What else the server says of the size was checked in the first response.
            size: self.relayed_size,
            shares: false,
        };
        let is_range = head.status() == StatusCode::PARTIAL_CONTENT;
        let limit = self.range(&part).ok().filter(|_| is_range);
        let declared = content_length(&self.headers);
        self.headers = before;
        let limit = limit.filter(|limit| declared.is_none_or(|it| it == limit - from));
        if let (Some(limit), Received::Relayed { to, responses, .. }) = (limit, &mut self.body) {
            *responses += 1;
            *to = from;
            self.limit = limit;
            return true;
        }
        false
    }

    pub(super) const fn relayed_size(expect: &Expect) -> u64 {
        if let Expect::Relay { size, .. } = expect {
            return *size;
        }
        0
    }
}
