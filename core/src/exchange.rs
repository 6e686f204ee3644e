//! What the end of an HTTP exchange means, before the operation looks at it.
//!
//! Responsible for the one ordered match that tells apart "try again", "authenticate", "go
//! elsewhere" and "that is the answer", and for the rules of going elsewhere. Must not know what
//! the exchange was for.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use http::{Method, StatusCode, header};

use crate::call::{
    Exchanged, Interrupted, Received, TransportError, TransportErrorKind, content_length,
};
use crate::digest::Digest;
use crate::error::{Error, Refusal, RequestLine};
use crate::header::{Challenge, challenges, date, retry_after};
use crate::registry::{Origin, Scheme};
use crate::said;
use crate::uri::Url;

/// What to do with the end of an exchange.
#[derive(Debug)]
pub(crate) enum Class {
    /// It may pass: try again, not before `after` if the server said so.
    Retry {
        error: Error,
        after: Option<Duration>,
    },
    /// The server wants to know who is asking.
    Challenged,
    /// What was asked for is elsewhere.
    Redirected,
    /// An answer for the operation.
    Answered,
    /// The stored blob that was to be sent is not what its digest says.
    Damaged { found: Option<Digest> },
    /// It cannot be helped.
    Fatal(Error),
    /// The driver ended it as it was told to.
    Aborted,
}

/// Classifies the end of an exchange.
pub(crate) fn classify(exchanged: &Exchanged, request: &RequestLine) -> Class {
    if let Some(interrupted) = &exchanged.interrupted
        && !is_answered(exchanged)
    {
        return interruption(interrupted, request);
    }
    let Some(status) = exchanged.status else {
        return lost(request, "the driver reported no answer");
    };
    if exchanged.flaw.is_none()
        && status.is_success()
        && let Some(missing) = shortfall(exchanged)
    {
        return lost(request, &format!("the body ended {missing} bytes early"));
    }
    match status.as_u16() {
        401 => Class::Challenged,
        403 if wants_more_scope(exchanged) => Class::Challenged,
        301 | 302 | 303 | 307 | 308 => Class::Redirected,
        408 | 429 | 500 | 502..=504 | 506..=599 => temporary(exchanged, request, status),
        400..=499 if collected(exchanged).is_some_and(is_too_many) => {
            temporary(exchanged, request, status)
        }
        _ => Class::Answered,
    }
}

/// Whether the answer stands although its connection broke: all there is to know is in its head,
/// or it is an error whose body only would have said more.
fn is_answered(exchanged: &Exchanged) -> bool {
    let Some(status) = exchanged.status else {
        return false;
    };
    match &exchanged.body {
        Received::Nothing => true,
        Received::Collected { .. } => !status.is_success(),
        // Everything came before it broke.
        Received::Stored { hashing, range_end } => {
            matches!(exchanged.interrupted, Some(Interrupted::Transport(_)))
                && hashing.len() == *range_end
        }
    }
}

fn interruption(interrupted: &Interrupted, request: &RequestLine) -> Class {
    match interrupted {
        Interrupted::Transport(error) | Interrupted::NotSent(error) => {
            let error = Error::Transport {
                request: request.clone(),
                error: error.clone(),
            };
            match error.kind() {
                crate::error::ErrorKind::Temporary => Class::Retry { error, after: None },
                crate::error::ErrorKind::Mismatch
                | crate::error::ErrorKind::Auth
                | crate::error::ErrorKind::NotFound
                | crate::error::ErrorKind::Refused
                | crate::error::ErrorKind::Cancelled => Class::Fatal(error),
            }
        }
        Interrupted::Store(error) => Class::Fatal(Error::Store(error.clone())),
        Interrupted::Damaged { found } => Class::Damaged {
            found: found.clone(),
        },
        Interrupted::Aborted => Class::Aborted,
    }
}

