//! What the blocking and the async client have in common: how they are watched, cancelled,
//! given credentials, time limits, trust and proxies.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use windlass_core::call::TransferId;
use windlass_core::credential::CredentialAnswer;
use windlass_core::reference::Repository;
use windlass_core::{Event, Origin, Registry, TaskId};

/// Watches a task. Called from worker threads; must be quick and must not call the client.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, task: TaskId, event: &Event);

    /// A transfer has moved: so many bytes of its blob are now on the other side. May go back when
    /// a transfer starts over.
    fn bytes(&self, transfer: TransferId, position: u64) {
        let _ = (transfer, position);
    }

    /// A line of the live transcript: requests and answers without secrets.
    fn trace(&self, line: &str) {
        let _ = line;
    }

    /// Whether [`trace`](Self::trace) is wanted at all.
    fn traces(&self) -> bool {
        false
    }
}

/// Finds credentials. Asked once per registry and repository; may block.
pub trait Credentials: Send + Sync + fmt::Debug {
    /// The credential for `repository` of `registry`; `recipient` is who will get to see it.
    fn find(
        &self,
        registry: &Registry,
        repository: Option<&Repository>,
        recipient: &Origin,
    ) -> CredentialAnswer;
}

/// No credentials at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn find(&self, _: &Registry, _: Option<&Repository>, _: &Origin) -> CredentialAnswer {
        CredentialAnswer::None
    }
}

/// How long may pass without anything happening. There is no limit on a whole transfer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TimeLimits {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// Between two chunks of a body, in either direction.
    pub idle: Duration,
    /// From the last byte of a request to the first of its answer. Long, because registries hash
    /// and move a blob before they answer the PUT that ends it.
    pub answer: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            answer: Duration::from_secs(600),
        }
    }
}

/// Which certificate authorities are trusted.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Certificates in DER form. `None`: those of the system.
    pub roots: Option<Arc<Vec<Vec<u8>>>>,
    /// Certificates in DER form that are trusted beside them.
    pub extra: Vec<Vec<u8>>,
}

/// An HTTP proxy: the URL it is reached at, which may hold credentials of its own.
#[derive(Clone, Eq, PartialEq)]
pub struct Proxy {
    /// `http://[user:password@]host:port`.
    pub url: String,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy(***)")
    }
}

/// Decides which origin is reached through which proxy.
pub trait Route: Send + Sync + fmt::Debug {
    /// The proxy for this origin; `None` for a direct connection.
    fn proxy(&self, origin: &Origin) -> Option<Proxy>;
}

/// Direct connections only: what a client does unless it is told otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct;

impl Route for Direct {
    fn proxy(&self, _: &Origin) -> Option<Proxy> {
        None
    }
}
