//! Errors, sorted by whose fault they are.
//!
//! Responsible for saying which request of which host failed for which content, with the
//! registry's own words and a hint. A secret cannot be printed because no type here can hold one:
//! targets are printed without the values of their queries, text from servers is escaped.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::call::{TransportError, TransportErrorKind};
use crate::digest::Digest;
use crate::store::{StoreError, StoreErrorKind};

/// Why a task, or a part of it, failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry understood and refused.
    #[error("{0}")]
    Registry(Box<Refusal>),
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(NotFound),
    /// The peer broke the rules of the protocol.
    #[error("{request}: {what}")]
    Peer {
        /// Which request.
        request: RequestLine,
        /// What it did.
        what: String,
    },
    /// Content is not what its digest or size says. It was not kept.
    #[error("{what}: expected {expected}, got {found}")]
    Mismatch {
        /// What was being moved, and from where.
        what: String,
        /// The digest or size it should have.
        expected: String,
        /// What it has.
        found: String,
    },
    /// Authentication failed.
    #[error("{0}")]
    Auth(Box<AuthError>),
    /// The connection failed.
    #[error("{request}: {error}")]
    Transport {
        /// Which request.
        request: RequestLine,
        /// What happened.
        error: TransportError,
    },
    /// The store failed.
    #[error("{0}")]
    Store(StoreError),
    /// windlass refuses to do it.
    #[error("{what}")]
    Policy {
        /// What, and what would allow it.
        what: String,
    },
    /// It failed in a way that may pass, as often as was allowed.
    #[error("{last} ({})", Given { attempts: *attempts, retry_after: *retry_after })]
    Exhausted {
        /// How often it was tried.
        attempts: u32,
        /// How long the server asked to wait, if that was longer than is waited for.
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
    /// A defect in windlass. Only this task fails by it.
    #[error("a defect in windlass: {what}; please report it")]
    Internal {
        /// What cannot be, but is.
        what: String,
    },
}

/// How often it was tried, for people.
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

/// The sorts of errors: what a caller can decide on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Content did not match its digest or size.
    Mismatch,
    /// Not authenticated, or not allowed.
    Auth,
    /// Not there.
    NotFound,
    /// Refused or failed for good: by the registry, the peer's misbehaviour, TLS, the store, policy.
    Refused,
    /// May pass: connection, time-out, 408, 429, 5xx.
    Temporary,
    /// Cancelled by the caller.
    Cancelled,
    /// A defect in windlass.
    Internal,
}

impl ErrorKind {
    /// Which error to show first of several: lower is more telling.
    pub(crate) const fn rank(self) -> u8 {
        match self {
            Self::Mismatch => 1,
            Self::Auth => 2,
            Self::NotFound => 3,
            Self::Refused => 4,
            Self::Temporary => 5,
            Self::Cancelled => 6,
            // Other errors may only follow from it.
            Self::Internal => 0,
        }
    }
}

impl Error {
    pub(crate) fn internal(what: &str) -> Self {
        Self::Internal {
            what: crate::shown::escape(what, 300),
        }
    }

    /// What sort of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Registry(_) | Self::Peer { .. } | Self::Policy { .. } => ErrorKind::Refused,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Mismatch { .. } => ErrorKind::Mismatch,
            Self::Auth(_) => ErrorKind::Auth,
            Self::Transport { error, .. } => match error.kind {
                TransportErrorKind::ProxyAuth => ErrorKind::Auth,
                TransportErrorKind::Tls | TransportErrorKind::Protocol => ErrorKind::Refused,
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
                | StoreErrorKind::Io => ErrorKind::Refused,
                StoreErrorKind::Locked | StoreErrorKind::Descriptors => ErrorKind::Temporary,
            },
            Self::Exhausted { .. } | Self::Deadline => ErrorKind::Temporary,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// The same error, whose request is also told what it was for.
    pub(crate) fn about(mut self, what: &str) -> Self {
        let request = match &mut self {
            Self::Registry(refusal) => &mut refusal.request,
            Self::Auth(error) => &mut error.request,
            Self::Peer { request, .. } | Self::Transport { request, .. } => request,
            Self::Exhausted { last, .. } => {
                **last = core::mem::replace(&mut **last, Self::Cancelled).about(what);
                return self;
            }
            // These say what they are about, or need not.
            Self::NotFound(_)
            | Self::Mismatch { .. }
            | Self::Store(_)
            | Self::Policy { .. }
            | Self::Deadline
            | Self::Cancelled
            | Self::Internal { .. } => return self,
        };
        request.0.push_str(&format!(" ({what})"));
        self
    }

    /// What the answer said that this error is, if it is one.
    pub(crate) const fn said(&self) -> Option<&Said> {
        match self {
            Self::Registry(refusal) => Some(&refusal.said),
            Self::Auth(error) => Some(&error.said),
            Self::NotFound(missing) => Some(&missing.said),
            Self::Peer { .. }
            | Self::Mismatch { .. }
            | Self::Transport { .. }
            | Self::Store(_)
            | Self::Policy { .. }
            | Self::Exhausted { .. }
            | Self::Deadline
            | Self::Cancelled
            | Self::Internal { .. } => None,
        }
    }

