//! What a caller can ask of a session, and what comes of it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind};
use crate::platform::Platform;
use crate::reference::{Reference, Repository};
use crate::store::StoreId;
use crate::time::Time;

pub use crate::ids::TaskId;

/// Something to be done, and by when.
#[derive(Clone, Debug)]
pub struct Task {
    pub(crate) kind: TaskKind,
    pub(crate) deadline: Option<Time>,
    pub(crate) foreign: Foreign,
}

/// What becomes of foreign layers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Foreign {
    /// They are left out, and told in the report.
    LeftOut,
    /// They move like all others, and may be fetched from their `urls`.
    Included,
}

#[derive(Clone, Debug)]
pub(crate) enum TaskKind {
    Resolve(Reference),
    Copy(Copy),
}

impl Task {
    /// Find out which digest a reference stands for.
    pub const fn resolve(reference: Reference) -> Self {
        Self {
            kind: TaskKind::Resolve(reference),
            deadline: None,
            foreign: Foreign::LeftOut,
        }
    }

    /// Bring an image from a registry into a store, under this name there.
    pub const fn pull(
        source: Reference,
        store: StoreId,
        name: Option<String>,
        platforms: Platforms,
    ) -> Self {
        Self::copy(Copy {
            source: Place::Registry(source),
            destination: Place::Store { store, name },
            platforms,
            spool: None,
            from: None,
        })
    }

    /// Bring the image of this name from a store into a registry.
    pub const fn push(
        store: StoreId,
        name: Option<String>,
        destination: Reference,
        platforms: Platforms,
    ) -> Self {
        Self::copy(Copy {
            source: Place::Store { store, name },
            destination: Place::Registry(destination),
            platforms,
            spool: None,
            from: None,
        })
    }

    /// Bring an image from one place to another.
    pub const fn copy(copy: Copy) -> Self {
        Self {
            kind: TaskKind::Copy(copy),
            deadline: None,
            foreign: Foreign::LeftOut,
        }
    }

    /// Move foreign layers too: those that are not to be distributed by their media type, and those
    /// whose descriptor has `urls`. By default a task leaves them out, and its report says which.
    ///
    /// A layer that comes from a registry is asked of that registry first. If it fails there, the
    /// descriptor's first [`URLS`] `urls` are tried in order: http and https only,
    /// without credentials, and verified like every blob. A URL on a literal loopback, private or
    /// link-local address, or on `localhost`, is refused with [`Error::Policy`], unless the registry's
    /// own host is a literal address of the same sort of network.
    #[must_use]
    pub const fn including_nondistributable(mut self) -> Self {
        self.foreign = Foreign::Included;
        self
    }

    /// Fail the task if it is not finished by then.
    #[must_use]
    pub const fn by(mut self, deadline: Time) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

/// A copy from one place to another; pull and push are the two everyday cases of it.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Where the image is.
    pub source: Place,
    /// Where it goes.
    pub destination: Place,
    /// Which platforms of an index.
    pub platforms: Platforms,
    /// A store for blobs on their way from one registry to another, needed for such copies only
    /// (between repositories of one registry only if a mount is refused).
    pub spool: Option<StoreId>,
    /// A repository of the destination's registry that is likely to hold the image's blobs.
    pub from: Option<Repository>,
}

/// Where an image is or goes.
#[derive(Clone, Debug)]
pub enum Place {
    /// A registry.
    Registry(Reference),
    /// A store, for instance an image layout.
    Store {
        /// The store.
        store: StoreId,
        /// The entry's name there.
        name: Option<String>,
    },
}

/// Which platforms of an index are wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Platforms {
    /// The index as it is, with everything below it.
    All,
    /// The one image that suits this platform best.
    One(Platform),
}

/// How many `urls` of one layer are tried.
pub const URLS: usize = 5;

/// What a finished task did.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// What the reference or name stands for now: the root of what was moved.
    pub root: Descriptor,
    /// Blobs moved over the network.
    pub moved: u64,
    /// Their bytes, counting only bytes that were really sent or received.
    pub bytes: u64,
    /// Blobs mounted from another repository.
    pub mounted: u64,
    /// Blobs that were there already.
    pub present: u64,
    /// Foreign layers that were left out, see [`Task::including_nondistributable`].
    pub left_out: u64,
    /// The first [`LISTED`](Self::LISTED) of them: media type, digest and size.
    pub left_out_layers: Vec<Descriptor>,
    /// Manifests that are where they were to go, but could not be added to the list of what refers to
    /// their subjects at a registry that has no referrers API: the first [`LISTED`](Self::LISTED).
    pub unlisted: Vec<Unlisted>,
}

/// A manifest that is about another one, and that is not found by those who look for what refers to that
/// one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Unlisted {
    /// The manifest.
    pub digest: Digest,
    /// What it is about.
    pub subject: Digest,
    /// What sort of error stood in the way.
    pub kind: ErrorKind,
    /// The error.
    pub why: String,
}

impl Report {
    /// How many there are at the most in each of its lists.
    pub const LISTED: usize = 100;
}

/// Why a task did not succeed: at least one error, the most telling first.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub(crate) errors: Vec<Error>,
}

impl Failure {
    /// A failure for these reasons. The most telling one comes first: content that did not match,
    /// then authentication, not found, refused, temporary.
    ///
    /// # Panics
    ///
    /// If there is no error.
    pub fn new(mut errors: Vec<Error>) -> Self {
        assert!(!errors.is_empty(), "a failure has a reason");
        errors.sort_by_key(|error| error.kind().rank());
        Self { errors }
    }

    /// The most telling error.
    pub fn first(&self) -> &Error {
        &self.errors[0]
    }

    /// All of them.
    pub fn errors(&self) -> &[Error] {
        &self.errors
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first().fmt(f)
    }
}

impl core::error::Error for Failure {}
