//! Errors, grouped by whose fault they are.
//!
//! Responsible for naming the request, the host and the content that failed, with the registry's
//! own message and a hint. No type here can hold a secret: targets are printed without the values
//! of their queries, and text from servers is escaped.

mod mismatch;
mod request_line;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::call::{TransportError, TransportErrorKind};
use crate::config::RouteError;
use crate::digest::Digest;
use crate::store::{StoreError, StoreErrorKind};

pub use self::mismatch::{Measure, Mismatch};
pub use self::request_line::RequestLine;
pub use crate::error_body::{RegistryError, RegistryErrors};

/// Why a task, or a part of it, failed.
///
/// The text says everything, also what the errors within say. Programs that print the chain of
/// [sources](core::error::Error::source) would say it twice, so there is none; what is within is in the variants, and
/// in [`innermost`](Self::innermost), [`request`](Self::request), [`status`](Self::status) and the others.
///
/// # Example
///
/// ```
/// # use windlass_core::Error;
/// /// What a program keeps of an error.
/// fn record(error: &Error) -> String {
///     let kind = error.kind();
///     let host = error.request().map_or("-", |request| request.origin().host());
///     let status = error.status().unwrap_or(0);
///     format!("{kind:?} {host} {status}")
/// }
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry rejected the request.
    #[error("{0}")]
    Registry(Box<Refusal>),
    /// The content or name does not exist.
    #[error("{0}")]
    NotFound(NotFound),
    /// The peer violated the protocol.
    #[error("{request}: {what}")]
    Peer {
        /// The request.
        request: RequestLine,
        /// What the peer did.
        what: String,
    },
    /// The content does not match its digest or size. It was not kept.
    #[error("{0}")]
    Mismatch(Box<Mismatch>),
    /// Authentication failed.
    #[error("{0}")]
    Auth(Box<AuthError>),
    /// The connection failed.
    #[error("{request}: {error}")]
    Transport {
        /// The request.
        request: RequestLine,
        /// What went wrong.
        error: TransportError,
    },
    /// The store failed.
    #[error("{0}")]
    Store(StoreError),
    /// The configuration says that it is blocked, or leaves nothing to contact.
    #[error("{0}")]
    Route(Box<RouteError>),
    /// No endpoint of a registry has served a request.
    #[error("{told}{}", Before(others))]
    Endpoints {
        /// The most telling error: the registry's own if it was asked.
        told: Box<Self>,
        /// The errors of the other endpoints, in the order of the requests.
        others: Vec<Self>,
    },
    /// Something else is at a tag than what was to be replaced there: another client has put it meanwhile.
    #[error(
        "`{place}` was changed meanwhile: {} is there, not {expected}",
        found.as_ref().map_or("nothing", Digest::as_str)
    )]
    Outdated {
        /// The registry, the repository and the tag.
        place: String,
        /// The digest that was to be replaced; after the PUT, the digest that was put.
        expected: Digest,
        /// What is there; `None` if there is nothing.
        found: Option<Digest>,
    },
    /// windlass refuses the operation.
    #[error("{what}")]
    Policy {
        /// What is refused, and what would allow it.
        what: String,
    },
    /// The driver cannot run the task: it has no thread for it, or its runtime shuts down.
    #[error("{what}")]
    Driver {
        /// What is lacking.
        what: String,
    },
    /// A transient failure that occurred on every allowed attempt.
    #[error("{last} ({})", Given { attempts: *attempts, retry_after: *retry_after })]
    Exhausted {
        /// How many attempts were made.
        attempts: u32,
        /// The server's `Retry-After`, if it was longer than the limit.
        retry_after: Option<Duration>,
        /// The last failure.
        last: Box<Self>,
    },
    /// The task's deadline passed.
    #[error("deadline passed")]
    Deadline,
    /// The task was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A bug in windlass. Only this task fails.
    #[error("a bug in windlass: {what}; please report it")]
    Internal {
        /// What went wrong.
        what: String,
    },
}

