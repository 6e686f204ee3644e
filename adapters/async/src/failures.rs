//! What failures of reqwest, hyper and services mean to the session.
//!
//! Responsible for kinds and texts of errors. Must not know requests.

use std::error::Error;
use std::io;

use windlass_core::call::{TransportError, TransportErrorKind};
use windlass_driver::{CLOSED_EARLY, is_out_of_descriptors, tls_error_kind};

/// What a failure of reqwest's means to the session. Its texts name the URL, so none is used.
pub(crate) fn sort(error: &reqwest::Error) -> TransportError {
    use TransportErrorKind as Kind;
    let Causes {
        texts,
        kind,
        detail,
    } = match Causes::of(error.source()) {
        Ok(causes) => causes,
        Err(error) => return error,
    };
    let kind = match kind {
        Some(kind @ (Kind::Tls | Kind::Descriptors)) => kind,
        // reqwest does not hand out the type of this error either.
        _ if texts
            .iter()
            .any(|text| text.ends_with("proxy authorization required")) =>
        {
            Kind::ProxyAuth
        }
        _ if error.is_dns() => Kind::Resolve,
        _ if error.is_connect() => Kind::Connect,
        _ if error.is_timeout() => Kind::Idle,
        Some(kind) => kind,
        None if texts.iter().any(|text| is_about_syntax(text)) => Kind::Protocol,
        None if error.is_builder() => Kind::Other,
        None => Kind::Reset,
    };
    TransportError::new(kind, detail)
}

/// What a failure of a service means to the session.
#[cfg(feature = "tower")]
pub(crate) fn sort_service(error: &(dyn Error + 'static)) -> TransportError {
    if let Some(error) = error.downcast_ref::<reqwest::Error>() {
        // Its own text names the URL, which may be signed.
        return sort(error);
    }
    match Causes::of(Some(error)) {
        Ok(causes) => {
            let kind = causes.kind.unwrap_or(TransportErrorKind::Reset);
            TransportError::new(kind, causes.detail)
        }
        Err(error) => error,
    }
}

/// What a chain of errors says.
struct Causes {
    texts: Vec<String>,
    kind: Option<TransportErrorKind>,
    detail: String,
}

impl Causes {
    /// # Errors
    ///
    /// If one of them is an error of ours, that one.
    fn of(first: Option<&(dyn Error + 'static)>) -> Result<Self, TransportError> {
        let mut texts = Vec::new();
        let mut kind = None;
        let mut source = first;
        while let Some(inner) = source {
            if let Some(error) = inner.downcast_ref::<TransportError>() {
                return Err(error.clone());
            }
            if let Some(error) = inner.downcast_ref::<io::Error>() {
                kind = kind.or_else(|| sort_io(error));
            }
            if let Some(error) = inner.downcast_ref::<rustls::Error>() {
                kind = Some(tls_error_kind(error));
            }
            texts.push(inner.to_string());
            source = inner.source();
        }
        let detail = match texts.last() {
            Some(text) if has_ended(text) => CLOSED_EARLY.into(),
            Some(text) => text.clone(),
            None => "HTTP client failed".into(),
        };
        Ok(Self {
            texts,
            kind,
            detail,
        })
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "not our enum, and it may grow"
)]
fn sort_io(error: &io::Error) -> Option<TransportErrorKind> {
    let inner = error.get_ref();
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Some(tls_error_kind(error));
    }
    // hyper-rustls wraps it in another error of the same type.
    if let Some(inner) = inner.and_then(|inner| inner.downcast_ref::<io::Error>()) {
        return sort_io(inner);
    }
    match error.kind() {
        _ if is_out_of_descriptors(error) => Some(TransportErrorKind::Descriptors),
        io::ErrorKind::Other => None,
        // What hyper says of chunks and trailers that are none, or are too long.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            Some(TransportErrorKind::Protocol)
        }
        _ => Some(TransportErrorKind::Reset),
    }
}

/// What hyper says when the head or the body of an answer is cut.
fn has_ended(text: &str) -> bool {
    text == "connection closed before message completed"
        || text == "end of file before message length reached"
}

/// hyper's errors are told apart by methods of a type that reqwest does not hand out.
fn is_about_syntax(text: &str) -> bool {
    text.starts_with("invalid ") || text.contains("message head is too large")
}
