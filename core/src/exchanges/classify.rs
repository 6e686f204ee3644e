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
use crate::error::{Error, Refusal, RegistryErrors, RequestLine};
use crate::error_body;
use crate::header::{Challenge, challenges, date, encoding, request_id, retry_after};
use crate::registry::{Origin, Scheme};
use crate::store::StoreErrorKind;
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
        let encoding = encoding(&exchanged.headers);
        let what = format!("the body ended {missing} bytes early{encoding}");
        return lost(request, &what);
    }
    match status.as_u16() {
        401 => Class::Challenged,
        403 if wants_more_scope(exchanged) => Class::Challenged,
        301 | 302 | 303 | 307 | 308 => Class::Redirected,
        // 499: a proxy gave the request up (users.md 5.6).
        408 | 429 | 499 | 500 | 502..=504 | 506..=599 => temporary(exchanged, request, status),
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
        Received::Stored { to, range_end, .. } => {
            matches!(exchanged.interrupted, Some(Interrupted::Transport(_))) && to == range_end
        }
        Received::Relayed { to, end, .. } => {
            matches!(exchanged.interrupted, Some(Interrupted::Transport(_))) && to >= end
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
                | crate::error::ErrorKind::Cancelled
                | crate::error::ErrorKind::Internal => Class::Fatal(error),
            }
        }
        // No file descriptor was left to read the body with.
        Interrupted::Store(error) if error.kind() == StoreErrorKind::Descriptors => Class::Retry {
            error: Error::Store(error.clone()),
            after: None,
        },
        Interrupted::Store(error) => Class::Fatal(Error::Store(error.clone())),
        Interrupted::Damaged { found } => Class::Damaged {
            found: found.clone(),
        },
        // Of a relay's calls the other one is classified.
        Interrupted::Aborted | Interrupted::OtherCall => Class::Aborted,
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
        Received::Stored { to, range_end, .. } => range_end - to,
        Received::Relayed { to, end, .. } => end.saturating_sub(*to),
    };
    (missing > 0).then_some(missing)
}

/// The errors in the body of a response.
pub(super) fn errors(exchanged: &Exchanged) -> RegistryErrors {
    let said = collected(exchanged).map(error_body::read);
    RegistryErrors {
        request_id: request_id(&exchanged.headers),
        ..said.unwrap_or_default()
    }
}

fn collected(exchanged: &Exchanged) -> Option<&[u8]> {
    match &exchanged.body {
        Received::Collected { bytes, .. } => Some(bytes),
        Received::Nothing | Received::Stored { .. } | Received::Relayed { .. } => None,
    }
}

/// ECR says so with odd statuses (clients.md C.2.9).
fn is_too_many(body: &[u8]) -> bool {
    error_body::read(body).has("TOOMANYREQUESTS")
}

/// AUTH-08: RFC 6750 has insufficient scope as a 403 with a challenge.
fn wants_more_scope(exchanged: &Exchanged) -> bool {
    challenges(&exchanged.headers)
        .iter()
        .any(Challenge::wants_more_scope)
}