/// Displays the errors of other endpoints.
struct Before<'a>(&'a [Error]);

impl fmt::Display for Before<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            let begin = if n == 0 { "; elsewhere: " } else { "; " };
            write!(f, "{begin}{error}")?;
        }
        Ok(())
    }
}

/// Displays the number of attempts.
struct Given {
    attempts: u32,
    retry_after: Option<Duration>,
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempts {
            1 => f.write_str("tried once")?,
            attempts => write!(f, "tried {attempts} times")?,
        }
        match self.retry_after {
            Some(after) => write!(f, "; the server asks to wait for {} s", after.as_secs()),
            None => Ok(()),
        }
    }
}

/// The kind of an error: what a caller can act on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Content did not match its digest or size.
    Mismatch,
    /// Not authenticated, or access denied.
    Auth,
    /// Not found.
    NotFound,
    /// A permanent failure: rejected by the registry, a protocol violation, TLS, the store, policy.
    Refused,
    /// Transient: connection, timeout, 408, 429, 5xx.
    Temporary,
    /// Cancelled by the caller.
    Cancelled,
    /// A bug in windlass.
    Internal,
}

impl ErrorKind {
    /// The order in which several errors are shown, the most informative first.
    pub(crate) const fn rank(self) -> u8 {
        match self {
            Self::Mismatch => 1,
            Self::Auth => 2,
            Self::NotFound => 3,
            Self::Refused => 4,
            Self::Temporary => 5,
            Self::Cancelled => 6,
            // Other errors may only be its consequences.
            Self::Internal => 0,
        }
    }
}

impl From<RouteError> for Error {
    fn from(error: RouteError) -> Self {
        Self::Route(Box::new(error))
    }
}

impl Error {
    pub(crate) fn internal(what: &str) -> Self {
        Self::Internal {
            what: crate::sanitize::escape(what, 300),
        }
    }

    /// A blob of no bytes, whose digest is another one.
    pub(crate) fn of_empty_blob(digest: &Digest, found: &Digest) -> Self {
        Self::mismatch(alloc::format!("blob {digest}"), digest, found)
    }

