//! The configuration of a session: routes, concurrency, retries, limits, trusted realms.

mod budget;
mod contact;
mod habits;
mod pattern;
mod request;
mod route;
mod settings;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::registry::{Origin, Registry};
use crate::written::micros;

pub use self::budget::{Budget, BudgetError};
pub use self::contact::{Contact, RouteError};
pub use self::habits::{ChunkSizes, Habits, Lack, RegistryKind, RegistryKindError};
pub use self::pattern::{Closeness, RegistryPattern, RegistryPatternError};
pub use self::request::{ApiPath, ApiPathError, RequestHeader, RequestHeaderError};
pub use self::route::{
    Capabilities, Endpoint, Mode, Prefix, References, Role, Route, RouteAction, RouteScope,
};
pub use self::settings::RegistrySettings;

/// The configuration of a session. The defaults suit a command-line client.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Config {
    /// Where to contact a registry, if not at its default origin (see [`Registry::origin`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<Registry, Origin>,
    /// Mirrors, other addresses and blocked names, by registry and repository. The order matters only
    /// among routes with the same scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// What is said for some registries in place of what is said here for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<RegistrySettings>,
    /// Token services on another host that may receive a registry's credentials: pairs of registry
    /// and realm (AUTH-84). Well-known registries need no entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_realms: Vec<(Registry, Origin)>,
    /// Whether tasks that only read go on anonymously, with a warning, where a registry or its token
    /// service refuses the credentials. Never for what is written. By default, they fail (AUTH-47).
    #[serde(default)]
    pub anonymous_fallback: bool,
    /// How many HTTP exchanges may run at once, per host. Downloads that their callers do not read do not count
    /// ([`Session::yield_slot`](crate::Session::yield_slot)).
    pub in_flight: Concurrency,
    /// How many GETs of manifests each registry may be sent in a time, as far as this session sends them: what exceeds
    /// it waits ([`Event::Paused`](crate::Event::Paused)), and nothing else does. For registries that allow only so
    /// many, such as Docker Hub. A GET that is answered with a challenge does not count; one that the
    /// registry redirects to itself counts twice. `None`: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Budget>,
    /// Blobs of more bytes than this are uploaded in chunks of this many, at least 64 KiB. `None`: in one
    /// request, unless the registry refuses its size; streams in chunks of 16 MiB, which are held in memory. A
    /// registry that asks for larger chunks gets those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_size: Option<u64>,
    /// Whether a blob of at most 64 KiB is sent in the POST that begins its upload, which saves a round trip. A registry
    /// that answers 202, or refuses it, gets a PUT then and no other such POST. By default only where a registry is
    /// known to store it ([`Habits::posts`](Habits)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_blobs: Option<bool>,
    /// Whether blobs between two registries are sent while they are fetched. A spool is then used only where that
    /// is in vain, or both are the same registry. Otherwise every blob is fetched into the spool first.
    // It is missing on tapes that are older than relays.
    #[serde(default)]
    pub relays: bool,
    /// When large blobs are fetched with several requests at once.
    #[serde(default)]
    pub parts: Parts,
    /// How long after it was written a list of referrers is read again, where the registry does not look at
    /// conditions of requests (`If-Match`): another writer that read the list before may replace it that much later.
    /// Up to a quarter less, four times what reading and writing took if that is longer, and doubled each time that
    /// the list has to be written again. Zero: at once. Lists at registries that do look at conditions are not read
    /// again.
    // It is missing on tapes that are older than it.
    #[serde(default, with = "micros")]
    pub settle: Duration,
    /// From which size on, in bytes, unfinished uploads of blobs are kept for another process. They are in
    /// checkpoints then, [`take_upload_change`](crate::Session::take_upload_change) tells of them, and they
    /// are not deleted at the registry when a task is cancelled or fails for a reason that may pass. `None`:
    /// none is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_uploads: Option<u64>,
    /// When and how often to retry.
    pub retry: Retry,
    /// Bounds on everything that a server can influence.
    pub limits: Limits,
    /// The `User-Agent` of every request.
    pub user_agent: String,
}

