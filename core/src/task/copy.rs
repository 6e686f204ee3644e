//! Copies of images, of which pulls and pushes are some, and what they report.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Carried, Carry, MountFrom, Task, TaskKind, TaskReport};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::ErrorKind;
use crate::platform::Platform;
use crate::reference::{Reference, Tag};
use crate::registry::Origin;
use crate::store::StoreId;

impl Task {
    /// Pull an image from a registry into a store, where it is tagged `name`.
    pub const fn pull(
        source: Reference,
        store: StoreId,
        name: Option<String>,
        platforms: Platforms,
    ) -> Self {
        Self::copy(CopyTask {
            source: TaskLocation::Registry(source),
            destination: TaskLocation::Store { store, name },
            platforms,
            spool: None,
            mount_from: Vec::new(),
            carry: Carry::NOTHING,
        })
    }

    /// Push the image tagged `name` from a store to a registry.
    pub const fn push(
        store: StoreId,
        name: Option<String>,
        destination: Reference,
        platforms: Platforms,
    ) -> Self {
        Self::copy(CopyTask {
            source: TaskLocation::Store { store, name },
            destination: TaskLocation::Registry(destination),
            platforms,
            spool: None,
            mount_from: Vec::new(),
            carry: Carry::NOTHING,
        })
    }

    /// Copy an image.
    pub const fn copy(copy: CopyTask) -> Self {
        Self::new(TaskKind::Copy(copy))
    }
}

impl TaskReport {
    /// What a copy did, if the task was one.
    pub fn copied(self) -> Option<Report> {
        if let Self::Copied(report) = self {
            return Some(report);
        }
        None
    }
}

/// A copy between two places. A pull or a push is a copy with a store at one end.
///
/// # Example
///
/// ```
/// # use windlass_core::{CopyTask, StoreId, Task, TaskLocation};
/// let at = |place: &str| place.parse().map(TaskLocation::Registry);
/// let copy = CopyTask::new(at("reg.example/team/app:v1")?, at("reg.example/prod/app:v1")?);
/// let task = Task::copy(copy.spool(StoreId(7)).mount_from(["base/debian".parse()?]));
/// # Ok::<(), windlass_core::reference::ReferenceError>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
#[non_exhaustive]
pub struct CopyTask {
    /// The source.
    pub source: TaskLocation,
    /// The destination.
    pub destination: TaskLocation,
    /// The platforms to copy from an index.
    pub platforms: Platforms,
    /// A temporary store for blobs that cannot be sent while they are fetched: within one registry if it
    /// refuses a mount, and between registries if the destination keeps nothing of what breaks off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool: Option<StoreId>,
    /// Where the destination's registry may have the blobs, to mount them from. A session tries the repositories
    /// first in which it has seen a blob, those with the most similar names before others, and then these in
    /// their order: up to 4 for a blob of more than 10 MiB, 3 of more than 100 KiB, else 1.
    #[serde(default, rename = "mountFrom", skip_serializing_if = "Vec::is_empty")]
    pub mount_from: Vec<MountFrom>,
    /// What else is copied with the image: referrers, and what cosign keeps at tags.
    #[serde(default, skip_serializing_if = "Carry::is_nothing")]
    pub carry: Carry,
}

impl CopyTask {
    /// A copy of all platforms, and of nothing else.
    pub const fn new(source: TaskLocation, destination: TaskLocation) -> Self {
        Self {
            source,
            destination,
            platforms: Platforms::All,
            spool: None,
            mount_from: Vec::new(),
            carry: Carry::NOTHING,
        }
    }

    /// Sets the [platforms](field@Self::platforms).
    #[must_use]
    pub fn platforms(self, platforms: Platforms) -> Self {
        Self { platforms, ..self }
    }

    /// Sets the temporary store: see [`spool`](field@Self::spool).
    #[must_use]
    pub fn spool(self, spool: impl Into<Option<StoreId>>) -> Self {
        let spool = spool.into();
        Self { spool, ..self }
    }

    /// Adds to where the blobs may be: see [`mount_from`](field@Self::mount_from).
    #[must_use]
    pub fn mount_from(mut self, from: impl IntoIterator<Item = MountFrom>) -> Self {
        self.mount_from.extend(from);
        self
    }