    /// The kind of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Registry(_) | Self::Peer { .. } | Self::Policy { .. } | Self::Route(_) => {
                ErrorKind::Refused
            }
            Self::Endpoints { told, .. } => told.kind(),
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Mismatch(_) => ErrorKind::Mismatch,
            Self::Auth(_) => ErrorKind::Auth,
            Self::Transport { error, .. } => match error.kind {
                TransportErrorKind::ProxyAuth => ErrorKind::Auth,
                TransportErrorKind::Tls
                | TransportErrorKind::Forbidden
                | TransportErrorKind::Protocol => ErrorKind::Refused,
                TransportErrorKind::Resolve
                | TransportErrorKind::Connect
                | TransportErrorKind::Descriptors
                | TransportErrorKind::Reset
                | TransportErrorKind::Idle
                | TransportErrorKind::Answer
                | TransportErrorKind::Other => ErrorKind::Temporary,
            },
            Self::Store(error) => match error.kind() {
                StoreErrorKind::NoSuchName => ErrorKind::NotFound,
                StoreErrorKind::Damaged => ErrorKind::Mismatch,
                StoreErrorKind::Ambiguous
                | StoreErrorKind::Absent
                | StoreErrorKind::Full
                | StoreErrorKind::Denied
                | StoreErrorKind::NotALayout
                | StoreErrorKind::TooLarge
                | StoreErrorKind::Unsupported
                | StoreErrorKind::Io => ErrorKind::Refused,
                StoreErrorKind::Locked | StoreErrorKind::Descriptors => ErrorKind::Temporary,
            },
            Self::Driver { .. }
            | Self::Exhausted { .. }
            | Self::Outdated { .. }
            | Self::Deadline => ErrorKind::Temporary,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// Whether content was not what its digest says, at any endpoint.
    pub(crate) fn is_mismatch(&self) -> bool {
        match self {
            Self::Endpoints { told, others } => {
                told.is_mismatch() || others.iter().any(Self::is_mismatch)
            }
            Self::Mismatch(_) => true,
            Self::Registry(_)
            | Self::NotFound(_)
            | Self::Peer { .. }
            | Self::Auth(_)
            | Self::Transport { .. }
            | Self::Store(_)
            | Self::Route(_)
            | Self::Outdated { .. }
            | Self::Policy { .. }
            | Self::Driver { .. }
            | Self::Exhausted { .. }
            | Self::Deadline
            | Self::Cancelled
            | Self::Internal { .. } => false,
        }
    }

    /// The same error, with `what` added to its request.
    pub(crate) fn about(mut self, what: &str) -> Self {
        let request = match &mut self {
            Self::Registry(refusal) => &mut refusal.request,
            Self::Auth(error) => &mut error.request,
            Self::Peer { request, .. } | Self::Transport { request, .. } => request,
            Self::Exhausted { last, .. } | Self::Endpoints { told: last, .. } => {
                **last = core::mem::replace(&mut **last, Self::Cancelled).about(what);
                return self;
            }
            // These name their subject already, or need none.
            Self::NotFound(_)
            | Self::Mismatch(_)
            | Self::Store(_)
            | Self::Route(_)
            | Self::Outdated { .. }
            | Self::Policy { .. }
            | Self::Driver { .. }
            | Self::Deadline
            | Self::Cancelled
            | Self::Internal { .. } => return self,
        };
        request.add(what);
        self
    }

    /// Adds what the user can do about a response, unless that is said.
    pub(crate) fn suggest(&mut self, what: &str) {
        if let Some(hint) = self.own_hint() {
            hint.get_or_insert_with(|| what.into());
        }
    }

    /// Says what the user can do about a response.
    pub(crate) fn replace_hint(&mut self, what: String) {
        if let Some(hint) = self.own_hint() {
            *hint = Some(what);
        }
    }

    fn own_hint(&mut self) -> Option<&mut Option<String>> {
        if let Self::Registry(refusal) = self {
            Some(&mut refusal.hint)
        } else if let Self::NotFound(missing) = self {
            Some(&mut missing.hint)
        } else if let Self::Auth(error) = self {
            Some(&mut error.hint)
        } else {
            None
        }
    }

    /// The error itself: of one that occurred on every attempt the last, of one at several endpoints the most telling.
    pub fn innermost(&self) -> &Self {
        match self {
            Self::Exhausted { last: inner, .. } | Self::Endpoints { told: inner, .. } => {
                inner.innermost()
            }
            Self::Registry(_)
            | Self::NotFound(_)
            | Self::Auth(_)
            | Self::Peer { .. }
            | Self::Mismatch(_)
            | Self::Transport { .. }
            | Self::Store(_)
            | Self::Route(_)
            | Self::Outdated { .. }
            | Self::Policy { .. }
            | Self::Driver { .. }
            | Self::Deadline
            | Self::Cancelled
            | Self::Internal { .. } => self,
        }
    }

    /// The request that failed, if it was one. As for all that follow, of several errors in one it is that of the
    /// [innermost](Self::innermost).
    pub fn request(&self) -> Option<&RequestLine> {
        match self.innermost() {
            Self::Registry(refusal) => Some(&refusal.request),
            Self::Auth(error) => Some(&error.request),
            Self::NotFound(missing) => missing.request.as_ref(),
            Self::Mismatch(mismatch) => mismatch.request.as_ref(),
            Self::Peer { request, .. } | Self::Transport { request, .. } => Some(request),
            Self::Endpoints { .. }
            | Self::Exhausted { .. }
            | Self::Store(_)
            | Self::Route(_)
            | Self::Outdated { .. }
            | Self::Policy { .. }
            | Self::Driver { .. }
            | Self::Deadline
            | Self::Cancelled
            | Self::Internal { .. } => None,
        }
    }

    /// The status of the response, if that is the error.
    pub fn status(&self) -> Option<u16> {
        self.response()?.0
    }

    /// What the registry said, if the error is a response: codes, messages, details, and its id of the request.
    pub fn registry_errors(&self) -> Option<&RegistryErrors> {
        Some(self.response()?.1)
    }

    /// The response that is the error: its status, if that is known, and what it says.
    fn response(&self) -> Option<(Option<u16>, &RegistryErrors)> {
        let error = self.innermost();
        if let Self::Registry(refusal) = error {
            Some((Some(refusal.status), &refusal.errors))
        } else if let Self::Auth(error) = error {
            Some((Some(error.status), &error.errors))
        } else if let Self::NotFound(missing) = error {
            Some((missing.status, &missing.errors))
        } else {
            None
        }
    }

    /// What was expected and what was found, if content is not what it should be.
    pub fn as_mismatch(&self) -> Option<&Mismatch> {
        if let Self::Mismatch(mismatch) = self.innermost() {
            Some(mismatch)
        } else {
            None
        }
    }

    /// How often it was tried, if transient failures have used up the attempts.
    pub fn attempts(&self) -> Option<u32> {
        match self {
            Self::Exhausted { attempts, .. } => Some(*attempts),
            Self::Endpoints { told, .. } => told.attempts(),
            Self::Registry(_)
            | Self::NotFound(_)
            | Self::Auth(_)
            | Self::Peer { .. }
            | Self::Mismatch(_)
            | Self::Transport { .. }
            | Self::Store(_)
            | Self::Route(_)
            | Self::Outdated { .. }
            | Self::Policy { .. }
            | Self::Driver { .. }
            | Self::Deadline
            | Self::Cancelled
            | Self::Internal { .. } => None,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Registry(refusal) => refusal.hint.as_deref(),
            Self::NotFound(missing) => missing.hint.as_deref(),
            Self::Auth(error) => error.hint.as_deref(),
            Self::Exhausted { last, .. } => last.hint(),
            Self::Endpoints { told, others } => {
                told.hint().or_else(|| others.iter().find_map(Self::hint))
            }
            Self::Peer { .. }
            | Self::Mismatch(_)
            | Self::Transport { .. }
            | Self::Store(_)
            | Self::Route(_)
            | Self::Outdated { .. }
            | Self::Policy { .. }
            | Self::Driver { .. }
            | Self::Deadline
            | Self::Cancelled
            | Self::Internal { .. } => None,
        }
    }
}

