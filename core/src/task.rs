//! Tasks: what a session is asked to do, and what it reports of that.
//!
//! Responsible for what tasks of all kinds have in common: their options, and the lists of kinds and of reports. What
//! is asked of one kind and what it reports is in a file of its own, with its constructors of [`Task`]. Must not know
//! how tasks are done (`tasks`).

mod blob;
mod carry;
mod check;
mod copy;
mod failure;
mod fetch;
mod list;
mod manifest;
mod mount;
mod open;
mod read_at;
mod referrers;

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

pub(crate) use self::blob::{BlobAction, BlobTask, StreamTask};
pub use self::blob::{BlobDelivery, BlobFound, BlobPut};
pub use self::carry::{Carried, Carry, NotCarried};
pub use self::check::Checked;
pub(crate) use self::copy::Foreign;
pub use self::copy::{CopyTask, Platforms, Report, TaskLocation, Unlisted};
pub use self::failure::Failure;
pub use self::fetch::{BlobRange, Fetched};
pub(crate) use self::fetch::{FetchTask, RangeTask};
pub use self::list::{Catalog, Paging, Tags};
pub(crate) use self::list::{ListOf, ListTask};
pub(crate) use self::manifest::{DeleteTask, Extent, ManifestTask, PutSource, PutTask};
pub use self::manifest::{Deleted, Manifest, Put};
pub use self::mount::MountFrom;
pub(crate) use self::open::OpenTask;
pub use self::open::{ImageLayer, OpenedImage};
pub(crate) use self::read_at::ReadAt;
pub(crate) use self::referrers::ReferrersTask;
pub use self::referrers::{Referrers, ReferrersSource};
use crate::descriptor::Descriptor;
#[cfg(doc)]
use crate::error::Error;
use crate::reference::{Reference, Tag};
use crate::registry::Registry;
use crate::time::Time;

pub use crate::ids::TaskId;

/// A task and its deadline.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Task {
    #[serde(flatten)]
    pub(crate) kind: TaskKind,
    /// On tapes and in checkpoints: microseconds since the session began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deadline: Option<Time>,
    #[serde(
        default,
        rename = "nondistributable",
        skip_serializing_if = "Foreign::is_left_out"
    )]
    pub(crate) foreign: Foreign,
    #[serde(
        default,
        rename = "withoutMirrors",
        skip_serializing_if = "ReadAt::is_mirrors"
    )]
    pub(crate) read_at: ReadAt,
    #[serde(
        default,
        rename = "missingFrom",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) missing_from: Option<Reference>,
    #[serde(default, rename = "moreTags", skip_serializing_if = "Vec::is_empty")]
    pub(crate) more_tags: Vec<Tag>,
}

impl Task {
    /// How many `urls` of one foreign layer are tried.
    pub const FOREIGN_URLS: usize = 5;

    /// Let these tags refer to what a push or a copy has put into a registry, too, after its own: all in one request
    /// where the registry takes them with the manifest (`?tag=`), else in one each. The report names them
    /// ([`Report::tags`]); if one cannot be put, the task fails, and the image and the tags before it stay. Has no effect
    /// on other tasks.
    #[must_use]
    pub fn and_tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.more_tags.extend(tags);
        self
    }

    /// Include foreign layers: those with a nondistributable media type, and those whose descriptor
    /// has `urls`. By default a task leaves them out and lists them in its report.
    ///
    /// A layer is fetched from the source registry first. If that fails, the descriptor's first
    /// [`Task::FOREIGN_URLS`] `urls` are tried in order: http and https only, without credentials, and verified
    /// like every blob. A URL on a literal loopback, private or link-local address, or on
    /// `localhost`, is refused with [`Error::Policy`], unless the registry's own host is a literal
    /// address in the same kind of network.
    #[must_use]
    pub const fn including_nondistributable(mut self) -> Self {
        self.foreign = Foreign::Included;
        self
    }

    /// Read at the registry itself and at none of its mirrors, which may have an older image at a tag: for what is
    /// changed and put back. Without this a task asks the endpoints of the [`Route`](crate::config::Route) in their
    /// order. What writes, deletes or lists never asks a mirror.
    #[must_use]
    pub const fn without_mirrors(mut self) -> Self {
        self.read_at = ReadAt::Registry;
        self
    }

    /// Take the blobs of a push that its store lacks from the repository of `source`, where the image comes from: they
    /// are mounted if it is in the destination's registry, else sent while they are fetched, and verified like every
    /// blob. The store must have all manifests. [`CopyTask::spool`] is for those that can be neither mounted nor
    /// relayed. Only the registry and the repository of `source` count; for other tasks this has no meaning.
    #[must_use]
    pub fn missing_from(mut self, source: Reference) -> Self {
        self.missing_from = Some(source);
        self
    }

    /// Fail the task if it has not finished by `deadline`.
    #[must_use]
    pub const fn by(mut self, deadline: Time) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// It is from a checkpoint: what it deletes may be gone already.
    pub(crate) const fn resumed(mut self) -> Self {
        if let TaskKind::Delete(DeleteTask { again, .. }) | TaskKind::Blob(BlobTask { again, .. }) =
            &mut self.kind
        {
            *again = true;
        }
        self
    }

    const fn new(kind: TaskKind) -> Self {
        Self {
            kind,
            deadline: None,
            foreign: Foreign::LeftOut,
            read_at: ReadAt::Mirrors,
            missing_from: None,
            more_tags: Vec::new(),
        }
    }
}

