//! Why an exchange broke off, in terms that all drivers share.
//!
//! Responsible for the kinds of failures that the session distinguishes. Must not know what it does
//! about them (`classify`).

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::redact::redact_urls;
use crate::store::{StoreError, StoreErrorKind};

/// Why an exchange broke off.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Interrupted {
    /// The connection failed.
    Transport(TransportError),
    /// The store could not take or provide bytes.
    Store(StoreError),
    /// The stored blob does not match its digest; its end was held back.
    Damaged {
        /// The digest of the stored bytes; `None` if they are too few or too many.
        found: Option<Digest>,
    },
    /// The driver could not begin.
    NotSent(TransportError),
    /// The other call of a [`Relay`](super::Relay) ended first, and this one with it. What follows is decided
    /// by how that one ended.
    OtherCall,
    /// The driver ended it after an `Abort` of the session, or because it shuts down.
    Aborted,
}

impl Interrupted {
    /// Whether it broke off only because no file descriptor was left, for the connection or for the body.
    pub(crate) fn is_out_of_descriptors(&self) -> bool {
        match self {
            Self::Transport(error) | Self::NotSent(error) => {
                error.kind == TransportErrorKind::Descriptors
            }
            Self::Store(error) => error.kind() == StoreErrorKind::Descriptors,
            Self::Damaged { .. } | Self::Aborted | Self::OtherCall => false,
        }
    }
}

/// A failure of the connection, in the driver's words but the core's classes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{kind}: {detail}")]
#[non_exhaustive]
pub struct TransportError {
    /// The kind of failure.
    pub kind: TransportErrorKind,
    /// What the driver knows, without secrets.
    #[serde(skip, default = "crate::written::no_detail")]
    pub detail: String,
}

impl TransportError {
    /// A failure of this kind. `detail` must not contain header values; the queries of URLs in it
    /// are redacted.
    pub fn new(kind: TransportErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: redact_urls(&detail.into()),
        }
    }
}

/// The sorts of connection failures.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The host name could not be resolved.
    #[error("name not resolved")]
    Resolve,
    /// The connection was refused, or not made within the time limit.
    #[error("cannot connect")]
    Connect,
    /// No file descriptor was left for a connection; fewer connections at once may work.
    #[error("too many files are open")]
    Descriptors,
    /// TLS failed: certificate, name, protocol. Never retried.
    #[error("TLS verification failed")]
    Tls,
    /// The driver may not connect to the addresses of the host. Never retried.
    #[error("address not allowed")]
    Forbidden,
    /// The proxy refused its credentials, or requires some. Never retried.
    #[error("proxy authentication failed")]
    ProxyAuth,
    /// The connection broke.
    #[error("connection lost")]
    Reset,
    /// Nothing moved for longer than the idle limit.
    #[error("stalled")]
    Idle,
    /// The request was sent, but no response began within the limit.
    #[error("no answer in time")]
    Answer,
    /// The peer violated HTTP.
    #[error("invalid HTTP")]
    Protocol,
    /// Any other failure.
    #[error("transport failed")]
    Other,
}