/// A response that rejects the request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Refusal {
    /// The request.
    pub request: RequestLine,
    /// The response's status.
    pub status: u16,
    /// The registry's error codes and messages.
    pub errors: RegistryErrors,
    /// What the user can do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.request, self.status, self.errors)
    }
}

/// Something that does not exist.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NotFound {
    /// What was looked for.
    pub what: String,
    /// The last request, if a registry was asked.
    pub request: Option<RequestLine>,
    /// The response's status, if it was the response that said so.
    pub status: Option<u16>,
    /// The registry's error codes and messages, if a registry said so.
    pub errors: RegistryErrors,
    /// What the user can do about it.
    pub hint: Option<String>,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: not found{}", self.what, self.errors)
    }
}

/// Why authentication failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AuthError {
    /// The request, to the registry or to its token service.
    pub request: RequestLine,
    /// The response's status.
    pub status: u16,
    /// What the request carried: `no credentials`, `the credentials of \`user\``, `a fresh token`.
    pub presented: String,
    /// The server's error codes and messages.
    pub errors: RegistryErrors,
    /// What the user can do about it, with the exact setting.
    pub hint: Option<String>,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} with {}{}",
            self.request, self.status, self.presented, self.errors
        )
    }
}

#[cfg(test)]
mod tests;
