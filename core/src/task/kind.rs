//! The kinds of tasks.
//!
//! Responsible for what the session reads of a task. Must not know how tasks are done (`tasks`).

use serde::{Deserialize, Serialize};

use super::{
    BlobAction, BlobTask, CopyTask, DeleteTask, FetchTask, ListTask, ManifestTask, OpenTask,
    PutTask, RangeTask, ReferrersTask, StreamTask, TaskLocation,
};
use crate::reference::Reference;
use crate::registry::Registry;

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

/// Where a task reads.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "bool", into = "bool")]
pub(crate) enum ReadAt {
    /// At the endpoints of the route: mirrors first.
    #[default]
    Mirrors,
    /// Where it would write.
    Registry,
}

impl ReadAt {
    pub(super) fn is_mirrors(&self) -> bool {
        *self == Self::Mirrors
    }
}

impl From<bool> for ReadAt {
    fn from(is_without_mirrors: bool) -> Self {
        if is_without_mirrors {
            Self::Registry
        } else {
            Self::Mirrors
        }
    }
}

impl From<ReadAt> for bool {
    fn from(read_at: ReadAt) -> Self {
        read_at == ReadAt::Registry
    }
}
