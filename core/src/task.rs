//! Tasks, and their results.

mod blob;
mod carry;
mod fetch;
mod list;
mod manifest;
mod mount;
mod open;
mod referrers;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use serde::{Deserialize, Serialize};

pub(crate) use self::blob::{BlobAction, BlobTask, StreamTask};
pub use self::blob::{BlobDelivery, BlobFound, BlobPut};
pub use self::carry::{Carried, Carry, NotCarried};
pub use self::fetch::{BlobRange, Fetched};
pub(crate) use self::fetch::{FetchTask, RangeTask};
pub use self::list::{Catalog, Paging, Tags};
pub(crate) use self::list::{ListOf, ListTask};
pub(crate) use self::manifest::{DeleteTask, Extent, ManifestTask, PutSource, PutTask};
pub use self::manifest::{Deleted, Manifest, Put};
pub use self::mount::MountFrom;
pub(crate) use self::open::OpenTask;
pub use self::open::{ImageLayer, OpenedImage};
pub(crate) use self::referrers::ReferrersTask;
pub use self::referrers::{Referrers, ReferrersSource};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind};
use crate::platform::Platform;
use crate::reference::{Reference, Repository, Tag};
use crate::registry::{Origin, Registry};
use crate::store::StoreId;
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
    fn is_mirrors(&self) -> bool {
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
    fn is_left_out(&self) -> bool {
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

impl Task {
    /// Check whether a registry accepts the credentials for it, with `GET /v2/`.
    ///
    /// The driver is asked for credentials only if the registry wants some, and for the whole registry: without
    /// a repository. It fails with [`Error::Auth`] if they are refused.
    pub const fn check(registry: Registry) -> Self {
        Self::new(TaskKind::Check(registry))
    }

    /// List the tags of the reference's repository; its tag and digest do not matter.
    ///
    /// It is read at the registry itself, never at a mirror, page by page, each with the usual number of
    /// attempts. It fails rather than report a part as the whole list, unless [`Paging::most`] ends it.
    pub const fn tags(repository: Reference, paging: Paging) -> Self {
        Self::list(ListOf::Tags(repository), paging)
    }

    /// List the repositories of a registry, an extension that many registries do not have, likewise.
    pub const fn catalog(registry: Registry, paging: Paging) -> Self {
        Self::list(ListOf::Catalog(registry), paging)
    }

    const fn list(of: ListOf, paging: Paging) -> Self {
        Self::new(TaskKind::List(ListTask { of, paging }))
    }

    /// Read a manifest: what a reference stands for; of an index with a `platform`, the image that suits it best.
    pub const fn manifest(reference: Reference, platform: Option<Platform>) -> Self {
        Self::new(TaskKind::Manifest(ManifestTask {
            reference,
            platform,
        }))
    }

    /// Put a manifest that a store has as a blob, with this media type, at a reference: by its tag (`latest` if it
    /// has neither tag nor digest), or by its digest. Further `tags` refer to it, too: in one request where the
    /// registry takes that, else one by one.
    ///
    /// The bytes are sent as they are. What the manifest refers to must be in the repository, except its subject; if
    /// the registry lists no referrers itself, the manifest is added to the list of its subject.
    pub fn put_manifest(
        (store, digest): (StoreId, Digest),
        media_type: String,
        destination: Reference,
        tags: Vec<Tag>,
    ) -> Self {
        Self::new(TaskKind::Put(PutTask {
            source: PutSource::Store {
                store,
                digest,
                media_type,
            },
            destination,
            tags,
            replaces: None,
        }))
    }

    /// Let further tags refer to what a reference stands for, in its repository.
    pub fn tag(reference: Reference, tags: Vec<Tag>) -> Self {
        Self::new(TaskKind::Put(PutTask {
            source: PutSource::Repository(reference.clone()),
            destination: reference,
            tags,
            replaces: None,
        }))
    }

    /// Put a manifest only in the place of this one, which was read at the destination's tag. It fails with
    /// [`Error::Outdated`] if another one is there: then it was not put, or was replaced by another client at once. A
    /// condition (`If-Match`) rules out the latter, but most registries ignore it, so the tag is looked at before and
    /// after. For other tasks than [`put_manifest`](Self::put_manifest), and without a tag, this has no meaning.
    #[must_use]
    pub fn replacing(mut self, digest: Digest) -> Self {
        if let TaskKind::Put(put) = &mut self.kind {
            put.replaces = Some(digest);
        }
        self
    }

    /// Delete a tag and nothing else; or, if the reference has a digest, the manifest with all its tags.
    ///
    /// If the registry cannot delete a tag alone, the task fails, and the error's hint names the tags that
    /// [`delete_manifest`](Self::delete_manifest) would delete with it. A deleted manifest is removed from the
    /// referrers list of its subject, if there is such a list.
    pub const fn delete(reference: Reference) -> Self {
        let extent = Extent::Tag;
        Self::new(TaskKind::Delete(DeleteTask {
            reference,
            extent,
            again: false,
        }))
    }

    /// Delete the manifest that a reference stands for, with all its tags.
    pub const fn delete_manifest(reference: Reference) -> Self {
        let extent = Extent::Manifest;
        Self::new(TaskKind::Delete(DeleteTask {
            reference,
            extent,
            again: false,
        }))
    }

    /// Find out whether the repository has the blob that the reference's digest names, and its size.
    pub const fn find_blob(reference: Reference) -> Self {
        Self::blob(reference, BlobAction::Stat)
    }

    /// Put a blob of `size` bytes from a store into the reference's repository, under the reference's digest, unless
    /// the registry mounts it from one of `mount_from`: see [`CopyTask::mount_from`].
    pub const fn put_blob(
        store: StoreId,
        size: u64,
        reference: Reference,
        mount_from: Vec<MountFrom>,
    ) -> Self {
        let action = BlobAction::Put {
            store,
            size,
            mount_from,
        };
        Self::blob(reference, action)
    }

    /// Put a stream from a store into the reference's repository, without knowing its digest and size before its
    /// end. If the reference has a digest, it must be that of the stream.
    ///
    /// The store is asked to [`Gather`](crate::StoreOp::Gather) a chunk at a time, of
    /// [`Config::chunk_size`](crate::Config::chunk_size). What ends within the first one is sent like every blob. For
    /// a registry that takes no chunks, all of the stream is gathered first. A stream cannot be read again, so a task
    /// from a checkpoint fails.
    pub const fn put_stream(store: StoreId, repository: Reference) -> Self {
        Self::new(TaskKind::Stream(StreamTask { repository, store }))
    }

    /// Mount the blob that the reference's digest names from the repository `from` of the same registry. If the
    /// registry does not mount it, it is moved by way of the spool.
    pub const fn mount_blob(from: Repository, reference: Reference, spool: StoreId) -> Self {
        Self::blob(reference, BlobAction::Mount { from, spool })
    }

    /// Delete the blob that the reference's digest names from its repository.
    pub const fn delete_blob(reference: Reference) -> Self {
        Self::blob(reference, BlobAction::Delete)
    }

    /// List the manifests whose subject is what a reference stands for, of one artifact type or of all.
    ///
    /// Where the registry has no referrers API, the list is read that clients keep at a tag. Lists name wrong types at
    /// times: if one type is asked for, the manifests at such a tag are read for their types, and those that the API
    /// lists with another type or none. It fails with
    /// [`Error::NotFound`] if the repository is unknown, or what a tag stands for.
    pub const fn referrers(reference: Reference, artifact_type: Option<String>) -> Self {
        Self::new(TaskKind::Referrers(ReferrersTask {
            reference,
            artifact_type,
        }))
    }

    const fn blob(reference: Reference, action: BlobAction) -> Self {
        Self::new(TaskKind::Blob(BlobTask {
            reference,
            action,
            again: false,
        }))
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

    /// Fetch one blob of a repository into a store, verified. What the store has of it already is not fetched.
    ///
    /// Only the registry and the repository of `source` count. It fails with [`Error::Mismatch`] if the blob
    /// is not what its descriptor says.
    pub const fn fetch_blob(source: Reference, blob: Descriptor, store: StoreId) -> Self {
        Self::new(TaskKind::Fetch(FetchTask {
            source,
            blob,
            store,
        }))
    }

    /// Read the manifest and the configuration of an image, verified: of an index, the image for the platform.
    ///
    /// It fails with [`Error::Policy`] if that is no image, or the configuration is larger than
    /// [`Limits::document`](crate::config::Limits::document), since it is in memory.
    pub const fn open(reference: Reference, platform: Platform) -> Self {
        Self::new(TaskKind::Open(OpenTask {
            reference,
            platform,
        }))
    }

    /// Read some bytes of a blob. They are **not verified**: a digest is over a whole blob.
    ///
    /// Only the registry and the repository of `source` count. The report may have fewer bytes than `range`, as
    /// the registry may return fewer; it has none if `range` is empty. It fails with [`Error::Policy`] if
    /// `range` is longer than [`Limits::document`](crate::config::Limits::document), since the bytes are in
    /// memory, and with [`Error::Registry`] (416) if it begins behind the end of the blob.
    pub const fn read_range(source: Reference, digest: Digest, range: Range<u64>) -> Self {
        Self::new(TaskKind::ReadRange(RangeTask {
            source,
            digest,
            range,
        }))
    }

    /// Resolve a reference to a digest.
    pub const fn resolve(reference: Reference) -> Self {
        Self::new(TaskKind::Resolve(reference))
    }

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
    /// [`URLS`] `urls` are tried in order: http and https only, without credentials, and verified
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
}

/// A copy between two places. A pull or a push is a copy with a store at one end.
#[derive(Clone, Debug, Deserialize, Serialize)]
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

/// A source or destination of an image.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
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
pub enum Platforms {
    /// All of them: the unchanged index with everything below it.
    All,
    /// The image that suits this platform best.
    One(Platform),
    /// For each of these platforms the image that suits it best, with what is about these images, and the unchanged
    /// index above them. That is then sparse: it has entries that are not there. Some registries refuse such an index.
    Several(Vec<Platform>),
}

/// How many `urls` of one layer are tried.
pub const URLS: usize = 5;

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
    /// What a reference stands for, if the task was to find that out.
    pub fn resolved(self) -> Option<Descriptor> {
        if let Self::Resolved(root) = self {
            return Some(root);
        }
        None
    }

    /// What a copy did, if the task was one.
    pub fn copied(self) -> Option<Report> {
        if let Self::Copied(report) = self {
            return Some(report);
        }
        None
    }

    /// What a check found out, if the task was one.
    pub fn checked(self) -> Option<Checked> {
        if let Self::Checked(checked) = self {
            return Some(checked);
        }
        None
    }

    /// The tags of a repository, if the task was to list them.
    pub fn tags(self) -> Option<Tags> {
        if let Self::Tags(tags) = self {
            return Some(tags);
        }
        None
    }

    /// An image, if the task was to open one.
    pub fn opened(self) -> Option<OpenedImage> {
        if let Self::Opened(image) = self {
            return Some(image);
        }
        None
    }

    /// How a blob was fetched, if the task was to do that.
    pub fn fetched(self) -> Option<Fetched> {
        if let Self::Fetched(fetched) = self {
            return Some(fetched);
        }
        None
    }

    /// The repositories of a registry, if the task was to list them.
    pub fn catalog(self) -> Option<Catalog> {
        if let Self::Catalog(catalog) = self {
            return Some(catalog);
        }
        None
    }

    /// A manifest, if the task was to read one.
    pub fn manifest(self) -> Option<Manifest> {
        if let Self::Manifest(manifest) = self {
            return Some(manifest);
        }
        None
    }

    /// What became of a manifest, if the task was to put or tag one.
    pub fn put(self) -> Option<Put> {
        if let Self::Put(put) = self {
            return Some(put);
        }
        None
    }

    /// What refers to a manifest, if the task was to list that.
    pub fn referrers(self) -> Option<Referrers> {
        if let Self::Referrers(referrers) = self {
            return Some(referrers);
        }
        None
    }

    /// A blob, if the task was to find one.
    pub fn blob_found(self) -> Option<BlobFound> {
        if let Self::BlobFound(found) = self {
            return Some(found);
        }
        None
    }

    /// What became of a blob, if the task was to put or mount one.
    pub fn blob_put(self) -> Option<BlobPut> {
        if let Self::BlobPut(put) = self {
            return Some(put);
        }
        None
    }

    /// What was deleted, if the task was to delete something.
    pub fn deleted(self) -> Option<Deleted> {
        if let Self::Deleted(deleted) = self {
            return Some(deleted);
        }
        None
    }

    /// The bytes of a blob, if the task was to read some.
    pub fn range(self) -> Option<BlobRange> {
        if let Self::Range(range) = self {
            return Some(range);
        }
        None
    }

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
        let report = match self {
            Self::Checked(Checked {
                anonymous: true, ..
            }) => {
                return f.write_str("accepted without credentials");
            }
            Self::Checked(Checked {
                anonymous: false, ..
            }) => return f.write_str("accepted"),
            Self::Resolved(root) => return root.digest.fmt(f),
            Self::Tags(Tags { tags, has_more, .. }) => {
                return listed(f, tags.len(), "tags", *has_more);
            }
            Self::Catalog(Catalog {
                repositories,
                has_more,
                ..
            }) => return listed(f, repositories.len(), "repositories", *has_more),
            Self::Manifest(manifest) => return manifest.descriptor.digest.fmt(f),
            Self::Referrers(Referrers {
                referrers, source, ..
            }) => {
                let by = match source {
                    ReferrersSource::Api => "",
                    ReferrersSource::Tag => " at the tag",
                    ReferrersSource::Nothing => ", without API or tag",
                };
                return write!(f, "{} referrers{by}", referrers.len());
            }
            Self::BlobFound(BlobFound { digest, size }) => {
                return write!(f, "{digest}: {size} bytes");
            }
            Self::BlobPut(BlobPut { digest, how, .. }) => {
                return match how {
                    BlobDelivery::Sent(bytes) => write!(f, "{digest}: {bytes} bytes sent"),
                    BlobDelivery::Mounted => write!(f, "{digest}: mounted"),
                    BlobDelivery::Present => write!(f, "{digest}: already there"),
                };
            }
            Self::Put(Put {
                descriptor,
                tags,
                unlisted,
            }) => {
                write!(f, "{}: {} tags", descriptor.digest, tags.len())?;
                return f.write_str(if unlisted.is_some() { ", unlisted" } else { "" });
            }
            Self::Deleted(Deleted { digest, unlisted }) => {
                f.write_str("deleted")?;
                if let Some(digest) = digest {
                    write!(f, " {digest}")?;
                }
                return f.write_str(if unlisted.is_some() {
                    ", still listed"
                } else {
                    ""
                });
            }
            Self::Fetched(fetched) => return fetched.fmt(f),
            Self::Opened(image) => {
                return write!(f, "{}: {} layers", image.digest(), image.layers.len());
            }
            Self::Range(range) => return write!(f, "{} bytes", range.bytes.len()),
            Self::Copied(report) => report,
        };
        write!(
            f,
            "{}: {} moved ({} bytes), {} mounted, {} present",
            report.root.digest, report.moved, report.bytes, report.mounted, report.present
        )?;
        if report.tags.len() > 1 {
            write!(f, ", {} tags", report.tags.len())?;
        }
        if report.left_out > 0 {
            write!(f, ", {} left out", report.left_out)?;
        }
        if report.absent > 0 {
            write!(f, ", {} entries absent", report.absent)?;
        }
        if !report.unlisted.is_empty() {
            write!(f, ", {} unlisted", report.unlisted.len())?;
        }
        if let Some(carried) = &report.carried {
            write!(f, ", carried {carried}")?;
        }
        Ok(())
    }
}

fn listed(f: &mut fmt::Formatter<'_>, len: usize, what: &str, has_more: bool) -> fmt::Result {
    let more = if has_more { ", and more" } else { "" };
    write!(f, "{len} {what}{more}")
}

/// What a check of a registry found out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Checked {
    /// Whether the registry accepted a request without credentials, so that none were used.
    pub anonymous: bool,
    /// Whether the registry asked for credentials. If it did and [`anonymous`](Self::anonymous) is set, its
    /// token service gave an anonymous token: there were no credentials, or they could not be sent to it, and
    /// nothing is known about them.
    pub asked: bool,
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

impl Report {
    /// The longest that each of the report's lists can be.
    pub const LISTED: usize = 100;
}

/// Why a task failed: at least one error, the most informative first.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub(crate) errors: Vec<Error>,
}

impl Failure {
    /// A failure with these errors, sorted: content mismatch, authentication, not found, refused,
    /// temporary.
    ///
    /// # Panics
    ///
    /// If `errors` is empty.
    pub fn new(mut errors: Vec<Error>) -> Self {
        assert!(!errors.is_empty(), "a failure has a reason");
        errors.sort_by_key(|error| error.kind().rank());
        Self { errors }
    }

    /// The most informative error.
    pub fn first(&self) -> &Error {
        &self.errors[0]
    }

    /// All errors.
    pub fn errors(&self) -> &[Error] {
        &self.errors
    }

    /// The kind of the most telling error.
    pub fn kind(&self) -> ErrorKind {
        self.first().kind()
    }

    /// What the user can do about it: the hint of the first error that has one.
    pub fn hint(&self) -> Option<&str> {
        self.errors.iter().find_map(Error::hint)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first().fmt(f)
    }
}

impl core::error::Error for Failure {
    /// The source of the most telling error, whose words these are.
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.first().source()
    }
}
