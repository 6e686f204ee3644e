//! The configuration of a session: endpoints, concurrency, retries, limits, trusted realms.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::registry::{Origin, Registry};

/// The configuration of a session. The defaults suit a command-line client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where to contact a registry, if not at its default origin (see [`Registry::origin`]).
    pub endpoints: BTreeMap<Registry, Origin>,
    /// Token services on another host that may receive a registry's credentials: pairs of registry
    /// and realm (AUTH-84). Well-known registries need no entry.
    pub trusted_realms: Vec<(Registry, Origin)>,
    /// How many HTTP exchanges may run at once, per host.
    pub in_flight: InFlight,
    /// When and how often to retry.
    pub retry: Retry,
    /// Bounds on everything that a server can influence.
    pub limits: Limits,
    /// The `User-Agent` of every request.
    pub user_agent: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoints: BTreeMap::new(),
            trusted_realms: Vec::new(),
            in_flight: InFlight::default(),
            retry: Retry::default(),
            limits: Limits::default(),
            user_agent: concat!("windlass/", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// Bounds on concurrency per host. The limit starts at `first`, grows by one with each success up
/// to `most`, and is halved once per congestion event (429, 503), down to `least`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct InFlight {
    /// The initial limit.
    pub first: u32,
    /// The highest limit.
    pub most: u32,
    /// The lowest limit.
    pub least: u32,
}

impl InFlight {
    /// At most this many, and at most 6 at first.
    pub const fn at_most(most: u32) -> Self {
        let most = if most == 0 { 1 } else { most };
        let first = if most < Self::FIRST {
            most
        } else {
            Self::FIRST
        };
        Self {
            first,
            most,
            least: 1,
        }
    }

    /// What browsers open to one host, and what containers/image uses.
    const FIRST: u32 = 6;
}

impl Default for InFlight {
    fn default() -> Self {
        Self::at_most(16)
    }
}

/// When to retry. Only transient failures are retried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Retry {
    /// Attempts in all, at least 1. 64 KiB of progress reset the count of a transfer.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub base: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// The longest `Retry-After` that is obeyed; a longer one ends the task.
    pub retry_after_cap: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            retry_after_cap: Duration::from_secs(60),
        }
    }
}

/// Bounds on what a server can make a client do or hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one manifest or index. Registries accept 4 MiB (SEC-05).
    pub document: u64,
    /// Bytes of all manifests that a task holds at once.
    pub documents: u64,
    /// Manifests and blobs of one task.
    pub objects: usize,
    /// Levels of nested indexes.
    pub depth: usize,
    /// Bytes of an error body that are read.
    pub error_body: u64,
    /// Bytes of a token service's response.
    pub token_body: u64,
    /// Redirects of one request.
    pub redirects: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document: 4 << 20,
            documents: 64 << 20,
            objects: 10_000,
            depth: 4,
            error_body: 64 << 10,
            token_body: 64 << 10,
            redirects: 10,
        }
    }
}
