//! The events that a session reports.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::call::TransferId;
use crate::config::Budget;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::registry::{Origin, Registry};
use crate::task::{Failure, TaskReport};

/// A progress event of a task. Safe to print: it contains no secret, and text from servers is
/// escaped.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The reference was resolved to this manifest or index.
    Resolved(Descriptor),
    /// The transfer of a blob begins. The byte progress of `transfer` starts at `from`.
    Started {
        /// The transfer, the key of the driver's byte counters.
        transfer: TransferId,
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Bytes present from an earlier attempt or run.
        from: u64,
    },
    /// A blob or manifest did not need to be transferred.
    Skipped {
        /// The content.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// The reason.
        why: SkipReason,
    },
    /// A transient failure; the request will be retried.
    Retrying {
        /// The attempt that failed, from 1.
        attempt: u32,
        /// The wait before the next attempt.
        after: Duration,
        /// The request, and how it failed.
        why: String,
    },
    /// The task waits: the budget for manifests of a registry is used up ([`Config::manifests`](crate::Config)).
    /// A pause of less than a second is not told.
    Paused {
        /// The registry.
        registry: Registry,
        /// Its budget.
        budget: Budget,
        /// The wait until there is something left.
        after: Duration,
    },
    /// An endpoint has served a manifest or a blob of a repository that has several: a mirror, or the
    /// registry itself. A blob of which more than one has sent a part counts for the last.
    Served {
        /// The content.
        digest: Digest,
        /// The endpoint.
        origin: Origin,
    },
    /// A blob or manifest was transferred, verified and made durable.
    Stored {
        /// The content.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A server's `Warning`, or a decision that may surprise.
    Warning(String),
    /// The last event of every task.
    Finished(Result<TaskReport, Failure>),
}

/// Why content was not transferred.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SkipReason {
    /// It exists at the destination.
    Present,
    /// The registry mounted it from another repository.
    Mounted,
    /// It is embedded in its descriptor.
    Embedded,
    /// It is a foreign layer, see
    /// [`Task::including_nondistributable`](crate::Task::including_nondistributable).
    Nondistributable,
    /// Another task transfers it.
    Elsewhere,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Present => "already there",
            Self::Mounted => "mounted",
            Self::Embedded => "embedded",
            Self::Nondistributable => "not distributable",
            Self::Elsewhere => "moved by another task",
        })
    }
}
