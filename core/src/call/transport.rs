//! Why an exchange broke off, in words that every driver shares.
//!
//! Responsible for the classes of failures that the session tells apart. Must not know what it makes
//! of them (`classify`).

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::shown::urls;
use crate::store::StoreError;

/// Why an exchange broke off.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Interrupted {
    /// The connection failed.
    Transport(TransportError),
    /// The store could not take or give bytes.
    Store(StoreError),
    /// The stored blob that was to be sent is not what its digest says; its end was held back.
    Damaged {
        /// What the stored bytes hash to; `None` if they are too few or too many.
        found: Option<Digest>,
    },
    /// The driver could not even begin.
    NotSent(TransportError),
    /// The driver ended it because the session said `Abort`, or because it is shutting down.
    Aborted,
}

/// A failure of the connection, in the driver's words but the core's classes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct TransportError {
    /// What sort of failure.
    pub kind: TransportErrorKind,
    /// What the driver knows, without secrets.
    #[serde(skip, default = "crate::tape::no_detail")]
    pub detail: String,
}

impl TransportError {
    /// A failure of this kind; `detail` must not hold any header value. The queries of URLs in it are
    /// taken out.
    pub fn new(kind: TransportErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: urls::hidden(&detail.into()),
        }
    }
}

/// The sorts of connection failures.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The name could not be resolved.
    #[error("name not resolved")]
    Resolve,
    /// No connection within the time limit, or refused.
    #[error("cannot connect")]
    Connect,
    /// No file descriptor was left for a connection: fewer at once may do.
    #[error("too many files are open")]
    Descriptors,
    /// TLS was refused: certificate, name, protocol. Never tried again.
    #[error("TLS verification failed")]
    Tls,
    /// A proxy refused its own credentials, or wants some. Never tried again.
    #[error("proxy authentication failed")]
    ProxyAuth,
    /// The connection broke.
    #[error("connection lost")]
    Reset,
    /// Nothing moved for longer than the idle limit.
    #[error("stalled")]
    Idle,
    /// The request was sent and no answer began within the limit.
    #[error("no answer in time")]
    Answer,
    /// The peer does not speak HTTP as it should.
    #[error("invalid HTTP")]
    Protocol,
    /// Anything else.
    #[error("transport failed")]
    Other,
}