fn lost(request: &RequestLine, what: &str) -> Class {
    let error = TransportError::new(TransportErrorKind::Reset, what);
    Class::Retry {
        error: Error::Transport {
            request: request.clone(),
            error,
        },
        after: None,
    }
}

/// How many announced bytes did not come (HTTP-24).
fn shortfall(exchanged: &Exchanged) -> Option<u64> {
    let missing = match &exchanged.body {
        Received::Nothing => 0,
        Received::Collected { cut: true, .. } => 0,
        Received::Collected { bytes, .. } => content_length(&exchanged.headers)
            .map_or(0, |announced| announced.saturating_sub(bytes.len() as u64)),
        Received::Stored {
            hashing, range_end, ..
        } => range_end - hashing.len(),
    };
    (missing > 0).then_some(missing)
}

fn collected(exchanged: &Exchanged) -> Option<&[u8]> {
    match &exchanged.body {
        Received::Collected { bytes, .. } => Some(bytes),
        Received::Nothing | Received::Stored { .. } => None,
    }
}

/// ECR says so with odd statuses (clients.md C.2.9).
fn is_too_many(body: &[u8]) -> bool {
    said::read(body).has("TOOMANYREQUESTS")
}

/// AUTH-08: RFC 6750 has insufficient scope as a 403 with a challenge.
fn wants_more_scope(exchanged: &Exchanged) -> bool {
    challenges(&exchanged.headers)
        .iter()
        .any(Challenge::wants_more_scope)
}

fn temporary(exchanged: &Exchanged, request: &RequestLine, status: StatusCode) -> Class {
    let said = collected(exchanged).map(said::read).unwrap_or_default();
    let error = Error::Registry(alloc::boxed::Box::new(Refusal {
        request: request.clone(),
        status: status.as_u16(),
        said,
        hint: None,
    }));
    let after = retry_after(&exchanged.headers, date(&exchanged.headers));
    Class::Retry { error, after }
}

/// Where a redirect leads, if it may be followed (HTTP-03 to HTTP-12).
///
/// # Errors
///
/// If there is no usable `Location`, or following it would change what is asked, send a body over a
/// connection that is not protected as the first one was, or reach into a private network.
pub(crate) fn follow(
    exchanged: &Exchanged,
    method: &Method,
    from: &Url,
    registry: &Origin,
    request: &RequestLine,
) -> Result<Url, Error> {
    let peer = |what: String| Error::Peer {
        request: request.clone(),
        what,
    };
    let status = exchanged.status.map_or(0, |status| status.as_u16());
    let location = exchanged
        .headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| {
            peer(format!(
                "answered {status} without a Location that can be read"
            ))
        })?;
    let to = from
        .resolve(location.trim())
        .map_err(|error| peer(format!("redirected to what cannot be used: {error}")))?;
    vet(from.origin(), to.origin(), registry, request)?;
    let reads = *method == Method::GET || *method == Method::HEAD;
    let may_change = matches!(status, 301..=303);
    if !reads && (status == 303 || (may_change && from.origin() != to.origin())) {
        // HTTP-06: an upload never becomes a GET.
        return Err(peer(format!(
            "redirected {method} with {status}, which would change it"
        )));
    }
    Ok(to)
}

/// Whether a hop that a server asked for may be made at all: a redirect, or an upload's `Location`.
///
/// # Errors
///
/// [`Error::Policy`] for a downgrade to http and for a private address named by a public registry.
pub(crate) fn vet(
    from: &Origin,
    to: &Origin,
    registry: &Origin,
    request: &RequestLine,
) -> Result<(), Error> {
    if from.scheme() == Scheme::Https && to.scheme() == Scheme::Http {
        let what = format!("{request}: refused to go on from https to http at {to}");
        return Err(Error::Policy { what });
    }
    if to.is_private() && !registry.is_private() && to != registry {
        let what = format!("{request}: refused to go on to the private address {to}");
        return Err(Error::Policy { what });
    }
    Ok(())
}