/// What is to be done: a kind of task, with what is asked of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum TaskKind {
    Check(Registry),
    Blob(BlobTask),
    Delete(DeleteTask),
    List(ListTask),
    Manifest(ManifestTask),
    Open(OpenTask),
    Put(PutTask),
    Referrers(ReferrersTask),
    Resolve(Reference),
    Copy(CopyTask),
    Fetch(FetchTask),
    ReadRange(RangeTask),
    Stream(StreamTask),
}

impl TaskKind {
    /// The reference that the task begins with, if its source is a registry.
    pub(crate) const fn source(&self) -> Option<&Reference> {
        match self {
            Self::Blob(_)
            | Self::Check(_)
            | Self::Delete(_)
            | Self::Fetch(_)
            | Self::List(_)
            | Self::Manifest(_)
            | Self::Open(_)
            | Self::Put(_)
            | Self::ReadRange(_)
            | Self::Referrers(_)
            | Self::Stream(_) => None,
            Self::Resolve(reference) => Some(reference),
            Self::Copy(copy) => match &copy.source {
                TaskLocation::Registry(reference) => Some(reference),
                TaskLocation::Store { .. } => None,
            },
        }
    }

    /// The reference whose repository it uploads blobs to.
    pub(crate) const fn uploads_to(&self) -> Option<&Reference> {
        if let Self::Blob(blob) = self {
            return match &blob.action {
                BlobAction::Put { .. } | BlobAction::Mount { .. } => Some(&blob.reference),
                BlobAction::Stat | BlobAction::Delete => None,
            };
        }
        if let Self::Stream(stream) = self {
            return Some(&stream.repository);
        }
        if let Self::Copy(copy) = self {
            return match &copy.destination {
                TaskLocation::Registry(reference) => Some(reference),
                TaskLocation::Store { .. } => None,
            };
        }
        None
    }
}

/// What a finished task did: a report for each kind of task.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TaskReport {
    /// [`Task::check`]: the registry accepts the credentials for it.
    Checked(Checked),
    /// [`Task::tags`].
    Tags(Tags),
    /// [`Task::catalog`].
    Catalog(Catalog),
    /// [`Task::manifest`].
    Manifest(Manifest),
    /// [`Task::put_manifest`] and [`Task::tag`].
    Put(Put),
    /// [`Task::referrers`].
    Referrers(Referrers),
    /// [`Task::find_blob`].
    BlobFound(BlobFound),
    /// [`Task::put_blob`], [`Task::put_stream`] and [`Task::mount_blob`].
    BlobPut(BlobPut),
    /// [`Task::delete`], [`Task::delete_manifest`] and [`Task::delete_blob`].
    Deleted(Deleted),
    /// [`Task::resolve`]: what the reference stands for.
    Resolved(Descriptor),
    /// [`Task::pull`], [`Task::push`] and [`Task::copy`].
    Copied(Report),
    /// [`Task::fetch_blob`].
    Fetched(Fetched),
    /// [`Task::open`].
    Opened(OpenedImage),
    /// [`Task::read_range`].
    Range(BlobRange),
}

impl TaskReport {
    /// The content that the task's source stood for, if it had one.
    pub const fn root(&self) -> Option<&Descriptor> {
        match self {
            Self::BlobFound(_)
            | Self::BlobPut(_)
            | Self::Checked(_)
            | Self::Tags(_)
            | Self::Catalog(_)
            | Self::Deleted(_)
            | Self::Fetched(_)
            | Self::Range(_)
            | Self::Referrers(_) => None,
            Self::Manifest(manifest) => Some(&manifest.descriptor),
            Self::Put(put) => Some(&put.descriptor),
            Self::Opened(image) => Some(&image.manifest.descriptor),
            Self::Resolved(root) => Some(root),
            Self::Copied(report) => Some(&report.root),
        }
    }
}

/// One line, as in transcripts: the digest, and for copies the numbers of blobs.
impl fmt::Display for TaskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checked(checked) => checked.fmt(f),
            Self::Tags(tags) => tags.fmt(f),
            Self::Catalog(catalog) => catalog.fmt(f),
            Self::Manifest(manifest) => manifest.fmt(f),
            Self::Put(put) => put.fmt(f),
            Self::Referrers(referrers) => referrers.fmt(f),
            Self::BlobFound(found) => found.fmt(f),
            Self::BlobPut(put) => put.fmt(f),
            Self::Deleted(deleted) => deleted.fmt(f),
            Self::Resolved(root) => root.digest.fmt(f),
            Self::Copied(report) => report.fmt(f),
            Self::Fetched(fetched) => fetched.fmt(f),
            Self::Opened(image) => image.fmt(f),
            Self::Range(range) => range.fmt(f),
        }
    }
}
