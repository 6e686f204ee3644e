//! What a session tells while it works.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::call::TransferId;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::task::{Failure, Report};

/// Something that happened in a task. Everything here may be shown to people: no secret can be in
/// it, and text from servers is escaped.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The reference was resolved to this root.
    Resolved(Descriptor),
    /// A blob begins to move. Byte progress of `transfer` counts from `from`.
    Started {
        /// The transfer, as the driver's byte counters know it.
        transfer: TransferId,
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Bytes that are there from an earlier try or an earlier run.
        from: u64,
    },
    /// A blob or manifest did not have to move.
    Skipped {
        /// The content.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Why.
        why: Why,
    },
    /// Something failed in a way that may pass; it is tried again.
    Retrying {
        /// Which try failed, from 1.
        attempt: u32,
        /// How long until the next one.
        after: Duration,
        /// What happened, in which request.
        why: String,
    },
    /// A blob or manifest arrived where it was to go, verified and durable.
    Stored {
        /// The content.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// Something people should know: a server's `Warning`, or a decision that may surprise.
    Warning(String),
    /// The task's last event.
    Finished(Result<Report, Failure>),
}

/// Why something did not have to move.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Why {
    /// It was there already.
    Present,
    /// The registry mounted it from another repository.
    Mounted,
    /// It came embedded in its descriptor.
    Embedded,
    /// It is a foreign layer: not to be distributed, or to be had elsewhere.
    Nondistributable,
    /// Another task moves it.
    Elsewhere,
}

impl fmt::Display for Why {
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
