//! The operations of a store, and their answers.
//!
//! Responsible for the vocabulary. Must not know files: the driver runs a [`StoreCall`] against any
//! implementation and returns its [`Done`](crate::Done). Must not know other kinds of jobs: how it becomes
//! a `Done` is in `call`.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::extents::Extents;
use crate::hashing::Hashing;
use crate::ids::JobId;
use crate::redact::redact_urls;

/// A store, as the driver numbers it. Opaque to the core.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct StoreId(pub u64);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// One operation on a store, to be run by any worker.
#[derive(Debug)]
#[must_use = "a store call that is dropped leaves its task waiting for ever"]
pub struct StoreCall {
    id: JobId,
    store: StoreId,
    op: StoreOp,
}

impl StoreCall {
    pub(crate) const fn new(id: JobId, store: StoreId, op: StoreOp) -> Self {
        Self { id, store, op }
    }

    /// The job's id.
    pub const fn id(&self) -> JobId {
        self.id
    }

    /// The store this is for.
    pub const fn store(&self) -> StoreId {
        self.store
    }

    /// The operation.
    pub const fn op(&self) -> &StoreOp {
        &self.op
    }
}

/// An operation on a store. Each variant names its possible [`StoreAnswer`]s.
#[derive(Clone, Debug)]
pub enum StoreOp {
    /// Acquire the exclusive right to write a blob. Answers `Complete`, `Partial` (0 bytes for a
    /// new one), `Extents` instead if the partial takes bytes at any offset, or `Busy` if it has another
    /// owner. After `Partial` and `Extents` the driver keeps the partial open until `Commit` or `Release`.
    Begin {
        /// The blob's digest.
        digest: Digest,
        /// Its size in bytes, from the descriptor. A stored blob of another size counts as absent.
        size: u64,
        /// Write to a private partial because the current owner has stalled.
        private: bool,
    },
    /// Read a small document. Answers `Loaded` or `Absent`; one larger than `limit` is an error.
    Load {
        /// The document's digest.
        digest: Digest,
        /// The most bytes to read.
        limit: u64,
    },
    /// Write a small document atomically under its final name. Answers `Written`.
    Put {
        /// The document's digest, which the core has verified.
        digest: Digest,
        /// The document.
        bytes: Arc<[u8]>,
    },
    /// Hash the first `upto` bytes of the open partial. Answers `Hashed`.
    Hash {
        /// The blob's digest.
        digest: Digest,
        /// The hash over the first of these bytes, with which to go on.
        hashing: Hashing,
        /// How many bytes the hash is to be over.
        upto: u64,
    },
    /// Give the open partial its final name. On return its bytes are durable; its name is durable
    /// at the latest after a later `Tag`. Answers `Written`.
    Commit {
        /// The blob's digest, which the core has verified.
        digest: Digest,
        /// The size that the partial must have.
        size: u64,
    },
    /// Empty the open partial and keep it open. Answers `Written`.
    Discard {
        /// The blob's digest.
        digest: Digest,
    },
    /// Close the open partial and keep its bytes for a later run. Answers `Written`.
    Release {
        /// The blob's digest.
        digest: Digest,
    },
    /// Copy a blob from another store to the end of the open partial, and hash it. Answers `Hashed`
    /// with the hash over the whole blob, or `Absent` if the other store lacks it.
    Import {
        /// The store to copy from.
        from: StoreId,
        /// The blob's digest.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// Remove a blob (from a spool only). Answers `Written`.
    Remove {
        /// The blob's digest.
        digest: Digest,
    },
    /// Find the entry of this name, or the only entry if `name` is `None`. Answers `Found`, or
    /// `Several` if the name has an entry for each of several platforms. Errors of kind
    /// `NoSuchName` and `Ambiguous` list the entries.
    Find {
        /// The entry's name (a tag, or any `ref.name` of the layout), or a digest.
        name: Option<String>,
    },
    /// Read a stream on until `upto` bytes of it were read in all, or it ends; `None`: until it ends. Answers
    /// `Gathered`. The bytes from `from` on are kept, and can be opened as a blob under the digest of that answer;
    /// those before it are not read again. With `None` they are too many for memory.
    Gather {
        /// The first byte that is still needed.
        from: u64,
        /// The end of what is needed now.
        upto: Option<u64>,
    },
    /// List what refers to a manifest. Answers `Referrers`.
    Referrers {
        /// The manifest.
        subject: Digest,
    },
    /// Add manifests, which the store has, to the list of what refers to another one. Answers `Written`.
    AddReferrers {
        /// The manifest that they refer to.
        subject: Digest,
        /// Their descriptors, with artifact type and annotations.
        entries: Vec<Descriptor>,
    },
    /// Set the entry of this name, replacing any other. Answers `Written`.
    Tag {
        /// The entry's name; without one the entry is added unnamed unless it exists.
        name: Option<String>,
        /// The entry.
        descriptor: Descriptor,
    },
}

impl StoreOp {
    /// The blob that the operation is about, if any.
    pub const fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Begin { digest, .. }
            | Self::Load { digest, .. }
            | Self::Put { digest, .. }
            | Self::Hash { digest, .. }
            | Self::Commit { digest, .. }
            | Self::Discard { digest }
            | Self::Release { digest }
            | Self::Import { digest, .. }
            | Self::Remove { digest } => Some(digest),
            Self::Find { .. }
            | Self::Gather { .. }
            | Self::Tag { .. }
            | Self::Referrers { .. }
            | Self::AddReferrers { .. } => None,
        }
    }

    /// Whether `answer` is one of the operation's answers.
    pub(crate) const fn takes(&self, answer: &StoreAnswer) -> bool {
        use StoreAnswer::{
            Absent, Busy, Complete, Found, Gathered, Hashed, Loaded, Partial, Several, Written,
        };
        match self {
            Self::Begin { .. } => {
                matches!(
                    answer,
                    Complete | Partial { .. } | StoreAnswer::Extents(_) | Busy { .. }
                )
            }
            Self::Load { .. } => matches!(answer, Loaded(_) | Absent),
            Self::Hash { .. } => matches!(answer, Hashed(_)),
            Self::Import { .. } => matches!(answer, Hashed(_) | Absent),
            Self::Find { .. } => matches!(answer, Found(_) | Several(_)),
            Self::Gather { .. } => matches!(answer, Gathered { .. }),
            Self::Referrers { .. } => matches!(answer, StoreAnswer::Referrers(_)),
            Self::Put { .. }
            | Self::Commit { .. }
            | Self::Discard { .. }
            | Self::Release { .. }
            | Self::Remove { .. }
            | Self::AddReferrers { .. }
            | Self::Tag { .. } => matches!(answer, Written),
        }
    }

    /// The operation's name, for messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Begin { .. } => "begin",
            Self::Load { .. } => "load",
            Self::Put { .. } => "put",
            Self::Hash { .. } => "hash",
            Self::Commit { .. } => "commit",
            Self::Discard { .. } => "discard",
            Self::Release { .. } => "release",
            Self::Import { .. } => "import",
            Self::Remove { .. } => "remove",
            Self::Find { .. } => "find",
            Self::Gather { .. } => "gather",
            Self::Referrers { .. } => "referrers",
            Self::AddReferrers { .. } => "add referrers",
            Self::Tag { .. } => "tag",
        }
    }
}