    /// Sets what else is copied: see [`carry`](field@Self::carry).
    #[must_use]
    pub fn carry(self, carry: Carry) -> Self {
        Self { carry, ..self }
    }
}

/// A source or destination of an image.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum TaskLocation {
    /// A registry.
    Registry(Reference),
    /// A store, for instance an image layout.
    Store {
        /// The store.
        #[serde(rename = "id")]
        store: StoreId,
        /// The entry's name there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
}

/// Which platforms of an index to copy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Platforms {
    /// All of them: the unchanged index with everything below it.
    All,
    /// The image that suits this platform best.
    One(Platform),
    /// For each of these platforms the image that suits it best, with what is about these images, and the unchanged
    /// index above them. That is then sparse: it has entries that are not there. Some registries refuse such an index.
    Several(Vec<Platform>),
}

impl Platforms {
    /// The platform, if it is a single image that is copied.
    pub const fn one(&self) -> Option<&Platform> {
        match self {
            Self::One(platform) => Some(platform),
            Self::All | Self::Several(_) => None,
        }
    }
}

/// How a task handles foreign layers.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "bool", into = "bool")]
pub(crate) enum Foreign {
    /// They are left out and listed in the report.
    #[default]
    LeftOut,
    /// They are transferred like other layers, and may be fetched from their `urls`.
    Included,
}

impl Foreign {
    pub(super) fn is_left_out(&self) -> bool {
        *self == Self::LeftOut
    }
}

impl From<bool> for Foreign {
    fn from(is_included: bool) -> Self {
        if is_included {
            Self::Included
        } else {
            Self::LeftOut
        }
    }
}

impl From<Foreign> for bool {
    fn from(foreign: Foreign) -> Self {
        foreign == Foreign::Included
    }
}

/// What a copy did; a pull and a push are copies.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The manifest or index that the reference or name resolved to.
    pub root: Descriptor,
    /// The tags that refer to it now, if the destination is a registry: its own, then those of [`Task::and_tags`], each
    /// once.
    pub tags: Vec<Tag>,
    /// The number of blobs transferred over the network.
    pub moved: u64,
    /// The bytes of blobs that were really sent or received.
    pub bytes: u64,
    /// The number of blobs mounted from another repository.
    pub mounted: u64,
    /// The number of blobs that existed at the destination.
    pub present: u64,
    /// The number of foreign layers left out, see [`Task::including_nondistributable`].
    pub left_out: u64,
    /// The first [`LISTED`](Self::LISTED) of them: media type, digest and size.
    pub left_out_layers: Vec<Descriptor>,
    /// The number of entries of the index that were not copied, since other platforms were wanted
    /// ([`Platforms::Several`]): the index is sparse.
    pub absent: u64,
    /// Manifests that were put but could not be added to the referrers list of their subject, at a
    /// registry without the referrers API: the first [`LISTED`](Self::LISTED).
    pub unlisted: Vec<Unlisted>,
    /// What was copied with the image, if [`CopyTask::carry`] asks for something.
    pub carried: Option<Carried>,
    /// How many manifests and blobs came from each endpoint, if the source has several: mirrors, or the
    /// registry itself. Empty if there is no route for it.
    pub served: BTreeMap<Origin, u64>,
}

impl Report {
    /// The longest that each of the report's lists can be.
    pub const LISTED: usize = 100;
}

/// A manifest that is missing in its subject's referrers list.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Unlisted {
    /// The manifest.
    pub digest: Digest,
    /// Its subject.
    pub subject: Digest,
    /// The kind of the error.
    pub kind: ErrorKind,
    /// The error.
    pub why: String,
}

/// One line, as in transcripts.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} moved ({} bytes), {} mounted, {} present",
            self.root.digest, self.moved, self.bytes, self.mounted, self.present
        )?;
        if self.tags.len() > 1 {
            write!(f, ", {} tags", self.tags.len())?;
        }
        if self.left_out > 0 {
            write!(f, ", {} left out", self.left_out)?;
        }
        if self.absent > 0 {
            write!(f, ", {} entries absent", self.absent)?;
        }
        if !self.unlisted.is_empty() {
            write!(f, ", {} unlisted", self.unlisted.len())?;
        }
        if let Some(carried) = &self.carried {
            write!(f, ", carried {carried}")?;
        }
        Ok(())
    }
}