    /// What the user can do about it, if there is something to say.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Registry(refusal) => refusal.hint.as_deref(),
            Self::NotFound(missing) => missing.hint.as_deref(),
            Self::Auth(error) => error.hint.as_deref(),
            Self::Exhausted { last, .. } => last.hint(),
            Self::Peer { .. }
            | Self::Mismatch { .. }
            | Self::Transport { .. }
            | Self::Store(_)
            | Self::Policy { .. }
            | Self::Deadline
            | Self::Cancelled
            | Self::Internal { .. } => None,
        }
    }
}

/// Names a request in an error or an event: method and target without the values of its query.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestLine(pub(crate) String);

impl fmt::Display for RequestLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An answer that says no.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Refusal {
    /// Which request.
    pub request: RequestLine,
    /// The status of the answer.
    pub status: u16,
    /// The registry's own words.
    pub said: Said,
    /// What the user can do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.request, self.status, self.said)
    }
}

/// What an error answer said: the entries of its body, escaped and cut.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Said {
    /// The registry's error codes and messages, in order.
    pub entries: Vec<SaidEntry>,
}

/// One error of an error answer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SaidEntry {
    /// The code, for instance `MANIFEST_UNKNOWN`; empty if there was none.
    pub code: String,
    /// The message, escaped.
    pub message: String,
    /// The digests in the error's detail.
    pub digests: Vec<Digest>,
}

impl Said {
    /// Whether one of the errors has this code.
    pub fn has(&self, code: &str) -> bool {
        self.entries.iter().any(|entry| entry.code == code)
    }
}

/// In brackets, after a space: it follows what windlass has to say. Nothing if there is nothing.
impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let says = |entry: &&SaidEntry| !entry.code.is_empty() || !entry.message.is_empty();
        let entries: Vec<&SaidEntry> = self.entries.iter().filter(says).collect();
        if entries.is_empty() {
            return Ok(());
        }
        for (i, entry) in entries.iter().take(3).enumerate() {
            f.write_str(if i == 0 { " (" } else { "; " })?;
            match (entry.code.as_str(), entry.message.as_str()) {
                (code, "") => f.write_str(code)?,
                ("", message) => f.write_str(message)?,
                (code, message) => write!(f, "{code}: {message}")?,
            }
        }
        if entries.len() > 3 {
            write!(f, " and {} more", entries.len() - 3)?;
        }
        f.write_str(")")
    }
}

/// What is not there.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NotFound {
    /// What was looked for.
    pub what: String,
    /// The answer that said so, if a registry did.
    pub said: Said,
    /// What the user can do about it.
    pub hint: Option<String>,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: not found{}", self.what, self.said)
    }
}