/// A store's answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StoreAnswer {
    /// The blob is not there.
    Absent,
    /// The blob exists under its final name, with the size asked for.
    Complete,
    /// The blob's partial is open and holds its first bytes.
    Partial {
        /// Bytes from the start of the blob.
        len: u64,
    },
    /// The blob's partial is open, takes bytes at any offset, from several calls at once, and holds these
    /// parts of the blob.
    Extents(Extents),
    /// Another owner is writing the blob.
    Busy {
        /// Bytes that it has written so far.
        len: u64,
    },
    /// The document.
    Loaded(#[serde(with = "crate::written::text")] Vec<u8>),
    /// The hash.
    Hashed(Hashing),
    /// The change is done and durable.
    Written,
    /// The entry.
    Found(Descriptor),
    /// Entries of one name, each for another platform.
    Several(Vec<Descriptor>),
    /// What was read of a stream so far.
    Gathered {
        /// Its digest.
        digest: Digest,
        /// How many bytes.
        size: u64,
        /// Whether the stream has ended there.
        is_whole: bool,
    },
    /// What refers to a manifest. What the descriptors say need not be true.
    Referrers(Vec<Descriptor>),
}

impl StoreAnswer {
    /// The answer's name, for messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Complete => "complete",
            Self::Partial { .. } => "partial",
            Self::Extents(_) => "extents",
            Self::Busy { .. } => "busy",
            Self::Loaded(_) => "loaded",
            Self::Hashed(_) => "hashed",
            Self::Written => "written",
            Self::Found(_) => "found",
            Self::Several(_) => "several",
            Self::Gathered { .. } => "gathered",
            Self::Referrers(_) => "referrers",
        }
    }
}

/// A failure of a store.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{detail}")]
pub struct StoreError {
    kind: StoreErrorKind,
    #[serde(skip, default = "crate::written::no_detail")]
    detail: String,
}

impl StoreError {
    /// An error of this kind. `detail` says what was tried on which path and what the system
    /// answered; the queries of URLs in it are redacted.
    pub fn new(kind: StoreErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: redact_urls(&detail.into()),
        }
    }

    /// The kind of failure.
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// What was tried, on which path, and what the system answered.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// The kinds of store failures.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// No entry has this name.
    NoSuchName,
    /// Several entries match.
    Ambiguous,
    /// A required blob is missing.
    Absent,
    /// The content does not match its digest.
    Damaged,
    /// No space left, or quota exceeded.
    Full,
    /// Permission denied.
    Denied,
    /// Not an image layout, or one of an unknown version.
    NotALayout,
    /// A document larger than its limit.
    TooLarge,
    /// The store cannot write at this offset of a partial.
    Unsupported,
    /// Another process has held a lock for too long.
    Locked,
    /// No file descriptor was left; nothing was changed.
    Descriptors,
    /// Any other I/O failure.
    Io,
}
