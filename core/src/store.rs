//! What the session asks of a store, and what a store answers.
//!
//! Responsible for the vocabulary. Must not know files: the store crate runs a [`StoreCall`]
//! against any implementation and hands back its [`Done`].

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::call::{Done, JobId, Outcome};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::hashing::Hashing;
use crate::shown::urls;

/// Names a store among those the driver knows. Given out by the driver, opaque to the core.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StoreId(pub u64);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

/// One step in a store, to be run by any worker.
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

    /// What is to be done.
    pub const fn op(&self) -> &StoreOp {
        &self.op
    }

    /// Hands the call back with what came of it. The answer must fit the operation, see
    /// [`StoreOp`]; one that does not counts as a failure of the store.
    #[must_use = "the session waits for it"]
    pub fn finish(self, answer: Result<StoreAnswer, StoreError>) -> Done {
        let answer = answer.and_then(|answer| {
            if self.op.takes(&answer) {
                return Ok(answer);
            }
            let what = format!(
                "the store answered `{}` with `{}`",
                self.op.name(),
                answer.name()
            );
            Err(StoreError::new(StoreErrorKind::Io, what))
        });
        Done::new(self.id, Outcome::Store(answer))
    }
}

/// A step in a store. Each variant says which [`StoreAnswer`] it takes.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StoreOp {
    /// Take the exclusive right to write this blob, unless it is complete or somebody else has it.
    /// Answers `Complete`, `Partial` (0 bytes if there was none) or `Busy`. After `Partial` the
    /// driver keeps the open partial until `Commit` or `Release` names it.
    Begin {
        /// The blob's digest.
        digest: Digest,
        /// Its size in bytes, from the descriptor. A stored blob of another size counts as absent.
        size: u64,
        /// Write it apart from whoever is busy with it: that one has stood still for too long.
        private: bool,
    },
    /// Read a small document. Answers `Loaded` or `Absent`; larger than `limit` is an error.
    Load {
        /// The document's digest.
        digest: Digest,
        /// The most bytes to read.
        limit: u64,
    },
    /// Write a small document under its final name, atomically. Answers `Written`.
    Put {
        /// The document's digest, already verified by the core.
        digest: Digest,
        /// The document.
        bytes: Arc<[u8]>,
    },
    /// Hash the first `upto` bytes of the open partial. Answers `Hashed`.
    Hash {
        /// The blob's digest; says with which algorithm to hash.
        digest: Digest,
        /// How many bytes.
        upto: u64,
    },
    /// Give the open partial its final name. Its bytes are durable on return, its name at the latest
    /// when a later `Tag` is. Answers `Written`.
    Commit {
        /// The blob's digest, which the core has verified.
        digest: Digest,
        /// The size the partial must have.
        size: u64,
    },
    /// Throw the open partial's bytes away and keep it open, empty. Answers `Written`.
    Discard {
        /// The blob's digest.
        digest: Digest,
    },
    /// Close the open partial and keep its bytes for a later run. Answers `Written`.
    Release {
        /// The blob's digest.
        digest: Digest,
    },
    /// Copy a blob out of another store into the open partial, from where it ends, hashing.
    /// Answers `Hashed` with the hash over the whole blob, or `Absent` if the other store lacks it.
    Import {
        /// The store that has the blob.
        from: StoreId,
        /// The blob's digest.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// Remove a blob (only ever asked of a spool). Answers `Written`.
    Remove {
        /// The blob's digest.
        digest: Digest,
    },
    /// Find the entry of that name; the only entry if no name is given. Answers `Found`, `Several` if
    /// there is one for each of several platforms, or an error of kind `NoSuchName` or `Ambiguous` that
    /// lists what there is.
    Find {
        /// The entry's name: a tag, or whatever the layout's `ref.name` says; or a digest.
        name: Option<String>,
    },
    /// Name an entry, replacing what had that name. Answers `Written`.
    Tag {
        /// The entry's name; without one the entry is added unnamed, if it is not there already.
        name: Option<String>,
        /// What the name stands for.
        descriptor: Descriptor,
    },
}

impl StoreOp {
    /// The blob this is about, if it is about one.
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
            Self::Find { .. } | Self::Tag { .. } => None,
        }
    }

    /// Whether this is an answer to it.
    pub(crate) const fn takes(&self, answer: &StoreAnswer) -> bool {
        use StoreAnswer::{
            Absent, Busy, Complete, Found, Hashed, Loaded, Partial, Several, Written,
        };
        match self {
            Self::Begin { .. } => matches!(answer, Complete | Partial { .. } | Busy { .. }),
            Self::Load { .. } => matches!(answer, Loaded(_) | Absent),
            Self::Hash { .. } => matches!(answer, Hashed(_)),
            Self::Import { .. } => matches!(answer, Hashed(_) | Absent),
            Self::Find { .. } => matches!(answer, Found(_) | Several(_)),
            Self::Put { .. }
            | Self::Commit { .. }
            | Self::Discard { .. }
            | Self::Release { .. }
            | Self::Remove { .. }
            | Self::Tag { .. } => matches!(answer, Written),
        }
    }

    /// The operation's name, for people.
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
            Self::Tag { .. } => "tag",
        }
    }
}

/// What a store answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StoreAnswer {
    /// The blob is not there.
    Absent,
    /// The blob is there under its final name, with the size asked for.
    Complete,
    /// The blob's partial is open and holds this many bytes.
    Partial {
        /// Bytes from the start of the blob.
        len: u64,
    },
    /// Somebody else is writing the blob; it has grown to `len` bytes.
    Busy {
        /// Bytes written so far by the other one.
        len: u64,
    },
    /// The document.
    Loaded(Vec<u8>),
    /// The hash.
    Hashed(Hashing),
    /// Done and durable.
    Written,
    /// The entry.
    Found(Descriptor),
    /// Entries of one name, each for another platform.
    Several(Vec<Descriptor>),
}

impl StoreAnswer {
    /// The answer's name, for people.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Complete => "complete",
            Self::Partial { .. } => "partial",
            Self::Busy { .. } => "busy",
            Self::Loaded(_) => "loaded",
            Self::Hashed(_) => "hashed",
            Self::Written => "written",
            Self::Found(_) => "found",
            Self::Several(_) => "several",
        }
    }
}

/// Why a store could not do something.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{detail}")]
pub struct StoreError {
    kind: StoreErrorKind,
    detail: String,
}

impl StoreError {
    /// An error of this kind; `detail` says what was tried on which path and what the system said. The
    /// queries of URLs in it are taken out.
    pub fn new(kind: StoreErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: urls::hidden(&detail.into()),
        }
    }

    /// What sort of failure it is.
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// What was tried, on which path, and what the system said.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// The sorts of store failures.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// No entry of that name.
    NoSuchName,
    /// Several entries and no name, or several of one name.
    Ambiguous,
    /// A blob that is needed is not there.
    Absent,
    /// The bytes are not what their name says.
    Damaged,
    /// No space left, or over quota.
    Full,
    /// Not allowed.
    Denied,
    /// It is not an image layout, or of an unknown version.
    NotALayout,
    /// A document larger than its limit.
    TooLarge,
    /// Another process has held a lock for too long.
    Locked,
    /// No file descriptor was left, so nothing was done.
    Descriptors,
    /// Any other failure of the system.
    Io,
}