/// How authentication failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AuthError {
    /// Which request, of the registry or of its token service.
    pub request: RequestLine,
    /// The status of the answer.
    pub status: u16,
    /// What was presented: `no credentials`, `the credentials of \`user\``, `a fresh token`.
    pub presented: String,
    /// The server's own words.
    pub said: Said,
    /// What the user can do about it, with the exact setting.
    pub hint: Option<String>,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} with {}{}",
            self.request, self.status, self.presented, self.said
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::string::ToString as _;
    use std::vec;

    use super::*;

    fn line() -> RequestLine {
        RequestLine("GET https://r.example/v2/".into())
    }

    /// The error of each sort of connection failure. A new sort does not compile until it is here.
    fn transport(kind: TransportErrorKind) -> (Error, ErrorKind) {
        let expected = match kind {
            TransportErrorKind::ProxyAuth => ErrorKind::Auth,
            TransportErrorKind::Resolve
            | TransportErrorKind::Connect
            | TransportErrorKind::Descriptors
            | TransportErrorKind::Reset
            | TransportErrorKind::Idle
            | TransportErrorKind::Answer
            | TransportErrorKind::Other => ErrorKind::Temporary,
            TransportErrorKind::Tls | TransportErrorKind::Protocol => ErrorKind::Refused,
        };
        let request = line();
        let error = TransportError::new(kind, "x");
        (Error::Transport { request, error }, expected)
    }

    /// The error of each sort of store failure, the same way.
    fn store(kind: StoreErrorKind) -> (Error, ErrorKind) {
        let expected = match kind {
            StoreErrorKind::NoSuchName => ErrorKind::NotFound,
            StoreErrorKind::Damaged => ErrorKind::Mismatch,
            StoreErrorKind::Ambiguous
            | StoreErrorKind::Absent
            | StoreErrorKind::Full
            | StoreErrorKind::Denied
            | StoreErrorKind::NotALayout
            | StoreErrorKind::TooLarge
            | StoreErrorKind::Io => ErrorKind::Refused,
            StoreErrorKind::Locked | StoreErrorKind::Descriptors => ErrorKind::Temporary,
        };
        (Error::Store(StoreError::new(kind, "x")), expected)
    }

    /// One error of each variant but those two.
    fn others() -> [(Error, ErrorKind); 10] {
        let (request, said, hint) = (line(), Said::default(), None::<String>);
        let refusal = Refusal {
            request: request.clone(),
            status: 400,
            said: said.clone(),
            hint: hint.clone(),
        };
        let auth = AuthError {
            request: request.clone(),
            status: 401,
            presented: "no credentials".into(),
            said: said.clone(),
            hint: hint.clone(),
        };
        let missing = NotFound {
            what: "x".into(),
            said,
            hint,
        };
        let (what, expected, found) = ("x".into(), "a".into(), "b".into());
        let exhausted = Error::Exhausted {
            attempts: 5,
            retry_after: None,
            last: Box::new(Error::Registry(Box::new(refusal.clone()))),
        };
        [
            (Error::Registry(Box::new(refusal)), ErrorKind::Refused),
            (Error::NotFound(missing), ErrorKind::NotFound),
            (
                Error::Peer {
                    request,
                    what: "x".into(),
                },
                ErrorKind::Refused,
            ),
            (
                Error::Mismatch {
                    what,
                    expected,
                    found,
                },
                ErrorKind::Mismatch,
            ),
            (Error::Auth(Box::new(auth)), ErrorKind::Auth),
            (Error::Policy { what: "x".into() }, ErrorKind::Refused),
            (exhausted, ErrorKind::Temporary),
            (Error::Deadline, ErrorKind::Temporary),
            (Error::Cancelled, ErrorKind::Cancelled),
            (Error::internal("x"), ErrorKind::Internal),
        ]
    }

    /// What exit codes follow from: a total function.
    #[test]
    fn every_variant_has_its_kind() {
        let transports = [
            TransportErrorKind::Resolve,
            TransportErrorKind::Connect,
            TransportErrorKind::Descriptors,
            TransportErrorKind::Tls,
            TransportErrorKind::ProxyAuth,
            TransportErrorKind::Reset,
            TransportErrorKind::Idle,
            TransportErrorKind::Answer,
            TransportErrorKind::Protocol,
            TransportErrorKind::Other,
        ];
        let stores = [
            StoreErrorKind::NoSuchName,
            StoreErrorKind::Ambiguous,
            StoreErrorKind::Absent,
            StoreErrorKind::Damaged,
            StoreErrorKind::Full,
            StoreErrorKind::Denied,
            StoreErrorKind::NotALayout,
            StoreErrorKind::TooLarge,
            StoreErrorKind::Locked,
            StoreErrorKind::Descriptors,
            StoreErrorKind::Io,
        ];
        // A new variant does not compile until it has a number, and fails until it is in a list.
        let number = |error: &Error| match error {
            Error::Registry(_) => 0,
            Error::NotFound(_) => 1,
            Error::Peer { .. } => 2,
            Error::Mismatch { .. } => 3,
            Error::Auth(_) => 4,
            Error::Transport { .. } => 5,
            Error::Store(_) => 6,
            Error::Policy { .. } => 7,
            Error::Exhausted { .. } => 8,
            Error::Deadline => 9,
            Error::Cancelled => 10,
            Error::Internal { .. } => 11,
        };
        let transports = transports.into_iter().map(transport);
        let stores = stores.into_iter().map(store);
        let mut seen = BTreeSet::new();
        for (error, kind) in others().into_iter().chain(transports).chain(stores) {
            assert_eq!(error.kind(), kind, "{error:?}");
            seen.insert(number(&error));
        }
        assert!(seen.into_iter().eq(0..=11));
    }

    /// What the server said stands apart from what windlass says.
    #[test]
    fn a_servers_words_stand_in_brackets() {
        let said = |entries: &[(&str, &str)]| {
            let entries = entries.iter().map(|(code, message)| SaidEntry {
                code: (*code).into(),
                message: (*message).into(),
                digests: vec![],
            });
            let missing = NotFound {
                what: "manifest".into(),
                said: Said {
                    entries: entries.collect(),
                },
                hint: None,
            };
            missing.to_string()
        };
        let table: [(&[(&str, &str)], &str); 6] = [
            (&[], "manifest: not found"),
            (&[("", "")], "manifest: not found"),
            (&[("A", "b")], "manifest: not found (A: b)"),
            (&[("A", "")], "manifest: not found (A)"),
            (&[("A", "b"), ("", "c")], "manifest: not found (A: b; c)"),
            (
                &[("A", ""), ("B", ""), ("C", ""), ("D", ""), ("E", "")],
                "manifest: not found (A; B; C and 2 more)",
            ),
        ];
        for (entries, expected) in table {
            assert_eq!(said(entries), expected);
        }
    }
}