impl Config {
    /// Transfers from one source to one destination that are under way at once.
    pub(crate) fn transfers(&self) -> usize {
        let requests = usize::try_from(self.most_in_flight()).unwrap_or(usize::MAX);
        self.limits.transfers.max(requests).max(1)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoints: BTreeMap::new(),
            routes: Vec::new(),
            registries: Vec::new(),
            trusted_realms: Vec::new(),
            anonymous_fallback: false,
            in_flight: Concurrency::default(),
            manifests: None,
            chunk_size: None,
            post_blobs: None,
            relays: true,
            parts: Parts::default(),
            // Clients write what they have read within a round trip or two.
            settle: Duration::from_secs(1),
            keep_uploads: None,
            retry: Retry::default(),
            limits: Limits::default(),
            user_agent: concat!("windlass/", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// Bounds on concurrency per host. The limit starts at `initial`. While requests wait for it, it grows by one with each
/// success, up to `max`: beyond `initial` only as long as answers stay quick, so that many small blobs need few
/// round trips and large ones do not share a link. It is halved once per congestion event (429, 503), down to
/// `min`, and from then on grows by one with as many successes as it admits.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Concurrency {
    /// The initial limit.
    pub initial: u32,
    /// The highest limit.
    pub max: u32,
    /// The lowest limit.
    pub min: u32,
}

impl Concurrency {
    /// At most this many, and at most 16 at first.
    pub const fn at_most(max: u32) -> Self {
        let max = if max == 0 { 1 } else { max };
        let initial = if max < Self::INITIAL {
            max
        } else {
            Self::INITIAL
        };
        Self {
            initial,
            max,
            min: 1,
        }
    }

    /// The same within what a session can work with, for numbers from a file.
    pub(crate) fn clamped(self) -> Self {
        /// What counts up to this cannot overflow.
        const MOST: u32 = 1 << 16;
        Self {
            initial: self.initial.clamp(1, MOST),
            max: self.max.clamp(1, MOST),
            min: self.min.clamp(1, MOST),
        }
    }

    /// 16 connections serve 100 small blobs in a handful of round trips; registries limit requests per minute or hour,
    /// and a server that is overrun says so with a 429 or 503.
    const INITIAL: u32 = 16;
}

impl Default for Concurrency {
    fn default() -> Self {
        Self::at_most(64)
    }
}

/// When one blob is fetched with several requests at once, each for a range of its bytes (RNG-13): on a
/// link whose connections are slow one by one. Only into a store that takes bytes at any offset.
///
/// The first request is for a small part. If the registry does not serve ranges, it brings the whole blob. If
/// it comes soon, the server is near, and the rest follows as one stream. Otherwise further requests are made
/// while the host has slots that nothing else waits for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Parts {
    /// Requests for one blob at once. With less than 2, all blobs are fetched as one stream.
    pub most: u32,
    /// Blobs of which fewer bytes are missing are fetched as one stream.
    pub threshold: u64,
    /// Bytes of a part, at least, unless it is the first or the last one.
    pub least: u64,
    /// If the first part, an eighth of `least`, comes within this time, the rest follows as one stream. Where any
    /// request to the registry took no more than a quarter of this, each other request that is outside adds as much;
    /// where one took less than this and half of `most` are outside, but not this one alone, the rest follows as one
    /// stream in any case.
    #[serde(with = "micros")]
    pub near: Duration,
}

impl Parts {
    /// All blobs are fetched as one stream.
    pub const NONE: Self = Self {
        most: 1,
        threshold: u64::MAX,
        least: u64::MAX,
        near: Duration::ZERO,
    };

    /// Parts of at least this many bytes, of blobs of at least four times as many, however near a server is.
    pub const fn of_at_least(least: u64) -> Self {
        Self {
            most: 12,
            threshold: least.saturating_mul(4),
            least: if least == 0 { 1 } else { least },
            near: Duration::ZERO,
        }
    }

    /// The bytes of the first part: enough for one round trip, little enough to wait for.
    pub(crate) const fn first(&self) -> u64 {
        let first = self.least / 8;
        if first == 0 { 1 } else { first }
    }

    /// The bytes of the next part of a blob, of which `missing` are not asked for. Parts become smaller, so
    /// that the last ones end at about the same time, however fast their connections are. Without slots for
    /// other requests there are only a few, each of half of what is missing.
    pub(crate) fn next(&self, missing: u64, slots: Slots) -> u64 {
        let divisor = match slots {
            Slots::Free => u64::from(self.most.max(1)) * 2,
            Slots::Taken => 2,
        };
        (missing / divisor).max(self.least).max(1)
    }
}

impl Default for Parts {
    /// Parts of at least 4 MiB: on a fast connection they take as long as some round trips. Within 20 ms the
    /// first one comes only over a local network that is as fast as a disk.
    fn default() -> Self {
        Self {
            near: Duration::from_millis(20),
            ..Self::of_at_least(4 << 20)
        }
    }
}

/// Whether a host has slots for more requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Slots {
    Free,
    Taken,
}