fn temporary(exchanged: &Exchanged, request: &RequestLine, status: StatusCode) -> Class {
    let errors = errors(exchanged);
    let error = Error::Registry(alloc::boxed::Box::new(Refusal {
        request: request.clone(),
        status: status.as_u16(),
        errors,
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
    let location = exchanged.headers.get(header::LOCATION);
    let location = location.ok_or_else(|| peer(format!("answered {status} without a Location")))?;
    let to = from
        .resolve_location(location.as_bytes())
        .map_err(|error| peer(format!("redirected to an invalid URL: {error}")))?;
    vet(from.origin(), to.origin(), registry, request)?;
    let reads = *method == Method::GET || *method == Method::HEAD;
    let may_change = matches!(status, 301..=303);
    if !reads && (status == 303 || (may_change && from.origin() != to.origin())) {
        // HTTP-06: an upload never becomes a GET.
        return Err(peer(format!(
            "redirected {method} with {status}, which would change the method"
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
        let what = format!("{request}: refused to follow a redirect from https to http at {to}");
        return Err(Error::Policy { what });
    }
    if to.is_private() && !registry.is_private() && to != registry {
        let what = format!("{request}: refused to follow a redirect to the private address {to}");
        return Err(Error::Policy { what });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::digest::Algorithm;
    use crate::hashing::{Hashing, Marks};
    use crate::store::StoreError;

    fn exchanged(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Exchanged {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            assert!(
                crate::header::is_read(&name.parse().expect("a name")),
                "an answer has no {name}: it is not in `header::READ`"
            );
            map.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        Exchanged {
            status: StatusCode::from_u16(status).ok(),
            headers: map,
            body: Received::Collected {
                bytes: body.to_vec(),
                cut: false,
            },
            sent: 0,
            hashed: None,
            marks: Marks::default(),
            flaw: None,
            interrupted: None,
        }
    }

    fn broken(kind: TransportErrorKind) -> Option<Interrupted> {
        Some(Interrupted::Transport(TransportError::new(kind, "x")))
    }

    fn shown(exchanged: &Exchanged) -> String {
        match classify(exchanged, &RequestLine::ping()) {
            Class::Retry { after, .. } => match after {
                Some(after) => format!("retry after {}", after.as_secs()),
                None => "retry".into(),
            },
            Class::Challenged => "challenged".into(),
            Class::Redirected => "redirected".into(),
            Class::Answered => "answered".into(),
            Class::Fatal(error) => format!("fatal {:?}", error.kind()),
            Class::Damaged { .. } => "damaged".into(),
            Class::Aborted => "aborted".into(),
        }
    }

    /// ERR-06.
    #[test]
    fn statuses() {
        let more = r#"Bearer realm="https://a/t",error="insufficient_scope""#;
        let plain = r#"Bearer realm="https://a/t""#;
        type Headers<'a> = &'a [(&'static str, &'a str)];
        let table: &[(u16, Headers<'_>, &str, &str)] = &[
            (200, &[], "", "answered"),
            (201, &[], "", "answered"),
            (204, &[], "", "answered"),
            (304, &[], "", "answered"),
            (300, &[], "", "answered"),
            (301, &[], "", "redirected"),
            (302, &[], "", "redirected"),
            (303, &[], "", "redirected"),
            (307, &[], "", "redirected"),
            (308, &[], "", "redirected"),
            (400, &[], "", "answered"),
            (401, &[], "", "challenged"),
            (401, &[("www-authenticate", plain)], "", "challenged"),
            (403, &[], "", "answered"),
            (403, &[("www-authenticate", plain)], "", "answered"),
            (403, &[("www-authenticate", more)], "", "challenged"),
            (404, &[], "", "answered"),
            (408, &[], "", "retry"),
            (416, &[], "", "answered"),
            (429, &[], "", "retry"),
            (499, &[], "", "retry"),
            (429, &[("retry-after", "7")], "", "retry after 7"),
            (429, &[("retry-after", "soon")], "", "retry"),
            (
                503,
                &[
                    ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
                    ("date", "Sun, 06 Nov 1994 08:49:00 GMT"),
                ],
                "",
                "retry after 37",
            ),
            (500, &[], "", "retry"),
            (501, &[], "", "answered"),
            (502, &[], "", "retry"),
            (503, &[], "", "retry"),
            (504, &[], "", "retry"),
            (505, &[], "", "answered"),
            (599, &[], "", "retry"),
            (
                400,
                &[],
                r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#,
                "retry",
            ),
            (200, &[("content-length", "5")], "abc", "retry"),
            (200, &[("content-length", "3")], "abc", "answered"),
        ];
        for (status, headers, body, expected) in table {
            let found = shown(&exchanged(*status, headers, body.as_bytes()));
            assert_eq!(found, *expected, "{status} {headers:?} {body}");
        }
    }

    #[test]
    fn interruptions() {
        use TransportErrorKind::{
            Answer, Connect, Descriptors, Forbidden, Idle, Other, Protocol, ProxyAuth, Reset,
            Resolve, Tls,
        };
        for (kind, expected) in [
            (Resolve, "retry"),
            (Connect, "retry"),
            (Descriptors, "retry"),
            (Reset, "retry"),
            (Idle, "retry"),
            (Answer, "retry"),
            (Other, "retry"),
            (Tls, "fatal Refused"),
            (Forbidden, "fatal Refused"),
            (ProxyAuth, "fatal Auth"),
            (Protocol, "fatal Refused"),
        ] {
            let mut before = exchanged(200, &[], b"");
            before.status = None;
            before.body = Received::Nothing;
            before.interrupted = broken(kind);
            assert_eq!(shown(&before), expected, "{kind:?} before the head");
            let mut within = exchanged(200, &[], b"abc");
            within.interrupted = broken(kind);
            assert_eq!(shown(&within), expected, "{kind:?} within a body");
        }
        // What there is to know is in the head, or the body would only have said more.
        for (status, expected) in [(404, "answered"), (401, "challenged"), (503, "retry")] {
            let mut broken_off = exchanged(status, &[], b"{");
            broken_off.interrupted = broken(Reset);
            assert_eq!(shown(&broken_off), expected, "{status}");
        }
        let mut head = exchanged(201, &[], b"");
        head.body = Received::Nothing;
        head.interrupted = broken(Reset);
        assert_eq!(shown(&head), "answered");

        for (interrupted, expected) in [
            (Interrupted::Aborted, "aborted"),
            (Interrupted::Damaged { found: None }, "damaged"),
            (
                Interrupted::Store(StoreError::new(StoreErrorKind::Full, "x")),
                "fatal Refused",
            ),
        ] {
            let mut exchanged = exchanged(200, &[], b"");
            exchanged.status = None;
            exchanged.interrupted = Some(interrupted);
            assert_eq!(shown(&exchanged), expected);
        }
    }

    /// HTTP-24: a blob that ends early is one that broke off, whatever the driver says.
    #[test]
    fn a_short_blob_is_tried_again() {
        let mut short = exchanged(200, &[], b"");
        let stored = |to| Received::Stored {
            hashing: Hashing::new(Algorithm::Sha256),
            from: 0,
            to,
            range_end: 5,
        };
        short.body = stored(3);
        assert_eq!(shown(&short), "retry");
        // And one that is whole is whole, however it ended.
        short.body = stored(5);
        short.interrupted = broken(TransportErrorKind::Reset);
        assert_eq!(shown(&short), "answered");
        // But not if it was the store that could not take the last of it.
        let full = StoreError::new(StoreErrorKind::Full, "x");
        short.interrupted = Some(Interrupted::Store(full));
        assert_eq!(shown(&short), "fatal Refused");
        // Without a file descriptor the body could not even be opened.
        let short_of_files = StoreError::new(StoreErrorKind::Descriptors, "x");
        short.interrupted = Some(Interrupted::Store(short_of_files));
        assert_eq!(shown(&short), "retry");
    }

    /// HTTP-03 to HTTP-12.
    #[test]
    fn redirects() {
        let from = "https://reg.example/v2/a/blobs/x";
        let followed = |method: Method, status: u16, from: &str, location: Option<&str>| {
            let location = location.map(|location| ("location", location));
            let headers: alloc::vec::Vec<_> = location.into_iter().collect();
            let url = Url::parse(from).expect("a URL");
            let registry = url.origin().clone();
            let line = RequestLine::ping();
            let exchanged = exchanged(status, &headers, b"");
            match follow(&exchanged, &method, &url, &registry, &line) {
                Ok(url) => url.as_str().to_string(),
                Err(Error::Policy { .. }) => "policy".into(),
                Err(Error::Peer { .. }) => "peer".into(),
                Err(other) => format!("{other:?}"),
            }
        };
        let (get, put) = (Method::GET, Method::PUT);
        let cdn = "https://cdn.example/x?sig=a%2Bb";
        for status in [301, 302, 303, 307, 308] {
            assert_eq!(followed(get.clone(), status, from, Some(cdn)), cdn);
        }
        for (status, to, expected) in [
            (307, cdn, cdn),
            (308, cdn, cdn),
            (301, cdn, "peer"),
            (302, cdn, "peer"),
            (303, cdn, "peer"),
            (303, "/y", "peer"),
            (302, "/y", "https://reg.example/y"),
        ] {
            assert_eq!(
                followed(put.clone(), status, from, Some(to)),
                expected,
                "{status}"
            );
        }
        let http = "http://localhost:5000/v2/";
        for (from, to, expected) in [
            (from, Some("http://reg.example/x"), "policy"),
            (from, Some("https://10.0.0.1/x"), "policy"),
            (from, Some("https://[::1]/x"), "policy"),
            (from, Some("https://169.254.169.254/latest"), "policy"),
            (from, Some("ftp://reg.example/x"), "peer"),
            (from, Some("https://u:p@cdn.example/x"), "peer"),
            (from, Some(""), "peer"),
            (from, None, "peer"),
            (
                from,
                Some("/sto re/x?{a}|b"),
                "https://reg.example/sto%20re/x?%7Ba%7D%7Cb",
            ),
            (from, Some("/x\ty"), "peer"),
            (from, Some("https://cdn.example\\@evil.example/"), "peer"),
            (from, Some("http://reg.example/a b"), "policy"),
            (http, Some("http://10.0.0.1/x"), "http://10.0.0.1/x"),
        ] {
            assert_eq!(
                followed(get.clone(), 307, from, to),
                expected,
                "{from} {to:?}"
            );
        }
    }
}