/// When to retry. Only transient failures are retried.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Retry {
    /// Attempts in all, at least 1. 64 KiB of progress reset the count of a transfer.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    #[serde(with = "micros")]
    pub base: Duration,
    /// The longest wait.
    #[serde(with = "micros")]
    pub cap: Duration,
    /// The longest `Retry-After` that is obeyed; a longer one ends the task.
    #[serde(with = "micros")]
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

/// Bounds on what a server can make a client do or hold, and on what a client has under way.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one manifest or index. Registries accept 4 MiB (SEC-05).
    pub document: u64,
    /// Bytes of all manifests, or of all names of a list, that a task holds at once.
    pub documents: u64,
    /// Manifests and blobs of one task.
    pub objects: usize,
    /// Transfers from one source to one destination that are under way at once, if they are not fewer
    /// than the requests to a host at once. Each that goes into a store holds a file open.
    #[serde(default = "Limits::default_transfers")]
    pub transfers: usize,
    /// Pages of one list.
    #[serde(default = "Limits::default_pages")]
    pub pages: usize,
    /// Levels of nested indexes.
    pub depth: usize,
    /// Bytes of an error body that are read.
    pub error_body: u64,
    /// Bytes of a token service's response.
    pub token_body: u64,
    /// Redirects of one request.
    pub redirects: usize,
}

impl Limits {
    const fn default_pages() -> usize {
        10_000
    }

    const fn default_transfers() -> usize {
        64
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document: 4 << 20,
            documents: 64 << 20,
            objects: 10_000,
            transfers: Self::default_transfers(),
            pages: Self::default_pages(),
            depth: 4,
            error_body: 64 << 10,
            token_body: 64 << 10,
            redirects: 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn a_configuration_is_read_as_it_was_written() {
        let registry: Registry = "reg.example:5000".parse().expect("a registry");
        let origin: Origin = "http://[::1]:5000".parse().expect("an origin");
        let config = Config {
            endpoints: [(registry.clone(), origin.clone())].into(),
            routes: Vec::new(),
            registries: alloc::vec![RegistrySettings::new(registry.clone().into(), "x")],
            trusted_realms: alloc::vec![(registry, origin)],
            anonymous_fallback: true,
            in_flight: Concurrency::at_most(3),
            manifests: Some(Budget::new(5, Duration::from_secs(6))),
            chunk_size: None,
            post_blobs: Some(true),
            relays: false,
            parts: Parts::of_at_least(9),
            settle: Duration::from_millis(5),
            keep_uploads: Some(10),
            retry: Retry {
                attempts: 7,
                base: Duration::from_micros(1),
                cap: Duration::from_secs(2),
                retry_after_cap: Duration::from_secs(3),
            },
            limits: Limits {
                document: 1,
                documents: 2,
                objects: 3,
                transfers: 8,
                pages: 9,
                depth: 4,
                error_body: 5,
                token_body: 6,
                redirects: 7,
            },
            user_agent: "a \"b\"".into(),
        };
        for config in [Config::default(), config] {
            let written = serde_json::to_string(&config).expect("JSON");
            let read: Config = serde_json::from_str(&written).expect("it was written");
            assert_eq!(format!("{read:?}"), format!("{config:?}"));
        }
    }

    #[test]
    fn parts_become_smaller_to_the_least() {
        const MIB: u64 = 1 << 20;
        let parts = Parts::default();
        assert_eq!((parts.threshold, parts.first()), (16 * MIB, MIB / 2));
        for (missing, slots, expected) in [
            (1536 * MIB, Slots::Free, 64 * MIB),
            (192 * MIB, Slots::Free, 8 * MIB),
            (96 * MIB, Slots::Free, 4 * MIB),
            (MIB, Slots::Free, 4 * MIB),
            (128 * MIB, Slots::Taken, 64 * MIB),
            (MIB, Slots::Taken, 4 * MIB),
        ] {
            assert_eq!(parts.next(missing, slots), expected, "{missing} {slots:?}");
        }
        let mut odd = Parts::of_at_least(0);
        odd.most = 0;
        assert_eq!((odd.first(), odd.next(1, Slots::Free)), (1, 1));
        let none = Parts::NONE;
        assert!(none.next(u64::MAX, Slots::Free) >= 1 && none.first() >= 1);
    }

    #[test]
    fn numbers_from_a_file_are_clamped() {
        let read = Concurrency {
            initial: 0,
            max: u32::MAX,
            min: 0,
        };
        let read = read.clamped();
        assert_eq!((read.initial, read.max, read.min), (1, 1 << 16, 1));
    }
}
